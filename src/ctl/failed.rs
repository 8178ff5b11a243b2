//! Why a command did not do what was asked, with the exit code that tells a program.

use std::io;

use hyper::StatusCode;
use model::ids::Digest;

use crate::place::Place;

/// Texts read well after `goalctl: `.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error("{text}")]
    Usage { text: String },
    #[error("cannot reach the agent at {place}: {}", plain(.cause))]
    Unreachable { place: Box<Place>, cause: io::Error },
    #[error("no TLS with {place}: {cause}")]
    Untrusted { place: Box<Place>, cause: io::Error },
    #[error("the agent ended the exchange ({what}): {cause}")]
    Broken { what: String, cause: String },
    #[error("the agent ended the exchange (send object {digest}): {cause}")]
    Cut { digest: Digest, cause: String },
    #[error("the rest of object {digest} does not fit what the device has of it")]
    NotTheRest { digest: Digest },
    #[error("failed to {what}: the agent answered {}: {text}", .status.as_u16())]
    Refused { what: String, status: StatusCode, text: String },
    #[error("failed to signal {name}: the agent answered 500: {text}")]
    Signal { name: &'static str, text: String },
    #[error("the answer to {what} was not understood: {cause}")]
    BadAnswer { what: String, cause: String },
    #[error("failed to {what}: {cause}")]
    Source { what: String, cause: String },
    #[error("{text}")]
    Checked { text: String },
    #[error("{revision} was rolled back: {reason}")]
    RolledBack { revision: String, reason: String },
    #[error("{revision} was refused before it was tried: {reason}")]
    WontGo { revision: String, reason: String },
    /// What the state of a transaction does not allow, with the field's own exit code.
    #[error("{text}")]
    Transaction { code: u8, text: String },
    /// Whoever read our output has enough of it: no failure at all.
    #[error("the reader of the output is gone")]
    ReaderGone,
    #[error("failed to write the output: {cause}")]
    Output { cause: io::Error },
}

impl Failed {
    /// No connection: nobody is there, or nobody whom we and who trusts us.
    pub(crate) fn connect(place: Place, cause: io::Error) -> Failed {
        // Boxed: what every function may answer with is small.
        let place = Box::new(place);
        if cause.kind() == io::ErrorKind::InvalidData {
            Failed::Untrusted { place, cause }
        } else {
            Failed::Unreachable { place, cause }
        }
    }

    /// As `goalctl --help` lists them.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failed::ReaderGone => 0,
            Failed::Broken { .. }
            | Failed::Cut { .. }
            | Failed::NotTheRest { .. }
            | Failed::Untrusted { .. }
            | Failed::Refused { .. }
            | Failed::Signal { .. }
            | Failed::BadAnswer { .. }
            | Failed::Source { .. }
            | Failed::Checked { .. }
            | Failed::Output { .. } => 1,
            Failed::Usage { .. } => 2,
            Failed::Unreachable { .. } => 3,
            Failed::RolledBack { .. } => 4,
            Failed::WontGo { .. } => 5,
            Failed::Transaction { code, .. } => *code,
        }
    }

    /// What to do about it, where something can be said.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Failed::Unreachable { place, cause } => Some(unreachable_hint(place, cause.kind()).to_owned()),
            Failed::Untrusted { cause, .. } => untrusted_hint(&cause.to_string()).map(str::to_owned),
            Failed::Broken { cause, .. } if cause.contains(ALERT) => untrusted_hint(cause).map(str::to_owned),
            Failed::Broken { .. } => Some("was the agent stopped meanwhile? Its log says why".to_owned()),
            Failed::Cut { .. } => Some("what arrived is kept: the same command again sends only the rest".to_owned()),
            Failed::NotTheRest { .. } => {
                Some("was it damaged, did it make room, or does somebody else send it? The same command again asks anew".to_owned())
            }
            Failed::Refused { status, text, .. } => refused_hint(*status, text),
            Failed::Signal { .. } => Some(
                "only a container speaks for itself, over its own socket; ready counts where its status_goal is READY".to_owned(),
            ),
            Failed::BadAnswer { .. } => Some("are goalctl and the agent of the same version?".to_owned()),
            Failed::RolledBack { revision, .. } => Some(format!(
                "see `goalctl progress {revision}` and `goalctl logs NAME`; it is not run again unless with --force"
            )),
            Failed::WontGo { revision, .. } => Some(format!("see `goalctl progress {revision}`")),
            Failed::Usage { .. }
            | Failed::Transaction { .. }
            | Failed::Source { .. }
            | Failed::Checked { .. }
            | Failed::ReaderGone
            | Failed::Output { .. } => None,
        }
    }
}

/// How the other side says that it does not want us.
const ALERT: &str = "fatal alert";

fn untrusted_hint(cause: &str) -> Option<&'static str> {
    const HINTS: [(&str, &str); 6] = [
        ("UnknownIssuer", "name the authority that its certificate comes from with --ca FILE"),
        ("BadSignature", "another authority of that name signed it: name the right one with --ca FILE"),
        ("not valid for name", "name the device in --host as its certificate does"),
        ("expired", "are this machine's date and time right? Else the device needs a new certificate"),
        (
            ALERT,
            "it asks for a certificate from an authority that it knows: --client-cert FILE --client-key FILE",
        ),
        ("corrupt message", "does it speak TLS at that port? http:// is plain"),
    ];
    HINTS.iter().find_map(|(what, hint)| cause.contains(what).then_some(*hint))
}

fn unreachable_hint(place: &Place, kind: io::ErrorKind) -> &'static str {
    if let Place::Host(_) = place {
        return if kind == io::ErrorKind::NotFound {
            "is its name right? An address will do as well"
        } else {
            "is the device on, and does its agent's configuration say device.listen?"
        };
    }
    if kind == io::ErrorKind::PermissionDenied {
        "the socket is root's: use sudo, or the group that the agent's configuration names"
    } else if kind == io::ErrorKind::ConnectionRefused {
        "the socket is there and nobody listens: start the agent"
    } else {
        "is the agent running? Name its socket with --socket PATH or GOALPOST_SOCKET"
    }
}

fn refused_hint(status: StatusCode, text: &str) -> Option<String> {
    let hint = match status.as_u16() {
        400 | 401 if text.contains("asks for a token") => {
            "name the file that holds the device's token with --token-file"
        }
        403 if text.contains("restart_policy") => "it restarts with the device alone, or by an update",
        403 => "a container whose roles do not include mgmt may only signal",
        409 => {
            "nothing was changed; see `goalctl status` and `goalctl progress REV`; a revision that failed runs with --force"
        }
        503 => "not now; `goalctl status` shows what is under way",
        507 => "`goalctl gc` removes what nothing needs",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Without Rust's "(os error 2)".
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}
