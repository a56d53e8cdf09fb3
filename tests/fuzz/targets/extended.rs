#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| parlor_fuzz::extended::run(input));
