use streamr_media::Error;
use streamr_media::amf::{self, Limits, Value};

/// Whatever AMF0 decodes to, encoding it and decoding that gives the same values.
pub fn amf0(data: &[u8]) {
    round_trip(data, amf::amf0::decode, amf::amf0::encode);
}

/// The same for AMF3.
pub fn amf3(data: &[u8]) {
    round_trip(data, amf::amf3::decode, amf::amf3::encode);
}

type Decode = fn(&[u8], Limits) -> Result<Vec<Value>, Error>;

fn round_trip(data: &[u8], decode: Decode, encode: fn(&Value, &mut Vec<u8>)) {
    let Ok(values) = decode(data, Limits::default()) else { return };
    let write = |values: &[Value]| {
        let mut bytes = Vec::new();
        values.iter().for_each(|value| encode(value, &mut bytes));
        bytes
    };
    let first = write(&values);
    // Without references and with replacement characters it may be larger than the input.
    let limits = Limits { values_max: u32::MAX, bytes_max: u32::MAX, ..Limits::default() };
    let again = decode(&first, limits).expect("what we encode can be decoded");
    // Compared as bytes, because NaN is not equal to itself.
    assert_eq!(write(&again), first);
}
