//! What a channel carries, and the words with which it ends.

use core::fmt::{self, Display, Formatter};

use bytes::Bytes;

/// What the bytes of a message are. Kept from end to end, on every transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Anything.
    Binary,
    /// UTF-8; browsers hand it over as a string.
    Text,
}

/// A message: its bytes, shared and never copied, and what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    kind: Kind,
    data: Bytes,
}

impl Message {
    /// A message of any bytes.
    #[must_use]
    pub fn binary(data: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Binary, data: data.into() }
    }

    /// A message of text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { kind: Kind::Text, data: Bytes::from(text.into()) }
    }

    /// A message that a transport received: `None` if it is said to be text and is no UTF-8.
    #[must_use]
    pub fn received(kind: Kind, data: Bytes) -> Option<Self> {
        let sound = kind == Kind::Binary || core::str::from_utf8(&data).is_ok();
        sound.then_some(Self { kind, data })
    }

    /// What its bytes are.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Its bytes.
    #[must_use]
    pub const fn data(&self) -> &Bytes {
        &self.data
    }

    /// Its text; `None` if it is binary.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        let text = || core::str::from_utf8(&self.data).ok();
        if self.kind == Kind::Text { text() } else { None }
    }

    /// Its bytes, for good.
    #[must_use]
    pub fn into_data(self) -> Bytes {
        self.data
    }

    /// Bytes in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether it has none: an empty message is a message.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<Bytes> for Message {
    fn from(data: Bytes) -> Self {
        Self::binary(data)
    }
}

impl From<Vec<u8>> for Message {
    fn from(data: Vec<u8>) -> Self {
        Self::binary(data)
    }
}

/// Why somebody closed a channel: a code of RFC 6455 (7.4), whatever the transport, and a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    code: u16,
    text: String,
}

impl Reason {
    /// Bytes of a reason's text; as in a WebSocket's close frame.
    pub const TEXT_BYTES_MAX: usize = 123;
    /// All was said.
    pub const NORMAL: u16 = 1000;
    /// The program ends, or the page was left.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer broke the protocol.
    pub const PROTOCOL: u16 = 1002;
    /// A message is longer than the receiver takes.
    pub const TOO_LONG: u16 = 1009;

    /// A reason. Applications use codes from 3000 to 4999; the text is cut at
    /// [`Self::TEXT_BYTES_MAX`].
    #[must_use]
    pub fn new(code: u16, text: &str) -> Self {
        let end = text.floor_char_boundary(Self::TEXT_BYTES_MAX);
        Self { code, text: text.get(..end).unwrap_or_default().to_owned() }
    }

    /// All was said.
    #[must_use]
    pub fn normal() -> Self {
        Self::new(Self::NORMAL, "")
    }

    /// The number that programs look at.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// The words that people look at.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Display for Reason {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.code)?;
        if self.text.is_empty() { Ok(()) } else { write!(out, " {:?}", self.text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_keeps_what_it_is() {
        let text = Message::from("grüße");
        assert_eq!((text.kind(), text.as_text(), text.len()), (Kind::Text, Some("grüße"), 7));
        let binary = Message::from(vec![0xff, 0]);
        assert_eq!((binary.kind(), binary.as_text()), (Kind::Binary, None));
        assert!(Message::received(Kind::Text, Bytes::from_static(&[0xff])).is_none());
        assert!(Message::received(Kind::Binary, Bytes::from_static(&[0xff])).is_some());
        assert!(Message::binary(Bytes::new()).is_empty());
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let long = Reason::new(4000, &"ü".repeat(100));
        assert_eq!(long.text().len(), 122);
        assert_eq!(long.to_string(), format!("4000 {:?}", "ü".repeat(61)));
        assert_eq!(Reason::normal().to_string(), "1000");
    }
}
