//! The parsers of a state's files: JSON or lines in, the types of the model out.

mod bsp;
mod cgroup;
mod conf;
mod device;
pub(crate) mod fields;
mod groups;
mod mounts;
mod network;
mod run;
pub(crate) mod seccomp;
pub(crate) mod signature;
pub(crate) mod state;
mod words;
