//! Bits of a header, most significant first, never past the end.

use crate::Error;

/// Reads bits from a header. Every read past the end is an error that names the format.
#[derive(Clone, Debug)]
pub(crate) struct Bits<'a> {
    data: &'a [u8],
    position_bits: usize,
    format: &'static str,
}

impl<'a> Bits<'a> {
    pub(crate) const fn new(format: &'static str, data: &'a [u8]) -> Self {
        Self { data, position_bits: 0, format }
    }

    pub(crate) const fn remaining(&self) -> usize {
        (self.data.len() * 8).saturating_sub(self.position_bits)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Error> {
        let byte = self.data.get(self.position_bits / 8).ok_or_else(|| self.short())?;
        let bit = byte >> (7 - self.position_bits % 8) & 1;
        self.position_bits += 1;
        Ok(bit == 1)
    }

    /// An unsigned number of `width` bits; at most 32 of them.
    pub(crate) fn u(&mut self, width: u32) -> Result<u32, Error> {
        debug_assert!(width <= 32, "wider numbers are read in two halves");
        let mut value = 0;
        for _ in 0..width {
            value = value << 1 | u32::from(self.flag()?);
        }
        Ok(value)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.u(8)? as u8)
    }

    pub(crate) fn skip(&mut self, width: usize) -> Result<(), Error> {
        if width > self.remaining() {
            return Err(self.short());
        }
        self.position_bits += width;
        Ok(())
    }

    pub(crate) fn align(&mut self) {
        self.position_bits = self.position_bits.next_multiple_of(8);
    }

    /// ue(v), ISO/IEC 14496-10 clause 9.1.
    pub(crate) fn ue(&mut self) -> Result<u32, Error> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return Err(Error::malformed(self.format, "Exp-Golomb code longer than 63 bits"));
            }
        }
        Ok((1 << zeros) - 1 + self.u(zeros)?)
    }

    /// ue(v) that must not be more than `max`.
    pub(crate) fn ue_max(&mut self, max: u32, reason: &'static str) -> Result<u32, Error> {
        let value = self.ue()?;
        if value > max {
            return Err(Error::malformed(self.format, reason));
        }
        Ok(value)
    }

    /// se(v), clause 9.1.1.
    pub(crate) fn se(&mut self) -> Result<i32, Error> {
        let code = i64::from(self.ue()?);
        let magnitude = (code + 1) / 2;
        Ok(if code % 2 == 1 { magnitude } else { -magnitude } as i32)
    }

    const fn short(&self) -> Error {
        Error::malformed(self.format, "header ends too early")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_follows_the_table_of_clause_9_1() {
        // 1 010 011 00100 00101 → 0 1 2 3 4
        let bytes = [0b1010_0110, 0b0100_0010, 0b1000_0000];
        let mut bits = Bits::new("test", &bytes);
        for expected in 0..5 {
            assert_eq!(bits.ue(), Ok(expected));
        }
        let mut bits = Bits::new("test", &bytes);
        for expected in [0, 1, -1, 2, -2] {
            assert_eq!(bits.se(), Ok(expected));
        }
    }

    #[test]
    fn reading_past_the_end_is_an_error() {
        let mut bits = Bits::new("test", &[0xff]);
        assert!(bits.u(9).is_err());
        assert!(Bits::new("test", &[]).flag().is_err());
        assert!(Bits::new("test", &[0; 64]).ue().is_err());
        assert!(Bits::new("test", &[0; 2]).skip(17).is_err());
    }
}
