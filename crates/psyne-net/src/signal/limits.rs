//! What members can make a hub hold and do.

use core::time::Duration;

use super::Rate;

/// Every bound of a [`super::Hub`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once. Each costs a socket, some kilobytes, and what waits to be sent.
    pub connections_max: usize,
    /// Of these, how many from one address (of IPv6: one /64). Behind a proxy that is everybody:
    /// raise it there.
    pub connections_per_source_max: usize,
    /// How often one address may connect.
    pub connects: Rate,
    /// Connections that have not joined yet: strangers get a tenth of the room.
    pub strangers_max: usize,
    /// Groups at once.
    pub groups_max: usize,
    /// Members of one group. Each hears of each, so a group costs its square.
    pub members_max: usize,
    /// Members on one user's account, over all groups.
    pub members_per_user_max: usize,
    /// What one user's members may say together. 1,024 at once is 60 offers with 16 candidates
    /// each.
    pub messages: Rate,
    /// The same in bytes.
    pub bytes: Rate,
    /// Messages beyond the rate that are dropped within a `ping` before the connection is closed.
    pub overruns_max: u32,
    /// Bytes of the longest message. Descriptions are 1 to 10 KB.
    pub message_bytes_max: usize,
    /// Bytes that wait to be read by one member. A whole group's offers are about as much.
    pub queue_bytes_max: usize,
    /// Offers of one member that nobody has answered.
    pub offers_max: usize,
    /// How long an offer may stay unanswered, and the other side's cross it.
    pub offer: Duration,
    /// How long a connection may take to join.
    pub join: Duration,
    /// How long a member may say nothing before it is asked.
    pub ping: Duration,
    /// How long a member may say nothing at all; mobile networks go away for a quarter of a minute.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_source_max: 256,
            connects: Rate { burst: 256, per_s: 8 },
            strangers_max: 1_000,
            groups_max: 10_000,
            members_max: 64,
            members_per_user_max: 64,
            messages: Rate { burst: 1_024, per_s: 100 },
            bytes: Rate { burst: 1 << 20, per_s: 64 << 10 },
            overruns_max: 64,
            message_bytes_max: 64 << 10,
            queue_bytes_max: 256 << 10,
            offers_max: 64,
            offer: Duration::from_secs(30),
            join: Duration::from_secs(10),
            ping: Duration::from_secs(15),
            silence: Duration::from_secs(40),
        }
    }
}
