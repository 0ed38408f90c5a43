//! What a session keeps secret, drawn from its seed.

use sha2::{Digest, Sha256};

/// 32 bytes that nobody else knows: ICE passwords are drawn from them (RFC 8445 §5.3 asks for 128
/// bits), so take them from the operating system. Each session needs its own.
pub type Seed = [u8; 32];

/// Draws independent values from a seed.
#[derive(Clone)]
pub(crate) struct Secrets {
    seed: Seed,
    drawn: u64,
}

impl Secrets {
    pub(crate) const fn new(seed: Seed) -> Self {
        Self { seed, drawn: 0 }
    }

    /// The next 32 bytes.
    pub(crate) fn block(&mut self) -> [u8; 32] {
        self.drawn += 1;
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(self.drawn.to_be_bytes());
        hash.finalize().into()
    }

    /// The next 64 bits.
    pub(crate) fn number(&mut self) -> u64 {
        let block = self.block();
        block.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// A word of `len` ≤ 32 characters that ICE allows, 6 bits each.
    pub(crate) fn word(&mut self, len: usize) -> String {
        const CHARS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let block = self.block();
        block.iter().take(len).map(|byte| char::from(CHARS[usize::from(byte & 63)])).collect()
    }
}

impl core::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secrets")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_draw_is_another_and_each_seed_too() {
        let mut one = Secrets::new([1; 32]);
        let mut two = Secrets::new([2; 32]);
        let words = [one.word(22), one.word(22), two.word(22)];
        assert!(words.iter().all(|word| word.len() == 22));
        assert_ne!(words[0], words[1]);
        assert_ne!(words[0], words[2]);
        assert_eq!(Secrets::new([1; 32]).word(22), words[0]);
    }
}
