//! `run.json` of a container, made from its `src.json`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::author::args::{Args, Object, wrong};
use crate::author::src_json::Src;
use crate::failed::Failed;

pub(crate) const NAME: &str = "run.json";
pub(crate) const CONF: &str = "lxc.container.conf";
pub(crate) const ROOT_IMAGE: &str = "root.squashfs";
const OVERLAY_IMAGE: &str = "root.ovl.squashfs";
pub(crate) const OVERLAY: &str = "lxc-overlay";

const AUTO_RECOVERY: &[(&str, &str, Form)] = &[
    ("PV_AUTO_RECOVERY_POLICY", "policy", Form::Text),
    ("PV_AUTO_RECOVERY_MAX_RETRIES", "max_retries", Form::Number),
    ("PV_AUTO_RECOVERY_RETRY_DELAY", "retry_delay", Form::Number),
    ("PV_AUTO_RECOVERY_BACKOFF_FACTOR", "backoff_factor", Form::Number),
    ("PV_AUTO_RECOVERY_RESET_WINDOW", "reset_window", Form::Number),
    ("PV_AUTO_RECOVERY_STABLE_TIMEOUT", "stable_timeout", Form::Number),
    ("PV_AUTO_RECOVERY_BACKOFF_POLICY", "backoff_policy", Form::Text),
];

#[derive(Debug, Clone, Copy)]
enum Form {
    Text,
    Number,
}

/// What a container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// It has a process.
    Runs,
    /// Others read its volumes.
    Data,
}

pub(crate) fn sort(args: Args<'_>) -> Result<Sort, Failed> {
    let mounted = args.text("PV_STATUS_GOAL")?.as_deref() == Some("MOUNTED");
    let data = args.text("PV_RUNLEVEL")?.as_deref() == Some("data");
    Ok(if mounted || data { Sort::Data } else { Sort::Runs })
}

/// A place that outlives more than one start, or a writable layer of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Storage {
    /// As `run.json` calls it.
    pub(crate) key: String,
    pub(crate) place: Place,
    persistence: String,
    disk: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The writable layer of the whole root.
    Root,
    /// A path in the container, bound to it.
    Bound(String),
    /// A path in the container, with a writable layer of its own.
    Overlaid(String),
}

/// The image's volumes with the author's, sorted by key.
pub(crate) fn storage(src: &Src) -> Result<Vec<Storage>, Failed> {
    let mut wishes: BTreeMap<String, String> = BTreeMap::new();
    wishes.insert(OVERLAY.to_owned(), "boot".to_owned());
    if let Value::Object(volumes) = src.image_config("Volumes") {
        wishes.extend(volumes.keys().map(|path| (path.clone(), "permanent".to_owned())));
    }
    for (path, value) in src.object("persistence") {
        let Value::String(persistence) = value else {
            return Err(Failed::Checked {
                text: format!("persistence.{path}: found {value}, allowed is permanent, revision or boot"),
            });
        };
        // The author's word about a path that the image has without its last slash.
        wishes.retain(|other, _| other.trim_end_matches('/') != path.trim_end_matches('/'));
        wishes.insert(path.clone(), persistence.clone());
    }
    let mut all = Vec::new();
    for (path, persistence) in wishes {
        all.push(Storage::of(&path, &persistence)?);
    }
    all.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(all)
}

impl Storage {
    fn of(path: &str, persistence: &str) -> Result<Storage, Failed> {
        let (word, disk) = match persistence.split_once('@') {
            Some((word, disk)) => (word, Some(disk.to_owned())),
            None => (persistence, None),
        };
        if !matches!(word, "permanent" | "revision" | "boot") {
            let text = format!(
                "persistence.{path}: found {persistence:?}, allowed is permanent, revision or boot, each with @DISK or without"
            );
            return Err(Failed::Checked { text });
        }
        let (key, place) = if path == OVERLAY {
            (OVERLAY.to_owned(), Place::Root)
        } else if let Some(path) = path.strip_prefix("ovl:") {
            (format!("dockerovl-{}", dashed(path)), Place::Overlaid(path.to_owned()))
        } else {
            (format!("docker-{}", dashed(path)), Place::Bound(path.to_owned()))
        };
        Ok(Storage { key, place, persistence: word.to_owned(), disk })
    }

    fn value(&self) -> Value {
        match &self.disk {
            Some(disk) => json!({"persistence": self.persistence, "disk": disk}),
            None => json!({"persistence": self.persistence}),
        }
    }
}

fn dashed(path: &str) -> String {
    path.trim_end_matches('/').replace('/', "-")
}

