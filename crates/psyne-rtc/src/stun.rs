//! STUN messages (RFC 8489) as TURN and gathering need them: read in place, written into one
//! buffer.
//!
//! Attributes behind MESSAGE-INTEGRITY are not read: nothing proves them (§14.5). FINGERPRINT is
//! neither written nor asked for: who speaks STUN here is told by its address.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;

/// Bytes before the attributes.
pub const HEADER_BYTES: usize = 20;
/// Bytes of the longest message that its length can say.
pub const MESSAGE_BYTES_MAX: usize = HEADER_BYTES + 0xFFFC;

const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const INTEGRITY_BYTES: usize = 20;

/// What names a request and its answer.
pub type Transaction = [u8; 12];

/// What a message is to its transaction (RFC 8489 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// It asks, and waits for an answer.
    Request,
    /// It tells, and is not answered.
    Indication,
    /// The answer that it was done.
    Success,
    /// The answer that it was not.
    Error,
}

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Which address of mine do you see? (RFC 8489 §12)
    Binding,
    /// Lend me an address (RFC 8656 §7).
    Allocate,
    /// For longer, or no longer (RFC 8656 §8).
    Refresh,
    /// Data for a peer (RFC 8656 §11).
    Send,
    /// Data from a peer (RFC 8656 §11).
    Data,
    /// Let these addresses through (RFC 8656 §10).
    CreatePermission,
    /// A number for a peer (RFC 8656 §12).
    ChannelBind,
}

impl Method {
    const ALL: [(Self, u16); 7] = [
        (Self::Binding, 0x001),
        (Self::Allocate, 0x003),
        (Self::Refresh, 0x004),
        (Self::Send, 0x006),
        (Self::Data, 0x007),
        (Self::CreatePermission, 0x008),
        (Self::ChannelBind, 0x009),
    ];

    fn number(self) -> u16 {
        Self::ALL.iter().find(|(method, _)| *method == self).map_or(0, |(_, number)| *number)
    }

    fn of(number: u16) -> Option<Self> {
        Self::ALL.iter().find(|(_, other)| *other == number).map(|(method, _)| *method)
    }
}

/// Numbers of attributes (the IANA registry "STUN Attributes").
pub mod attribute {
    /// RFC 8489 §14.3.
    pub const USERNAME: u16 = 0x0006;
    /// RFC 8489 §14.5.
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    /// RFC 8489 §14.8.
    pub const ERROR_CODE: u16 = 0x0009;
    /// RFC 8489 §14.13.
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
    /// RFC 8656 §18.1.
    pub const CHANNEL_NUMBER: u16 = 0x000C;
    /// Seconds (RFC 8656 §18.2).
    pub const LIFETIME: u16 = 0x000D;
    /// RFC 8656 §18.3.
    pub const XOR_PEER_ADDRESS: u16 = 0x0012;
    /// RFC 8656 §18.4.
    pub const DATA: u16 = 0x0013;
    /// RFC 8489 §14.9.
    pub const REALM: u16 = 0x0014;
    /// RFC 8489 §14.10.
    pub const NONCE: u16 = 0x0015;
    /// RFC 8656 §18.5.
    pub const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    /// RFC 8656 §18.6.
    pub const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    /// RFC 8656 §18.7.
    pub const EVEN_PORT: u16 = 0x0018;
    /// RFC 8656 §18.8.
    pub const REQUESTED_TRANSPORT: u16 = 0x0019;
    /// RFC 8489 §14.2.
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    /// RFC 8656 §18.10.
    pub const RESERVATION_TOKEN: u16 = 0x0022;
    /// RFC 8489 §14.14. Nobody has to understand it, so it pads, too.
    pub const SOFTWARE: u16 = 0x8022;
    /// RFC 8489 §14.15.
    pub const ALTERNATE_SERVER: u16 = 0x8023;
}

/// What signs messages of a user (RFC 8489 §9.2.2): MD5 over name, realm and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 16]);

impl Key {
    /// The key of a user of a realm.
    #[must_use]
    pub fn long_term(username: &str, realm: &str, password: &str) -> Self {
        Self(Md5::digest(format!("{username}:{realm}:{password}")).into())
    }

    fn mac(&self) -> Hmac<Sha1> {
        Hmac::new_from_slice(&self.0).expect("HMAC takes keys of any size")
    }
}

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Key")
    }
}

/// Whether these bytes begin like a STUN message, by its first two bits and its cookie.
#[must_use]
pub fn looks_like(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|byte| byte & 0xC0 == 0) && bytes.get(4..8) == Some(&COOKIE[..])
}

