//! Schema and parser agree on every example of `run-json-schema/`, with each refusal's words kept as a snapshot.

use std::collections::BTreeMap;
use std::fs;

use jsonschema::{Resource, Validator};
use model::json::Json;
use serde_json::Value;
use tests::examples::{Example, Sort, Subject, all, folder};

struct Schemas {
    state: Validator,
    run: Validator,
    device: Validator,
}

impl Schemas {
    fn load() -> Schemas {
        Schemas { state: compile("state"), run: compile("run"), device: compile("device") }
    }

    fn of(&self, subject: Subject) -> Option<&Validator> {
        match subject {
            Subject::State => Some(&self.state),
            Subject::Run => Some(&self.run),
            Subject::Device => Some(&self.device),
            Subject::Conf => None,
        }
    }
}

fn schema(name: &str) -> Value {
    let text = fs::read(folder().join(format!("{name}.schema.json"))).expect("the schema is there");
    serde_json::from_slice(&text).expect("the schema is JSON")
}

fn compile(name: &str) -> Validator {
    let mut options = jsonschema::options();
    for other in ["state", "run", "device"] {
        let uri = format!("https://goalpost.invalid/{other}.schema.json");
        options = options
            .with_resource(uri, Resource::from_contents(schema(other)).expect("the schema is a schema"));
    }
    options.build(&schema(name)).expect("the schema is a schema")
}

fn json(example: &Example) -> Value {
    serde_json::from_slice(&example.bytes).expect(&example.name)
}

#[test]
fn there_are_as_many_examples_as_promised() {
    assert!(all(Sort::Valid).len() >= 15, "{}", all(Sort::Valid).len());
    assert!(all(Sort::Invalid).len() >= 30, "{}", all(Sort::Invalid).len());
}

#[test]
fn the_schemas_are_json_schema_2020_12() {
    for name in ["state", "run", "device"] {
        jsonschema::draft202012::meta::validate(&schema(name))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn schema_and_parser_accept_every_valid_example() {
    let schemas = Schemas::load();
    for example in all(Sort::Valid) {
        if let Some(schema) = schemas.of(example.subject)
            && let Err(error) = schema.validate(&json(&example))
        {
            panic!("the schema refuses {}: {error} at {}", example.name, error.instance_path);
        }
        if let Err(errors) = example.parse() {
            panic!("the parser refuses {}: {errors}", example.name);
        }
    }
}

#[test]
fn schema_and_parser_refuse_every_invalid_example() {
    let schemas = Schemas::load();
    for example in all(Sort::Invalid) {
        if let Some(schema) = schemas.of(example.subject) {
            assert!(!schema.is_valid(&json(&example)), "the schema accepts {}", example.name);
        }
        assert!(example.parse().is_err(), "the parser accepts {}", example.name);
    }
}

#[test]
fn only_the_parser_refuses_what_a_schema_cannot_express() {
    let schemas = Schemas::load();
    let reasons = fs::read(folder().join("invalid-beyond-schema/reasons.json")).expect("reasons are given");
    let reasons: BTreeMap<String, String> = serde_json::from_slice(&reasons).expect("reasons are texts");
    let examples = all(Sort::InvalidBeyondSchema);
    let names: Vec<&String> = examples.iter().map(|example| &example.name).collect();
    assert_eq!(names, reasons.keys().collect::<Vec<_>>(), "each example has a reason");
    for example in &examples {
        if let (Some(schema), Ok(value)) =
            (schemas.of(example.subject), serde_json::from_slice(&example.bytes))
        {
            assert!(schema.is_valid(&value), "the schema can express it: {}", example.name);
        }
        assert!(example.parse().is_err(), "the parser accepts {}", example.name);
    }
}

#[test]
fn each_refusal_names_place_found_allowed() {
    let mut texts = String::new();
    for example in all(Sort::Invalid).iter().chain(&all(Sort::InvalidBeyondSchema)) {
        let errors = example.parse().expect_err("an invalid example");
        texts.push_str(&format!("{}\n", example.name));
        for error in errors.iter() {
            assert!(!error.found.is_empty() && !error.allowed.is_empty(), "{}: {error}", example.name);
            texts.push_str(&format!("    {error}\n"));
        }
    }
    insta::assert_snapshot!("refusals", texts);
}

#[test]
fn what_is_odd_or_not_supported_is_said() {
    let mut texts = String::new();
    for example in all(Sort::Valid) {
        let revision = example.parse().expect("a valid example");
        texts.push_str(&format!("{}\n", example.name));
        for warning in revision.warnings() {
            texts.push_str(&format!("    warning: {warning}\n"));
        }
        for sentence in revision.unsupported() {
            texts.push_str(&format!("    unsupported: {sentence}\n"));
        }
        for note in model::check::notes(&revision) {
            texts.push_str(&format!("    note: {note}\n"));
        }
    }
    insta::assert_snapshot!("remarks", texts);
}

#[test]
fn confs_are_read_as_written() {
    let mut texts = String::new();
    for example in all(Sort::Valid).iter().filter(|example| example.subject == Subject::Conf) {
        let revision = example.parse().expect("a valid example");
        for container in revision.containers() {
            texts.push_str(&format!("{}\n{:#?}\n\n", example.name, container.conf));
        }
    }
    insta::assert_snapshot!("confs", texts);
}

#[test]
fn the_canonical_form_is_the_fields() {
    let text = br#"{"b":[1.5,30.5,0.1,2.0,-3,-0.25,1e21,12345678901234567890],"a":"\u0001\n\"\\/\u00e9","":{"z":null,"A":true}}"#;
    let mut findings = model::errors::Findings::default();
    let value = Json::read("state", text, model::json::Limits::STATE, &mut findings).expect("JSON");
    assert_eq!(
        model::canonical::write(&value),
        "{\"\":{\"A\":true,\"z\":null},\"a\":\"\\u0001\\n\\\"\\\\/é\",\"b\":[1.5E0,3.05E1,1.0E-1,2,-3,-2.5E-1,1000000000000000000000,12345678901234567890]}"
    );
}
