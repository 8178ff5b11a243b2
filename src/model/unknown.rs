//! Members of a JSON document that its reader does not know, kept to be written back.

use alloc::collections::BTreeMap;
use alloc::string::String;

use serde_json::{Map, Value};

/// What a newer agent put into a document, beside what this one knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Unknown {
    /// Whole members.
    members: Map<String, Value>,
    /// Known members that have unknown ones inside.
    inside: BTreeMap<String, Unknown>,
    /// The revision that the object is about, if it says so: what was kept of one trial must not go to another.
    revision: Option<Value>,
}

impl Unknown {
    /// What `document` has, and `known`, which was written from what was read of it, has not.
    pub(crate) fn of(document: Value, known: &Value) -> Unknown {
        let (Value::Object(document), Value::Object(known)) = (document, known) else {
            return Unknown::default();
        };
        let mut unknown = Unknown { revision: known.get("revision").cloned(), ..Unknown::default() };
        for (key, value) in document {
            let Some(known) = known.get(&key) else {
                unknown.members.insert(key, value);
                continue;
            };
            let within = Unknown::of(value, known);
            if !within.is_empty() {
                unknown.inside.insert(key, within);
            }
        }
        unknown
    }

    /// Whether there is nothing to write back.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.inside.is_empty()
    }

    /// Puts it where it was, as far as that is still there.
    pub(crate) fn write_back(&self, document: &mut Value) {
        let Value::Object(document) = document else { return };
        if document.get("revision") != self.revision.as_ref() {
            return;
        }
        for (key, value) in &self.members {
            if !document.contains_key(key) {
                document.insert(key.clone(), value.clone());
            }
        }
        for (key, within) in &self.inside {
            if let Some(value) = document.get_mut(key) {
                within.write_back(value);
            }
        }
    }
}
