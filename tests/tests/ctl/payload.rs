//! What the demo's containers run.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::goalctl::{command, goalctl};

#[test]
fn it_serves_until_it_is_told_to_end() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGPWR] {
        let mut child = command().args(["demo-payload", "serve"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(out.next().unwrap().unwrap(), "serving");
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        assert_eq!(out.next().unwrap().unwrap(), format!("ending on {signal}"));
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn it_crashes_with_the_code_it_was_told() {
    assert_eq!(goalctl(&["demo-payload", "crash", "7"]).code, 7);
}
