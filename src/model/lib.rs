//! The words of Goalpost: what both sides of every wall speak, parsed once at the edge.
//!
//! A value of this crate that exists is valid. Nothing here reads a file, a clock or the environment.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

pub mod boot;
pub mod durable;
pub mod goal;
pub mod ids;
pub mod progress;
pub mod recovery;
pub mod report;
pub mod request;
pub mod revision;
