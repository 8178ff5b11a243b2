//! The agent of Goalpost: one loop takes an event, asks the engine, saves, acts, publishes.

pub mod ask;
pub mod config;
pub mod inputs;
