#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::rtc::turn::server_ops(data));
