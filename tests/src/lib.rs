//! The simulated device.

pub mod bench;
pub mod examples;
pub mod inputs;
pub mod live;
