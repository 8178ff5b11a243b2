//! `goalctl post` and `goalctl run`: a revision goes to the device, and is followed to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::Duration;

use hyper::{Method, StatusCode};
use model::ids::{Digest, RevisionId};
use serde::Deserialize;

use crate::address;
use crate::arrivals::Arrivals;
use crate::bundle::{Bundle, named_objects, set_of};
use crate::check;
use crate::cli::{Post, Run};
use crate::client::Client;
use crate::committed;
use crate::control;
use crate::device;
use crate::events::{Event, Events, From, Until};
use crate::failed::Failed;
use crate::meter::Meter;
use crate::output::Output;
use crate::place::Place;
use crate::show::Progress;

/// How long a restarting agent may leave its socket unanswered while an update is followed.
const AWAY: Duration = Duration::from_secs(120);
/// How long a device of the network may be away: it may have to boot.
const AWAY_BEYOND: Duration = Duration::from_secs(300);
/// Bytes that are rather sent than asked for: the list of what a device has grows with every revision that it keeps.
const LITTLE: u64 = 256 * 1024;
/// Less of an object that was cut off no device keeps.
const LEAST_PARTIAL: u64 = 1024 * 1024;

#[derive(Debug, Deserialize)]
struct OnDevice {
    sha256: Digest,
}

pub(crate) async fn post(client: &Client, output: &Output, post: &Post) -> Result<(), Failed> {
    let bundle = Bundle::open(&post.path)?;
    check::refuse_wrong(&post.path, &bundle)?;
    let revision = name(post, &bundle)?;
    check_message(post.message.as_deref())?;
    deliver(client, output, &bundle, &revision).await?;
    committed::advance(output, &post.path, &bundle).await?;
    if let Some(message) = &post.message {
        let path = format!("/steps/{revision}/commitmsg");
        let answer = client.call(Method::PUT, &path, message.clone().into_bytes()).await?;
        answer.expect_success("keep the message beside the revision")?;
    }
    if !(post.run || post.how.force || post.how.follow) {
        return output
            .line(&format!("{revision} is on the device; `goalctl run {revision} --follow` runs it"));
    }
    output.line(&format!("{revision} is on the device"))?;
    begin(client, output, "LOCAL_RUN", &revision, post.how).await
}

pub(crate) async fn run(client: &Client, output: &Output, run: &Run) -> Result<(), Failed> {
    let op = match (run.once, run.commit) {
        (true, _) => "TRY_ONCE",
        (false, true) => "LOCAL_RUN_COMMIT",
        (false, false) => "LOCAL_RUN",
    };
    let revision = address::revision(&run.revision)?;
    let there = client.call(Method::GET, &step(&revision), Vec::new()).await?;
    if there.status == StatusCode::NOT_FOUND {
        return Err(Failed::Checked {
            text: format!("{revision} is not on the device; `goalctl steps` shows what is"),
        });
    }
    begin(client, output, op, &revision, run.how).await
}

/// Before anything is sent: a message that is too long would be refused after all else.
pub(crate) fn check_message(message: Option<&str>) -> Result<(), Failed> {
    const LONGEST: usize = 256;
    match message {
        Some(text) if text.len() > LONGEST => Err(Failed::Usage {
            text: format!("--message: {} bytes, of which a device keeps {LONGEST} at most", text.len()),
        }),
        Some(_) | None => Ok(()),
    }
}

pub(crate) fn name(post: &Post, bundle: &Bundle) -> Result<RevisionId, Failed> {
    let Some(name) = &post.name else {
        let digest = crate::bundle::hash(&mut bundle.state.as_slice()).map(|(digest, _)| digest.to_string());
        return address::revision(&format!("locals/{}", &digest.unwrap_or_default()[..12]));
    };
    let revision = address::revision(name)?;
    if revision.is_local() {
        return Ok(revision);
    }
    Err(Failed::Usage { text: format!("--name {name}: only locals/NAME can be given on the device") })
}

