//! `goalctl check`: every mistake in a revision, found without an agent.

use std::collections::BTreeMap;
use std::path::Path;

use model::errors::{ParseError, Place, Warning};
use model::ids::{Digest, RevisionId};
use model::revision::{Defaults, Revision};
use serde_json::{Value, json};

use crate::bundle::{Bundle, named_objects, set_of};
use crate::cli::Format;
use crate::failed::Failed;
use crate::output::{Output, Tone, visible};

/// What is to be said about a revision.
#[derive(Debug, Default)]
struct Verdict {
    /// Mistakes that no parser's place describes: a file that is not JSON.
    mistakes: Vec<String>,
    errors: Vec<ParseError>,
    warnings: Vec<Warning>,
    /// Right, but this version would refuse to run it.
    unsupported: Vec<String>,
    notes: Vec<String>,
}

pub(crate) fn check(path: &Path, output: &Output, format: Format) -> Result<(), Failed> {
    let verdict = judge(&Bundle::open(path)?);
    if format.json {
        output.json(verdict.json().to_string().as_bytes())?;
    } else {
        verdict.print(output)?;
    }
    let count = verdict.errors.len() + verdict.mistakes.len();
    match count {
        0 => Ok(()),
        1 => Err(Failed::Checked { text: format!("{}: 1 error", path.display()) }),
        _ => Err(Failed::Checked { text: format!("{}: {count} errors", path.display()) }),
    }
}

/// What `post` asks before it sends anything.
pub(crate) fn refuse_wrong(path: &Path, bundle: &Bundle) -> Result<(), Failed> {
    let verdict = judge(bundle);
    let errors = verdict.errors.iter().map(ToString::to_string);
    let lines: Vec<String> = verdict.mistakes.iter().cloned().chain(errors).collect();
    if lines.is_empty() {
        return Ok(());
    }
    let list: String = lines.iter().map(|line| format!("\n  {}", visible(line))).collect();
    Err(Failed::Checked { text: format!("{} is not sent: it has errors{list}", path.display()) })
}

fn judge(bundle: &Bundle) -> Verdict {
    let mut verdict = Verdict { mistakes: bundle.mistakes.clone(), ..Verdict::default() };
    let mut unread = BTreeMap::new();
    let parsed =
        Revision::parse(RevisionId::factory(), &bundle.state, Defaults::default(), &mut |key, digest| {
            read(bundle, key, digest, &mut unread)
        });
    match parsed {
        Ok(revision) => {
            verdict.warnings = revision.warnings().to_vec();
            verdict.unsupported = revision.unsupported().iter().map(ToString::to_string).collect();
            verdict.notes = model::check::notes(&revision);
        }
        // What did not come along is no mistake: it may be on the device.
        Err(errors) => {
            verdict.errors =
                errors.iter().filter(|error| !unread.contains_key(&*error.file)).cloned().collect()
        }
    }
    verdict.notes.extend(without_run_json(&bundle.state));
    let unread = unread.into_keys();
    verdict.notes.extend(unread.map(|key| format!("{key}: not checked, its object did not come along")));
    let sizes = bundle.sizes();
    let named = named_objects(&bundle.state).into_values();
    let absent = set_of(&mut named.filter(|digest| !sizes.contains_key(digest)));
    if !absent.is_empty() {
        verdict.notes.push(format!("{} objects did not come along and must be on the device", absent.len()));
    }
    verdict
}

/// What looks like a container and is none.
fn without_run_json(state: &[u8]) -> Vec<String> {
    let keys: BTreeMap<String, serde::de::IgnoredAny> = serde_json::from_slice(state).unwrap_or_default();
    let names = keys.keys().filter_map(|key| key.strip_suffix("/lxc.container.conf"));
    let lost = names.filter(|name| !keys.contains_key(&format!("{name}/run.json")));
    lost.map(|name| format!("{name}/ has a lxc.container.conf, but no run.json: no container is made of it"))
        .collect()
}

fn read(
    bundle: &Bundle,
    key: &str,
    digest: &Digest,
    unread: &mut BTreeMap<String, Digest>,
) -> Result<Vec<u8>, String> {
    match bundle.small(digest) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => {
            unread.insert(key.to_owned(), *digest);
            Err(format!("read {key}: its object did not come along"))
        }
        Err(failed) => Err(failed.to_string()),
    }
}

impl Verdict {
    fn print(&self, output: &Output) -> Result<(), Failed> {
        let line =
            |tone, word, text: &str| output.line(&format!("{} {}", output.paint(tone, word), visible(text)));
        for mistake in &self.mistakes {
            line(Tone::Bad, "error:", mistake)?;
        }
        for error in &self.errors {
            line(Tone::Bad, "error:", &error.to_string())?;
        }
        for warning in &self.warnings {
            line(Tone::Busy, "warning:", &warning.to_string())?;
        }
        for sentence in &self.unsupported {
            line(Tone::Busy, "not run by this version:", sentence)?;
        }
        for note in &self.notes {
            line(Tone::Quiet, "note:", note)?;
        }
        if self.errors.is_empty() && self.mistakes.is_empty() {
            output.line(&output.paint(Tone::Good, "ok"))?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let mistakes = self.mistakes.iter().map(|text| json!({ "text": text }));
        let errors = self.errors.iter().map(|error| {
            let mut value = placed(&error.file, &error.place);
            value["found"] = Value::from(&*error.found);
            value["allowed"] = Value::from(&*error.allowed);
            value["text"] = Value::from(error.to_string());
            value
        });
        let warnings = self.warnings.iter().map(|warning| {
            let mut value = placed(&warning.file, &warning.place);
            value["text"] = Value::from(&*warning.text);
            value
        });
        json!({
            "errors": mistakes.chain(errors).collect::<Vec<_>>(),
            "warnings": warnings.collect::<Vec<_>>(),
            "unsupported": self.unsupported,
            "notes": self.notes,
        })
    }
}

fn placed(file: &str, place: &Place) -> Value {
    match place {
        Place::File => json!({ "file": file }),
        Place::Path(path) => json!({ "file": file, "path": path }),
        Place::Line { number, key } => json!({ "file": file, "line": number, "key": key }),
    }
}
