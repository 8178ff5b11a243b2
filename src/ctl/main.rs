//! The control tool of Goalpost.
fn main() {}
