#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| noctule_fuzzing::store::check(input));
