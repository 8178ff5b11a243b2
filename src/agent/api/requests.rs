//! What only the engine can answer: signals, commands, control of containers, collection.

use hyper::StatusCode;
use hyper::body::Incoming;
use model::ids::{BadId, ContainerName, RevisionId};
use model::report::Phase;
use model::request::{AfterShutdown, Control, Refusal, Reply, Request, Signal};
use serde::Deserialize;

use super::Backend;
use super::answer::{self, Answer};
use super::body;
use super::caller::{Who, unread};
use super::render::json;
use super::route::Segment;
use crate::power::Turn;

const LONGEST_SIGNAL: usize = 4096;
const LONGEST_COMMAND: usize = 4096;
const LONGEST_CONTROL: usize = 1024;

const BAD_SIGNAL: &str = "Signal has bad format";
const BAD_COMMAND: &str = "Command has bad format";

#[derive(Deserialize)]
struct SignalBody {
    #[serde(rename = "type")]
    kind: SignalKind,
    #[serde(default, rename = "payload")]
    _payload: serde::de::IgnoredAny,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum SignalKind {
    Ready,
    Alive,
}

/// POST /signal, from a container about itself.
pub(super) async fn signal(backend: &Backend, who: &Who, body: &mut Incoming) -> Answer {
    let text = match body::read(body, LONGEST_SIGNAL).await {
        Ok(text) => text,
        Err(problem) => return unread(problem),
    };
    let Ok(SignalBody { kind, .. }) = serde_json::from_slice(&text) else {
        return answer::bad_request(BAD_SIGNAL);
    };
    let Who::Container { name, generation, .. } = who else {
        return answer::refused(&Refusal::UnexpectedSignal);
    };
    let signal = match kind {
        SignalKind::Ready => Signal::Ready,
        SignalKind::Alive => Signal::Alive,
    };
    let request = Request::Signal { container: name.clone(), generation: *generation, signal };
    answer::reply(backend.ask.ask(request).await)
}

#[derive(Deserialize)]
struct CommandBody {
    op: Op,
    payload: String,
    #[serde(default)]
    force: bool,
}

/// Matched exactly.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Op {
    LocalRun,
    LocalRunCommit,
    RebootDevice,
    PoweroffDevice,
    MakeFactory,
    RunGc,
    TryOnce,
    LocalApply,
    DeferReboot,
    EnableSsh,
    DisableSsh,
    GoRemote,
    Unclaim,
    UpdateMetadata,
    XconnectGraph,
}

/// POST /commands.
pub(super) async fn command(backend: &Backend, body: &mut Incoming) -> Answer {
    let text = match body::read(body, LONGEST_COMMAND).await {
        Ok(text) => text,
        Err(problem) => return unread(problem),
    };
    let Ok(CommandBody { op, payload, force }) = serde_json::from_slice(&text) else {
        return answer::bad_request(BAD_COMMAND);
    };
    match request_of(backend, op, &payload, force).await {
        Ok(request) => answer::reply(backend.ask.ask(request).await),
        Err(unasked) => unasked.answer(),
    }
}

/// Why the engine is not even asked.
enum Unasked {
    BadName(BadId),
    /// An update is under way.
    Later(Phase),
    Cannot {
        op: &'static str,
        why: String,
    },
}

impl Unasked {
    fn answer(&self) -> Answer {
        match self {
            Unasked::BadName(bad) => {
                answer::error_because(StatusCode::BAD_REQUEST, BAD_COMMAND, &bad.to_string())
            }
            Unasked::Later(phase) => answer::refused(&Refusal::Busy(*phase)),
            Unasked::Cannot { op, why } => {
                answer::error(StatusCode::CONFLICT, &format!("{op} is not possible on this device: {why}"))
            }
        }
    }
}

