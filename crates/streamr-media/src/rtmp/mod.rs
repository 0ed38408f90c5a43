//! RTMP 1.0 with Enhanced RTMP v1 and v2, as machines without I/O.
//!
//! [`chunk`] is the wire; `docs/wire/rtmp.md` says what of the protocol is spoken.

pub mod chunk;