/// A message that was read. Nothing in it is believed; everything in it lies within its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// What it is to its transaction.
    pub class: Class,
    /// What it is about.
    pub method: Method,
    /// Its transaction.
    pub transaction: Transaction,
    bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a message that fills `bytes`. `None`: it is none, broken, or of a method that nobody
    /// speaks here.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if !looks_like(bytes) {
            return None;
        }
        let kind = u16_at(bytes, 0)?;
        let length = usize::from(u16_at(bytes, 2)?);
        if length % 4 != 0 || HEADER_BYTES + length != bytes.len() {
            return None;
        }
        let class = match (kind >> 7 & 2) | (kind >> 4 & 1) {
            0 => Class::Request,
            1 => Class::Indication,
            2 => Class::Success,
            _ => Class::Error,
        };
        let method = Method::of(kind & 0xF | kind >> 1 & 0x70 | kind >> 2 & 0xF80)?;
        let transaction = bytes.get(8..HEADER_BYTES)?.try_into().ok()?;
        let message = Self { class, method, transaction, bytes };
        let mut walk = message.walk();
        walk.by_ref().for_each(drop);
        walk.whole.then_some(message)
    }

    const fn walk(&self) -> Walk<'a> {
        Walk { bytes: self.bytes, at: HEADER_BYTES, whole: true }
    }

    /// The attributes that integrity covers, in their order: number, value.
    pub fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let covered = |(_, kind, _): &(usize, u16, &[u8])| *kind != attribute::MESSAGE_INTEGRITY;
        self.walk().take_while(covered).map(|(_, kind, value)| (kind, value))
    }

    /// The first attribute of this number.
    #[must_use]
    pub fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes().find(|(other, _)| *other == kind).map(|(_, value)| value)
    }

    /// An attribute that is text.
    #[must_use]
    pub fn text(&self, kind: u16) -> Option<&'a str> {
        core::str::from_utf8(self.attribute(kind)?).ok()
    }

    /// An attribute of exactly four bytes.
    #[must_use]
    pub fn word(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.attribute(kind)?.try_into().ok()?))
    }

    /// An attribute that is an address under the cookie.
    #[must_use]
    pub fn address(&self, kind: u16) -> Option<SocketAddr> {
        unmask(self.attribute(kind)?, &self.transaction)
    }

    /// All attributes of this number that are addresses under the cookie; `None` for each that is
    /// broken.
    pub fn addresses(&self, kind: u16) -> impl Iterator<Item = Option<SocketAddr>> {
        let of = move |(other, value)| (other == kind).then_some(value);
        self.attributes().filter_map(of).map(|value| unmask(value, &self.transaction))
    }

    /// ERROR-CODE, 300 to 699.
    #[must_use]
    pub fn error_code(&self) -> Option<u16> {
        let value = self.attribute(attribute::ERROR_CODE)?;
        let (class, number) = (u16::from(value.get(2)? & 7), u16::from(*value.get(3)?));
        ((3..=6).contains(&class) && number < 100).then_some(class * 100 + number)
    }

    /// Whether it is signed, by whomever.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.walk().any(|(_, kind, _)| kind == attribute::MESSAGE_INTEGRITY)
    }

    /// Whether this key signed it.
    #[must_use]
    pub fn is_signed_by(&self, key: &Key) -> bool {
        let integrity = |(_, kind, _): &(usize, u16, &[u8])| *kind == attribute::MESSAGE_INTEGRITY;
        let Some((at, _, value)) = self.walk().find(integrity) else { return false };
        let (head, body) = self.bytes.split_at(at).0.split_at(HEADER_BYTES);
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(head);
        // The length as it was when it was signed (§14.5).
        let length = at + 4 + INTEGRITY_BYTES - HEADER_BYTES;
        header[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        let mac = key.mac().chain_update(header).chain_update(body);
        mac.verify_slice(value).is_ok()
    }
}

/// Goes through attributes: where each begins, its number, its value.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    whole: bool,
}

impl<'a> Iterator for Walk<'a> {
    type Item = (usize, u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let begin = self.at;
        if begin >= self.bytes.len() {
            return None;
        }
        let item = self.item();
        self.whole &= item.is_some();
        item.map(|(kind, value)| (begin, kind, value))
    }
}

impl<'a> Walk<'a> {
    fn item(&mut self) -> Option<(u16, &'a [u8])> {
        let (kind, length) = (u16_at(self.bytes, self.at)?, u16_at(self.bytes, self.at + 2)?);
        let begin = self.at + 4;
        let value = self.bytes.get(begin..begin + usize::from(length))?;
        self.at = begin + usize::from(length).next_multiple_of(4);
        Some((kind, value))
    }
}

