//! The words of Goalpost: what both sides of every wall speak, parsed once at the edge.
//!
//! A value of this crate that exists is valid. Nothing here reads a file, a clock or the environment.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

pub mod boot;
pub mod canonical;
pub mod check;
pub mod device;
pub mod durable;
pub mod errors;
pub mod goal;
pub mod ids;
pub mod json;
pub mod key;
pub mod lxc;
mod lxc_words;
pub mod parts;
pub mod plan;
pub mod progress;
mod read;
pub mod recovery;
pub mod report;
pub mod request;
pub mod revision;
pub mod run;
pub mod seccomp;
pub mod setup;
pub mod unknown;
