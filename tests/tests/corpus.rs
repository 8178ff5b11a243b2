//! Replays the fuzzer's corpus, with random and mutated inputs beside it.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tests::examples::{Sort, Subject, all};
use tests::inputs::Input;

fn corpus(input: Input) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(input.name());
    let entries = fs::read_dir(folder).expect("each target has a corpus");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a readable input")).collect()
}

#[test]
fn every_input_of_the_corpus_is_taken() {
    for input in Input::ALL {
        let corpus = corpus(input);
        assert!(corpus.len() >= 8, "{} has {} inputs", input.name(), corpus.len());
        for bytes in corpus {
            input.take(&bytes);
        }
    }
}

#[test]
fn every_example_is_taken() {
    for example in [Sort::Valid, Sort::Invalid, Sort::InvalidBeyondSchema].into_iter().flat_map(all) {
        Input::State.take(&example.state());
        if example.subject == Subject::Conf {
            Input::LxcContainerConf.take(&example.bytes);
        }
    }
}

#[test]
fn every_beginning_of_an_example_is_taken() {
    for input in Input::ALL {
        for bytes in corpus(input) {
            for end in 0..bytes.len().min(2048) {
                input.take(&bytes[..end]);
            }
        }
    }
}

/// An input of the corpus with some bytes replaced, taken out or doubled.
fn mutated() -> impl Strategy<Value = (Input, Vec<u8>)> {
    let edit = (any::<prop::sample::Index>(), any::<u8>(), 0..4u8);
    let which = (0..Input::ALL.len(), any::<prop::sample::Index>());
    (which, prop::collection::vec(edit, 1..8)).prop_map(|((target, which), edits)| {
        let input = Input::ALL[target];
        let inputs = corpus(input);
        let mut bytes = which.get(&inputs).clone();
        for (place, byte, how) in edits {
            if bytes.is_empty() {
                break;
            }
            let place = place.index(bytes.len());
            match how {
                0 => bytes[place] = byte,
                1 => drop(bytes.remove(place)),
                2 => bytes.insert(place, byte),
                _ => bytes.extend_from_within(place..),
            }
        }
        (input, bytes)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn mutated_inputs_are_taken((input, bytes) in mutated()) {
        input.take(&bytes);
    }

    #[test]
    fn random_bytes_are_taken(target in 0..Input::ALL.len(), bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        Input::ALL[target].take(&bytes);
    }
}