/// Writes a message.
#[derive(Debug)]
pub struct Builder {
    transaction: Transaction,
    bytes: Vec<u8>,
}

impl Builder {
    /// A message without attributes.
    #[must_use]
    pub fn new(class: Class, method: Method, transaction: Transaction) -> Self {
        Self::into(Vec::with_capacity(128), class, method, transaction)
    }

    /// A message without attributes, in this buffer, which is emptied.
    #[must_use]
    pub fn into(
        mut bytes: Vec<u8>,
        class: Class,
        method: Method,
        transaction: Transaction,
    ) -> Self {
        let number = method.number();
        let class = match class {
            Class::Request => 0x000,
            Class::Indication => 0x010,
            Class::Success => 0x100,
            Class::Error => 0x110,
        };
        let kind = number & 0xF | (number & 0x70) << 1 | (number & 0xF80) << 2 | class;
        bytes.clear();
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&COOKIE);
        bytes.extend_from_slice(&transaction);
        Self { transaction, bytes }
    }

    /// Adds an attribute.
    ///
    /// # Panics
    /// The message gets longer than [`MESSAGE_BYTES_MAX`]: what goes in is the caller's to bound.
    #[must_use]
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len()).expect("the caller bounds attributes");
        self.bytes.extend_from_slice(&kind.to_be_bytes());
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.measure(0);
        self
    }

    /// Adds an address under the cookie.
    #[must_use]
    pub fn address(self, kind: u16, addr: SocketAddr) -> Self {
        let (value, length) = mask(addr, &self.transaction);
        self.attribute(kind, value.get(..length).unwrap_or_default())
    }

    /// Adds ERROR-CODE, without words: they only make answers longer.
    #[must_use]
    pub fn error(self, code: u16) -> Self {
        let [class, number] = [code / 100, code % 100].map(|part| part as u8);
        self.attribute(attribute::ERROR_CODE, &[0, 0, class, number])
    }

    /// Signs it. What is added after that is not covered.
    #[must_use]
    pub fn sign(mut self, key: &Key) -> Self {
        self.measure(4 + INTEGRITY_BYTES);
        let mac = key.mac().chain_update(&self.bytes).finalize().into_bytes();
        self.attribute(attribute::MESSAGE_INTEGRITY, &mac)
    }

    /// Writes how long it is, with so many bytes that are still to come.
    fn measure(&mut self, coming: usize) {
        let length = self.bytes.len() + coming - HEADER_BYTES;
        let length = u16::try_from(length).expect("the caller bounds messages");
        self.bytes[2..4].copy_from_slice(&length.to_be_bytes());
    }

    /// The message.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// A Binding request.
#[must_use]
pub fn binding_request(transaction: Transaction) -> Vec<u8> {
    Builder::new(Class::Request, Method::Binding, transaction).finish()
}

/// The address in a success to the Binding request of this transaction.
#[must_use]
pub fn binding_answer(bytes: &[u8], transaction: &Transaction) -> Option<SocketAddr> {
    let message = Message::parse(bytes)?;
    let ours = message.transaction == *transaction && message.class == Class::Success;
    message.address(attribute::XOR_MAPPED_ADDRESS).filter(|_| ours)
}

/// An address under the cookie (RFC 8489 §14.2), and how many of the bytes it has.
fn mask(addr: SocketAddr, transaction: &Transaction) -> ([u8; 20], usize) {
    let mut value = [0; 20];
    let port = addr.port() ^ 0x2112;
    value[2..4].copy_from_slice(&port.to_be_bytes());
    let length = match addr.ip() {
        IpAddr::V4(ip) => {
            value[1] = 1;
            value[4..8].copy_from_slice(&ip.octets());
            8
        }
        IpAddr::V6(ip) => {
            value[1] = 2;
            value[4..20].copy_from_slice(&ip.octets());
            20
        }
    };
    value[4..length].iter_mut().zip(pad(transaction)).for_each(|(byte, pad)| *byte ^= pad);
    (value, length)
}

