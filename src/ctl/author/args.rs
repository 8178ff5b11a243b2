//! The arguments of `src.json`: the names that mean something, the forms in which authors write them.

use serde_json::{Map, Value};

use crate::failed::Failed;

pub(crate) type Object = Map<String, Value>;

/// Every argument that makes something of `run.json` or the conf.
const KNOWN: &[&str] = &[
    "LXC_PTY_MAX",
    "LXC_TTY_MAX",
    "PVR_LXC_CGROUP_DEVICES_WHITE",
    "PV_AUTO_RECOVERY",
    "PV_AUTO_RECOVERY_BACKOFF_FACTOR",
    "PV_AUTO_RECOVERY_BACKOFF_POLICY",
    "PV_AUTO_RECOVERY_MAX_RETRIES",
    "PV_AUTO_RECOVERY_POLICY",
    "PV_AUTO_RECOVERY_RESET_WINDOW",
    "PV_AUTO_RECOVERY_RETRY_DELAY",
    "PV_AUTO_RECOVERY_STABLE_TIMEOUT",
    "PV_DISABLE_AUTODEV",
    "PV_DRIVERS_MANUAL",
    "PV_DRIVERS_OPTIONAL",
    "PV_DRIVERS_REQUIRED",
    "PV_EXTRA_VOLUMES",
    "PV_FILEIMPORTS",
    "PV_GROUP",
    "PV_IMPORT_CONFIGVOLUMES",
    "PV_LXC_CAP_DROP",
    "PV_LXC_CAP_KEEP",
    "PV_LXC_DISABLE_CONSOLE",
    "PV_LXC_EXTRA_CONF",
    "PV_LXC_EXTRA_ENV",
    "PV_LXC_NAMESPACE_KEEP",
    "PV_LXC_NETWORK_IPV4_ADDRESS",
    "PV_LXC_NETWORK_IPV4_GATEWAY",
    "PV_LXC_NETWORK_LINK",
    "PV_LXC_NETWORK_TYPE",
    "PV_NETWORK_POOL",
    "PV_RESOLV_CONF_DISABLE",
    "PV_RESTART_POLICY",
    "PV_ROLES",
    "PV_RUNLEVEL",
    "PV_RUN_TMPFS_DISABLE",
    "PV_SECURITY_FULLDEV",
    "PV_SECURITY_WITH_HOST",
    "PV_SECURITY_WITH_HOSTPROC",
    "PV_SECURITY_WITH_STORAGE",
    "PV_SERVICES_MANUAL",
    "PV_SERVICES_OPTIONAL",
    "PV_SERVICES_REQUIRED",
    "PV_STATUS_GOAL",
    "PV_VOLUME_IMPORTS",
    "PV_VOLUME_MOUNTS",
];

/// The arguments, read in the form that is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Args<'a>(pub(crate) &'a Object);

impl Args<'_> {
    /// A text, a number or a boolean as text; none if it is absent, null or empty.
    pub(crate) fn text(self, name: &str) -> Result<Option<String>, Failed> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
            Some(value @ (Value::Array(_) | Value::Object(_))) => Err(wrong(name, value, "a text")),
        }
    }

    /// Whether it is there at all, even empty.
    pub(crate) fn has(self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !value.is_null())
    }

    /// An array of texts, or one text with commas.
    pub(crate) fn list(self, name: &str) -> Result<Vec<String>, Failed> {
        match self.0.get(name) {
            Some(value @ Value::Array(items)) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                texts.collect::<Option<_>>().ok_or_else(|| wrong(name, value, "an array of texts"))
            }
            _ => {
                let text = self.text(name)?.unwrap_or_default();
                let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
                Ok(words.map(str::to_owned).collect())
            }
        }
    }

    /// An array of texts, or one text that is taken whole.
    pub(crate) fn lines(self, name: &str) -> Result<Vec<String>, Failed> {
        match self.0.get(name) {
            Some(Value::Array(_)) => self.list(name),
            _ => Ok(self.text(name)?.into_iter().collect()),
        }
    }

    /// On unless it is absent, empty, `0`, `no` or `false`.
    pub(crate) fn is_on(self, name: &str) -> Result<bool, Failed> {
        let text = self.text(name)?.unwrap_or_default().to_ascii_lowercase();
        Ok(!matches!(text.as_str(), "" | "0" | "no" | "false" | "off"))
    }

    pub(crate) fn number(self, name: &str) -> Result<Option<Value>, Failed> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match serde_json::from_str::<Value>(&text) {
            Ok(value @ Value::Number(_)) => Ok(Some(value)),
            Ok(_) | Err(_) => Err(wrong(name, &Value::from(text), "a number")),
        }
    }
}

pub(crate) fn wrong(name: &str, found: &Value, allowed: &str) -> Failed {
    let found: String = found.to_string().chars().take(80).collect();
    Failed::Checked { text: format!("args.{name}: found {found}, allowed is {allowed}") }
}

/// A sentence for each argument that looks like one of ours, and is not.
pub(crate) fn unknown(args: &Object) -> Vec<String> {
    let ours = |name: &&String| {
        let ours = ["PV_", "PVR_", "LXC_"].iter().any(|prefix| name.starts_with(prefix));
        ours && !KNOWN.contains(&name.as_str())
    };
    args.keys().filter(ours).map(|name| sentence(name)).collect()
}

fn sentence(name: &str) -> String {
    match nearest(name, KNOWN) {
        Some(meant) => format!("args.{name} is kept, but means nothing here; was {meant} meant?"),
        None => format!("args.{name} is kept, but means nothing here"),
    }
}

/// The word that is the fewest changes away, if they are few.
pub(crate) fn nearest<'w>(text: &str, words: &[&'w str]) -> Option<&'w str> {
    let distances = words.iter().map(|word| (distance(text, word), *word));
    distances.filter(|(distance, _)| *distance <= 3).min().map(|(_, word)| word)
}

/// How many bytes must be put in, taken out or changed.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, byte) in one.bytes().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], line + 1);
        for (column, against) in other.bytes().enumerate() {
            let changed = corner + usize::from(byte != against);
            corner = row[column + 1];
            row[column + 1] = changed.min(corner + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

/// `K=V` of the command line: JSON where V is an array or an object, else a text.
pub(crate) fn parse(text: &str) -> Result<(String, Value), Failed> {
    let usage = |why: &str| Failed::Usage { text: format!("--arg {text}: {why}") };
    let (name, value) = text.split_once('=').ok_or_else(|| usage("use NAME=VALUE"))?;
    if name.is_empty() {
        return Err(usage("use NAME=VALUE"));
    }
    if !value.starts_with(['[', '{']) {
        return Ok((name.to_owned(), Value::from(value)));
    }
    let value = serde_json::from_str(value).map_err(|cause| usage(&format!("not JSON: {cause}")))?;
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_gets_a_suggestion() {
        let args =
            serde_json::json!({"PV_STATUS_GAOL": "READY", "PV_FLUX_CAPACITOR": 1, "OWN": 2, "PV_GROUP": "a"});
        let Value::Object(args) = args else { panic!("an object") };
        assert_eq!(
            unknown(&args),
            [
                "args.PV_FLUX_CAPACITOR is kept, but means nothing here",
                "args.PV_STATUS_GAOL is kept, but means nothing here; was PV_STATUS_GOAL meant?"
            ]
        );
    }

    #[test]
    fn distances_are_counted_in_single_changes() {
        assert_eq!([distance("", "abc"), distance("abc", "abc"), distance("kitten", "sitting")], [3, 0, 3]);
    }
}
