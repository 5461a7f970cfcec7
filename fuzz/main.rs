//! The fuzz target that the binary is named after.
#![no_main]

mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (_, body) = targets::TARGETS.iter().find(|(name, _)| *name == env!("CARGO_BIN_NAME")).expect("a target");
    body(bytes);
});
