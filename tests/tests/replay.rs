//! Lives that once broke a law, lived again.
#![allow(
    clippy::print_stdout,
    reason = "how much of a life is still possible is what a reader of the log looks for"
)]

use std::fs;
use std::path::Path;

use tests::journal::Journal;

#[test]
fn no_recorded_life_breaks_a_law_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("journals");
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "journal"));
    names.sort();
    assert!(!names.is_empty());
    for path in names {
        let journal: Journal = fs::read_to_string(&path).unwrap().parse().unwrap();
        match journal.replay() {
            Ok(replayed) => println!("{}: {replayed:?}", path.display()),
            Err(found) => {
                panic!("{}: {}, after {} choices", path.display(), found.violation, found.way.len())
            }
        }
    }
}
