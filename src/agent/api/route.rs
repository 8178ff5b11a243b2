//! From method and path to what is asked, with names decoded and checked.

use hyper::Method;

use super::drivers::Change;
use crate::store::Meta;

/// Where the device endpoint's paths begin.
pub(super) const DEVICE: &str = "/cgi-bin/pvr";
/// Longest piece of a path that an error repeats: clients read answers of up to 8191 bytes.
const LONGEST_SHOWN: usize = 1024;

/// The segments of a path, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    segments: Vec<Segment>,
}

/// One segment of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// A name that is only that.
    Name(String),
    /// Empty, `.`, `..`, not UTF-8, wrongly encoded, or with a `/` or NUL in it.
    Bad,
}

/// What an endpoint is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    BuildInfo,
    Commands,
    Config,
    Config2,
    Container(Segment),
    Containers,
    Daemon,
    Daemons,
    /// One driver, or all.
    DriverChange(Option<Segment>, Change),
    Drivers,
    Events,
    Groups,
    Logs(Segment),
    Meta(Meta),
    MetaKey(Meta, Segment),
    Object(Segment),
    /// What there is of one that was cut off.
    ObjectPartial(Segment),
    Objects,
    Plan,
    Signal,
    Status,
    Step(StepName),
    StepMessage(StepName),
    StepProgress(StepName),
    Steps,
    StorageGc,
    Unknown,
    XconnectGraph,
}

/// What a path of the device endpoint is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DevicePath {
    /// Where everything is.
    Remote,
    /// What runs.
    State,
    Objects,
    Object(Segment),
    /// Of an object.
    Bytes(Segment),
    Steps,
    /// How the update to a revision went.
    Progress(StepName),
    Events,
    Unknown,
}

/// How a path names a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StepName {
    /// `current`: what runs.
    Current,
    /// As a revision is named; to be parsed.
    Named(String),
    /// Not a name.
    Bad,
}

/// What is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Put,
    Post,
    Delete,
    Other,
}

impl Verb {
    pub(super) fn of(method: &Method) -> Verb {
        match *method {
            Method::GET => Verb::Get,
            Method::PUT => Verb::Put,
            Method::POST => Verb::Post,
            Method::DELETE => Verb::Delete,
            _ => Verb::Other,
        }
    }
}

impl Endpoint {
    /// Of a path as it was sent, without its query.
    pub(super) fn of(path: &str) -> Endpoint {
        match path {
            "/containers" => Endpoint::Containers,
            "/signal" => Endpoint::Signal,
            _ => Endpoint::of_segments(&Path::decode(path).segments),
        }
    }

    fn of_segments(segments: &[Segment]) -> Endpoint {
        let Some((Segment::Name(first), rest)) = segments.split_first() else { return Endpoint::Unknown };
        match (first.as_str(), rest) {
            ("buildinfo", []) => Endpoint::BuildInfo,
            ("commands", []) => Endpoint::Commands,
            ("config", []) => Endpoint::Config,
            ("config2", []) => Endpoint::Config2,
            ("containers", []) => Endpoint::Containers,
            ("containers", [name]) => Endpoint::Container(name.clone()),
            ("daemons", []) => Endpoint::Daemons,
            ("daemons", [_]) => Endpoint::Daemon,
            ("device-meta", []) => Endpoint::Meta(Meta::Device),
            ("device-meta", [key]) => Endpoint::MetaKey(Meta::Device, key.clone()),
            ("drivers", []) => Endpoint::Drivers,
            ("drivers", [rest @ .., Segment::Name(change)]) => match (rest, Change::parse(change)) {
                ([], Some(change)) => Endpoint::DriverChange(None, change),
                ([name], Some(change)) => Endpoint::DriverChange(Some(name.clone()), change),
                (_, _) => Endpoint::Unknown,
            },
            ("events", []) => Endpoint::Events,
            ("groups", []) => Endpoint::Groups,
            ("logs", [name]) => Endpoint::Logs(name.clone()),
            ("objects", []) => Endpoint::Objects,
            ("objects", [name]) => Endpoint::Object(name.clone()),
            ("objects", [name, Segment::Name(what)]) if what == "partial" => {
                Endpoint::ObjectPartial(name.clone())
            }
            ("plan", []) => Endpoint::Plan,
            ("signal", []) => Endpoint::Signal,
            ("status", []) => Endpoint::Status,
            ("steps", []) => Endpoint::Steps,
            ("steps", rest) => Endpoint::of_step(rest),
            ("storage", [Segment::Name(gc)]) if gc == "gc" => Endpoint::StorageGc,
            ("user-meta", []) => Endpoint::Meta(Meta::User),
            ("user-meta", [key]) => Endpoint::MetaKey(Meta::User, key.clone()),
            ("xconnect-graph", []) => Endpoint::XconnectGraph,
            _ => Endpoint::Unknown,
        }
    }

