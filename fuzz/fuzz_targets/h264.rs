#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::media::codec::h264(data));
