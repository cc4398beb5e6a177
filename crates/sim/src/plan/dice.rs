//! Chance that is the same on every machine: integers from ChaCha, and no function whose last bit a mathematical
//! library may choose.

use std::time::Duration;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// One stream of chance for each kind of mishap, so that more of one kind moves no other.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut chacha = ChaCha8Rng::from_seed(key);
        chacha.set_stream(stream);
        Self(chacha)
    }

    /// Below `end`; 0 when that is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let product = u128::from(self.0.next_u64()) * end as u128;
        usize::try_from(product >> 64).expect("it is below `end`")
    }

    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }

    /// Whole milliseconds from `least` to `most`, both possible.
    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let spread = most.saturating_sub(least).as_millis();
        let spread = usize::try_from(spread).unwrap_or(usize::MAX - 1);
        let more = u64::try_from(self.below(spread + 1)).unwrap_or(u64::MAX);
        least + Duration::from_millis(more)
    }

    /// Exponentially distributed with mean 1, without a logarithm: John von Neumann's comparison of runs
    /// ("Various techniques used in connection with random digits", 1951).
    fn exponential(&mut self) -> f64 {
        let mut rejected = 0u32;
        loop {
            let first = self.0.next_u64();
            let (mut last, mut length) = (first, 1);
            loop {
                let next = self.0.next_u64();
                if next >= last {
                    break;
                }
                (last, length) = (next, length + 1);
            }
            if length % 2 == 1 {
                // Exact in a double; nothing here rounds otherwise on another machine.
                let fraction = u32::try_from(first >> 32).expect("32 bits are left");
                return f64::from(rejected) + f64::from(fraction) / f64::from(u32::MAX);
            }
            rejected += 1;
        }
    }

    /// When something happens within `duration` that happens `per_month` times in 30 days on average, each time
    /// independent of all others.
    pub(crate) fn arrivals(&mut self, per_month: f64, duration: Duration) -> Vec<Duration> {
        let mut all = Vec::new();
        if per_month <= 0.0 {
            return all;
        }
        let mean_seconds = MONTH.as_secs_f64() / per_month;
        let mut seconds = 0.0;
        loop {
            seconds += self.exponential() * mean_seconds;
            match Duration::try_from_secs_f64(seconds) {
                Ok(at) if at < duration => all.push(whole_millis(at)),
                Ok(_) | Err(_) => return all,
            }
        }
    }
}

pub(crate) const MONTH: Duration = Duration::from_secs(30 * 86_400);

fn whole_millis(duration: Duration) -> Duration {
    Duration::new(duration.as_secs(), duration.subsec_millis() * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_come_as_often_as_their_rate_says() {
        let mut dice = Dice::new(7, 0);
        let all = dice.arrivals(10_000.0, MONTH);
        assert!((9_700..=10_300).contains(&all.len()), "{}", all.len());
        assert!(all.is_sorted());
        let first_third = all.iter().filter(|at| **at < MONTH / 3).count();
        assert!((3_130..=3_530).contains(&first_third), "{first_third}");
        assert!(dice.arrivals(0.0, MONTH).is_empty());
    }

    #[test]
    fn gaps_are_exponential_and_not_merely_random() {
        let mut dice = Dice::new(7, 1);
        let gaps: Vec<f64> = (0..20_000).map(|_| dice.exponential()).collect();
        // 1/e of them are longer than the mean and 1/e² longer than twice the mean.
        for (longer_than, share) in [(1.0, 0.368), (2.0, 0.135), (3.0, 0.050)] {
            let longer = gaps.iter().filter(|gap| **gap > longer_than).count();
            let expected = share * 20_000.0;
            let off = (f64::from(u32::try_from(longer).unwrap()) - expected).abs();
            assert!(off < 300.0, "{longer} instead of {expected}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_dice_for_ever() {
        let mut dice = Dice::new(42, 3);
        let drawn: Vec<usize> = (0..6).map(|_| dice.below(1_000)).collect();
        let mut again = Dice::new(42, 3);
        assert_eq!(
            drawn,
            (0..6).map(|_| again.below(1_000)).collect::<Vec<_>>()
        );
        let mut other = Dice::new(42, 4);
        assert_ne!(
            drawn,
            (0..6).map(|_| other.below(1_000)).collect::<Vec<_>>()
        );
    }
}
