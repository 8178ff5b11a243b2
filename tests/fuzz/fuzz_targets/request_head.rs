//! Fuzzes [`Input::RequestHead`].
#![no_main]

use tests::inputs::Input;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| Input::RequestHead.take(bytes));
