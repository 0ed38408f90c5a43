//! Command and data messages (RTMP 1.0 §7.1.1, §7.2).

use bytes::Bytes;

use super::chunk::{Message, kind};
use super::limit;
use crate::Error;
use crate::amf::{self, Value, amf0};

/// Values and bytes that a command may make us build: far more than any real one.
const AMF_LIMITS: amf::Limits =
    amf::Limits { depth_max: 8, values_max: 1_024, bytes_max: 64 << 10 };

/// A remote call or its answer.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) name: String,
    /// 0 when no answer is wanted.
    pub(super) transaction: f64,
    /// The command object, then the arguments.
    pub(super) values: Vec<Value>,
}

impl Command {
    /// Reads a message of type 20, or 17, whose first byte names the encoding of what follows:
    /// always AMF0, which switches to AMF3 value by value.
    pub(super) fn read(message: &Message, bytes_max: u32) -> Result<Self, Error> {
        if message.body.len() > bytes_max as usize {
            return Err(limit("command_bytes_max", message.body.len(), bytes_max.into()));
        }
        let mut values = amf0::decode(amf0_part(message), AMF_LIMITS)?.into_iter();
        let Some(Value::String(name)) = values.next() else {
            return Err(super::malformed("a command does not start with its name"));
        };
        let transaction = values.next().and_then(|value| value.as_f64()).unwrap_or(0.0);
        Ok(Self { name, transaction, values: values.collect() })
    }

    /// The argument at `index` behind the command object.
    pub(super) fn argument(&self, index: usize) -> Option<&Value> {
        self.values.get(index + 1)
    }

    pub(super) fn text(&self, index: usize) -> &str {
        self.argument(index).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn number(&self, index: usize) -> f64 {
        self.argument(index).and_then(Value::as_f64).unwrap_or(0.0)
    }
}

/// The body in AMF0, without the byte that AMF3 messages put before it.
fn amf0_part(message: &Message) -> &[u8] {
    match (message.header.kind, message.body.split_first()) {
        (kind::COMMAND_AMF3 | kind::DATA_AMF3, Some((0, rest))) => rest,
        _ => &message.body,
    }
}

/// SCRIPTDATA in a data message: what is left without the AMF3 byte and the instruction
/// `@setDataFrame`, by which publishers tell servers to keep the metadata. `None` for the
/// instruction to forget it.
pub(super) fn script_data(message: &Message) -> Option<Bytes> {
    const SET: &[u8] = b"\x02\x00\x0d@setDataFrame";
    const CLEAR: &[u8] = b"\x02\x00\x0f@clearDataFrame";
    let part = amf0_part(message);
    if part.starts_with(CLEAR) {
        return None;
    }
    Some(message.body.slice_ref(part.strip_prefix(SET).unwrap_or(part)))
}

/// The body of a command of these values.
pub(super) fn body(name: &str, transaction: f64, values: &[Value]) -> Vec<u8> {
    let mut body = Vec::with_capacity(128);
    amf0::encode(&Value::string(name), &mut body);
    amf0::encode(&Value::Number(transaction), &mut body);
    values.iter().for_each(|value| amf0::encode(value, &mut body));
    body
}

/// The information object of `onStatus` and of answers (RTMP 1.0 §7.2.2).
pub(super) fn status(level: &str, code: &str, description: &str) -> Value {
    Value::object([
        ("level", Value::string(level)),
        ("code", Value::string(code)),
        ("description", Value::string(description)),
    ])
}
