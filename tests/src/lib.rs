//! The simulated device.

pub mod live;