    fn of_step(segments: &[Segment]) -> Endpoint {
        let (name, rest) = match segments {
            [Segment::Name(locals), Segment::Name(name), rest @ ..] if locals == "locals" => {
                (StepName::Named(format!("locals/{name}")), rest)
            }
            [Segment::Name(locals), Segment::Bad, rest @ ..] if locals == "locals" => (StepName::Bad, rest),
            [Segment::Name(current), rest @ ..] if current == "current" => (StepName::Current, rest),
            [Segment::Name(name), rest @ ..] => (StepName::Named(name.clone()), rest),
            [Segment::Bad, rest @ ..] => (StepName::Bad, rest),
            [] => return Endpoint::Steps,
        };
        match rest {
            [] => Endpoint::Step(name),
            [Segment::Name(what)] if what == "progress" => Endpoint::StepProgress(name),
            [Segment::Name(what)] if what == "commitmsg" => Endpoint::StepMessage(name),
            _ => Endpoint::Unknown,
        }
    }
}

impl DevicePath {
    /// Of a path as it was sent, without its query.
    pub(super) fn of(path: &str) -> DevicePath {
        let Some(path) = path.strip_prefix(DEVICE).and_then(|path| path.strip_prefix('/')) else {
            return DevicePath::Unknown;
        };
        match *path.split('/').collect::<Vec<_>>() {
            [".pvrremote"] => DevicePath::Remote,
            ["json"] => DevicePath::State,
            ["steps"] | ["steps", ""] => DevicePath::Steps,
            ["steps", ref name @ .., "progress"] => DevicePath::of_step(name),
            ["events"] => DevicePath::Events,
            ["objects"] | ["objects", ""] => DevicePath::Objects,
            ["objects", name] => DevicePath::Object(Segment::decode(name)),
            ["objects", name, "bytes"] => DevicePath::Bytes(Segment::decode(name)),
            _ => DevicePath::Unknown,
        }
    }

    fn of_step(name: &[&str]) -> DevicePath {
        let segments: Vec<_> = name.iter().map(|name| Segment::decode(name)).collect();
        let Endpoint::Step(name) = Endpoint::of_step(&segments) else { return DevicePath::Unknown };
        DevicePath::Progress(name)
    }
}

impl Path {
    fn decode(path: &str) -> Path {
        let path = path.strip_prefix('/').unwrap_or(path);
        Path { segments: path.split('/').map(Segment::decode).collect() }
    }
}

impl Segment {
    fn decode(text: &str) -> Segment {
        match percent_decoded(text) {
            Some(name) if !matches!(name.as_str(), "" | "." | "..") && !name.contains(['/', '\0']) => {
                Segment::Name(name)
            }
            _ => Segment::Bad,
        }
    }

    /// The name, or nothing that could be looked up.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Segment::Name(name) => Some(name),
            Segment::Bad => None,
        }
    }
}

/// The value of `key` in a query, decoded; the first one counts.
pub(super) fn query_value(query: Option<&str>, key: &str) -> Option<String> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('=').or(Some((pair, ""))));
    pairs.filter(|(name, _)| *name == key).find_map(|(_, value)| percent_decoded(value))
}

/// A path as an error repeats it: decoded where that gives text, and not without end.
pub(super) fn shown(path: &str) -> String {
    let mut shown = percent_decoded(path).unwrap_or_else(|| path.to_owned());
    if shown.len() > LONGEST_SHOWN {
        let end = (0..=LONGEST_SHOWN).rev().find(|end| shown.is_char_boundary(*end)).unwrap_or(0);
        shown.truncate(end);
    }
    shown
}

