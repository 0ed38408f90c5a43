//! Action Message Format, the language of RTMP commands and FLV metadata.
//!
//! [`amf0`] is what everybody speaks; [`amf3`] comes inside it behind the marker 0x11 and in
//! message types 15 and 17. Both decode into the same [`Value`]. References are resolved by
//! decoding their target again from the input, so nothing is kept for them, cycles run into
//! `depth_max`, and what a reference multiplies is charged like any other value.

pub mod amf0;
pub mod amf3;
mod cursor;

use bytes::Bytes;

use crate::Error;

/// What a message may make us build. A peer can grow nothing beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Objects within objects. Encoders nest 3 deep; Enhanced RTMP's maps 4.
    pub depth_max: u8,
    /// Values in all, references resolved. A `connect` has about 30, FLV key frame indexes some
    /// thousands.
    pub values_max: u32,
    /// Bytes of strings and byte arrays in all, references resolved.
    pub bytes_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth_max: 16, values_max: 16_384, bytes_max: 256 << 10 }
    }
}

/// An AMF0 or AMF3 value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing was said. Also stands for AMF0's `unsupported` marker.
    Undefined,
    /// Said to be nothing.
    Null,
    /// True or false.
    Boolean(bool),
    /// A double. AMF3 integers become doubles too, which hold them exactly.
    Number(f64),
    /// UTF-8; bytes that are not are replaced by U+FFFD.
    String(String),
    /// Milliseconds since the Unix epoch. AMF0's time zone is reserved and ignored.
    Date(f64),
    /// XML source text.
    Xml(String),
    /// AMF3 byte array.
    Bytes(Bytes),
    /// Dense array.
    Array(Vec<Value>),
    /// AMF0 ECMA array: an object that says it is an array.
    Map(Fields),
    /// Anonymous object.
    Object(Fields),
    /// Object of a named class.
    Typed(String, Fields),
}

/// Names and values in the order of the wire. Names may repeat; the first is found.
pub type Fields = Vec<(String, Value)>;

impl Value {
    /// A string value.
    #[must_use]
    pub fn string(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    /// An anonymous object of these fields.
    #[must_use]
    pub fn object<const N: usize>(fields: [(&str, Self); N]) -> Self {
        Self::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a number, or 0 and 1 for a boolean.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Boolean(flag) => Some(f64::from(u8::from(*flag))),
            _ => None,
        }
    }

    /// The fields of any kind of object.
    #[must_use]
    pub fn fields(&self) -> &[(String, Self)] {
        match self {
            Self::Object(fields) | Self::Map(fields) | Self::Typed(_, fields) => fields,
            _ => &[],
        }
    }

    /// The field of this name of any kind of object.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.fields().iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

const fn malformed(reason: &'static str) -> Error {
    Error::malformed("AMF", reason)
}
