//! Which keys of a state belong together as a part: by its name, by what its signature covers.
//!
//! Packages replace parts, people remove them. The rule is that of the field's transactions: a part has the keys under its
//! name, and those that its signature's globs name, included or excluded (what a signature excludes is not signed, and still
//! comes and goes with it). Globs are cut at their first `*`.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use crate::errors::{Findings, ParseErrors};
use crate::ids::Digest;
use crate::json::{Json, Limits};
use crate::read::signature::base64url;
use crate::read::state::Keys;

/// The signatures of a state whose keys are well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    covers: Vec<Cover>,
}

/// What one signature covers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cover {
    /// `nginx` of `_sigs/nginx.json`.
    name: Box<str>,
    /// How covered keys begin.
    beginnings: Vec<Box<str>>,
}

impl Parts {
    /// Reads a state as far as its parts go: the form of its keys, the globs of its signatures. Files are not looked into, so
    /// that a state which lacks some of a device can be read: a package, a transaction under way.
    ///
    /// # Errors
    /// Its text, a key or a signature is malformed.
    pub fn read(state: &[u8]) -> Result<Parts, ParseErrors> {
        let mut findings = Findings::default();
        let mut covers = Vec::new();
        if let Some(json) = Json::read("state", state, Limits::STATE, &mut findings)
            && Keys::of(&json, &mut findings).is_some()
            && let Json::Object(members) = &json
        {
            for (key, value) in members {
                // A signature may be an object, which comes along by its sha256: then nothing of it is known here.
                let named = matches!(value, Json::Text(text) if text.parse::<Digest>().is_ok());
                if let Some(name) = signature_name(key).filter(|_| !named) {
                    let beginnings = beginnings(key, value, &mut findings).unwrap_or_default();
                    covers.push(Cover { name: name.into(), beginnings });
                }
            }
        }
        findings.finish().map(|_| Parts { covers })
    }

    /// Whether `part` has `key`, and no other signature claims it more: globs of other signatures that name the key weigh one
    /// each, to lie under the part's own name weighs one.
    pub fn owns(&self, part: &str, key: &str) -> bool {
        let own = self.cover_of(part);
        let claimed = own.is_some_and(|cover| cover.claims(key) > 0);
        self.has(part, key, own, claimed)
    }

    /// Whether `key` of this state goes when a package with `part` comes: what the part has here, and what the package's own
    /// signature would else find there beside what it was made over.
    pub fn gives_way(&self, package: &Parts, part: &str, key: &str) -> bool {
        let own = self.cover_of(part);
        let claims = |cover: Option<&Cover>| cover.is_some_and(|cover| cover.claims(key) > 0);
        self.has(part, key, own, claims(own) || claims(package.cover_of(part)))
    }

    fn has(&self, part: &str, key: &str, own: Option<&Cover>, claimed: bool) -> bool {
        if key == "#spec" {
            return false;
        }
        let named = is_under(key, part) || own.is_some_and(|cover| cover.names(key));
        let others = self.covers.iter().filter(|cover| own.is_none_or(|own| own.name != cover.name));
        let others: usize = others.map(|cover| cover.claims(key)).sum();
        (named || claimed) && others <= usize::from(named)
    }

    /// `nginx`, `_config/nginx` and `_sigs/nginx.json` mean the same where `nginx` is signed.
    fn cover_of(&self, part: &str) -> Option<&Cover> {
        let name = signature_name(part).or_else(|| part.strip_prefix("_config/")).unwrap_or(part);
        self.covers.iter().find(|cover| *cover.name == *name)
    }
}

impl Cover {
    fn claims(&self, key: &str) -> usize {
        self.beginnings.iter().filter(|beginning| key.starts_with(&***beginning)).count()
    }

    fn names(&self, key: &str) -> bool {
        is_under(key, &self.name) || signature_name(key) == Some(&self.name)
    }
}

/// The part that a key is of, by its path alone: `nginx` of `nginx/run.json`, `_config/nginx` of `_config/nginx/etc/x`, the
/// whole path of a signature or of a file that lies in no folder.
pub fn part_of(key: &str) -> &str {
    if signature_name(key).is_some() {
        return key;
    }
    let start = if key.starts_with("_config/") { "_config/".len() } else { 0 };
    key[start..].find('/').map_or(key, |end| &key[..start + end])
}

fn signature_name(key: &str) -> Option<&str> {
    key.strip_prefix("_sigs/")?.strip_suffix(".json")
}

