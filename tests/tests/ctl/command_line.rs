//! The command line: help texts, exit codes, where the socket is looked for.

use crate::goalctl::{command, goalctl, program, said, without};

#[test]
fn help_texts_are_as_they_were_agreed() {
    insta::assert_snapshot!("help", goalctl(&["--help"]).out);
    for name in [
        "signal", "post", "run", "ps", "groups", "status", "events", "logs", "steps", "progress", "start",
        "stop", "restart", "check", "plan", "gc", "export", "import", "tx", "image", "meta", "config",
    ] {
        let said = goalctl(&[name, "--help"]);
        assert_eq!(said.code, 0);
        insta::assert_snapshot!(format!("help_{name}"), said.out);
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
