//! The agent of Goalpost: one loop takes an event, asks the engine, saves, acts, publishes.

pub mod api;
pub mod ask;
pub mod boot;
pub mod commands;
pub mod config;
pub mod demo;
pub mod digest;
mod effects;
pub mod factory;
pub mod history;
mod image;
pub mod init;
pub mod inputs;
pub mod journal;
mod json;
pub mod logs;
pub mod metadata;
mod record;
pub mod run;
mod serving;
pub mod start;
pub mod store;
pub mod words;
