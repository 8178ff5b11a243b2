//! The simulated device.

pub mod bench;
pub mod live;
