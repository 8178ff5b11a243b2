//! The field's canonical JSON: keys sorted by code point, whole numbers plain, fractions in capital-E exponential.
//!
//! This is not RFC 8785. Source: the state format as field tools sign it.

use alloc::format;
use alloc::string::String;

use crate::json::{Json, Number};

/// The canonical text of a value.
pub fn write(value: &Json) -> String {
    let mut text = String::new();
    append(&mut text, value);
    text
}

fn append(text: &mut String, value: &Json) {
    match value {
        Json::Null => text.push_str("null"),
        Json::Bool(true) => text.push_str("true"),
        Json::Bool(false) => text.push_str("false"),
        Json::Number(number) => append_number(text, *number),
        Json::Text(string) => append_string(text, string),
        Json::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                append(text, item);
            }
            text.push(']');
        }
        Json::Object(members) => {
            text.push('{');
            for (index, (key, member)) in members.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                append_string(text, key);
                text.push(':');
                append(text, member);
            }
            text.push('}');
        }
    }
}

fn append_number(text: &mut String, number: Number) {
    match number {
        Number::Whole(value) => text.push_str(&format!("{value}")),
        Number::Negative(value) => text.push_str(&format!("{value}")),
        Number::Fraction(value) if value % 1.0 == 0.0 => text.push_str(&format!("{value:.0}")),
        Number::Fraction(value) => append_fraction(text, value),
    }
}

/// One digit, a point, at least one digit, `E`, the exponent.
fn append_fraction(text: &mut String, value: f64) {
    let exponential = format!("{value:E}");
    match exponential.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => {
            text.push_str(&format!("{digits}.0E{exponent}"));
        }
        Some(_) | None => text.push_str(&exponential),
    }
}

fn append_string(text: &mut String, string: &str) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            control if control < ' ' => text.push_str(&format!("\\u{:04X}", u32::from(control))),
            plain => text.push(plain),
        }
    }
    text.push('"');
}
