//! The command line: help texts, exit codes, where the socket is looked for.

use std::io::Write;
use std::process::Stdio;

use crate::goalctl::{command, goalctl, program, said, without};

#[test]
fn help_texts_are_as_they_were_agreed() {
    insta::assert_snapshot!("help", goalctl(&["--help"]).out);
    for name in [
        "signal", "post", "get", "run", "ps", "groups", "status", "events", "logs", "steps", "progress",
        "start", "stop", "restart", "check", "plan", "gc", "factory", "reboot", "poweroff", "export",
        "import", "tx", "image", "meta", "config", "init", "clone", "add", "diff", "app",
    ] {
        let said = goalctl(&[name, "--help"]);
        assert_eq!(said.code, 0);
        insta::assert_snapshot!(format!("help_{name}"), said.out);
    }
    for name in ["add", "update", "install", "rm", "ls", "info"] {
        insta::assert_snapshot!(format!("help_app_{name}"), goalctl(&["app", name, "--help"]).out);
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for wrong in [
        &["frobnicate"][..],
        &["signal", "happy"],
        &["post"],
        &["ps", "--socket"],
        &["logs", "--tail", "x", "web"],
    ] {
        assert_eq!(goalctl(wrong).code, 2, "{wrong:?}");
    }
    let said = goalctl(&["run", "../etc"]);
    assert_eq!(said.code, 2);
    insta::assert_snapshot!(said.err, @r#"goalctl: revision "../etc": must be a decimal number, or locals/NAME with NAME of 1 to 64 characters of [A-Za-z0-9._-], not . or .."#);
}

#[test]
fn the_devices_end_is_asked_for_on_a_terminal_or_said_to_be_meant() {
    let said = goalctl(&["reboot"]);
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    assert_eq!(said.err, "goalctl: reboot the device? There is no terminal to ask on: say --yes\n");
    assert_eq!(goalctl(&["poweroff", "--yes", "--socket", "/nonexistent/pv-ctrl"]).code, 3);
    assert_eq!(goalctl(&["run", "locals/x", "--once", "--commit"]).code, 2);
    for (answer, code, told) in [("n", 0, "nothing was done"), ("y", 3, "cannot reach the agent")] {
        // A terminal of its own. Whoever types stays: `script` may drop what is printed after the end of what is typed.
        let line = format!("{} poweroff --socket /nonexistent/pv-ctrl", program().display());
        let mut script = std::process::Command::new("script");
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut typed = script.stdin.take().unwrap();
        writeln!(typed, "{answer}").unwrap();
        let ended = script.wait_with_output().unwrap();
        drop(typed);
        let shown = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(shown.contains("switch off the device? [y/N]") && shown.contains(told), "{answer}: {shown}");
        assert_eq!(ended.status.code(), Some(code), "{answer}: {shown}");
    }
}

#[test]
fn no_agent_is_exit_code_3_and_says_where_it_looked() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("pv-ctrl");
    let said = goalctl(&["ps", "--socket", nowhere.to_str().unwrap()]);
    assert_eq!(said.code, 3);
    assert_eq!(said.out, "");
    insta::assert_snapshot!(without(&said.err, folder.path()), @r"
    goalctl: cannot reach the agent at [folder]/pv-ctrl: no such file or directory
      is the agent running? Name its socket with --socket PATH or GOALPOST_SOCKET
    ");
}

#[test]
fn a_socket_that_nobody_listens_on_is_told_from_a_missing_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pv-ctrl");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let said = said(command().args(["signal", "ready"]).env("GOALPOST_SOCKET", &path).output().unwrap());
    assert_eq!(said.code, 3);
    insta::assert_snapshot!(without(&said.err, folder.path()), @r"
    goalctl: cannot reach the agent at [folder]/pv-ctrl: connection refused
      the socket is there and nobody listens: start the agent
    ");
}

#[test]
fn completions_and_man_pages_lie_beside_the_program() {
    let docs = program().with_file_name("goalctl-docs");
    for page in [
        "completions/goalctl.bash",
        "completions/_goalctl",
        "completions/goalctl.fish",
        "man/goalctl.1",
        "man/goalctl-post.1",
    ] {
        let text = std::fs::read_to_string(docs.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains("goalctl"), "{page}");
        assert!(!page.contains("demo-payload"), "{page}");
    }
    assert!(!docs.join("man/goalctl-demo-payload.1").exists());
}
