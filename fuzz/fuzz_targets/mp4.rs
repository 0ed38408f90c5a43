#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::media::mp4::file(data));
