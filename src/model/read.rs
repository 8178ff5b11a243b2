//! The parsers of a state's files: JSON or lines in, the types of the model out.

pub(crate) mod conf;
pub(crate) mod fields;
pub(crate) mod groups;
mod mounts;
mod network;
pub(crate) mod run;
pub(crate) mod state;
mod words;