/// The images beside the root's, without `dm:`.
pub(crate) fn volumes(args: Args<'_>) -> Result<Vec<String>, Failed> {
    let mut volumes = args.list("PV_EXTRA_VOLUMES")?;
    volumes.extend(volume_mounts(args)?.into_iter().map(|(image, _)| image));
    let mut seen = std::collections::BTreeSet::new();
    volumes.retain(|image| seen.insert(image.clone()));
    Ok(volumes)
}

/// `IMAGE:PATH` each: an image beside the root's, with where it is seen.
pub(crate) fn volume_mounts(args: Args<'_>) -> Result<Vec<(String, String)>, Failed> {
    pairs(args, "PV_VOLUME_MOUNTS", "IMAGE:PATH")
}

pub(crate) fn pairs(args: Args<'_>, name: &str, form: &str) -> Result<Vec<(String, String)>, Failed> {
    let split = |text: &String| match text.split_once(':') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() => {
            Ok((left.to_owned(), right.to_owned()))
        }
        _ => Err(wrong(name, &text.as_str().into(), form)),
    };
    args.list(name)?.iter().map(split).collect()
}

/// The whole document.
pub(crate) fn make(name: &str, src: &Src) -> Result<Value, Failed> {
    let args = src.args();
    let runs = sort(args)? == Sort::Runs;
    let mut run = Object::new();
    let mut put = |key: &str, value: Value| drop(run.insert(key.to_owned(), value));
    put("#spec", "service-manifest-run@1".into());
    put("name", name.into());
    if runs {
        put("type", "lxc".into());
        put("config", CONF.into());
        for key in ["logs", "exports"] {
            if !src.value(key).is_null() {
                put(key, src.value(key).clone());
            }
        }
    }
    let all = storage(src)?;
    put("storage", all.iter().map(|one| (one.key.clone(), one.value())).collect::<Object>().into());
    let root = if src.text("base").is_empty() { ROOT_IMAGE } else { OVERLAY_IMAGE };
    put("root-volume", with_verity(src, root).into());
    put("volumes", volumes(args)?.iter().map(|image| with_verity(src, image)).collect());
    for (key, prefix) in [("drivers", "PV_DRIVERS"), ("services", "PV_SERVICES")] {
        let list = |what: &str| args.list(&format!("{prefix}_{what}"));
        let value =
            json!({"required": list("REQUIRED")?, "optional": list("OPTIONAL")?, "manual": list("MANUAL")?});
        put(key, value);
    }
    for (key, argument) in [
        ("status_goal", "PV_STATUS_GOAL"),
        ("group", "PV_GROUP"),
        ("restart_policy", "PV_RESTART_POLICY"),
        ("runlevel", "PV_RUNLEVEL"),
    ] {
        if let Some(text) = args.text(argument)? {
            put(key, text.into());
        }
    }
    if args.has("PV_ROLES") {
        put("roles", args.list("PV_ROLES")?.into());
    }
    if let Some(recovery) = auto_recovery(args)? {
        put("auto_recovery", recovery);
    }
    if let Some(pool) = args.text("PV_NETWORK_POOL")? {
        put("network", json!({"pool": pool, "hostname": name}));
    }
    Ok(Value::Object(run))
}

/// An image that a verity descriptor belongs to is named so.
fn with_verity(src: &Src, image: &str) -> String {
    let wanted = match src.value("dm_enabled") {
        Value::Bool(all) => *all,
        Value::Object(some) => some.get(image).is_some_and(|on| on != false && !on.is_null()),
        Value::Array(some) => some.iter().any(|one| one == image),
        Value::Null | Value::Number(_) | Value::String(_) => false,
    };
    if wanted { format!("dm:{image}") } else { image.to_owned() }
}

fn auto_recovery(args: Args<'_>) -> Result<Option<Value>, Failed> {
    let mut recovery = match args.0.get("PV_AUTO_RECOVERY") {
        None | Some(Value::Null) => Object::new(),
        Some(Value::Object(whole)) => whole.clone(),
        // As a text, which is all that some tools can give.
        Some(Value::String(text)) => serde_json::from_str(text)
            .map_err(|_| wrong("PV_AUTO_RECOVERY", &text.as_str().into(), "an object"))?,
        Some(other) => return Err(wrong("PV_AUTO_RECOVERY", other, "an object")),
    };
    for (argument, key, form) in AUTO_RECOVERY {
        let value = match form {
            Form::Text => args.text(argument)?.map(Value::from),
            Form::Number => args.number(argument)?,
        };
        if let Some(value) = value {
            recovery.insert((*key).to_owned(), value);
        }
    }
    Ok((!recovery.is_empty()).then_some(Value::Object(recovery)))
}
