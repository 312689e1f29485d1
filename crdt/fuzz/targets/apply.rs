//! See `apply` in `src/lib.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| crdt_fuzz::apply(data));
