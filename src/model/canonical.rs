//! The field's canonical JSON: keys sorted by code point, whole numbers plain, fractions in capital-E exponential.
//!
//! This is not RFC 8785. Source: the state format as field tools sign it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

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
        Number::Fraction(value) if value % 1.0 == 0.0 => append_whole(text, value),
        Number::Fraction(value) => append_fraction(text, value),
    }
}

/// All digits of a whole number beyond 2^53. By hand, as the fraction below: the printer of `core`, which has every form of
/// every float, is 14 KiB of a device's program.
fn append_whole(text: &mut String, value: f64) {
    const MANTISSA: u64 = (1 << 52) - 1;
    /// That of a number whose last bit is its ones.
    const ONES: u64 = 1075;
    let bits = value.to_bits();
    let mut digits = format!("{}", (bits & MANTISSA) | (1 << 52)).into_bytes();
    for _ in ONES..(bits >> 52) & 0x7ff {
        double(&mut digits);
    }
    if value < 0.0 {
        text.push('-');
    }
    text.extend(digits.into_iter().map(char::from));
}

fn double(digits: &mut Vec<u8>) {
    let mut carry = 0;
    for digit in digits.iter_mut().rev() {
        let twice = 2 * (*digit - b'0') + carry;
        (*digit, carry) = (b'0' + twice % 10, twice / 10);
    }
    if carry > 0 {
        digits.insert(0, b'0' + carry);
    }
}

/// One digit, a point, at least one digit, `E`, the exponent: of the fewest digits that stand for it alone.
fn append_fraction(text: &mut String, value: f64) {
    // No JSON has one that is not finite.
    let Some(number) = serde_json::Number::from_f64(value.abs()) else { return };
    let shortest = format!("{number}");
    let (plain, power) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let (whole, rest) = plain.split_once('.').unwrap_or((plain, ""));
    let digits = format!("{whole}{rest}");
    let significant = digits.trim_start_matches('0');
    let before = i64::try_from(whole.len()).unwrap_or(0)
        - i64::try_from(digits.len() - significant.len()).unwrap_or(0);
    let exponent = power.parse::<i64>().unwrap_or(0) + before - 1;
    let mut significant = significant.trim_end_matches('0').chars();
    let sign = if value < 0.0 { "-" } else { "" };
    let first = significant.next().unwrap_or('0');
    let others = match significant.as_str() {
        "" => "0",
        others => others,
    };
    text.push_str(&format!("{sign}{first}.{others}E{exponent}"));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As `core` prints it, in the form of the field.
    fn expected(value: f64) -> String {
        if value % 1.0 == 0.0 {
            return format!("{value:.0}");
        }
        let text = format!("{value:E}");
        match text.split_once('E') {
            Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
            Some(_) | None => text,
        }
    }

    #[test]
    fn numbers_are_what_the_printer_of_core_makes_of_them() {
        let mut state = 7_u64;
        let mut chance = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state ^ (state >> 29)
        };
        let everywhere = (0..4000).map(|_| f64::from_bits(chance())).collect::<Vec<_>>();
        // Where people's numbers are.
        let usual = (1..5000_u32)
            .flat_map(|number| [0.001, 0.1, 7.3, 1e-9, 1e12].map(|factor| f64::from(number) * factor));
        let edges = [
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE,
            5e-324,
            0.1,
            1e-7,
            1e21,
            1e22,
            1e23,
            9_007_199_254_740_994.0,
        ];
        let (mut count, mut ties) = (0, 0);
        for value in everywhere.into_iter().chain(usual).chain(edges).filter(|value| value.is_finite()) {
            // What is whole and within 2^53 never gets here.
            if value % 1.0 == 0.0 && value.abs() <= 9_007_199_254_740_992.0 {
                continue;
            }
            let mut text = String::new();
            append_number(&mut text, Number::Fraction(value));
            count += 1;
            let core = expected(value);
            if text != core {
                // Two are as near: the field's tools take the even one, `core` the upper one.
                ties += 1;
                let [ours, other] = [&text, &core].map(|text| text.replace(['.', '-'], ""));
                let [(ours, power), (other, same)] =
                    [&ours, &other].map(|text| text.split_once('E').unwrap());
                let [ours, other] = [ours, other].map(|digits| digits.parse::<u64>().unwrap());
                assert!(power == same && ours + 1 == other && ours % 2 == 0, "{text}, not {core}");
                assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
            }
        }
        assert!(count > 15_000 && ties < 1000, "{count}, of them {ties} ties");
        let mut text = String::new();
        append_number(&mut text, Number::Fraction("1244858547775687.25".parse().unwrap()));
        assert_eq!(text, "1.2448585477756872E15");
    }
}
