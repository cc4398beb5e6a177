//! How many there are, when only some were seen.
//!
//! Ids that are dense numbers tell it: of `k` different ones drawn from 1 to N, the highest `m` has its mean a little
//! below N, and `m + m/k - 1` has its mean at N (the German tank problem, Goodman 1952). Serial numbers and other
//! sparse ids would make that absurd, so the ids must look as if drawn evenly: with k of them on m places, gaps are
//! about exponential with mean m/k, and one of more than `4 ln k` means has a chance below k⁻³.

/// Fewer ids than this say nothing about the others.
const IDS_MIN: usize = 10;
/// More than any fleet has; sparse ids that pass for dense would ask for too much memory.
const COUNT_MAX: u64 = 10_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Population {
    /// As many as were seen: nothing says that there were more.
    Seen(u64),
    /// From `seen` dense numbers of which `highest` is the highest.
    Estimated { count: u64, seen: u64, highest: u64 },
}

impl Population {
    pub(super) fn of<'a>(ids: impl Iterator<Item = &'a str>) -> Self {
        let mut all = 0;
        let mut numbers = Vec::new();
        for id in ids {
            all += 1;
            numbers.extend(id.parse::<u64>());
        }
        numbers.sort_unstable();
        numbers.dedup();
        let seen = u64::try_from(numbers.len()).unwrap_or(u64::MAX);
        let are_numbers = numbers.len() == all && all >= IDS_MIN;
        match numbers.last() {
            Some(&highest) if are_numbers && is_even(&numbers) => {
                // Ids that begin at 0 are one more than the highest says.
                let zero = u64::from(numbers[0] == 0);
                let highest_from_one = highest.saturating_add(zero);
                let beyond = (highest_from_one / seen).saturating_sub(1);
                let count = highest_from_one.saturating_add(beyond);
                if count > COUNT_MAX {
                    return Self::Seen(seen);
                }
                Self::Estimated {
                    count: count.max(seen),
                    seen,
                    highest,
                }
            }
            _ => Self::Seen(u64::try_from(all).unwrap_or(u64::MAX)),
        }
    }

    pub(super) fn count(self) -> u64 {
        match self {
            Self::Seen(count) | Self::Estimated { count, .. } => count,
        }
    }
}

/// Whether no gap between sorted `ids`, the one below the first among them, is too wide for chance. Three times the
/// binary logarithm is a little more than four times the natural one, and the same on every machine.
fn is_even(ids: &[u64]) -> bool {
    let (Some(&highest), Some(log)) = (ids.last(), ids.len().checked_ilog2()) else {
        return false;
    };
    let mean = u128::from(highest).div_ceil(ids.len() as u128);
    let gap_max = mean * u128::from(3 * (log + 1));
    let before = std::iter::once(&0).chain(ids);
    let mut gaps = before.zip(ids).map(|(low, high)| u128::from(high - low));
    gaps.all(|gap| gap <= gap_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn population(ids: impl Iterator<Item = u64>) -> u64 {
        let ids: Vec<String> = ids.map(|id| id.to_string()).collect();
        Population::of(ids.iter().map(String::as_str)).count()
    }

    #[test]
    fn dense_numbers_tell_how_many_there_are() {
        assert_eq!(
            population((1..=50).map(|id| id * 20)),
            1_000 + 1_000 / 50 - 1
        );
        assert_eq!(population(0..100), 100);
        assert_eq!(population(1..=100), 100);
    }

    #[test]
    fn sparse_numbers_and_few_are_only_counted() {
        assert_eq!(population((0..50).map(|id| 7_000_000_000 + id)), 50);
        assert_eq!(population((0..50).chain(900_000..900_050)), 100);
        assert_eq!(population([5, 500, 1_000].into_iter()), 3);
        assert_eq!(population((1..=1_000).map(|id| id * 1_000_000)), 1_000);
    }

    #[test]
    fn names_are_only_counted() {
        let names = ["web-1", "web-2", "web-9"];
        assert_eq!(Population::of(names.into_iter()), Population::Seen(3));
    }
}
