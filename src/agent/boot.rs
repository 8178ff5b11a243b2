//! Boot loaders, or what stands in for one.

pub mod selfexec;