fn percent_decoded(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        if *byte == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            // A sign would be taken for a number's by from_str_radix.
            let digits = std::str::from_utf8(digits)
                .ok()
                .filter(|digits| digits.bytes().all(|d| d.is_ascii_hexdigit()))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> StepName {
        StepName::Named(name.to_owned())
    }

    /// Under which path the description has it. Whoever adds an endpoint adds it there, too.
    fn described(endpoint: &Endpoint) -> &'static str {
        match endpoint {
            Endpoint::BuildInfo => "/buildinfo",
            Endpoint::Commands => "/commands",
            Endpoint::Config => "/config",
            Endpoint::Config2 => "/config2",
            Endpoint::Container(_) => "/containers/{name}",
            Endpoint::Containers => "/containers",
            Endpoint::Daemon => "/daemons/{name}",
            Endpoint::Daemons => "/daemons",
            Endpoint::DriverChange(None, Change::Load) => "/drivers/load",
            Endpoint::DriverChange(None, Change::Unload) => "/drivers/unload",
            Endpoint::DriverChange(Some(_), Change::Load) => "/drivers/{name}/load",
            Endpoint::DriverChange(Some(_), Change::Unload) => "/drivers/{name}/unload",
            Endpoint::Drivers => "/drivers",
            Endpoint::Events => "/events",
            Endpoint::Groups => "/groups",
            Endpoint::Logs(_) => "/logs/{container}",
            Endpoint::Meta(Meta::Device) => "/device-meta",
            Endpoint::Meta(Meta::User) => "/user-meta",
            Endpoint::MetaKey(Meta::Device, _) => "/device-meta/{key}",
            Endpoint::MetaKey(Meta::User, _) => "/user-meta/{key}",
            Endpoint::Object(_) => "/objects/{sha256}",
            Endpoint::ObjectPartial(_) => "/objects/{sha256}/partial",
            Endpoint::Objects => "/objects",
            Endpoint::Plan => "/plan",
            Endpoint::Signal => "/signal",
            Endpoint::Status => "/status",
            Endpoint::Step(StepName::Named(name)) if name.starts_with("locals/") => "/steps/locals/{name}",
            Endpoint::Step(_) => "/steps/{revision}",
            Endpoint::StepMessage(StepName::Named(name)) if name.starts_with("locals/") => {
                "/steps/locals/{name}/commitmsg"
            }
            Endpoint::StepMessage(_) => "/steps/{revision}/commitmsg",
            Endpoint::StepProgress(StepName::Named(name)) if name.starts_with("locals/") => {
                "/steps/locals/{name}/progress"
            }
            Endpoint::StepProgress(_) => "/steps/{revision}/progress",
            Endpoint::Steps => "/steps",
            Endpoint::StorageGc => "/storage/gc",
            Endpoint::Unknown => "nowhere",
            Endpoint::XconnectGraph => "/xconnect-graph",
        }
    }

    /// The same of the device endpoint's, behind [`DEVICE`].
    fn described_there(path: &DevicePath) -> &'static str {
        match path {
            DevicePath::Remote => "/.pvrremote",
            DevicePath::State => "/json",
            DevicePath::Objects => "/objects/",
            DevicePath::Object(_) => "/objects/{sha256}",
            DevicePath::Bytes(_) => "/objects/{sha256}/bytes",
            DevicePath::Steps => "/steps",
            DevicePath::Progress(StepName::Named(name)) if name.starts_with("locals/") => {
                "/steps/locals/{name}/progress"
            }
            DevicePath::Progress(_) => "/steps/{revision}/progress",
            DevicePath::Events => "/events",
            DevicePath::Unknown => "nowhere",
        }
    }

    #[test]
    fn each_described_path_is_the_endpoint_it_describes() {
        let document: serde_json::Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
        for path in document["paths"].as_object().unwrap().keys() {
            let plain = path.replace(['{', '}'], "");
            match path.strip_prefix(DEVICE) {
                Some(rest) => assert_eq!(described_there(&DevicePath::of(&plain)), rest),
                None => assert_eq!(described(&Endpoint::of(&plain)), path),
            }
        }
    }

    #[test]
    fn paths_are_taken_as_they_are_sent() {
        assert_eq!(Endpoint::of("/steps/locals/x"), Endpoint::Step(named("locals/x")));
        assert_eq!(Endpoint::of("/steps/locals/x/progress"), Endpoint::StepProgress(named("locals/x")));
        assert_eq!(Endpoint::of("/steps/7/commitmsg"), Endpoint::StepMessage(named("7")));
        assert_eq!(Endpoint::of("/steps/current"), Endpoint::Step(StepName::Current));
        assert_eq!(Endpoint::of("/storage/gc"), Endpoint::StorageGc);
        assert_eq!(Endpoint::of("/containers/"), Endpoint::Container(Segment::Bad));
        assert_eq!(Endpoint::of("/"), Endpoint::Unknown);
    }

    #[test]
    fn what_decodes_to_more_than_a_name_is_bad() {
        for bad in ["a%2Fb", "%00", "%2e%2E", ".", "..", "", "%", "%2", "%+1", "%ff"] {
            assert_eq!(Segment::decode(bad), Segment::Bad, "{bad}");
        }
        assert_eq!(Segment::decode("%7b%7D{}"), Segment::Name("{}{}".to_owned()));
        assert_eq!(Endpoint::of("/steps/locals%2Fx"), Endpoint::Step(StepName::Bad));
    }

    #[test]
    fn a_query_is_pairs() {
        assert_eq!(query_value(Some("since=1&tail=%32"), "tail").as_deref(), Some("2"));
        assert_eq!(query_value(Some("follow"), "follow").as_deref(), Some(""));
        assert_eq!(query_value(None, "follow"), None);
    }
}
