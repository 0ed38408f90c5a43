//! AMF3 (Adobe, "Action Message Format – AMF 3", 2013).
//!
//! Externalizable classes cannot be read without their code and end the decoding with
//! [`Error::Unsupported`], as do vectors and dictionaries, which no publisher sends.

use std::rc::Rc;

use bytes::Bytes;

use super::cursor::{Budget, Cursor};
use super::{Fields, Limits, Value, malformed};
use crate::Error;

const UNDEFINED: u8 = 0x00;
const NULL: u8 = 0x01;
const FALSE: u8 = 0x02;
const TRUE: u8 = 0x03;
const INTEGER: u8 = 0x04;
const DOUBLE: u8 = 0x05;
const STRING: u8 = 0x06;
const XML_DOCUMENT: u8 = 0x07;
const DATE: u8 = 0x08;
const ARRAY: u8 = 0x09;
const OBJECT: u8 = 0x0a;
const XML: u8 = 0x0b;
const BYTE_ARRAY: u8 = 0x0c;

/// All values of `input`, to its end; they share one set of reference tables.
///
/// # Errors
/// A value is cut short or unknown, a reference leads nowhere, a class is externalizable, or a
/// limit is reached.
pub fn decode(input: &[u8], limits: Limits) -> Result<Vec<Value>, Error> {
    let mut cursor = Cursor { input, at: 0 };
    let mut budget = Budget::new(limits);
    let mut decoder = Decoder::new(&mut cursor, &mut budget);
    let mut values = Vec::new();
    while !decoder.cursor.is_at_end() {
        values.push(decoder.value()?);
    }
    Ok(values)
}

/// One value with reference tables of its own, as AMF0's marker 0x11 introduces it.
pub(super) fn value(cursor: &mut Cursor<'_>, budget: &mut Budget) -> Result<Value, Error> {
    Decoder::new(cursor, budget).value()
}

struct Traits {
    class: String,
    dynamic: bool,
    names: Vec<String>,
}

struct Decoder<'a, 'b> {
    cursor: &'b mut Cursor<'a>,
    budget: &'b mut Budget,
    strings: Vec<String>,
    traits: Vec<Rc<Traits>>,
    /// Marker and start of each value that references can name.
    objects: Vec<(u8, usize)>,
    /// The target of a reference is being decoded again, so nothing gets a new number.
    replaying: bool,
}

impl<'a, 'b> Decoder<'a, 'b> {
    const fn new(cursor: &'b mut Cursor<'a>, budget: &'b mut Budget) -> Self {
        Self {
            cursor,
            budget,
            strings: Vec::new(),
            traits: Vec::new(),
            objects: Vec::new(),
            replaying: false,
        }
    }

    fn value(&mut self) -> Result<Value, Error> {
        let marker = self.cursor.u8()?;
        self.budget.value()?;
        Ok(match marker {
            UNDEFINED => Value::Undefined,
            NULL => Value::Null,
            FALSE => Value::Boolean(false),
            TRUE => Value::Boolean(true),
            INTEGER => Value::Number(sign_extended(self.u29()?).into()),
            DOUBLE => Value::Number(self.cursor.f64()?),
            STRING => Value::String(self.text()?),
            XML_DOCUMENT | XML | DATE | ARRAY | OBJECT | BYTE_ARRAY => self.complex(marker)?,
            0x0d..=0x11 => {
                let feature = "a vector or dictionary";
                return Err(Error::Unsupported { format: "AMF3", feature });
            }
            _ => return Err(malformed("unknown AMF3 marker")),
        })
    }

    /// A value that references can name: its U29 says whether it is one.
    fn complex(&mut self, marker: u8) -> Result<Value, Error> {
        let start = self.cursor.at;
        let head = self.u29()?;
        self.budget.nested()?;
        let value = if head & 1 == 0 {
            self.reference(marker, (head >> 1) as usize)?
        } else {
            if !self.replaying {
                self.objects.push((marker, start));
            }
            self.inline(marker, head >> 1)?
        };
        self.budget.leave();
        Ok(value)
    }

    fn reference(&mut self, marker: u8, index: usize) -> Result<Value, Error> {
        let known = self.objects.get(index).filter(|(kind, _)| *kind == marker);
        let (_, target) = *known.ok_or(malformed("reference leads nowhere"))?;
        self.budget.value()?;
        let (at, replaying) = (self.cursor.at, self.replaying);
        (self.cursor.at, self.replaying) = (target, true);
        let value = self.complex(marker)?;
        (self.cursor.at, self.replaying) = (at, replaying);
        Ok(value)
    }

    fn inline(&mut self, marker: u8, head: u32) -> Result<Value, Error> {
        Ok(match marker {
            DATE => Value::Date(self.cursor.f64()?),
            ARRAY => self.array(head)?,
            OBJECT => self.object(head)?,
            BYTE_ARRAY => {
                let bytes = self.cursor.take(head as usize)?;
                self.budget.bytes(bytes.len())?;
                Value::Bytes(Bytes::copy_from_slice(bytes))
            }
            _ => Value::Xml(self.cursor.text(head as usize, self.budget)?),
        })
    }

