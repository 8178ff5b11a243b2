//! The OpenAPI description as the tests read it: its operations, their examples, and whether an answer is one of theirs.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::device::Answer;

pub(crate) const METHODS: [&str; 4] = ["get", "put", "post", "delete"];

fn document() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/agent/api/openapi.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The description, and which of its answers were met.
pub(crate) struct Description {
    pub(crate) document: Value,
    pub(crate) met: BTreeSet<(String, String, String)>,
}

impl Description {
    pub(crate) fn load() -> Description {
        Description { document: document(), met: BTreeSet::new() }
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.document["paths"].as_object().unwrap().keys().cloned().collect()
    }

    /// Each method of each path.
    pub(crate) fn operations(&self) -> Vec<(String, String, Value)> {
        let paths = self.document["paths"].as_object().unwrap();
        let of = |path: &String, methods: &Value| {
            let found = METHODS.iter().filter_map(|method| Some((*method, methods.get(method)?.clone())));
            found.map(|(method, operation)| (path.clone(), method.to_owned(), operation)).collect::<Vec<_>>()
        };
        paths.iter().flat_map(|(path, methods)| of(path, methods)).collect()
    }

    /// What is meant where a `$ref` may stand.
    pub(crate) fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => self
                .document
                .pointer(reference.strip_prefix('#').unwrap())
                .unwrap_or_else(|| panic!("{reference}")),
            None => value,
        }
    }

    pub(crate) fn validate(&self, schema: &Value, instance: &Value, context: &str) {
        let whole = json!({"allOf": [schema], "components": self.document["components"]});
        let validator = jsonschema::draft202012::new(&whole).unwrap();
        let wrong: Vec<_> = validator
            .iter_errors(instance)
            .map(|error| format!("{}: {error}", error.instance_path))
            .collect();
        assert!(wrong.is_empty(), "{context}: {wrong:#?} in {instance}");
    }

    /// The answer is one that is described; it is remembered as met.
    pub(crate) fn meet(&mut self, method: &str, path: &str, answer: &Answer) {
        let method = method.to_lowercase();
        let code = answer.code.to_string();
        let context = format!("{method} {path}: {code}");
        let operation = &self.document["paths"][path][&method];
        let response = operation["responses"]
            .get(&code)
            .unwrap_or_else(|| panic!("{context} is not described: {}", answer.body));
        self.compare(self.resolve(response), answer, &context);
        self.met.insert((path.to_owned(), method, code));
    }

    pub(crate) fn compare(&self, response: &Value, answer: &Answer, context: &str) {
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            let found = answer.field(&name.to_lowercase());
            let header = self.resolve(header);
            assert!(found.is_some() || header["required"] != true, "{context}: no {name} in {}", answer.head);
            if let Some(found) = found {
                self.validate(&header["schema"], &json!(found), context);
            }
        }
        let Some(contents) = response.get("content").and_then(Value::as_object) else {
            assert_eq!(answer.body, "", "{context}");
            return;
        };
        let kind = answer
            .field("content-type")
            .unwrap_or_else(|| panic!("{context}: no content-type: {}", answer.head));
        let content = contents.get(kind).unwrap_or_else(|| panic!("{context}: {kind} is not described"));
        if kind == "application/json" {
            let body = serde_json::from_str(&answer.body)
                .unwrap_or_else(|error| panic!("{context}: {error}: {}", answer.body));
            self.validate(&content["schema"], &body, context);
        }
        if let Some(schema) = content.get("x-item-schema") {
            for line in answer.body.lines().filter_map(|line| line.strip_prefix("data: ")) {
                self.validate(schema, &serde_json::from_str(line).unwrap(), context);
            }
        }
    }

    pub(crate) fn unmet(&self) -> Vec<String> {
        let mut unmet = Vec::new();
        for (path, method, operation) in self.operations() {
            for code in operation["responses"].as_object().unwrap().keys().filter(|code| *code != "default") {
                if !self.met.contains(&(path.clone(), method.clone(), code.clone())) {
                    unmet.push(format!("{method} {path}: {code}"));
                }
            }
        }
        unmet
    }

    /// None, then each example of the operation's body.
    pub(crate) fn bodies(&self, operation: &Value) -> Vec<String> {
        let kinds =
            operation["requestBody"]["content"].as_object().into_iter().flat_map(|kinds| kinds.values());
        let examples = kinds.filter_map(|content| content["examples"].as_object());
        let values = examples.flat_map(|examples| examples.values().map(|one| text_of(&one["value"])));
        std::iter::once(String::new()).chain(values).collect()
    }

    /// The path with its parameters' examples in it, and those of the query that it must have.
    pub(crate) fn example(&self, path: &str, operation: &Value) -> String {
        let mut filled = path.to_owned();
        let mut query = Vec::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            let shown = text_of(&parameter["example"]);
            match parameter["in"].as_str().unwrap() {
                "path" => filled = filled.replace(&format!("{{{name}}}"), &shown),
                "query" if parameter["required"] == true => query.push(format!("{name}={shown}")),
                _ => {}
            }
        }
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{filled}{mark}{}", query.join("&"))
    }
}

/// Of a path, or of a request for one.
pub(crate) fn is_of_the_device_endpoint(path: &str) -> bool {
    path.trim_start_matches(|letter: char| letter != '/').starts_with("/cgi-bin/pvr")
}

/// The example request of every operation, one for each example body.
pub(crate) fn requests() -> Vec<String> {
    let description = Description::load();
    let mut made = Vec::new();
    for (path, method, operation) in description.operations() {
        let bodies = description.bodies(&operation);
        let (method, path) = (method.to_uppercase(), description.example(&path, &operation));
        made.extend(bodies.iter().map(|body| {
            format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        }));
    }
    made
}

/// A string as it is, anything else as JSON.
fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
