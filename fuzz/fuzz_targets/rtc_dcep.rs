#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::rtc::text::dcep(data));
