//! The agent of Goalpost: one loop takes an event, asks the engine, saves, acts, publishes.

pub mod api;
pub mod ask;
pub mod boot;
pub mod commands;
pub mod config;
#[cfg(feature = "dbus")]
mod dbus;
#[cfg(feature = "demo")]
pub mod demo;
pub mod digest;
mod effects;
mod endpoint;
pub mod factory;
pub mod history;
mod image;
pub mod init;
pub mod inputs;
pub mod journal;
mod json;
pub mod logs;
pub mod metadata;
pub mod power;
mod record;
pub mod run;
mod serving;
pub mod start;
pub mod store;
pub mod words;
