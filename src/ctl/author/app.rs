//! `goalctl app add|update|install|rm`: a container of a working folder, made from an image.

use std::io::BufWriter;
use std::path::Path;

use model::ids::ContainerName;
use serde_json::Value;

use crate::address;
use crate::author::args::{self, Object};
use crate::author::images::Platform;
use crate::author::layers::LeftOut;
use crate::author::run_json::{CONF, OVERLAY, ROOT_IMAGE};
use crate::author::source::{self, Image, Origin, Source, Wish};
use crate::author::src_json::{self, Src};
use crate::author::working::{Made, What, Working, drafted};
use crate::author::{conf, registry, run_json, squashfs, users};
use crate::bundle::unreadable;
use crate::cli::author::{Add, Goal, RestartPolicy, Update};
use crate::failed::Failed;
use crate::meter::Meter;
use crate::output::{Output, Tone, visible};
use crate::whole;

/// Where the digest of what an image was made from lies beside it.
const OF_IMAGE: &str = "root.squashfs.docker-digest";
const OF_ROOT: &str = "root.squashfs.rootfs-digest";

pub(crate) async fn add(folder: &Path, add: &Add, output: &Output) -> Result<(), Failed> {
    let working = Working::open_to_change(folder)?;
    let name = address::container(&add.name)?;
    if working.container(&name).exists() {
        return Err(Failed::Checked {
            text: format!("{name} is there already; `goalctl app update {name}` brings it up to date"),
        });
    }
    let mut src = Src::new();
    settings(&mut src, add)?;
    let source = Source::parse(&add.from.source)?;
    let wish = wish(add.from.platform.as_deref(), add.from.image.as_deref())?;
    let fetched = fetch(&working, &source, &wish, &add.from.access, None).await?;
    // None only where there is something to compare with.
    let Some(image) = fetched else { return Ok(()) };
    make(&working, &name, src, &source, &wish, &image, output)
}

pub(crate) async fn update(folder: &Path, update: &Update, output: &Output) -> Result<(), Failed> {
    let working = Working::open_to_change(folder)?;
    let name = address::container(&update.name)?;
    let mut src = read(&working, &name)?;
    let source = match &update.from {
        Some(from) => Source::parse(from)?,
        None => recorded(&name, &src)?,
    };
    let platform = update.platform.clone().or_else(|| Some(src.text("platform").to_owned()));
    let image = update.image.clone().or_else(|| Some(src.text("image").to_owned()));
    let wish = wish(
        platform.as_deref().filter(|text| !text.is_empty()),
        image.as_deref().filter(|text| !text.is_empty()),
    )?;
    if update.from.is_some() {
        src.set("source", source.to_string());
    }
    let there = src.text("docker_digest").to_owned();
    let known = (update.from.is_none() && !there.is_empty()).then_some(there);
    let Some(image) = fetch(&working, &source, &wish, &update.access, known.as_deref()).await? else {
        return output.line(&format!("{name}: {} is as it was", visible(&source.to_string())));
    };
    make(&working, &name, src, &source, &wish, &image, output)
}

/// Where an update comes from, if nobody says.
fn recorded(name: &ContainerName, src: &Src) -> Result<Source, Failed> {
    let (image, tag) = (src.text("docker_name"), src.text("docker_tag"));
    let text = if !src.text("source").is_empty() {
        src.text("source").to_owned()
    } else if !image.is_empty() {
        // As pvr keeps it.
        format!("docker://{image}:{}", if tag.is_empty() { "latest" } else { tag })
    } else {
        src.text("rootfs_url").to_owned()
    };
    if text.is_empty() {
        return Err(Failed::Checked {
            text: format!("{name}/src.json does not say where it came from; use --from SOURCE"),
        });
    }
    Source::parse(&text)
}

pub(crate) fn install(folder: &Path, names: &[String], output: &Output) -> Result<(), Failed> {
    let working = Working::open_to_change(folder)?;
    for name in names {
        let name = address::container(name)?;
        let src = read(&working, &name)?;
        let made = documents(&working, &name, &src, output)?;
        working.put(&name, made)?;
        output.line(&format!("{name}: run.json is made anew from src.json"))?;
    }
    Ok(())
}

