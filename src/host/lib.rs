//! The verbs on the kernel of Goalpost: blocking, safe to call, without policy.

pub mod file;
mod tree;
