//! Fuzzes [`Input::RunJson`].
#![no_main]

use tests::inputs::Input;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| Input::RunJson.take(bytes));