/// Objects first, then the state that names them. Who posts the same again may find that the device has lost some of them since: only
/// its list of objects is certain then.
async fn deliver(
    client: &Client,
    output: &Output,
    bundle: &Bundle,
    revision: &RevisionId,
) -> Result<(), Failed> {
    let is_there = has_step(client, revision, &bundle.state).await?;
    let there = match is_there {
        true => None,
        false => enough_of_what_runs(client, bundle).await,
    };
    let there = match there {
        Some(there) => there,
        None => on_device(client).await?,
    };
    send_objects(client, output, bundle, &there).await?;
    if is_there { Ok(()) } else { put(client, revision, &bundle.state).await }
}

/// The objects of what runs, unless so much else is named that the device's list is worth asking for.
async fn enough_of_what_runs(client: &Client, bundle: &Bundle) -> Option<BTreeSet<Digest>> {
    let running = client.get("/steps/current").await.ok()?;
    let there = set_of(&mut named_objects(&running).into_values());
    let (named, sizes) = (set_of(&mut named_objects(&bundle.state).into_values()), bundle.sizes());
    let others = named.difference(&there).try_fold(0, |sum, digest| Some(sum + sizes.get(digest)?));
    others.filter(|bytes| *bytes <= LITTLE).map(|_| there)
}

async fn send_objects(
    client: &Client,
    output: &Output,
    bundle: &Bundle,
    there: &BTreeSet<Digest>,
) -> Result<(), Failed> {
    let named = named_objects(&bundle.state);
    let sizes = bundle.sizes();
    if let Some((key, digest)) =
        named.iter().find(|(_, digest)| !there.contains(digest) && !sizes.contains_key(digest))
    {
        return Err(nowhere(key, digest));
    }
    let named = set_of(&mut named.into_values());
    let lacking = set_of(&mut named.difference(there).copied());
    let bytes = send(client, bundle, &lacking).await?;
    told(output, lacking.len(), bytes, named.len())
}

/// How much of what a revision names had to be sent.
pub(crate) fn told(output: &Output, sent: usize, bytes: u64, named: usize) -> Result<(), Failed> {
    output.line(&format!("objects: {sent} sent ({bytes} bytes), {} were there", named - sent))
}

pub(crate) fn nowhere(key: &str, digest: &Digest) -> Failed {
    Failed::Checked { text: format!("object {digest} ({key}) neither came along nor is on the device") }
}

/// What need not be sent: an upload that was cut off goes on from there.
pub(crate) async fn on_device(client: &Client) -> Result<BTreeSet<Digest>, Failed> {
    let there: Vec<OnDevice> = client.get_json("/objects").await?;
    Ok(set_of(&mut there.into_iter().map(|object| object.sha256)))
}

/// Where and from where on the device wants an object.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) address: String,
    /// Its first byte that is not there: an upload was cut off.
    pub(crate) from: u64,
}

impl Wanted {
    /// Of an object that is all there but was not ended, its last byte is sent again: a range has one at least.
    fn from(&self, size: u64) -> u64 {
        self.from.min(size.saturating_sub(1))
    }
}

/// Sends these objects of the bundle; how many bytes that were.
pub(crate) async fn send(
    client: &Client,
    bundle: &Bundle,
    lacking: &BTreeSet<Digest>,
) -> Result<u64, Failed> {
    let sizes = bundle.sizes();
    let mut wanted = BTreeMap::new();
    for digest in lacking {
        let is_long = sizes.get(digest).is_some_and(|size| *size > LEAST_PARTIAL);
        let from = if is_long { partial(client, digest).await } else { 0 };
        wanted.insert(*digest, Wanted { address: address::object(digest), from });
    }
    send_to(client, bundle, lacking, &wanted).await
}

/// How much the device has of an object that was cut off. One that does not know of such things has none.
async fn partial(client: &Client, digest: &Digest) -> u64 {
    #[derive(Deserialize)]
    struct Partial {
        size: String,
    }
    let asked = client.get_json(&format!("{}/partial", address::object(digest))).await;
    asked.ok().and_then(|Partial { size }| size.parse().ok()).unwrap_or(0)
}

