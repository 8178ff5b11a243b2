//! A revision brought to a device, or fetched from one, over a network: what `pvr post` and `pvr clone` do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use hyper::{Method, StatusCode};
use model::ids::{Digest, RevisionId};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use crate::address;
use crate::bundle::{Bundle, named_objects, set_of};
use crate::check;
use crate::cli::Post;
use crate::client::Client;
use crate::committed;
use crate::deliver::{self, Over, Wanted};
use crate::events::{Events, Until};
use crate::failed::Failed;
use crate::object::Object;
use crate::output::Output;
use crate::place::{Host, Place};

/// Where things are on the device.
#[derive(Debug, Deserialize)]
pub(crate) struct Remote {
    #[serde(rename = "json-get-url")]
    state: String,
    #[serde(rename = "json-key")]
    key: String,
    #[serde(rename = "objects-endpoint")]
    objects: String,
    #[serde(rename = "post-url")]
    post: String,
}

#[derive(Debug, Deserialize)]
struct Described {
    #[serde(default, rename = "signed-puturl")]
    put: String,
    #[serde(default, rename = "signed-geturl")]
    get: String,
    /// Bytes that are there of one whose upload was cut off.
    #[serde(default)]
    partial: serde_json::Value,
}

#[derive(Debug, Deserialize)]
struct Posted {
    #[serde(default)]
    revlocal: Option<String>,
    rev: serde_json::Number,
}

/// What the device lacks of what a revision names.
#[derive(Debug, Default)]
struct Lacking {
    named: BTreeSet<Digest>,
    objects: BTreeSet<Digest>,
    /// The same, each with where the device wants it.
    wanted: BTreeMap<Digest, Wanted>,
}

/// `goalctl --host URL post`: stored and run in one.
pub(crate) async fn post(client: &Client, host: &Host, output: &Output, post: &Post) -> Result<(), Failed> {
    if post.how.force {
        return Err(Failed::Usage {
            text: "--force: what failed before can be forced only at the agent's own socket".to_owned(),
        });
    }
    let bundle = Bundle::open(&post.path)?;
    check::refuse_wrong(&post.path, &bundle)?;
    let revision = deliver::name(post, &bundle)?;
    deliver::check_message(post.message.as_deref())?;
    let remote: Remote = client.get_json("/.pvrremote").await?;
    let lacking = announce(client, host, &remote, &bundle).await?;
    let bytes = deliver::send_to(client, &bundle, &lacking.objects, &lacking.wanted).await?;
    deliver::told(output, lacking.objects.len(), bytes, lacking.named.len())?;
    // Before the post: what it causes cannot be missed.
    let events = if post.how.follow { Some(Events::open(client, None, Until::Forever).await?) } else { None };
    let answer =
        client.call(Method::POST, host.path_of(&remote.post)?, envelope(&remote, &revision, &bundle, post)?);
    let text = answer.await?.expect_success(&format!("post {revision}"))?;
    let posted: Posted = serde_json::from_slice(&text).map_err(|cause| Failed::BadAnswer {
        what: format!("the post of {revision}"),
        cause: cause.to_string(),
    })?;
    let named = posted.revlocal.unwrap_or_else(|| posted.rev.to_string());
    committed::advance(output, &post.path, &bundle).await?;
    output.line(&format!("{named} is accepted, and going to be tried"))?;
    match events {
        Some(events) => {
            let revision = address::revision(&named)?;
            deliver::follow(client, output, &revision, events, Over::Update).await
        }
        None => Ok(()),
    }
}

fn envelope(remote: &Remote, revision: &RevisionId, bundle: &Bundle, post: &Post) -> Result<Vec<u8>, Failed> {
    let unwritable = |cause: serde_json::Error| Failed::Source {
        what: "write the post".to_owned(),
        cause: cause.to_string(),
    };
    // Its own text: numbers stay as they were signed.
    let state: &RawValue = serde_json::from_slice(&bundle.state).map_err(unwritable)?;
    let mut envelope = BTreeMap::new();
    envelope.insert(remote.key.as_str(), state.to_owned());
    envelope.insert("rev", to_raw_value(revision).map_err(unwritable)?);
    if let Some(message) = &post.message {
        envelope.insert("commit-msg", to_raw_value(message).map_err(unwritable)?);
    }
    serde_json::to_vec(&envelope).map_err(unwritable)
}

