//! The world as events: what the loop waits for.

pub mod clock;
pub mod descriptor;
pub mod questions;
pub mod signals;
pub mod supervisor;