/// The same, each as the device wants it.
pub(crate) async fn send_to(
    client: &Client,
    bundle: &Bundle,
    lacking: &BTreeSet<Digest>,
    wanted: &BTreeMap<Digest, Wanted>,
) -> Result<u64, Failed> {
    let sizes = bundle.sizes();
    let left = |digest: &Digest| {
        let (size, wanted) = (sizes.get(digest)?, wanted.get(digest)?);
        Some(size - wanted.from(*size))
    };
    let bytes = lacking.iter().filter_map(left).sum();
    let mut meter = Meter::new(bytes);
    let sent = bundle
        .each(lacking, async |digest, size, source| match wanted.get(&digest) {
            Some(wanted) => put_object(client, &mut meter, digest, wanted, size, source).await,
            None => Ok(()),
        })
        .await;
    meter.clear();
    sent.map(|()| bytes)
}

async fn put_object(
    client: &Client,
    meter: &mut Meter,
    digest: Digest,
    wanted: &Wanted,
    size: u64,
    source: &mut dyn io::Read,
) -> Result<(), Failed> {
    let (address, from) = (&wanted.address, wanted.from(size));
    let sent = client.put_from(address, from, size, source, |count| meter.advance(count)).await;
    match sent {
        Err(Failed::Broken { cause, .. }) => Err(Failed::Cut { digest, cause }),
        Ok(answer) if from > 0 && matches!(answer.status.as_u16(), 409 | 422) => {
            Err(Failed::NotTheRest { digest })
        }
        sent => sent?.expect_success(&format!("send object {digest}")).map(drop),
    }
}

/// Sends the state, unless exactly this is there under that name already.
pub(crate) async fn put_step(client: &Client, revision: &RevisionId, state: &[u8]) -> Result<(), Failed> {
    if has_step(client, revision, state).await? { Ok(()) } else { put(client, revision, state).await }
}

async fn has_step(client: &Client, revision: &RevisionId, state: &[u8]) -> Result<bool, Failed> {
    let there = client.call(Method::GET, &step(revision), Vec::new()).await?;
    Ok(there.status == StatusCode::OK && there.body == state)
}

async fn put(client: &Client, revision: &RevisionId, state: &[u8]) -> Result<(), Failed> {
    let answer = client.call(Method::PUT, &step(revision), state.to_vec()).await?;
    answer.expect_success(&format!("post {revision}")).map(drop)
}

fn step(revision: &RevisionId) -> String {
    format!("/steps/{revision}")
}

async fn begin(
    client: &Client,
    output: &Output,
    op: &str,
    revision: &RevisionId,
    how: crate::cli::deliver::HowToRun,
) -> Result<(), Failed> {
    // Before the command: what it causes cannot be missed.
    let events = if how.follow { Some(Events::open(client, None, Until::Forever).await?) } else { None };
    let returns = match how.follow {
        true => device::read(client).await.is_ok_and(|device| device.returns_to(revision.as_str())),
        false => false,
    };
    let force = if how.force { r#","force":true"# } else { "" };
    control::command(client, op, revision.as_str(), force, &format!("run {revision}")).await?;
    let then = if returns { "and what is tried once makes way for it" } else { "and going to be tried" };
    output.line(&format!("{revision} is accepted, {then}"))?;
    let over = if returns { Over::Back } else { Over::Update };
    match events {
        Some(events) => follow(client, output, revision, events, over).await,
        None => Ok(()),
    }
}

/// What the end of a run is told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// The progress document of its revision.
    Update,
    /// The device is at rest again: what was committed is back.
    Back,
}

/// Shows what happens until the update is over.
pub(crate) async fn follow(
    client: &Client,
    output: &Output,
    revision: &RevisionId,
    mut events: Events,
    over: Over,
) -> Result<(), Failed> {
    let mut last = None;
    loop {
        match events.next().await {
            Ok(Some(event)) => {
                last = event.id.or(last);
                output.line(&event.line(output))?;
                if let Some(outcome) = outcome_in(&event, revision) {
                    return outcome;
                }
                if over == Over::Back && event.kind == "phase" && event.text("phase") == "running" {
                    return Ok(());
                }
            }
            // The agent restarts in a reboot update: it has not failed while it comes back.
            Ok(None) | Err(Failed::Broken { .. }) => {
                output.line("the agent is away; waiting for it")?;
                match reconnect(client, revision, last).await? {
                    Back::Over(outcome) => return outcome,
                    Back::GoesOn(again) => events = again,
                }
            }
            Err(failed) => return Err(failed),
        }
    }
}