    /// Named elements up to an empty name, then `count` unnamed ones. An array with named elements
    /// is a map whose unnamed ones are named by their index.
    fn array(&mut self, count: u32) -> Result<Value, Error> {
        let mut named = self.dynamic_fields()?;
        if named.is_empty() {
            return Ok(Value::Array((0..count).map(|_| self.value()).collect::<Result<_, _>>()?));
        }
        for index in 0..count {
            named.push((index.to_string(), self.value()?));
        }
        Ok(Value::Map(named))
    }

    fn object(&mut self, head: u32) -> Result<Value, Error> {
        let traits = self.traits(head)?;
        let mut fields = Fields::new();
        for name in &traits.names {
            self.budget.bytes(name.len())?;
            fields.push((name.clone(), self.value()?));
        }
        if traits.dynamic {
            fields.extend(self.dynamic_fields()?);
        }
        self.budget.bytes(traits.class.len())?;
        Ok(match traits.class.as_str() {
            "" => Value::Object(fields),
            class => Value::Typed(class.to_owned(), fields),
        })
    }

    fn traits(&mut self, head: u32) -> Result<Rc<Traits>, Error> {
        if head & 1 == 0 {
            let known = self.traits.get((head >> 1) as usize);
            return known.cloned().ok_or(malformed("traits reference leads nowhere"));
        }
        if head & 2 != 0 {
            let feature = "an externalizable class";
            return Err(Error::Unsupported { format: "AMF3", feature });
        }
        let class = self.text()?;
        let mut names = Vec::new();
        for _ in 0..head >> 3 {
            // Each sealed name is a value to come, so it is charged as one.
            self.budget.value()?;
            names.push(self.text()?);
        }
        let traits = Rc::new(Traits { class, dynamic: head & 4 != 0, names });
        if !self.replaying {
            self.traits.push(Rc::clone(&traits));
        }
        Ok(traits)
    }

    fn dynamic_fields(&mut self) -> Result<Fields, Error> {
        let mut fields = Fields::new();
        loop {
            let name = self.text()?;
            if name.is_empty() {
                return Ok(fields);
            }
            fields.push((name, self.value()?));
        }
    }

    fn text(&mut self) -> Result<String, Error> {
        let head = self.u29()?;
        if head & 1 == 0 {
            let known = self.strings.get((head >> 1) as usize);
            let text = known.ok_or(malformed("string reference leads nowhere"))?;
            self.budget.bytes(text.len())?;
            return Ok(text.clone());
        }
        let text = self.cursor.text((head >> 1) as usize, self.budget)?;
        // The empty string is never sent by reference.
        if !text.is_empty() && !self.replaying {
            self.budget.bytes(text.len())?;
            self.strings.push(text.clone());
        }
        Ok(text)
    }

    /// Variable length 29-bit integer: seven bits a byte, eight in the fourth.
    fn u29(&mut self) -> Result<u32, Error> {
        let mut value = 0;
        for _ in 0..3 {
            let byte = self.cursor.u8()?;
            value = value << 7 | u32::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Ok(value << 8 | u32::from(self.cursor.u8()?))
    }
}

#[expect(clippy::cast_possible_wrap, reason = "29 bits fit; the shift makes the sign")]
const fn sign_extended(value: u32) -> i32 {
    ((value << 3) as i32) >> 3
}

/// Appends `value` to `out`, without references. Whole numbers of 29 bits become integers.
///
/// # Panics
/// A length is over 2^28: values to encode are ours, not a peer's.
pub fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Undefined => out.push(UNDEFINED),
        Value::Null => out.push(NULL),
        Value::Boolean(flag) => out.push(if *flag { TRUE } else { FALSE }),
        Value::Number(number) => encode_number(*number, out),
        Value::String(text) => {
            out.push(STRING);
            encode_bytes(text.as_bytes(), out);
        }
        Value::Date(unix_ms) => {
            out.extend([DATE, 1]);
            out.extend(unix_ms.to_be_bytes());
        }
        Value::Xml(text) => {
            out.push(XML);
            encode_bytes(text.as_bytes(), out);
        }
        Value::Bytes(bytes) => {
            out.push(BYTE_ARRAY);
            encode_bytes(bytes, out);
        }
        Value::Array(values) => {
            out.push(ARRAY);
            encode_length(values.len(), out);
            out.push(1);
            values.iter().for_each(|value| encode(value, out));
        }
        Value::Map(fields) => {
            out.extend([ARRAY, 1]);
            encode_fields(fields, out);
        }
        Value::Object(fields) => {
            out.extend([OBJECT, 0x0b, 1]);
            encode_fields(fields, out);
        }
        Value::Typed(class, fields) => {
            out.extend([OBJECT, 0x0b]);
            encode_bytes(class.as_bytes(), out);
            encode_fields(fields, out);
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "range is checked")]
fn encode_number(number: f64, out: &mut Vec<u8>) {
    let integral = number.fract() == 0.0 && !(number == 0.0 && number.is_sign_negative());
    if integral && (-268_435_456.0..268_435_456.0).contains(&number) {
        out.push(INTEGER);
        encode_u29((number as i32 as u32) & 0x1fff_ffff, out);
    } else {
        out.push(DOUBLE);
        out.extend(number.to_be_bytes());
    }
}

