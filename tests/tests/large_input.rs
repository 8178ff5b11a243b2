//! States that are too large, too deep or too many: refused, without taking memory for them.

use std::fs;

use model::ids::RevisionId;
use model::revision::{Defaults, Revision};

/// The most memory that this process ever held, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("procfs is mounted");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the kernel counts it");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number of KiB")
}

fn refusal(state: &[u8]) -> String {
    let parsed = Revision::parse(RevisionId::factory(), state, Defaults::default(), &mut |path, _| {
        Err(format!("read {path}: there are no objects"))
    });
    parsed.expect_err("refused").to_string()
}

fn state_with(value: &str) -> Vec<u8> {
    format!(r##"{{"#spec":"pantavisor-service-system@1","a.json":{value}}}"##).into_bytes()
}

/// One test: the peak is the process's.
#[test]
fn oversized_states_are_refused_in_bounded_memory() {
    let many_values = format!("[{}0]", "0,".repeat(1 << 20));
    let many_keys: String = (0..50_000).map(|key| format!(r#""k{key}":0,"#)).collect();
    let twins = format!("{{{}\"k\":0}}", "\"k\":0,".repeat(60_000));
    let inputs = [
        ("depth", state_with(&"[".repeat(1 << 20)), "within each other"),
        ("values", state_with(&many_values), "more than 131072 values"),
        (
            "keys",
            state_with(&format!("[{{{many_keys}\"k\":0}},{{{many_keys}\"k\":0}},{{{many_keys}\"k\":0}}]")),
            "more than 131072 values",
        ),
        ("twins", state_with(&twins), "more than once in one object"),
        ("long number", state_with(&"1".repeat(1 << 20)), "out of range"),
        ("100 MB", vec![b'['; 100 << 20], "104857600 bytes"),
    ];
    let before = peak();
    for (name, state, expected) in &inputs {
        let text = refusal(state);
        assert!(text.contains(expected), "{name}: {text}");
        assert!(text.len() < 64 << 10, "{name}: {} bytes", text.len());
    }
    let taken = peak() - before;
    assert!(taken < 32 << 10, "{taken} KiB were taken");
}