fn unmask(value: &[u8], transaction: &Transaction) -> Option<SocketAddr> {
    let port = u16_at(value, 2)? ^ 0x2112;
    let masked = value.get(4..)?;
    let mut ip = [0; 16];
    let plain = masked.iter().zip(pad(transaction)).map(|(byte, pad)| byte ^ pad);
    ip.iter_mut().zip(plain).for_each(|(to, byte)| *to = byte);
    let ip = match (value.get(1)?, masked.len()) {
        (1, 4) => IpAddr::V4(Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3])),
        (2, 16) => IpAddr::V6(Ipv6Addr::from(ip)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn pad(transaction: &Transaction) -> impl Iterator<Item = u8> {
    COOKIE.into_iter().chain(transaction.iter().copied())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 §2.4: a request with long-term credentials.
    const SAMPLE: &str = "0001006 02112a442 78ad3433c6ad72c029da412e 00060012 \
        e3839ee38388e383aae38383e382afe382b9 0000 0015001c \
        662f2f3439396b3935346436 4f4c33346f4c39465354767936347341 \
        0014000b 6578616d706c652e6f7267 00 00080014 f67024656dd64a3e02b8e0712e85c9a28ca89666";

    fn sample() -> Vec<u8> {
        let digits: Vec<u8> = SAMPLE.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|pair| byte(pair).unwrap()).collect()
    }

    #[test]
    fn the_sample_of_rfc_5769_is_read_and_its_signature_holds() {
        let bytes = sample();
        let message = Message::parse(&bytes).expect("well formed");
        assert_eq!((message.class, message.method), (Class::Request, Method::Binding));
        let username = message.text(attribute::USERNAME).expect("it has one");
        assert_eq!(username, "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}");
        let key = |password| Key::long_term(username, "example.org", password);
        assert!(message.is_signed_by(&key("TheMatrIX")));
        assert!(!message.is_signed_by(&key("another")));
    }

    #[test]
    fn what_is_written_is_read_again_and_any_changed_byte_shows() {
        let key = Key::long_term("user", "realm", "password");
        let [v4, v6]: [SocketAddr; 2] =
            ["192.0.2.1:32853", "[2001:db8::1]:443"].map(|addr| addr.parse().unwrap());
        let bytes = Builder::new(Class::Success, Method::Allocate, [7; 12])
            .address(attribute::XOR_RELAYED_ADDRESS, v4)
            .address(attribute::XOR_MAPPED_ADDRESS, v6)
            .attribute(attribute::SOFTWARE, b"psyne")
            .error(486)
            .sign(&key)
            .finish();
        let message = Message::parse(&bytes).expect("well formed");
        assert_eq!(message.address(attribute::XOR_RELAYED_ADDRESS), Some(v4));
        assert_eq!(message.address(attribute::XOR_MAPPED_ADDRESS), Some(v6));
        assert_eq!(message.text(attribute::SOFTWARE), Some("psyne"));
        assert_eq!(message.error_code(), Some(486));
        assert!(message.is_signed_by(&key));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let signed = Message::parse(&changed).is_some_and(|it| it.is_signed_by(&key));
            assert!(!signed, "byte {at}");
        }
    }

    #[test]
    fn what_follows_the_signature_is_not_read() {
        let key = Key::long_term("user", "realm", "password");
        let bytes = Builder::new(Class::Request, Method::Refresh, [7; 12])
            .sign(&key)
            .attribute(attribute::LIFETIME, &[0; 4])
            .finish();
        let message = Message::parse(&bytes).expect("well formed");
        assert!(message.is_signed_by(&key));
        assert_eq!(message.attribute(attribute::LIFETIME), None);
    }

    #[test]
    fn what_is_broken_is_none() {
        let good = Builder::new(Class::Request, Method::Binding, [7; 12])
            .attribute(attribute::SOFTWARE, b"psyne")
            .finish();
        let changed = |at: usize, to: u8| {
            let mut bytes = good.clone();
            bytes[at] = to;
            bytes
        };
        assert!(Message::parse(&good).is_some());
        for bad in [
            vec![],
            good[..19].to_vec(),
            good[..good.len() - 1].to_vec(),
            [good.as_slice(), &[0; 4]].concat(),
            changed(0, 0x40),
            changed(1, 0x02),
            changed(4, 0),
            changed(3, 13),
            changed(23, 200),
        ] {
            assert!(Message::parse(&bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_binding_answers_its_own_request_only() {
        let addr = "198.51.100.7:1".parse().unwrap();
        let answer = Builder::new(Class::Success, Method::Binding, [1; 12])
            .address(attribute::XOR_MAPPED_ADDRESS, addr)
            .finish();
        assert_eq!(binding_answer(&answer, &[1; 12]), Some(addr));
        assert_eq!(binding_answer(&answer, &[2; 12]), None);
        assert_eq!(binding_answer(&binding_request([1; 12]), &[1; 12]), None);
    }
}
