//! The agent of Goalpost: one loop takes an event, asks the engine, saves, acts, publishes.

pub mod api;
pub mod ask;
pub mod boot;
pub mod commands;
pub mod config;
pub mod digest;
pub mod history;
pub mod inputs;
pub mod journal;
pub mod logs;
pub mod store;
pub mod words;
