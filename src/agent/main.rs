//! The agent of Goalpost, as a program.
fn main() {}
