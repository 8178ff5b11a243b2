//! The control API as its clients meet it: real sockets, real bytes, curl and netcat.

mod clients;
mod device;
mod endpoints;
mod limits;
mod mutations;
mod streams;
mod wire;
