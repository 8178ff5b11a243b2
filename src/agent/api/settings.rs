//! The configuration as it is answered: the same for as long as the agent lives.

use std::collections::BTreeMap;

use hyper::body::Bytes;
use serde::Serialize;

use super::render::json;
use crate::config::{Place, Setting};

/// Both forms.
#[derive(Debug)]
pub(super) struct Pages {
    /// GET /config2.
    pub(super) list: Bytes,
    /// GET /config.
    pub(super) flat: Bytes,
}

/// The field's three members first.
#[derive(Serialize)]
struct Listed<'a> {
    key: &'a str,
    value: &'a str,
    modified: &'static str,
    from: String,
    default: &'a str,
    allowed: &'a str,
    about: &'a str,
}

impl Pages {
    pub(super) fn of(settings: &[Setting]) -> Pages {
        let listed: Vec<_> = settings.iter().map(Listed::of).collect();
        let flat: BTreeMap<_, _> = settings.iter().map(|setting| (setting.name, &setting.value)).collect();
        Pages { list: json(&listed), flat: json(&flat) }
    }
}

impl<'a> Listed<'a> {
    fn of(setting: &'a Setting) -> Listed<'a> {
        Listed {
            key: setting.name,
            value: &setting.value,
            modified: match setting.place {
                None => "default",
                Some(Place::Line(..)) => "file",
                Some(Place::Environment(_)) => "environment",
                Some(Place::CommandLine) => "command line",
            },
            from: setting.place.as_ref().map_or_else(|| "default".to_owned(), Place::to_string),
            default: &setting.default,
            allowed: &setting.allowed,
            about: setting.about,
        }
    }
}