async fn request_of(backend: &Backend, op: Op, payload: &str, force: bool) -> Result<Request, Unasked> {
    not_while_updating(backend, op)?;
    let named = || payload.parse::<RevisionId>().map_err(Unasked::BadName);
    let cannot = |op, why: &str| Err(Unasked::Cannot { op, why: why.to_owned() });
    match op {
        // Every update that proves stable is committed here, so the two are one.
        Op::LocalRun | Op::LocalRunCommit => Ok(Request::Run { revision: named()?, force }),
        Op::TryOnce => Ok(Request::TryOnce { revision: named()?, force }),
        Op::MakeFactory if payload.is_empty() => Ok(Request::MakeFactory { revision: None }),
        Op::MakeFactory => Ok(Request::MakeFactory { revision: Some(named()?) }),
        Op::RunGc => Ok(Request::Collect),
        Op::RebootDevice => turn(backend, "REBOOT_DEVICE", Turn::Reboot, AfterShutdown::Reboot).await,
        Op::PoweroffDevice => turn(backend, "POWEROFF_DEVICE", Turn::Off, AfterShutdown::PowerOff).await,
        Op::LocalApply => cannot("LOCAL_APPLY", "LOCAL_RUN applies without a reboot whatever can be"),
        Op::DeferReboot => cannot("DEFER_REBOOT", "no reboot of this agent can be deferred"),
        Op::EnableSsh => cannot("ENABLE_SSH", "this agent has no SSH server"),
        Op::DisableSsh => cannot("DISABLE_SSH", "this agent has no SSH server"),
        Op::GoRemote => cannot("GO_REMOTE", "this agent has no hub"),
        Op::Unclaim => cannot("UNCLAIM", "this agent has no hub"),
        Op::UpdateMetadata => {
            cannot("UPDATE_METADATA", "PUT /device-meta/KEY sets one, and is done when it is answered")
        }
        Op::XconnectGraph => cannot("XCONNECT_GRAPH", "this agent links no services yet"),
    }
}

/// The device's end, if whoever carries it out would: before anything is stopped for it.
async fn turn(
    backend: &Backend,
    op: &'static str,
    turn: Turn,
    then: AfterShutdown,
) -> Result<Request, Unasked> {
    match backend.power.may(turn).await {
        Ok(()) => Ok(Request::ShutDown { then }),
        Err(failure) => Err(Unasked::Cannot { op, why: format!("failed to {}", failure.detail) }),
    }
}

/// The engine refuses what it is asked while an update is under way; what it is not asked, or not asked yet, is refused here.
fn not_while_updating(backend: &Backend, op: Op) -> Result<(), Unasked> {
    match op {
        Op::LocalRun
        | Op::LocalRunCommit
        | Op::RebootDevice
        | Op::PoweroffDevice
        | Op::MakeFactory
        | Op::Unclaim => {}
        Op::TryOnce
        | Op::RunGc
        | Op::LocalApply
        | Op::DeferReboot
        | Op::EnableSsh
        | Op::DisableSsh
        | Op::GoRemote
        | Op::UpdateMetadata
        | Op::XconnectGraph => return Ok(()),
    }
    let phase = backend.report().phase;
    match phase {
        Phase::Verifying | Phase::Trying | Phase::Testing | Phase::RollingBack => Err(Unasked::Later(phase)),
        Phase::Booting | Phase::Running | Phase::OnlyAnswering | Phase::ShuttingDown => Ok(()),
    }
}

#[derive(Deserialize)]
struct ControlBody {
    #[serde(default)]
    action: Option<serde_json::Value>,
}

/// PUT /containers/{name}.
pub(super) async fn control(backend: &Backend, name: &Segment, body: &mut Incoming) -> Answer {
    let text = match body::read(body, LONGEST_CONTROL).await {
        Ok(text) => text,
        Err(problem) => return unread(problem),
    };
    let Ok(ControlBody { action }) = serde_json::from_slice(&text) else {
        return answer::bad_request("Invalid JSON");
    };
    let Some(action) = action else {
        return answer::bad_request("Missing 'action' field");
    };
    let control = match action.as_str() {
        Some("start") => Control::Start,
        Some("stop") => Control::Stop,
        Some("restart") => Control::Restart,
        Some(_) | None => return answer::bad_request("Invalid action. Use 'start', 'stop', or 'restart'"),
    };
    let Some(container) = name.name().and_then(|name| name.parse::<ContainerName>().ok()) else {
        return answer::error(StatusCode::NOT_FOUND, "Container not found");
    };
    answer::reply(backend.ask.ask(Request::Control { container, control }).await)
}

#[derive(serde::Serialize)]
struct CollectedBody {
    reclaimed: u64,
}

/// POST /storage/gc.
pub(super) async fn collect(backend: &Backend) -> Answer {
    match backend.ask.ask(Request::Collect).await {
        Reply::Done => answer::json(json(&CollectedBody { reclaimed: 0 })),
        Reply::Collected { reclaimed } => answer::json(json(&CollectedBody { reclaimed })),
        Reply::Refused(refusal) => answer::refused(&refusal),
    }
}
