//! What authors do with a working folder: containers are made from images, revisions are cloned, compared.
//!
//! ```text
//! source -> layers -> tree -> squashfs    an image comes in, is laid out in memory, goes out as one file
//! src.json -> run.json, conf              what is said of it makes the documents, which the device's parser must accept
//! working                                 puts all of it into the folder
//! ```

mod app;
mod args;
mod clone;
mod conf;
mod diff;
pub(crate) mod dns;
mod images;
pub(crate) mod layers;
mod listing;
mod members;
mod packer;
mod reference;
mod registry;
mod run_json;
mod source;
mod spool;
pub(crate) mod squashfs;
mod squashfs_tables;
mod src_json;
mod store;
pub(crate) mod tls;
mod tree;
mod users;
mod web;
mod working;

use std::path::Path;

use crate::cli::{Network, author as cli};
use crate::client::Client;
use crate::failed::Failed;
use crate::output::Output;

pub(crate) fn init(dir: &Path, output: &Output) -> Result<(), Failed> {
    clone::init(dir, output)
}

pub(crate) async fn clone(
    client: &Client,
    network: &Network,
    asked: &cli::Clone,
    output: &Output,
) -> Result<(), Failed> {
    let from = clone::From::parse(&asked.source, client, network)?;
    clone::clone(&from, &asked.source, asked.dir.as_deref(), output).await
}

pub(crate) fn mark(asked: &cli::Mark, output: &Output) -> Result<(), Failed> {
    clone::mark(&asked.place.folder, &asked.paths, output)
}

pub(crate) async fn diff(client: &Client, asked: &cli::Diff, output: &Output) -> Result<(), Failed> {
    diff::print(client, &asked.dir, asked.device, output, asked.format).await
}

pub(crate) async fn app(asked: &cli::App, output: &Output) -> Result<(), Failed> {
    let folder = &asked.place.folder;
    match &asked.action {
        cli::Action::Add(add) => app::add(folder, add, output).await,
        cli::Action::Update(update) => app::update(folder, update, output).await,
        cli::Action::Install { names } => app::install(folder, names, output),
        cli::Action::Rm { names } => app::remove(folder, names, output),
        cli::Action::Ls { format } => listing::list(folder, output, *format),
        cli::Action::Info { name, format } => listing::info(folder, name, output, *format),
    }
}
