//! What parsing found: errors that name the place, with what was found there and what is allowed; warnings beside them.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Where in a file something is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A JSON path: `groups[2].timeout`.
    Path(Box<str>),
    /// A line of a file of lines, with the key it sets.
    Line {
        /// Counted from 1.
        number: u32,
        /// The key before the `=`, or the line itself if it has none.
        key: Box<str>,
    },
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ParseError {
    /// The key of the state that holds the file, or `state` for the state itself.
    pub file: Box<str>,
    /// Where in it.
    pub place: Place,
    /// What is there.
    pub found: Box<str>,
    /// What may be there.
    pub allowed: Cow<'static, str>,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, &self.file, &self.place)?;
        write!(f, ": found {}, allowed is {}", self.found, self.allowed)
    }
}

/// Something odd that is no error.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Warning {
    /// The key of the state that holds the file, or `state` for the state itself.
    pub file: Box<str>,
    /// Where in it.
    pub place: Place,
    /// What is odd.
    pub text: Box<str>,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, &self.file, &self.place)?;
        write!(f, ": {}", self.text)
    }
}

fn write_place(f: &mut fmt::Formatter<'_>, file: &str, place: &Place) -> fmt::Result {
    match place {
        Place::File => f.write_str(file),
        Place::Path(path) => write!(f, "{file}: {path}"),
        Place::Line { number, key } => write!(f, "{file}, line {number}: {key}"),
    }
}

/// Everything that is wrong with a revision, up to [`Findings::MOST`] of it. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ParseErrors(Box<[ParseError]>);

impl ParseErrors {
    /// Parsing ended without a value and without a reason, which is a bug of the parser: still refused.
    pub(crate) fn unexplained() -> ParseErrors {
        ParseErrors(Box::new([ParseError {
            file: "state".into(),
            place: Place::File,
            found: "something that was not understood".into(),
            allowed: Cow::Borrowed("a state"),
        }]))
    }

    /// In the order in which they were met.
    pub fn iter(&self) -> core::slice::Iter<'_, ParseError> {
        self.0.iter()
    }
}

impl fmt::Display for ParseErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl core::error::Error for ParseErrors {}

/// Collects while a revision is parsed. Bounded, so that hostile input cannot make it large.
#[derive(Debug, Default)]
pub struct Findings {
    errors: Vec<ParseError>,
    warnings: Vec<Warning>,
    unsupported: Vec<Box<str>>,
}

impl Findings {
    /// How many errors, and how many warnings, are kept; the rest is dropped.
    pub const MOST: usize = 100;

    /// Something is wrong.
    pub(crate) fn error(
        &mut self,
        file: &str,
        place: Place,
        found: impl Into<String>,
        allowed: impl Into<Cow<'static, str>>,
    ) {
        if self.errors.len() < Self::MOST {
            let found = shorten(found.into()).into_boxed_str();
            self.errors.push(ParseError { file: file.into(), place, found, allowed: allowed.into() });
        }
    }

    /// Whether something was found wrong at exactly that place.
    pub(crate) fn refused_at(&self, file: &str, place: &Place) -> bool {
        self.errors.iter().any(|error| *error.file == *file && error.place == *place)
    }

    /// Something is odd.
    pub(crate) fn warn(&mut self, file: &str, place: Place, text: impl Into<String>) {
        if self.warnings.len() < Self::MOST {
            self.warnings.push(Warning { file: file.into(), place, text: text.into().into_boxed_str() });
        }
    }

    /// Something is right, and this version cannot do it.
    pub(crate) fn unsupported(&mut self, sentence: String) {
        if self.unsupported.len() < Self::MOST {
            self.unsupported.push(sentence.into_boxed_str());
        }
    }

    /// What was met beside errors, or the errors.
    pub(crate) fn finish(self) -> Result<Remarks, ParseErrors> {
        if self.errors.is_empty() {
            Ok(Remarks { warnings: self.warnings.into(), unsupported: self.unsupported.into() })
        } else {
            Err(ParseErrors(self.errors.into()))
        }
    }
}

/// What was met beside errors.
#[derive(Debug)]
pub(crate) struct Remarks {
    pub(crate) warnings: Box<[Warning]>,
    pub(crate) unsupported: Box<[Box<str>]>,
}

/// Quoted for a message, cut where it is long.
pub(crate) fn quoted(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}… ({} bytes)", &text[..end], text.len()),
        None => format!("{text:?}"),
    }
}

fn shorten(mut text: String) -> String {
    const MOST: usize = 400;
    if let Some((end, _)) = text.char_indices().nth(MOST) {
        text.truncate(end);
        text.push('…');
    }
    text
}
