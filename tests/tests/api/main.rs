//! The control API as its clients meet it: real sockets, real bytes, curl and netcat.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails right there")]

mod clients;
mod description;
mod device;
mod device_rows;
mod endpoints;
mod limits;
mod meta;
mod mutations;
mod openapi;
mod partials;
mod pvr;
mod streams;
mod whole_agent;
mod wire;
