//! `goalctl` as its users meet it: the real program, real files, real sockets.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test leans on fails as loudly as the test")]

mod authoring;
mod command_line;
mod config;
mod cuts;
#[expect(dead_code, reason = "shared with the tests of the API, which use more of it")]
#[path = "../api/device.rs"]
mod device;
mod goalctl;
mod meta;
mod operator;
mod packages;
mod payload;
mod transactions;
mod uploads;
