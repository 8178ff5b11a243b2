//! `goalctl` as its users meet it: the real program, real files, real sockets.
#![expect(clippy::unwrap_used, reason = "what a test leans on fails as loudly as the test")]

mod authoring;
mod command_line;
mod goalctl;
mod payload;
