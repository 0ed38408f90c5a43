//! How a channel is opened.

use std::time::Duration;

use psyne::channel;

/// Never gives the core back while it waits.
pub const PSYNE_SPIN: u32 = 0;
/// Spins for about as long as waking takes, then sleeps.
pub const PSYNE_ADAPTIVE: u32 = 1;
/// Sleeps at once.
pub const PSYNE_PARK: u32 = 2;

/// A sender waits until there is room, for `full_ns` if that is not 0.
pub const PSYNE_BLOCK: u32 = 0;
/// A sender is refused: `PSYNE_FULL`.
pub const PSYNE_REFUSE: u32 = 1;

/// How a channel is opened. Begin with `psyne_config_default`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Messages that always fit; for bytes, lines of 64 bytes.
    pub slots: usize,
    /// How this end waits: `PSYNE_SPIN`, `PSYNE_ADAPTIVE`, `PSYNE_PARK`.
    pub wait: u32,
    /// What a sender does without room: `PSYNE_BLOCK`, `PSYNE_REFUSE`.
    pub full: u32,
    /// Nanoseconds that `PSYNE_BLOCK` waits; 0: as long as it takes.
    pub full_ns: u64,
}

/// What suits small messages.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_config_default() -> Config {
    let slots = channel::Config::default().slots;
    Config { slots, wait: PSYNE_ADAPTIVE, full: PSYNE_BLOCK, full_ns: 0 }
}

impl Config {
    /// The same for Rust. Nothing is believed: any number may come from C.
    pub(crate) fn read(&self) -> Result<channel::Config, channel::Error> {
        let wait = match self.wait {
            PSYNE_SPIN => channel::Wait::Spin,
            PSYNE_ADAPTIVE => channel::Wait::Adaptive,
            PSYNE_PARK => channel::Wait::Park,
            _ => return Err(channel::Error::Config("wait is none of PSYNE_SPIN, …")),
        };
        let full = match (self.full, self.full_ns) {
            (PSYNE_BLOCK, 0) => channel::Full::Block,
            (PSYNE_BLOCK, time) => channel::Full::BlockFor(Duration::from_nanos(time)),
            (PSYNE_REFUSE, _) => channel::Full::Refuse,
            _ => {
                return Err(channel::Error::Config("full is neither PSYNE_BLOCK nor PSYNE_REFUSE"));
            }
        };
        Ok(channel::Config { slots: self.slots, wait, full, ..channel::Config::default() })
    }
}
