//! Packetized elementary streams (ISO/IEC 13818-1 clause 2.4.3.6): payloads with times.

/// A whole PES packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pes {
    /// 90 kHz, 33 bits.
    pub(super) pts: Option<u64>,
    /// 90 kHz, 33 bits. Equal to `pts` if not stated.
    pub(super) dts: Option<u64>,
    pub(super) payload: Vec<u8>,
}

/// Puts the PES packets of one PID together. Holds one of them.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    bytes: Vec<u8>,
    active: bool,
}

impl Assembler {
    /// A new PES packet begins: returns the one before if it had no stated length.
    pub(super) fn start(&mut self) -> Option<Pes> {
        let before = self.finish();
        self.active = true;
        before
    }

    /// Takes payload; returns the PES packet that it completes. One that would be longer than
    /// `bytes_max` is dropped.
    pub(super) fn push(&mut self, payload: &[u8], bytes_max: usize) -> Option<Pes> {
        if !self.active {
            return None;
        }
        if self.bytes.len() + payload.len() > bytes_max {
            self.drop_damaged();
            return None;
        }
        self.bytes.extend_from_slice(payload);
        let stated = self.stated_bytes()?;
        if self.bytes.len() < stated {
            return None;
        }
        self.bytes.truncate(stated);
        self.finish()
    }

    /// Bytes were lost: what was collected is of no use.
    pub(super) fn drop_damaged(&mut self) {
        self.active = false;
        self.bytes = Vec::new();
    }

    /// The packet that has been collected so far, if it is whole as far as one can tell.
    pub(super) fn finish(&mut self) -> Option<Pes> {
        let cut = self.stated_bytes().is_some_and(|stated| self.bytes.len() < stated);
        let whole = core::mem::take(&mut self.active) && !cut;
        let bytes = core::mem::take(&mut self.bytes);
        if whole { parse(bytes) } else { None }
    }

    /// `PES_packet_length` and the six bytes before its end; `None` if it is 0 or not there yet.
    fn stated_bytes(&self) -> Option<usize> {
        let length = self.bytes.get(4..6)?;
        let length = usize::from(length[0]) << 8 | usize::from(length[1]);
        (length > 0).then_some(length + 6)
    }
}

fn parse(mut bytes: Vec<u8>) -> Option<Pes> {
    let header = bytes.first_chunk::<9>()?;
    if header[..3] != [0, 0, 1] || header[6] & 0xc0 != 0x80 {
        return None;
    }
    let (flags, header_bytes) = (header[7] >> 6, 9 + usize::from(header[8]));
    let times = bytes.get(9..header_bytes)?;
    let pts = if flags & 2 == 2 { Some(time(times)?) } else { None };
    let dts = if flags == 3 { Some(time(times.get(5..)?)?) } else { pts };
    bytes.drain(..header_bytes);
    Some(Pes { pts, dts, payload: bytes })
}

fn time(bytes: &[u8]) -> Option<u64> {
    let [a, b, c, d, e] = bytes.first_chunk::<5>()?.map(u64::from);
    Some((a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1)
}
