//! AMF0 (Adobe, "Action Message Format – AMF 0", 2007).

use super::cursor::{Budget, Cursor};
use super::{Fields, Limits, Value, amf3, malformed};
use crate::Error;

const NUMBER: u8 = 0x00;
const BOOLEAN: u8 = 0x01;
const STRING: u8 = 0x02;
const OBJECT: u8 = 0x03;
const NULL: u8 = 0x05;
const UNDEFINED: u8 = 0x06;
const REFERENCE: u8 = 0x07;
const ECMA_ARRAY: u8 = 0x08;
const OBJECT_END: u8 = 0x09;
const STRICT_ARRAY: u8 = 0x0a;
const DATE: u8 = 0x0b;
const LONG_STRING: u8 = 0x0c;
const UNSUPPORTED: u8 = 0x0d;
const XML: u8 = 0x0f;
const TYPED_OBJECT: u8 = 0x10;
const SWITCH_TO_AMF3: u8 = 0x11;

/// All values of `input`, to its end.
///
/// An ECMA array or object that is open where the input ends counts as closed there: some encoders
/// leave the end marker of `onMetaData` out.
///
/// # Errors
/// A value is cut short or unknown, a reference leads nowhere, or a limit is reached.
pub fn decode(input: &[u8], limits: Limits) -> Result<Vec<Value>, Error> {
    let mut decoder = Decoder {
        cursor: Cursor { input, at: 0 },
        budget: Budget::new(limits),
        objects: Vec::new(),
        replaying: false,
    };
    let mut values = Vec::new();
    while !decoder.cursor.is_at_end() {
        values.push(decoder.value()?);
    }
    Ok(values)
}

struct Decoder<'a> {
    cursor: Cursor<'a>,
    budget: Budget,
    /// Where each complex value starts, for references.
    objects: Vec<usize>,
    /// The target of a reference is being decoded again, so it gets no new number.
    replaying: bool,
}

impl Decoder<'_> {
    fn value(&mut self) -> Result<Value, Error> {
        let start = self.cursor.at;
        let marker = self.cursor.u8()?;
        self.budget.value()?;
        Ok(match marker {
            NUMBER => Value::Number(self.cursor.f64()?),
            BOOLEAN => Value::Boolean(self.cursor.u8()? != 0),
            STRING => Value::String(self.short_text()?),
            NULL => Value::Null,
            UNDEFINED | UNSUPPORTED => Value::Undefined,
            DATE => {
                let unix_ms = self.cursor.f64()?;
                self.cursor.u16()?;
                Value::Date(unix_ms)
            }
            LONG_STRING => Value::String(self.long_text()?),
            XML => Value::Xml(self.long_text()?),
            REFERENCE => self.reference()?,
            SWITCH_TO_AMF3 => amf3::value(&mut self.cursor, &mut self.budget)?,
            OBJECT | ECMA_ARRAY | STRICT_ARRAY | TYPED_OBJECT => self.complex(marker, start)?,
            _ => return Err(malformed("unknown AMF0 marker")),
        })
    }

    fn complex(&mut self, marker: u8, start: usize) -> Result<Value, Error> {
        if !self.replaying {
            self.objects.push(start);
        }
        self.budget.nested()?;
        let value = match marker {
            OBJECT => Value::Object(self.fields()?),
            ECMA_ARRAY => {
                // The count is a hint that encoders get wrong; the end marker decides.
                self.cursor.u32()?;
                Value::Map(self.fields()?)
            }
            STRICT_ARRAY => {
                let count = self.cursor.u32()?;
                Value::Array((0..count).map(|_| self.value()).collect::<Result<_, _>>()?)
            }
            _ => Value::Typed(self.short_text()?, self.fields()?),
        };
        self.budget.leave();
        Ok(value)
    }

    fn fields(&mut self) -> Result<Fields, Error> {
        let mut fields = Fields::new();
        while !self.cursor.is_at_end() {
            let name = self.short_text()?;
            if name.is_empty() && self.cursor.input.get(self.cursor.at) == Some(&OBJECT_END) {
                self.cursor.at += 1;
                break;
            }
            fields.push((name, self.value()?));
        }
        Ok(fields)
    }

    fn reference(&mut self) -> Result<Value, Error> {
        let index = usize::from(self.cursor.u16()?);
        let target = *self.objects.get(index).ok_or(malformed("reference leads nowhere"))?;
        let (at, replaying) = (self.cursor.at, self.replaying);
        (self.cursor.at, self.replaying) = (target, true);
        self.budget.nested()?;
        let value = self.value()?;
        self.budget.leave();
        (self.cursor.at, self.replaying) = (at, replaying);
        Ok(value)
    }

    fn short_text(&mut self) -> Result<String, Error> {
        let count = self.cursor.u16()?.into();
        self.cursor.text(count, &mut self.budget)
    }

    fn long_text(&mut self) -> Result<String, Error> {
        let count = self.cursor.u32()? as usize;
        self.cursor.text(count, &mut self.budget)
    }
}

