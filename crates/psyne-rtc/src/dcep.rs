//! Opening a data channel within its stream: DCEP (RFC 8832).

use core::time::Duration;

use bytes::Bytes;

use crate::Error;
use crate::association::{Delivery, Reliability};

const OPEN: u8 = 0x03;
const ACK: u8 = 0x02;
/// The priority that browsers call "low" and everybody sends (RFC 8831 §6.4).
const PRIORITY: u16 = 256;

/// What DCEP says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dcep {
    /// DATA_CHANNEL_OPEN (§5.1).
    Open(Open),
    /// DATA_CHANNEL_ACK (§5.2).
    Ack,
}

/// What a channel is to be: by default ordered and reliable, without a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// Its name, for people and programs; need not be unique.
    pub label: String,
    /// A subprotocol, as WebSocket knows it; empty for none.
    pub protocol: String,
    /// How its messages are delivered.
    pub delivery: Delivery,
}

impl Dcep {
    /// Reads a message of the payload protocol 50.
    ///
    /// # Errors
    /// It is cut, of another type, longer than it says, or its texts are no UTF-8.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let malformed = Error::Malformed { what: "a DCEP message" };
        match bytes {
            [ACK, ..] => Ok(Self::Ack),
            [OPEN, kind, _, _, r0, r1, r2, r3, l0, l1, p0, p1, texts @ ..] => {
                let delivery = delivery(*kind, u32::from_be_bytes([*r0, *r1, *r2, *r3]))?;
                let label_bytes = usize::from(u16::from_be_bytes([*l0, *l1]));
                let protocol_bytes = usize::from(u16::from_be_bytes([*p0, *p1]));
                let (label, protocol) =
                    texts.split_at_checked(label_bytes).ok_or(malformed.clone())?;
                if protocol.len() != protocol_bytes {
                    return Err(malformed);
                }
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
                let label = text(label).map_err(|_| malformed.clone())?;
                let protocol = text(protocol).map_err(|_| malformed)?;
                Ok(Self::Open(Open { label, protocol, delivery }))
            }
            _ => Err(malformed),
        }
    }

    /// As it goes over the wire. A text over 65,535 bytes is a fault of the caller's.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let Self::Open(open) = self else { return Bytes::from_static(&[ACK]) };
        let (kind, value) = match open.delivery.reliability {
            Reliability::Reliable => (0x00, 0),
            Reliability::Retransmits(count) => (0x01, count),
            Reliability::Lifetime(time) => {
                (0x02, u32::try_from(time.as_millis()).unwrap_or(u32::MAX))
            }
        };
        let kind = if open.delivery.ordered { kind } else { kind | 0x80 };
        let len = |text: &str| u16::try_from(text.len()).expect("labels are limited when opened");
        let mut bytes = vec![OPEN, kind];
        bytes.extend(PRIORITY.to_be_bytes());
        bytes.extend(value.to_be_bytes());
        bytes.extend(len(&open.label).to_be_bytes());
        bytes.extend(len(&open.protocol).to_be_bytes());
        bytes.extend(open.label.as_bytes());
        bytes.extend(open.protocol.as_bytes());
        bytes.into()
    }
}

/// Channel type and reliability parameter (§5.1).
fn delivery(kind: u8, value: u32) -> Result<Delivery, Error> {
    let reliability = match kind & 0x7F {
        0x00 => Reliability::Reliable,
        0x01 => Reliability::Retransmits(value),
        0x02 => Reliability::Lifetime(Duration::from_millis(value.into())),
        _ => return Err(Error::Unsupported { what: "this type of data channel" }),
    };
    Ok(Delivery { ordered: kind & 0x80 == 0, reliability })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_read_as_they_are_written() {
        let lifetime = Reliability::Lifetime(Duration::from_millis(1_500));
        for reliability in [Reliability::Reliable, Reliability::Retransmits(3), lifetime] {
            for ordered in [true, false] {
                let delivery = Delivery { ordered, reliability };
                let open = Open { label: "chät".into(), protocol: "p".into(), delivery };
                let open = Dcep::Open(open);
                assert_eq!(Dcep::parse(&open.to_bytes()), Ok(open));
            }
        }
        assert_eq!(Dcep::parse(&Dcep::Ack.to_bytes()), Ok(Dcep::Ack));
    }

    #[test]
    fn what_is_cut_or_longer_than_it_says_is_refused() {
        let delivery = Delivery { ordered: true, reliability: Reliability::Reliable };
        let open = Open { label: "label".into(), protocol: "protocol".into(), delivery };
        let bytes = Dcep::Open(open).to_bytes();
        for cut in 0..bytes.len() {
            assert!(Dcep::parse(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(Dcep::parse(&[&bytes[..], &[0]].concat()).is_err());
        let mut odd = bytes.to_vec();
        odd[1] = 0x05;
        assert!(Dcep::parse(&odd).is_err());
    }
}
