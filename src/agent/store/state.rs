//! Which files a state puts on disk.
//!
//! What the values mean is for `model` to judge; here only that each key is a path that can be made.

use std::collections::BTreeMap;
use std::fmt;

use model::ids::Digest;
use model::json::Limits;
use model::report::{Failure, FailureKind};
use serde::Deserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The longest state, in bytes.
pub(crate) const LONGEST: usize = Limits::STATE.bytes;
/// Folders within each other.
const DEEPEST: usize = 32;

/// What a file of a trail holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Object(Digest),
    /// Its text as it was received.
    Inline(String),
}

/// The files of a trail by path, sorted.
pub(super) type Files = BTreeMap<String, Content>;

/// Whether `name` can be one file or folder.
pub(super) fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= 255
        && name.bytes().all(|byte| byte >= b' ' && byte != 0x7f && byte != b'/')
}

/// The files that `state` puts on disk.
pub(super) fn files(state: &[u8]) -> Result<Files, Failure> {
    let refuse = |why: String| Failure::new(FailureKind::Permanent, format!("read the state: {why}"));
    if state.len() > LONGEST {
        return Err(refuse(format!("its {} bytes are more than the {LONGEST} allowed", state.len())));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(state);
    let files = deserializer.deserialize_map(State).map_err(|error| refuse(error.to_string()))?;
    deserializer.end().map_err(|error| refuse(error.to_string()))?;
    collision(&files).map_or(Ok(files), |why| Err(refuse(why)))
}

/// A key that another needs as its folder.
fn collision(files: &Files) -> Option<String> {
    files.keys().find_map(|path| {
        let folder = folders(path).find(|folder| files.contains_key(*folder))?;
        Some(format!("key {path:?} lies beneath key {folder:?}, which is a file"))
    })
}

/// Every folder that leads to `path`, outermost first.
pub(super) fn folders(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

fn refuse_key(key: &str) -> Option<&'static str> {
    let mut elements = key.split('/');
    if elements.clone().count() > DEEPEST {
        return Some("it has too many folders");
    }
    if matches!(elements.next(), Some(".pv" | ".pvr")) {
        return Some("this folder is the device's own");
    }
    if key.len() > 1024 || !key.split('/').all(is_name) {
        return Some("it is not a relative path of plain names");
    }
    None
}

struct State;

impl<'de> Visitor<'de> for State {
    type Value = Files;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a state, which is one JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Files, M::Error> {
        let mut files = Files::new();
        let mut seen = std::collections::BTreeSet::new();
        while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
            if !seen.insert(key.clone()) {
                return Err(M::Error::custom(format!("key {key:?} is there twice")));
            }
            let text = value.get();
            let object = serde_json::from_str::<String>(text).ok().and_then(|text| text.parse().ok());
            let content = match object {
                Some(digest) => Content::Object(digest),
                None if key.ends_with(".json") => Content::Inline(text.into()),
                None => continue,
            };
            if let Some(why) = refuse_key(&key) {
                return Err(M::Error::custom(format!("key {key:?}: {why}")));
            }
            files.insert(key, content);
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_inline_files_are_told_apart() {
        let digest = "a".repeat(64);
        let state =
            format!(r##"{{"#spec":"x","a/b":"{digest}","c.json":[ 1.0 ],"d.json":"{digest}","e":1}}"##);
        let files = files(state.as_bytes()).unwrap();
        let object = || Content::Object(digest.parse().unwrap());
        let expected =
            [("a/b", object()), ("c.json", Content::Inline("[ 1.0 ]".into())), ("d.json", object())];
        assert_eq!(files, expected.map(|(path, content)| (path.to_owned(), content)).into());
    }

    #[test]
    fn what_cannot_be_files_is_refused_with_its_reason() {
        let refused = |text: &str| files(text.as_bytes()).unwrap_err().detail.to_string();
        let beneath = r#"read the state: key "a.json/b.json" lies beneath key "a.json", which is a file"#;
        assert_eq!(refused(r#"{"a.json":1,"a.json/b.json":2}"#), beneath);
        assert!(refused(r#"{"x":1,"x":2}"#).contains(r#"key "x" is there twice"#));
        for key in [
            "../a.json",
            "/a.json",
            "a//b.json",
            "a/./b.json",
            "a\\u0000.json",
            ".pv/progress.json",
            ".json/",
        ] {
            assert!(
                files(format!(r#"{{"{key}":{{}}, "b":"{}"}}"#, "0".repeat(64)).as_bytes()).is_err()
                    || key == ".json/",
                "{key}"
            );
        }
        assert!(refused(&format!(r#"{{"{}.json":1}}"#, "n".repeat(300))).contains("plain names"));
        assert!(refused(&format!(r#"{{"{}b.json":1}}"#, "a/".repeat(100))).contains("too many folders"));
        assert!(refused("[]").contains("expected a state, which is one JSON object"));
        assert!(refused("{\"a\":1").contains("EOF"));
        assert!(refused(&format!("{{\"a.json\":{}", "[".repeat(1_000_000))).starts_with("read the state: "));
    }
}