/// Appends `value` to `out`. AMF3 byte arrays, which AMF0 lacks, go behind the AMF3 marker.
///
/// # Panics
/// A field or class name is longer than 65,535 bytes: names are ours, not a peer's.
pub fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Undefined => out.push(UNDEFINED),
        Value::Null => out.push(NULL),
        Value::Boolean(flag) => out.extend([BOOLEAN, u8::from(*flag)]),
        Value::Number(number) => {
            out.push(NUMBER);
            out.extend(number.to_be_bytes());
        }
        Value::String(text) => encode_text(text, out),
        Value::Date(unix_ms) => {
            out.push(DATE);
            out.extend(unix_ms.to_be_bytes());
            out.extend([0, 0]);
        }
        Value::Xml(text) => {
            out.push(XML);
            out.extend(length(text.len()));
            out.extend(text.as_bytes());
        }
        Value::Bytes(_) => {
            out.push(SWITCH_TO_AMF3);
            amf3::encode(value, out);
        }
        Value::Array(values) => {
            out.push(STRICT_ARRAY);
            out.extend(length(values.len()));
            values.iter().for_each(|value| encode(value, out));
        }
        Value::Map(fields) => {
            out.push(ECMA_ARRAY);
            out.extend(length(fields.len()));
            encode_fields(fields, out);
        }
        Value::Object(fields) => {
            out.push(OBJECT);
            encode_fields(fields, out);
        }
        Value::Typed(class, fields) => {
            out.push(TYPED_OBJECT);
            encode_name(class, out);
            encode_fields(fields, out);
        }
    }
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    if u16::try_from(text.len()).is_ok() {
        out.push(STRING);
        encode_name(text, out);
    } else {
        out.push(LONG_STRING);
        out.extend(length(text.len()));
        out.extend(text.as_bytes());
    }
}

fn encode_fields(fields: &[(String, Value)], out: &mut Vec<u8>) {
    for (name, value) in fields {
        encode_name(name, out);
        encode(value, out);
    }
    out.extend([0, 0, OBJECT_END]);
}

/// A name of more than 65,535 bytes is cut. It may well have come from a peer: replacement
/// characters are longer than the bytes that they stand for.
fn encode_name(name: &str, out: &mut Vec<u8>) {
    let name = &name[..name.floor_char_boundary(u16::MAX.into())];
    out.extend((name.len() as u16).to_be_bytes());
    out.extend(name.as_bytes());
}

fn length(count: usize) -> [u8; 4] {
    u32::try_from(count).expect("AMF0 lengths are at most 32 bits").to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(input: &[u8]) -> Result<Value, Error> {
        decode(input, Limits::default()).map(|mut values| values.remove(0))
    }

    fn long() -> String {
        "x".repeat(70_000)
    }

    #[test]
    fn every_value_survives_a_round_trip() {
        let inner = Value::object([("a", Value::Number(-1.5)), ("", Value::Null)]);
        let cases = [
            Value::Undefined,
            Value::Null,
            Value::Boolean(true),
            Value::Number(1e300),
            Value::string("onMetaData"),
            Value::String(long()),
            Value::Date(1_700_000_000_000.0),
            Value::Xml("<a/>".into()),
            Value::Bytes(bytes::Bytes::from_static(b"\x00\xff")),
            Value::Array(vec![inner.clone(), Value::Null]),
            Value::Map(vec![("duration".into(), Value::Number(0.0))]),
            inner.clone(),
            Value::Typed("Clip".into(), vec![("in".into(), inner)]),
        ];
        for case in cases {
            let mut bytes = Vec::new();
            encode(&case, &mut bytes);
            assert_eq!(one(&bytes).as_ref(), Ok(&case));
        }
    }

    #[test]
    fn what_real_publishers_send_is_read() {
        let cases: [(&[u8], Value); 6] = [
            // ECMA array with a wrong count and without its end marker.
            (b"\x08\0\0\0\x63\0\x01w\0\0\0\0\0\0\0\0\0", {
                Value::Map(vec![("w".into(), Value::Number(0.0))])
            }),
            // An array whose second element refers to its first.
            (b"\x0a\0\0\0\x02\x03\0\x01a\x05\0\0\x09\x07\0\x01", {
                let object = Value::object([("a", Value::Null)]);
                Value::Array(vec![object.clone(), object])
            }),
            (b"\x11\x04\x81\x00", Value::Number(128.0)),
            (b"\x0d", Value::Undefined),
            (b"\x01\x02", Value::Boolean(true)),
            (b"\x02\0\x01\xff", Value::string("\u{fffd}")),
        ];
        for (bytes, value) in cases {
            assert_eq!(one(bytes), Ok(value), "{bytes:02x?}");
        }
    }

    #[test]
    fn malformed_input_is_an_error() {
        let cases: [&[u8]; 6] = [
            b"\x00\0\0",
            b"\x02\0\x05ab",
            b"\x04",
            b"\x07\0\0",
            b"\x0a\0\0\0\x05\x05",
            b"\x0c\xff\xff\xff\xff",
        ];
        for bytes in cases {
            assert!(matches!(one(bytes), Err(Error::Malformed { .. })), "{bytes:02x?}");
        }
    }

    #[test]
    fn every_limit_holds() {
        let limit = |input: &[u8]| match one(input) {
            Err(Error::Limit { limit, .. }) => limit,
            other => panic!("{other:?}"),
        };
        assert_eq!(limit(&b"\x0a\0\0\0\x01".repeat(20)), "depth_max");
        assert_eq!(limit(&[b"\x0a\0\0\xff\xff".as_slice(), &[5; 70_000]].concat()), "values_max");
        let mut big = Vec::new();
        encode(&Value::Array(vec![Value::String(long()); 4]), &mut big);
        assert_eq!(limit(&big), "bytes_max");
        // An array that contains itself.
        assert_eq!(limit(b"\x0a\0\0\0\x01\x07\0\0"), "depth_max");
        // Each array holds its predecessor twice: 2^15 values from 200 bytes.
        let mut bomb = vec![STRICT_ARRAY, 0, 0, 0, 30, STRICT_ARRAY, 0, 0, 0, 1, NULL];
        for index in 1..14 {
            bomb.extend([STRICT_ARRAY, 0, 0, 0, 2, REFERENCE, 0, index, REFERENCE, 0, index]);
        }
        let result = decode(&bomb, Limits { depth_max: 64, ..Limits::default() });
        assert!(matches!(result, Err(Error::Limit { limit: "values_max", .. })), "{result:?}");
    }
}
