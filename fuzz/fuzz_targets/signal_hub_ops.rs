#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::net::signal::hub_ops(data));
