//! `goalctl` as its users meet it: the real program, real files, real sockets.

mod authoring;
mod command_line;
mod goalctl;
mod payload;
