//! Chance from a seed.

/// A sequence of numbers that a seed determines (SplitMix64; Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from zero to one less than `end`; zero if `end` is zero.
    pub const fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next_u64() % end }
    }

    /// Whether something happens that does in so many of a million cases.
    pub const fn happens(&mut self, per_million: u32) -> bool {
        self.below(1_000_000) < per_million as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_what_was_asked_for_and_the_same_again() {
        let hits = |seed| {
            let mut random = Random::new(seed);
            (0..100_000).filter(|_| random.happens(10_000)).count()
        };
        assert!((800..1_200).contains(&hits(1)));
        assert_eq!(hits(1), hits(1));
        assert_ne!(Random::new(1).next_u64(), Random::new(2).next_u64());
        assert_eq!(Random::new(3).below(0), 0);
    }
}
