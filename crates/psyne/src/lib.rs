#![doc = include_str!("../README.md")]

pub use psyne_core::Time;

#[cfg(target_os = "linux")]
pub use psyne_channel as channel;
#[cfg(target_os = "linux")]
pub use psyne_channel::{Layout, Message};
#[cfg(feature = "net")]
pub use psyne_net::{self as net, connect, listen};
/// Audio and video by WebRTC, without I/O.
#[cfg(feature = "media")]
pub use psyne_rtc::{Certificate, media};
