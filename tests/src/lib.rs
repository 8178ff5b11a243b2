//! The simulated device: everything around the engine, small enough to be explored whole.
//!
//! ```text
//!                 Choice (one thing that may happen next)
//!                    |
//!   scenario  ->  Device ------------------------------------------------+
//!   revisions       | power: off, or an agent's life                     |
//!   settings        |   shell  = think on a copy, save, swap, act        |  witness: what must always
//!   faults allowed  |   effects under way, mounts, requests unanswered   |  hold, checked after each
//!                   | lives: processes, which outlive an agent           |  choice by what is true, not
//!                   | disk: two copies of Durable, trails, documents,    |  by what the engine believes
//!                   |       boot variables; written is not yet synced    |
//!                   +----------------------------------------------------+
//! ```
//!
//! The engine in it is the real one, driven through its public face only. `explore` walks through every choice,
//! `random` through a long row of them, `journal` through a recorded row.
#![allow(missing_docs, reason = "a crate of tests is read, not depended on")]

pub mod bench;
pub mod choice;
pub mod cuts;
pub mod device;
pub mod disk;
pub mod effect;
pub mod examples;
pub mod explore;
pub mod ext4;
pub mod inputs;
pub mod journal;
pub mod live;
pub mod options;
pub mod random;
pub mod scenario;
pub mod shell;
pub mod witness;