/// Dynamic members. An empty name would end them, so a member without a name is left out.
fn encode_fields(fields: &[(String, Value)], out: &mut Vec<u8>) {
    for (name, value) in fields.iter().filter(|(name, _)| !name.is_empty()) {
        encode_bytes(name.as_bytes(), out);
        encode(value, out);
    }
    out.push(1);
}

fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    encode_length(bytes.len(), out);
    out.extend(bytes);
}

fn encode_length(count: usize, out: &mut Vec<u8>) {
    assert!(count < 1 << 28, "AMF3 lengths are at most 28 bits");
    encode_u29((count as u32) << 1 | 1, out);
}

fn encode_u29(value: u32, out: &mut Vec<u8>) {
    let low = |shift: u32| (value >> shift) as u8 & 0x7f;
    match value {
        0..0x80 => out.push(low(0)),
        0x80..0x4000 => out.extend([low(7) | 0x80, low(0)]),
        0x4000..0x20_0000 => out.extend([low(14) | 0x80, low(7) | 0x80, low(0)]),
        _ => out.extend([low(22) | 0x80, low(15) | 0x80, low(8) | 0x80, value as u8]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(input: &[u8]) -> Result<Value, Error> {
        decode(input, Limits::default()).map(|mut values| values.remove(0))
    }

    #[test]
    fn every_value_survives_a_round_trip() {
        let inner = Value::object([("a", Value::Number(0.5)), ("b", Value::Null)]);
        let mut cases = vec![
            Value::Undefined,
            Value::Null,
            Value::Boolean(true),
            Value::Boolean(false),
            Value::string(""),
            Value::string("live"),
            Value::Date(1_700_000_000_000.0),
            Value::Xml("<a/>".into()),
            Value::Bytes(Bytes::from_static(b"\x00\xff")),
            Value::Array(vec![inner.clone(), Value::Null]),
            Value::Map(vec![("duration".into(), Value::Number(0.0))]),
            inner.clone(),
            Value::Typed("Clip".into(), vec![("in".into(), inner)]),
        ];
        let edges = [0, 0x7f, 0x80, 0x3fff, 0x4000, 0x1f_ffff, 0x20_0000, 0xfff_ffff, 0x1000_0000];
        for edge in edges {
            cases.extend([Value::Number(edge.into()), Value::Number((-edge).into())]);
        }
        for case in cases {
            let mut bytes = Vec::new();
            encode(&case, &mut bytes);
            assert_eq!(one(&bytes).as_ref(), Ok(&case), "{bytes:02x?}");
        }
    }

    #[test]
    fn references_are_resolved() {
        let point = |x: f64| Value::Typed("P".into(), vec![("x".into(), Value::Number(x))]);
        let cases: [(&[u8], Vec<Value>); 3] = [
            (b"\x06\x03a\x06\x00", vec![Value::string("a"); 2]),
            // Traits by reference: the second object names class and members by index.
            (
                b"\x0a\x13\x03P\x03x\x04\x01\x0a\x01\x04\x02\x0a\x00",
                vec![point(1.0), point(2.0), point(1.0)],
            ),
            (b"\x0c\x03z\x0c\x00", vec![Value::Bytes(Bytes::from_static(b"z")); 2]),
        ];
        for (bytes, values) in cases {
            assert_eq!(decode(bytes, Limits::default()), Ok(values), "{bytes:02x?}");
        }
    }

    #[test]
    fn malformed_input_is_an_error() {
        let cases: [&[u8]; 7] = [
            b"\x04\xff\xff",
            b"\x05\0",
            b"\x06\x02",
            b"\x0a\x00",
            b"\x09\x05\x01\x01",
            b"\x0a\x07\x01",
            b"\x12",
        ];
        for bytes in cases {
            assert!(one(bytes).is_err(), "{bytes:02x?}");
        }
    }

    #[test]
    fn every_limit_holds() {
        let limit = |input: &[u8]| match one(input) {
            Err(Error::Limit { limit, .. }) => limit,
            other => panic!("{other:?}"),
        };
        assert_eq!(limit(&b"\x09\x03\x01".repeat(20)), "depth_max");
        assert_eq!(
            limit(&[b"\x09\x83\xff\x7f\x01".as_slice(), &[1; 70_000]].concat()),
            "values_max"
        );
        assert_eq!(limit(&[b"\x0c\xc0\x80\x01".as_slice(), &[1; 600_000]].concat()), "bytes_max");
        // An array that contains itself.
        assert_eq!(limit(b"\x09\x03\x01\x09\x00"), "depth_max");
        // A class that claims 2^25 sealed members.
        assert_eq!(
            limit(&[b"\x0a\xff\xff\xff\xf3\x01".as_slice(), &[1; 40_000]].concat()),
            "values_max"
        );
    }
}
