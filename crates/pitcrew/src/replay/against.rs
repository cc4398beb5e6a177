//! What a record's runs decided, beside what the ledger of that time says: record by record, in their order.

use std::{collections::BTreeMap, path::Path};

use pitcrew_ledger::{Ledger, LedgerError};
use pitcrew_model::{Fact, Record};
use pitcrew_sim::replay::{Decisions, RunEnd, RunSummary, is_servers_own};
use serde::Serialize;

use crate::failure::Failure;

/// One run in both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Against {
    pub(crate) fence: u64,
    /// Equal from the first on.
    pub(crate) same: u64,
    pub(crate) first_difference: Option<Parting>,
    /// At the end of a run that was cut off one of them may know more: written before the other was.
    pub(crate) only_in_ledger: u64,
    pub(crate) only_in_record: u64,
    /// The run is not in the ledger at all, and why.
    pub(crate) absent: Option<String>,
}

/// Where they part; `None`: one of them has no more.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Parting {
    pub(crate) ledger: Option<Record>,
    pub(crate) replayed: Option<Record>,
}

impl Against {
    pub(crate) fn is_alike(&self) -> bool {
        self.first_difference.is_none() && self.absent.is_none()
    }
}

const PAGE: usize = 1_000;

pub(super) fn against(
    directory: &Path,
    runs: &[RunSummary],
    decided: &[Decisions],
) -> Result<Vec<Against>, Failure> {
    let reader = Ledger::open_read_only(directory).map_err(|error| unusable(&error))?;
    let installation = reader.installation().to_owned();
    let mut kept: BTreeMap<u64, Vec<Record>> = BTreeMap::new();
    for run in decided {
        kept.insert(run.fence, Vec::new());
    }
    let mut started = Vec::new();
    let (mut fence, mut after) = (0, 0);
    loop {
        let entries = reader
            .after(after, PAGE)
            .map_err(|error| unusable(&error))?;
        let Some(last) = entries.last() else { break };
        after = last.seq;
        for entry in entries {
            if let Fact::ServerStarted { fence: new, .. } = entry.record.fact {
                fence = new;
                started.push(new);
            }
            if !is_servers_own(&entry.record.fact)
                && let Some(records) = kept.get_mut(&fence)
            {
                records.push(entry.record);
            }
        }
    }
    let each = runs.iter().zip(decided).map(|(run, decided)| {
        let fence = run.fence;
        if decided.installation != installation {
            return absent(fence, "the ledger is another installation's");
        }
        if !started.contains(&fence) {
            return absent(fence, "the ledger does not know of this start");
        }
        let ledger = kept.get(&fence).map_or(&[][..], Vec::as_slice);
        beside(fence, run.end == RunEnd::Stopped, ledger, &decided.records)
    });
    Ok(each.collect())
}

fn unusable(error: &LedgerError) -> Failure {
    Failure::Usage(error.to_string())
}

fn absent(fence: u64, why: &str) -> Against {
    Against {
        fence,
        same: 0,
        first_difference: None,
        only_in_ledger: 0,
        only_in_record: 0,
        absent: Some(why.to_owned()),
    }
}

fn beside(fence: u64, must_end_alike: bool, ledger: &[Record], decided: &[Record]) -> Against {
    let same = ledger
        .iter()
        .zip(decided)
        .take_while(|(ledger, decided)| is_same(ledger, decided))
        .count();
    let (left_there, left_here) = (&ledger[same..], &decided[same..]);
    let differs = (!left_there.is_empty() && !left_here.is_empty())
        || (must_end_alike && left_there.len() != left_here.len());
    Against {
        fence,
        same: count(same),
        first_difference: differs.then(|| Parting {
            ledger: left_there.first().cloned(),
            replayed: left_here.first().cloned(),
        }),
        only_in_ledger: count(left_there.len()),
        only_in_record: count(left_here.len()),
        absent: None,
    }
}

/// As both are written.
fn is_same(one: &Record, other: &Record) -> bool {
    let [one, other] = [one, other].map(serde_json::to_string);
    matches!((one, other), (Ok(one), Ok(other)) if one == other)
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use pitcrew_model::Timestamp;

    use super::*;

    fn records(times: &[u64]) -> Vec<Record> {
        let at = times.iter().map(|at| Timestamp::from_millis(*at));
        at.map(|at| Record {
            at,
            case: None,
            order: None,
            target: None,
            service: None,
            fact: Fact::LedgerRecovered {
                not_given: Vec::new(),
            },
        })
        .collect()
    }

    #[test]
    fn a_run_that_was_cut_off_may_know_more_or_less_than_the_ledger_at_its_end_only() {
        let check = |stopped, ledger: &[u64], decided: &[u64]| {
            beside(1, stopped, &records(ledger), &records(decided))
        };
        assert!(check(true, &[1, 2], &[1, 2]).is_alike());
        let more = check(false, &[1, 2, 3], &[1, 2]);
        assert!(more.is_alike() && more.only_in_ledger == 1);
        let less = check(false, &[1], &[1, 2, 3]);
        assert!(less.is_alike() && less.only_in_record == 2);
        assert!(!check(true, &[1, 2, 3], &[1, 2]).is_alike());
        let other = check(false, &[1, 2, 4], &[1, 3, 4]);
        assert!(!other.is_alike() && other.same == 1);
    }
}