/// What is found once the agent is back.
enum Back {
    Over(Result<(), Failed>),
    GoesOn(Events),
}

async fn reconnect(client: &Client, revision: &RevisionId, last: Option<u64>) -> Result<Back, Failed> {
    let (patience, back) = match client.place() {
        Place::Socket(socket) => {
            (AWAY, tokio::time::timeout(AWAY, try_at_each_arrival(client, socket, revision, last)).await)
        }
        Place::Host(_) => {
            let tried = try_again_and_again(client, revision, last);
            (AWAY_BEYOND, tokio::time::timeout(AWAY_BEYOND, tried).await)
        }
    };
    back.unwrap_or_else(|_| {
        let why = format!("the agent did not come back within {} minutes", patience.as_secs() / 60);
        Err(Failed::Unreachable {
            place: Box::new(client.place().clone()),
            cause: io::Error::new(io::ErrorKind::TimedOut, why),
        })
    })
}

/// Nothing on a network tells that a device is back.
async fn try_again_and_again(
    client: &Client,
    revision: &RevisionId,
    last: Option<u64>,
) -> Result<Back, Failed> {
    const LONGEST: Duration = Duration::from_secs(2);
    let mut pause = Duration::from_millis(100);
    loop {
        match rejoin(client, revision, last).await {
            Err(failed) if is_away(&failed) => {
                #[expect(clippy::disallowed_methods, reason = "nothing can be waited for")]
                tokio::time::sleep(pause).await;
                pause = LONGEST.min(pause * 2);
            }
            back => return back,
        }
    }
}

/// It is not there, or has not decided its boot yet.
fn is_away(failed: &Failed) -> bool {
    matches!(
        failed,
        Failed::Unreachable { .. }
            | Failed::Broken { .. }
            | Failed::Refused { status: StatusCode::SERVICE_UNAVAILABLE, .. }
    )
}

async fn try_at_each_arrival(
    client: &Client,
    socket: &Path,
    revision: &RevisionId,
    last: Option<u64>,
) -> Result<Back, Failed> {
    let failed = |cause: io::Error| Failed::Source {
        what: format!("watch for the agent's return to {}", socket.display()),
        cause: cause.to_string(),
    };
    // Before the first try: an agent that returns right after it is heard.
    let mut arrivals = Arrivals::at(socket).map_err(failed)?;
    loop {
        match rejoin(client, revision, last).await {
            Err(Failed::Unreachable { .. } | Failed::Broken { .. }) => {
                arrivals.next().await.map_err(failed)?;
            }
            back => return back,
        }
    }
}

/// Goes on after the last event that was seen: ids grow across restarts of the agent.
async fn rejoin(client: &Client, revision: &RevisionId, last: Option<u64>) -> Result<Back, Failed> {
    let events = Events::open(client, last.map(From::After), Until::Forever).await?;
    let over = outcome_on_record(client, revision).await?;
    Ok(over.map_or(Back::GoesOn(events), Back::Over))
}

fn outcome_in(event: &Event, revision: &RevisionId) -> Option<Result<(), Failed>> {
    if event.kind != "update" || event.text("revision") != revision.as_str() {
        return None;
    }
    outcome(&event.progress(), revision)
}

async fn outcome_on_record(
    client: &Client,
    revision: &RevisionId,
) -> Result<Option<Result<(), Failed>>, Failed> {
    let progress: Progress = client.get_json(&format!("/steps/{revision}/progress")).await?;
    Ok(outcome(&progress, revision))
}

fn outcome(progress: &Progress, revision: &RevisionId) -> Option<Result<(), Failed>> {
    let revision = revision.to_string();
    let reason = progress.message.clone();
    match progress.status.as_str() {
        "DONE" | "UPDATED" => Some(Ok(())),
        "ERROR" => Some(Err(Failed::RolledBack { revision, reason })),
        "WONTGO" => Some(Err(Failed::WontGo { revision, reason })),
        _ => None,
    }
}
