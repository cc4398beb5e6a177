//! Finding by name: a hash map with a fixed key, so that the same input gives the same output everywhere.
//!
//! Two of these are asked for every observation, so the hash is a multiplication per eight bytes (folded, as wyhash
//! does it) instead of SipHash's rounds. Its order means nothing and is never walked. Whoever chooses names can make
//! some of them collide; names come from the user's own discovery.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

pub(crate) type Lookup<K, V> = HashMap<K, V, BuildHasherDefault<Folded>>;

/// Odd, half of its bits set, no pattern: the fractional part of the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Folded(u64);

impl Folded {
    fn fold(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ FACTOR) * u128::from(FACTOR.rotate_left(29));
        let (low, high) = (product & u128::from(u64::MAX), product >> u64::BITS);
        self.0 = u64::try_from(low ^ high).expect("both halves have 64 bits");
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.fold(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.fold(u64::from_le_bytes(last));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.fold(u64::from(byte));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_that_differ_in_one_digit_are_spread_over_high_and_low_bits() {
        let hashes: Vec<u64> = (0..4_096)
            .map(|number| {
                let mut hasher = Folded::default();
                hasher.write(format!("service-7-{number}").as_bytes());
                hasher.finish()
            })
            .collect();
        let distinct = |bits: fn(u64) -> u64| -> usize {
            hashes
                .iter()
                .map(|hash| bits(*hash))
                .collect::<BTreeSet<_>>()
                .len()
        };
        // 4096 balls into 4096 bins fill 63% of them.
        assert!(distinct(|hash| hash & 0xfff) > 2_400);
        assert!(distinct(|hash| hash >> 52) > 2_400);
        assert_eq!(distinct(|hash| hash), 4_096);
    }
}