/// Asks for each object whether the device lacks it, and where it wants it.
async fn announce(client: &Client, host: &Host, remote: &Remote, bundle: &Bundle) -> Result<Lacking, Failed> {
    let (sizes, named) = (bundle.sizes(), named_objects(&bundle.state));
    let endpoint = host.path_of(&remote.objects)?;
    let mut lacking = Lacking { named: set_of(&mut named.values().copied()), ..Lacking::default() };
    let mut asked = BTreeSet::new();
    for (key, digest) in &named {
        if !asked.insert(*digest) {
            continue;
        }
        let Some(size) = sizes.get(digest) else {
            let answer = client.call(Method::GET, &format!("{endpoint}/{digest}"), Vec::new()).await?;
            if answer.status == StatusCode::NOT_FOUND {
                return Err(deliver::nowhere(key, digest));
            }
            answer.expect_success(&format!("look for object {digest}"))?;
            continue;
        };
        let description = json!({
            "id": "", "storage-id": "", "owner": "", "objectname": key, "sha256sum": digest.to_string(),
            "size": size.to_string(), "mime-type": "application/octet-stream",
        });
        let answer =
            client.call(Method::POST, &format!("{endpoint}/"), description.to_string().into_bytes()).await?;
        if answer.status == StatusCode::CONFLICT {
            continue;
        }
        let described = read(&answer.expect_success(&format!("announce object {digest}"))?, digest)?;
        lacking.objects.insert(*digest);
        let address = host.path_of(&described.put)?.to_owned();
        let from = described.partial.as_str().and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
        lacking.wanted.insert(*digest, Wanted { address, from });
    }
    Ok(lacking)
}

fn read(text: &[u8], digest: &Digest) -> Result<Described, Failed> {
    serde_json::from_slice(text).map_err(|cause| Failed::BadAnswer {
        what: format!("the description of object {digest}"),
        cause: cause.to_string(),
    })
}

/// The state that the device runs; with it, over a network, where the rest is.
pub(crate) async fn running(client: &Client) -> Result<(Vec<u8>, Option<Remote>), Failed> {
    let Place::Host(host) = client.place() else {
        return Ok((client.get("/steps/current").await?, None));
    };
    let remote: Remote = client.get_json("/.pvrremote").await?;
    let state = client.get(host.path_of(&remote.state)?).await?;
    Ok((state, Some(remote)))
}

/// Where the bytes of an object are.
pub(crate) async fn place_of(
    client: &Client,
    remote: Option<&Remote>,
    digest: &Digest,
) -> Result<String, Failed> {
    let (Place::Host(host), Some(remote)) = (client.place(), remote) else {
        return Ok(address::object(digest));
    };
    let described = format!("{}/{digest}", host.path_of(&remote.objects)?);
    let described = read(&client.get(&described).await?, digest)?;
    Ok(host.path_of(&described.get)?.to_owned())
}

/// `goalctl get`: what the device runs, as a folder.
pub(crate) async fn get(client: &Client, output: &Output, folder: &Path) -> Result<(), Failed> {
    let (state, remote) = running(client).await?;
    let failed = |cause: io::Error| Failed::Source {
        what: format!("write {}", folder.display()),
        cause: cause.to_string(),
    };
    make_empty(folder).map_err(failed)?;
    let keys: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&state)
        .map_err(|cause| Failed::BadAnswer { what: "the state".to_owned(), cause: cause.to_string() })?;
    let digests = named_objects(&state);
    let mut files = 0;
    for (key, value) in &keys {
        let digest = digests.get(key);
        if digest.is_none() && !key.ends_with(".json") {
            continue;
        }
        files += 1;
        let path = folder.join(plain(key)?);
        path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
        match digest {
            None => fs::write(&path, value.get()).map_err(failed)?,
            Some(digest) => {
                fetch(client, &place_of(client, remote.as_ref(), digest).await?, digest, &path).await?;
            }
        }
    }
    let kept = folder.join(".pvr");
    fs::create_dir(&kept).and_then(|()| fs::write(kept.join("json"), &state)).map_err(failed)?;
    output.line(&format!("{}: {files} files, {} of them objects", folder.display(), digests.len()))
}

/// A folder that holds something may be somebody's work.
fn make_empty(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    match fs::read_dir(folder)?.next() {
        None => Ok(()),
        Some(_) => Err(io::Error::other("it holds something already; name a new folder")),
    }
}

/// Nothing that a device says leads out of the folder.
fn plain(key: &str) -> Result<&str, Failed> {
    let is_plain = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
    if key.split('/').all(is_plain) && !key.starts_with(".pvr/") {
        return Ok(key);
    }
    Err(Failed::BadAnswer {
        what: "the state".to_owned(),
        cause: format!("key {key:?} is not a path of plain names"),
    })
}

async fn fetch(client: &Client, from: &str, digest: &Digest, path: &Path) -> Result<(), Failed> {
    let mut stream = client.stream(from).await?;
    let mut object = Object::begin(path, *digest)?;
    while let Some(piece) = stream.next().await? {
        object.take(&piece)?;
    }
    object.finish()
}