pub(crate) fn remove(folder: &Path, names: &[String], output: &Output) -> Result<(), Failed> {
    let working = Working::open_to_change(folder)?;
    for name in names {
        let name = address::container(name)?;
        let place = working.container(&name);
        if !place.join(run_json::NAME).is_file() && !place.join(src_json::NAME).is_file() {
            return Err(Failed::Checked { text: format!("{name} is no container of this folder") });
        }
        let configured = working.root().join("_config").join(name.as_str());
        let signature = working.root().join("_sigs").join(format!("{name}.json"));
        // Out of the revision at once, then file by file.
        let draft = working.draft("removed");
        std::fs::rename(&place, &draft).map_err(|cause| unreadable(&place, &cause))?;
        whole::sync_folder(&place)?;
        whole::remove(&signature)?;
        for rest in [&draft, &configured] {
            match std::fs::remove_dir_all(rest) {
                Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                    return Err(whole::unwritable(rest, &cause));
                }
                Ok(()) | Err(_) => {}
            }
        }
        output.line(&format!("{name}: removed, with what _config and _sigs had for it"))?;
    }
    Ok(())
}

pub(crate) fn read(working: &Working, name: &ContainerName) -> Result<Src, Failed> {
    let place = working.container(name).join(src_json::NAME);
    match working.read(name, src_json::NAME)? {
        Some(bytes) => Src::parse(&place.display().to_string(), &bytes),
        None => Err(Failed::Checked {
            text: format!("{} is not there: {name} was not made by `goalctl app add`", place.display()),
        }),
    }
}

/// What the command line says goes to `src.json`, where it can be edited.
fn settings(src: &mut Src, add: &Add) -> Result<(), Failed> {
    let goal = add.status_goal.map(|goal| match goal {
        Goal::Mounted => "MOUNTED".to_owned(),
        Goal::Started => "STARTED".to_owned(),
        Goal::Ready => "READY".to_owned(),
    });
    let policy = add.restart_policy.map(|policy| match policy {
        RestartPolicy::System => "system".to_owned(),
        RestartPolicy::Container => "container".to_owned(),
    });
    for (name, value) in
        [("PV_STATUS_GOAL", goal), ("PV_GROUP", add.group.clone()), ("PV_RESTART_POLICY", policy)]
    {
        if let Some(value) = value {
            src.put("args", name.to_owned(), value.into());
        }
    }
    for text in &add.args {
        let (name, value) = args::parse(text)?;
        src.put("args", name, value);
    }
    for text in &add.volumes {
        let (path, persistence) = text.rsplit_once(':').ok_or_else(|| Failed::Usage {
            text: format!("--volume {text}: use PATH:permanent, PATH:revision or PATH:boot"),
        })?;
        if path != OVERLAY && !path.strip_prefix("ovl:").unwrap_or(path).starts_with('/') {
            let text = format!("--volume {text}: a volume's path begins with /, as in /data:permanent");
            return Err(Failed::Usage { text });
        }
        src.put("persistence", path.to_owned(), persistence.into());
    }
    if let Some(file) = &add.config {
        let bytes = std::fs::read(file).map_err(|cause| unreadable(file, &cause))?;
        let config: Object =
            serde_json::from_slice(&bytes).map_err(|cause| crate::bundle::bad(file, &cause.to_string()))?;
        src.set("config", Value::Object(config));
    }
    Ok(())
}

fn wish(platform: Option<&str>, image: Option<&str>) -> Result<Wish, Failed> {
    let platform = platform.map(Platform::parse).transpose()?;
    Ok(Wish { platform, image: image.map(str::to_owned) })
}

/// The image; none if it is the one whose digest is known.
async fn fetch(
    working: &Working,
    source: &Source,
    wish: &Wish,
    access: &crate::cli::author::Access,
    known: Option<&str>,
) -> Result<Option<Image>, Failed> {
    let mut spool = working.spool();
    match source {
        Source::Path(path) => source::local(path, wish, &mut spool).map(Some),
        Source::Registry(reference) => registry::fetch(reference, wish, access, known, &mut spool).await,
    }
}

