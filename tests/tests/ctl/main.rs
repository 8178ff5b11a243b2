//! `goalctl` as its users meet it: the real program, real files, real sockets.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test leans on fails as loudly as the test")]

mod app;
mod authoring;
mod command_line;
mod config;
mod cuts;
#[expect(dead_code, reason = "shared with the tests of the API, which use more of it")]
#[path = "../api/device.rs"]
mod device;
mod folders;
mod goalctl;
mod images;
mod made;
mod meta;
mod operator;
mod packages;
mod payload;
mod registry;
mod remote;
mod tls;
mod transactions;
mod uploads;
