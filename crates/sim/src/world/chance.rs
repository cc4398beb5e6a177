//! Chance by name, not by turn: what is drawn depends on the seed and on what it is drawn for, never on how many
//! draws came before. So one message more changes no other draw, and two policies meet the same luck.

/// What a draw is for; its number is part of the draw.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(crate) enum For {
    Jitter = 1,
    Took,
    Loss,
    Double,
    Delay,
    Cure,
    Work,
    WarmUp,
    Fumble,
    Phase,
    Hand,
    Shard,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn draw(self, what: For, of: &[u64]) -> u64 {
        mix(mix(self.0, &[what as u64]), of)
    }

    /// Below `end`, which must not be 0.
    pub(crate) fn below(self, end: u64, what: For, of: &[u64]) -> u64 {
        self.draw(what, of) % end.max(1)
    }

    pub(crate) fn percent(self, percent: u64, what: For, of: &[u64]) -> bool {
        self.below(100, what, of) < percent
    }
}

/// SplitMix64's finisher over each part: <https://prng.di.unimi.it/splitmix64.c>.
pub(crate) fn mix(seed: u64, parts: &[u64]) -> u64 {
    parts.iter().fold(finish(seed), |state, part| {
        finish(state ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    })
}

fn finish(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