/// Makes the root image with every document, and puts them into the folder together.
fn make(
    working: &Working,
    name: &ContainerName,
    mut src: Src,
    source: &Source,
    wish: &Wish,
    image: &Image,
    output: &Output,
) -> Result<(), Failed> {
    if !src.text("base").is_empty() {
        return Err(Failed::Checked {
            text: format!(
                "{name} lies over the image of {}: its root.ovl.squashfs is made by pvr, not by goalctl",
                visible(src.text("base"))
            ),
        });
    }
    src.set_origin(source, &image.origin);
    for (key, value) in
        [("image", wish.image.clone()), ("platform", wish.platform.as_ref().map(ToString::to_string))]
    {
        if let Some(value) = value {
            src.set(key, value);
        }
    }
    users::keep(&mut src, &image.tree)?;
    let documents = documents(working, name, &src, output)?;
    let draft = working.draft(ROOT_IMAGE);
    let mut meter = Meter::new(image.tree.bytes());
    let written = drafted(&draft, |file| {
        squashfs::write(&image.tree, BufWriter::with_capacity(1 << 20, file), &mut |count| {
            meter.advance(count)
        })
    });
    meter.clear();
    let size = written?;
    let mut made = vec![Made { name: ROOT_IMAGE.to_owned(), what: What::Moved(draft.clone()) }];
    made.extend(digests(&image.origin));
    made.extend(documents);
    made.insert(
        made.len().saturating_sub(1),
        Made { name: src_json::NAME.to_owned(), what: What::Bytes(src.to_bytes()) },
    );
    let put = working.put(name, made);
    if put.is_err() {
        // Left behind it would only take room; the failure that is told is the first.
        let _ = std::fs::remove_file(&draft);
    }
    put?;
    if conf::command(&src)? == conf::INIT && image.tree.find(conf::INIT.as_bytes()).is_none() {
        let why = format!("nothing says what {name} runs, and it has no {}: see --config", conf::INIT);
        output.line(&format!("{} {why}", output.paint(Tone::Busy, "warning:")))?;
    }
    tell_left_out(name, image.left_out, output)?;
    output.line(&format!("{name}: root.squashfs has {size} bytes, from {}", visible(&source.to_string())))
}

/// The documents that follow from `src.json`, `run.json` last, as the device's own parser has accepted them.
fn documents(
    working: &Working,
    name: &ContainerName,
    src: &Src,
    output: &Output,
) -> Result<Vec<Made>, Failed> {
    let run = run_json::make(name.as_str(), src)?;
    let conf = conf::make(name.as_str(), src)?;
    let warnings = working.check(name, &run, conf.as_deref())?;
    for sentence in args::unknown(src.object("args")).iter().chain(&warnings) {
        output.line(&format!("{} {}", output.paint(Tone::Busy, "warning:"), visible(sentence)))?;
    }
    let conf = match conf {
        Some(text) => What::Bytes(text.into_bytes()),
        None => What::Gone,
    };
    let run = format!("{run:#}\n").into_bytes();
    Ok(vec![
        Made { name: CONF.to_owned(), what: conf },
        Made { name: run_json::NAME.to_owned(), what: What::Bytes(run) },
    ])
}

fn digests(origin: &Origin) -> [Made; 2] {
    let (image, root) = match origin {
        Origin::Image { digest, .. } => (Some(digest.clone()), None),
        Origin::Root { digest } => (None, digest.map(|digest| format!("sha256:{digest}"))),
    };
    [(OF_IMAGE, image), (OF_ROOT, root)].map(|(name, digest)| Made {
        name: name.to_owned(),
        what: digest.map_or(What::Gone, |digest| What::Bytes(digest.into_bytes())),
    })
}

fn tell_left_out(name: &ContainerName, left_out: LeftOut, output: &Output) -> Result<(), Failed> {
    let note = |text: String| output.line(&format!("{} {text}", output.paint(Tone::Quiet, "note:")));
    if left_out.attributes > 0 {
        note(format!("{name}: {} extended attributes are not kept", left_out.attributes))?;
    }
    if left_out.sockets > 0 {
        note(format!("{name}: {} sockets are left out", left_out.sockets))?;
    }
    Ok(())
}
