//! `src.json`: how a container was made, with what it is made again from.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::author::args::{Args, Object};
use crate::author::source::{Origin, Source};
use crate::bundle::LARGEST_SMALL;
use crate::failed::Failed;

pub(crate) const NAME: &str = "src.json";
const SPEC: &str = "service-manifest-src@1";
/// The one that there is: a root image with an `lxc.container.conf`.
const TEMPLATE: &str = "builtin-lxc-docker";

/// The whole document: keys that mean nothing here are kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Src(Object);

/// Who a container's first process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Src {
    pub(crate) fn new() -> Src {
        let mut object = Object::new();
        object.insert("#spec".to_owned(), SPEC.into());
        object.insert("template".to_owned(), TEMPLATE.into());
        object.insert("args".to_owned(), json!({}));
        object.insert("config".to_owned(), json!({}));
        object.insert("persistence".to_owned(), json!({}));
        Src(object)
    }

    /// `place` is the file as an error calls it.
    pub(crate) fn parse(place: &str, bytes: &[u8]) -> Result<Src, Failed> {
        let wrong = |cause: String| Failed::Source { what: format!("read {place}"), cause };
        if bytes.len() as u64 > LARGEST_SMALL {
            return Err(wrong("longer than 256 KiB, which no src.json is".to_owned()));
        }
        let object: Object = serde_json::from_slice(bytes).map_err(|cause| wrong(cause.to_string()))?;
        if object.get("#spec") != Some(&SPEC.into()) {
            let found = object.get("#spec").map_or("none".to_owned(), ToString::to_string);
            return Err(wrong(format!("#spec: found {found}, allowed is {SPEC:?}")));
        }
        if let Some(template) = object.get("template")
            && template != TEMPLATE
        {
            return Err(wrong(format!("template: found {template}, allowed is {TEMPLATE:?}")));
        }
        for key in ["args", "config", "docker_config", "persistence"] {
            if !matches!(object.get(key), None | Some(Value::Null | Value::Object(_))) {
                return Err(wrong(format!("{key}: allowed is an object")));
            }
        }
        Ok(Src(object))
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{:#}", Value::Object(self.0.clone())).into_bytes();
        text.push(b'\n');
        text
    }

    pub(crate) fn value(&self, key: &str) -> &Value {
        self.0.get(key).unwrap_or(&Value::Null)
    }

    pub(crate) fn text(&self, key: &str) -> &str {
        self.value(key).as_str().unwrap_or_default()
    }

    pub(crate) fn args(&self) -> Args<'_> {
        Args(self.object("args"))
    }

    pub(crate) fn object(&self, key: &str) -> &Object {
        static EMPTY: LazyLock<Object> = LazyLock::new(Object::new);
        self.value(key).as_object().unwrap_or(&EMPTY)
    }

    /// One entry of one of its objects.
    pub(crate) fn put(&mut self, object: &str, key: String, value: Value) {
        let entry = self.0.entry(object.to_owned()).or_insert_with(|| json!({}));
        if !entry.is_object() {
            *entry = json!({});
        }
        entry[key] = value;
    }

    pub(crate) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    /// What the image says, with what the author says over it.
    pub(crate) fn image_config(&self, key: &str) -> &Value {
        match self.object("config").get(key) {
            Some(own) if !own.is_null() => own,
            _ => self.object("docker_config").get(key).unwrap_or(&Value::Null),
        }
    }

    /// Where it came from. What an earlier source has told is forgotten.
    pub(crate) fn set_origin(&mut self, source: &Source, origin: &Origin) {
        self.0.retain(|key, _| !key.starts_with("docker_") && !key.starts_with("rootfs_"));
        self.set("source", source.to_string());
        match origin {
            Origin::Image { name, tag, digest, platform, config, remote } => {
                self.set("docker_name", name.as_str());
                self.set("docker_tag", tag.as_str());
                self.set("docker_digest", digest.as_str());
                self.set("docker_platform", platform.as_str());
                self.set("docker_source", if *remote { "remote" } else { "local" });
                self.set("docker_config", config.clone());
            }
            Origin::Root { digest } => {
                self.set("rootfs_url", source.to_string());
                if let Some(digest) = digest {
                    self.set("rootfs_digest", format!("sha256:{digest}"));
                }
            }
        }
    }

    /// The numbers of the user that the config names, as they were found in the image's own `/etc/passwd`.
    pub(crate) fn set_user(&mut self, user: &User) {
        self.set("docker_user", json!({"name": user.name, "uid": user.uid, "gid": user.gid}));
    }

    pub(crate) fn user(&self) -> Option<User> {
        let kept = self.object("docker_user");
        let number = |key: &str| kept.get(key)?.as_u64().and_then(|number| u32::try_from(number).ok());
        let name = kept.get("name")?.as_str()?.to_owned();
        Some(User { name, uid: number("uid")?, gid: number("gid")? })
    }
}
