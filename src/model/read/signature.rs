//! `_sigs/<name>.json`: read as far as its form goes. Nothing is verified here.

use alloc::format;
use alloc::vec::Vec;

use super::fields::At;
use super::run::spec_version;
use crate::errors::Findings;
use crate::json::{Json, Limits};

/// Reads one signature.
pub(crate) fn signature(at: &At<'_>, findings: &mut Findings) {
    let Some(mut fields) = at.fields(findings, "a signature: an object") else { return };
    spec_version(&mut fields, "pvs@2", findings);
    if let Some(at) = fields.demand("signature", findings, "base64url")
        && at.filled_text(findings, 8192).is_some_and(|text| base64url(text).is_none())
    {
        at.refuse(findings, "base64url without padding");
    }
    if let Some(at) = fields.demand("protected", findings, "base64url of JSON")
        && let Some(text) = at.filled_text(findings, 1 << 16)
    {
        match base64url(text) {
            Some(bytes) => protected(&at, &bytes, findings),
            None => at.refuse(findings, "base64url without padding"),
        }
    }
    fields.finish(findings);
}

fn protected(at: &At<'_>, bytes: &[u8], findings: &mut Findings) {
    let file = format!("{}: protected", at.file);
    let Some(json) = Json::read(&file, bytes, Limits::FILE, findings) else { return };
    let at = At::root(&json, &file);
    let Some(mut fields) = at.fields(findings, "an object with alg, typ and pvs") else { return };
    let algorithms = [("RS256", ()), ("ES256", ()), ("ES384", ()), ("ES512", ())];
    const ALGORITHMS: &str = "\"RS256\", \"ES256\", \"ES384\" or \"ES512\"";
    if let Some(at) = fields.demand("alg", findings, ALGORITHMS) {
        at.word(findings, &algorithms, ALGORITHMS);
    }
    if let Some(at) = fields.demand("typ", findings, "\"PVS\"") {
        at.word(findings, &[("PVS", ())], "\"PVS\"");
    }
    let Some(globs) = fields.demand("pvs", findings, "an object with include and exclude") else { return };
    let Some(mut globs) = globs.fields(findings, "an object with include and exclude") else { return };
    if let Some(at) = globs.demand("include", findings, "an array of globs") {
        at.texts(findings, 1024);
    }
    if let Some(at) = globs.take("exclude") {
        at.texts(findings, 1024);
    }
}

/// Base64 with `-` and `_`, strict but for padding, which some tools leave on.
pub(crate) fn base64url(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut held, mut bits) = (0u32, 0);
    for character in text.bytes() {
        held = held << 6 | digit(character)?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).ok()?);
        }
    }
    (bits < 6 && held & ((1 << bits) - 1) == 0).then_some(bytes)
}

fn digit(character: u8) -> Option<u32> {
    Some(u32::from(match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_is_strict() {
        assert_eq!(base64url("aGk").unwrap(), b"hi");
        assert_eq!(base64url("aGk=").unwrap(), b"hi");
        assert_eq!(base64url("-_-_").unwrap(), [0xfb, 0xff, 0xbf]);
        assert_eq!(base64url("a"), None);
        assert_eq!(base64url("aGl"), None);
        assert_eq!(base64url("a+b/"), None);
    }
}
