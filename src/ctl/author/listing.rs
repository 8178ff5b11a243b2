//! `goalctl app ls|info`: the containers of a working folder.

use std::path::Path;

use model::ids::ContainerName;
use serde_json::{Value, json};

use crate::address;
use crate::author::run_json;
use crate::author::src_json;
use crate::author::working::Working;
use crate::bundle::unreadable;
use crate::cli::Format;
use crate::failed::Failed;
use crate::output::{Cell, Output, visible};

pub(crate) fn list(folder: &Path, output: &Output, format: Format) -> Result<(), Failed> {
    let working = Working::open(folder)?;
    let all = containers(&working)?;
    let all = all.iter().map(|name| describe(&working, name)).collect::<Result<Vec<Value>, _>>()?;
    if format.json {
        return output.json(Value::from(all).to_string().as_bytes());
    }
    let cell = |one: &Value, key: &str| Cell::plain(one[key].as_str().unwrap_or("-"));
    let rows: Vec<Vec<Cell>> = all
        .iter()
        .map(|one| {
            ["name", "status_goal", "group", "restart_policy", "source"].map(|key| cell(one, key)).into()
        })
        .collect();
    output.table(&["NAME", "GOAL", "GROUP", "RESTART", "SOURCE"], &rows)
}

pub(crate) fn info(folder: &Path, name: &str, output: &Output, format: Format) -> Result<(), Failed> {
    let working = Working::open(folder)?;
    let name = address::container(name)?;
    if working.read(&name, run_json::NAME)?.is_none() && working.read(&name, src_json::NAME)?.is_none() {
        return Err(Failed::Checked { text: format!("{name} is no container of this folder") });
    }
    let found = describe(&working, &name)?;
    if format.json {
        return output.json(found.to_string().as_bytes());
    }
    for (key, value) in found.as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        output.line(&format!("{key:<15} {}", visible(&text)))?;
    }
    Ok(())
}

/// Folders with a `run.json` or a `src.json`, by name.
fn containers(working: &Working) -> Result<Vec<ContainerName>, Failed> {
    let mut names = Vec::new();
    let root = working.root();
    for entry in std::fs::read_dir(root).map_err(|cause| unreadable(root, &cause))? {
        let entry = entry.map_err(|cause| unreadable(root, &cause))?;
        let name = entry.file_name().to_str().and_then(|name| name.parse::<ContainerName>().ok());
        let documents = [run_json::NAME, src_json::NAME];
        if let Some(name) = name
            && documents.iter().any(|document| entry.path().join(document).is_file())
            && name.as_str() != "bsp"
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// What is told of one, from its two documents; what they do not say is not there.
fn describe(working: &Working, name: &ContainerName) -> Result<Value, Failed> {
    let document = |file: &str| -> Result<Value, Failed> {
        let Some(bytes) = working.read(name, file)? else { return Ok(Value::Null) };
        let place = working.container(name).join(file);
        serde_json::from_slice(&bytes).map_err(|cause| crate::bundle::bad(&place, &cause.to_string()))
    };
    let (run, src) = (document(run_json::NAME)?, document(src_json::NAME)?);
    let mut found = json!({ "name": name.as_str() });
    for key in ["status_goal", "group", "restart_policy", "runlevel", "roles", "storage"] {
        if !run[key].is_null() {
            found[key] = run[key].clone();
        }
    }
    let keys = ["source", "docker_name", "docker_tag", "docker_digest", "docker_platform", "rootfs_url"];
    for key in keys.into_iter().chain(["rootfs_digest", "base", "args", "config", "persistence"]) {
        let empty = src[key].as_object().is_some_and(serde_json::Map::is_empty);
        if !src[key].is_null() && src[key] != "" && !empty {
            found[key] = src[key].clone();
        }
    }
    if found["source"].is_null() {
        let (image, tag) = (&src["docker_name"], &src["docker_tag"]);
        found["source"] = match (image.as_str(), tag.as_str()) {
            (Some(image), Some(tag)) => format!("docker://{image}:{tag}").into(),
            (Some(image), None) => format!("docker://{image}").into(),
            (None, _) => src["rootfs_url"].clone(),
        };
    }
    if let Ok(image) = std::fs::metadata(working.container(name).join(run_json::ROOT_IMAGE)) {
        found["image_bytes"] = image.len().into();
    }
    Ok(found)
}
