//! Losses: what an answer about some time can't tell, because it was dropped or can't be read.
//!
//! Every answer that a loss touches carries it as a warning. The list is bounded; repeated losses of one kind grow
//! the one that is there.

/// Something that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Loss {
    from_ms: i64,
    to_ms: i64,
    what: String,
    times: u64,
}

/// All that is missing.
#[derive(Debug, Default)]
pub(crate) struct Losses(Vec<Loss>);

impl Losses {
    const MAX: usize = 1000;
    /// Losses of one kind within this time are one.
    const GAP_MS: i64 = 300_000;

    pub(crate) fn add(&mut self, from_ms: i64, to_ms: i64, what: &str) {
        let near = self.0.iter_mut().rev().find(|loss| {
            loss.what == what
                && from_ms <= loss.to_ms.saturating_add(Self::GAP_MS)
                && to_ms >= loss.from_ms.saturating_sub(Self::GAP_MS)
        });
        if let Some(loss) = near {
            loss.from_ms = loss.from_ms.min(from_ms);
            loss.to_ms = loss.to_ms.max(to_ms);
            loss.times += 1;
            return;
        }
        if self.0.len() == Self::MAX {
            self.0.remove(0);
        }
        self.0.push(Loss {
            from_ms,
            to_ms,
            what: what.to_owned(),
            times: 1,
        });
    }

    /// What a reader of this time must know.
    pub(crate) fn warnings(&self, from_ms: i64, to_ms: i64) -> Vec<String> {
        let touched = self
            .0
            .iter()
            .filter(|loss| loss.from_ms <= to_ms && loss.to_ms >= from_ms);
        touched
            .map(|loss| match loss.times {
                1 => loss.what.clone(),
                times => format!("{} ({times} times)", loss.what),
            })
            .collect()
    }

    /// Forgets what was lost before a time.
    pub(crate) fn forget_before(&mut self, time_ms: i64) {
        self.0.retain(|loss| loss.to_ms >= time_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_of_one_kind_are_told_once_and_only_of_their_time() {
        let mut losses = Losses::default();
        losses.add(1_000, 2_000, "samples of a dropped");
        losses.add(60_000, 61_000, "samples of a dropped");
        losses.add(1_000, 1_000, "samples of b dropped");
        assert_eq!(
            losses.warnings(30_000, 40_000),
            ["samples of a dropped (2 times)"]
        );
        assert_eq!(losses.warnings(0, 1_500).len(), 2);
        losses.forget_before(50_000);
        assert_eq!(losses.warnings(0, i64::MAX).len(), 1);
    }
}