fn is_under(key: &str, part: &str) -> bool {
    key.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn beginnings(key: &str, signature: &Json, findings: &mut Findings) -> Option<Vec<Box<str>>> {
    let at = crate::read::fields::At::root(signature, key);
    let mut fields = at.fields(findings, "a signature: an object")?;
    let protected = fields.demand("protected", findings, "base64url of JSON")?;
    let text = protected.filled_text(findings, 1 << 16)?;
    let Some(bytes) = base64url(text) else {
        protected.refuse(findings, "base64url without padding");
        return None;
    };
    let file = format!("{key}: protected");
    let json = Json::read(&file, &bytes, Limits::FILE, findings)?;
    let at = crate::read::fields::At::root(&json, &file);
    let globs =
        at.fields(findings, "an object with pvs")?.demand("pvs", findings, "an object with include")?;
    let mut globs = globs.fields(findings, "an object with include and exclude")?;
    let included = globs.demand("include", findings, "an array of globs")?.texts(findings, 1024)?;
    let excluded = globs.take("exclude").map(|at| at.texts(findings, 1024)).unwrap_or_default();
    let cut = |glob: &str| Box::from(glob.split('*').next().unwrap_or(glob));
    Some(included.iter().chain(excluded.iter().flatten()).map(|glob| cut(glob)).collect())
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    /// `{"pvs":{"include":[…],"exclude":[…]}}`, as a signature carries it.
    fn signature(name: &str, include: &[&str], exclude: &[&str]) -> String {
        let list = |globs: &[&str]| -> String {
            globs.iter().map(|glob| format!("{glob:?}")).collect::<Vec<_>>().join(",")
        };
        let protected =
            format!(r#"{{"pvs":{{"include":[{}],"exclude":[{}]}}}}"#, list(include), list(exclude));
        let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = String::new();
        for piece in protected.as_bytes().chunks(3) {
            let held = piece.iter().fold(0usize, |held, byte| held << 8 | usize::from(*byte))
                << (8 * (3 - piece.len()));
            for place in 0..=piece.len() {
                text.push(char::from(digits[held >> (18 - 6 * place) & 63]));
            }
        }
        format!(r##","_sigs/{name}.json":{{"#spec":"pvs@2","protected":"{text}","signature":"x"}}"##)
    }

    fn usual(name: &str) -> String {
        signature(
            name,
            &[&format!("{name}/**"), &format!("_config/{name}/**")],
            &[&format!("{name}/src.json"), &format!("_sigs/{name}.json")],
        )
    }

    fn parts(signatures: &[String]) -> Parts {
        let all: String = signatures.iter().map(String::as_str).collect();
        Parts::read(format!(r##"{{"#spec":"pantavisor-service-system@1"{all}}}"##).as_bytes()).unwrap()
    }

    const KEYS: [&str; 8] = [
        "#spec",
        "nginx/run.json",
        "nginx/src.json",
        "_config/nginx/etc/nginx.conf",
        "_sigs/nginx.json",
        "nginx-more/run.json",
        "other/run.json",
        "_sigs/other.json",
    ];

    fn owned(parts: &Parts, part: &str) -> Vec<&'static str> {
        KEYS.into_iter().filter(|key| parts.owns(part, key)).collect()
    }

    #[test]
    fn an_unsigned_part_is_what_lies_under_its_name() {
        let parts = parts(&[]);
        assert_eq!(owned(&parts, "nginx"), ["nginx/run.json", "nginx/src.json"]);
        assert_eq!(owned(&parts, "_config/nginx"), ["_config/nginx/etc/nginx.conf"]);
        assert_eq!(owned(&parts, "ngin"), [""; 0]);
        assert_eq!(owned(&parts, "#spec"), [""; 0]);
    }

    #[test]
    fn a_signed_part_is_the_same_by_each_of_its_three_names() {
        let parts = parts(&[usual("nginx"), usual("other")]);
        for part in ["nginx", "_config/nginx", "_sigs/nginx.json"] {
            assert_eq!(owned(&parts, part), KEYS[1..5], "{part}");
        }
    }

    #[test]
    fn a_key_that_another_signature_claims_more_stays() {
        let greedy = signature("all", &["**"], &[]);
        let parts = parts(&[greedy, usual("nginx")]);
        // Two globs of nginx name its src.json; what it says of the rest is one glob each.
        assert_eq!(owned(&parts, "all"), ["nginx-more/run.json", "other/run.json", "_sigs/other.json"]);
        assert_eq!(owned(&parts, "nginx"), ["nginx/run.json", "nginx/src.json", "_sigs/nginx.json"]);
        assert_eq!(owned(&parts, "_config/nginx"), KEYS[1..5]);
    }

    #[test]
    fn what_a_package_signs_gives_way_to_it() {
        let (base, package) = (parts(&[]), parts(&[usual("nginx")]));
        let goes: Vec<_> =
            KEYS.into_iter().filter(|key| base.gives_way(&package, "_sigs/nginx.json", key)).collect();
        assert_eq!(goes, KEYS[1..5]);
    }

    #[test]
    fn the_part_of_a_key_is_its_folder() {
        for (key, part) in [
            ("nginx/run.json", "nginx"),
            ("nginx/etc/x", "nginx"),
            ("_config/nginx/etc/x", "_config/nginx"),
            ("_config/x", "_config/x"),
            ("_sigs/nginx.json", "_sigs/nginx.json"),
            ("_hostconfig/a/b", "_hostconfig"),
            ("device.json", "device.json"),
        ] {
            assert_eq!(part_of(key), part);
        }
    }

    #[test]
    fn what_is_malformed_is_refused_with_its_place() {
        let refused = |text: &str| format!("{}", Parts::read(text.as_bytes()).unwrap_err());
        let spec = r##""#spec":"pantavisor-service-system@1""##;
        assert!(refused("[]").starts_with("state: found an array"));
        assert!(refused(&format!(r#"{{{spec},"../x":[]}}"#)).contains("without . and .."));
        assert!(refused(&format!(r#"{{{spec},"a":[]}}"#)).starts_with("state: a: found an array of 0"));
        assert!(refused(&format!(r#"{{{spec},"_sigs/a.json":{{"protected":"!"}}}}"#)).contains("base64url"));
        assert!(refused(&format!(r#"{{{spec},"_sigs/a.json":{{"protected":"e30"}}}}"#)).contains("pvs"));
    }
}
