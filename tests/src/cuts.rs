//! Power cuts between any two changes that a real agent made of its disk.
//!
//! ```text
//!   real agent under strace --> trace.rs --> the row of changes --> disk.rs: every disk that may be found after a cut --+
//!                                                                                                                     |
//!   what the agent had said by then (test) <-- checked against <-- life.rs: the agent's own code on that disk <-------+
//! ```

pub mod change;
pub mod disk;
pub mod life;
pub mod trace;
