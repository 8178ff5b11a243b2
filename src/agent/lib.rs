//! The agent of Goalpost.
