//! The play: faults one after the other, and the ledger read aloud as it grows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use pitcrew_model::{Ending, Fact, Timestamp};
use pitcrew_server::api::{LedgerEntry, Report, TargetStatus};

use crate::{
    arguments::General,
    client::Client,
    demo::{
        faults::{Fault, Mended, Must},
        production::Production,
        summary::Line,
        wait_for,
    },
    failure::Failure,
    output::{BAD, BOLD, BUSY, FAINT, GOOD, NEEDS_YOU, cell, columns, painted, print},
    story,
};

/// Long enough for a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Stage<'a> {
    production: &'a Production,
    client: Client,
    quiet: bool,
    interrupted: Arc<AtomicBool>,
    curtain: Instant,
    seen: u64,
    records: Vec<LedgerEntry>,
    played: Vec<(&'static Fault, Timestamp)>,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(
        production: &'a Production,
        general: &General,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Self, Failure> {
        let general = General {
            server: vec![production.url()],
            token_file: None,
            ..general.clone()
        };
        Ok(Self {
            production,
            client: Client::new(&general)?,
            quiet: general.json,
            interrupted,
            curtain: Instant::now(),
            seen: 0,
            records: Vec::new(),
            played: Vec::new(),
        })
    }

    /// One beat: the lease, new records, and whether somebody pressed Ctrl-C.
    fn beat(&mut self) -> Result<(), Failure> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Failure::Refused("the demo was interrupted".to_owned()));
        }
        self.production.renew_lease()?;
        let (entries, _) = self.client.list::<LedgerEntry>(
            &["ledger"],
            &[("after", self.seen.to_string())],
            1_000,
        )?;
        for entry in entries {
            self.seen = entry.seq;
            self.read_aloud(&entry)?;
            self.records.push(entry);
        }
        Ok(())
    }

    fn read_aloud(&self, entry: &LedgerEntry) -> Result<(), Failure> {
        let record = &entry.record;
        let scope = match &record.fact {
            Fact::BreakerTripped { scope, .. } | Fact::BreakerReleased { scope, .. } => {
                Some(scope.to_string())
            }
            _ => record.target.as_ref().map(ToString::to_string),
        };
        let Some(scope) = scope.filter(|_| !self.quiet && !self.played.is_empty()) else {
            return Ok(());
        };
        let elapsed = format!("{:5.1} s", self.curtain.elapsed().as_secs_f64());
        for mut line in story::lines([record]) {
            match line.word {
                // Its hold follows and says the same.
                "wanted" => continue,
                "held" => line.text = line.text.split(';').next().unwrap_or_default().to_owned(),
                "server" => line.word = "breaker",
                _ => {}
            }
            let style = match line.word {
                "believed" | "relapsed" | "not cured" | "failed" => BAD,
                "verified" | "closed" => GOOD,
                "handed" | "breaker" | "told" => NEEDS_YOU,
                "order" | "done" | "probation" => BUSY,
                _ => FAINT,
            };
            let row = [
                cell(&elapsed).style(FAINT),
                cell(format!("{scope:<16}")),
                cell(format!("{:<10}", line.word)).style(style),
                cell(&line.text),
            ];
            print(&columns(&[row.to_vec()]))?;
        }
        Ok(())
    }

    pub(crate) fn wait_until_healthy(&mut self) -> Result<(), Failure> {
        let size = u32::try_from(self.production.size()).unwrap_or(u32::MAX);
        let client = &self.client;
        let mut last = None;
        let healthy = wait_for(PATIENCE, || match client.get::<Report>(&["report"], &[]) {
            Ok(report) => {
                let healthy: u32 = report.services.iter().map(|service| service.healthy).sum();
                last = Some(healthy);
                Ok(healthy == size)
            }
            // It is still starting.
            Err(Failure::Unreachable(_)) => self.production.server_ended().map_or(Ok(false), Err),
            Err(failure) => Err(failure),
        })?;
        if healthy {
            return self.beat();
        }
        Err(Failure::Refused(match last {
            Some(healthy) => format!(
                "only {healthy} of {size} targets became healthy; see serve.log and data/run in {}",
                self.production.directory().display()
            ),
            None => format!(
                "`pitcrew serve` did not answer; see {}/serve.log",
                self.production.directory().display()
            ),
        }))
    }

    /// Breaks something, and goes on when its repair is proven or it ended otherwise.
    pub(crate) fn play(&mut self, fault: &'static Fault) -> Result<(), Failure> {
        self.beat()?;
        if !self.quiet {
            let targets = fault.targets.join(", ");
            print(&format!(
                "\n{}  {targets}",
                painted(BOLD, &format!("▶ {}", fault.name))
            ))?;
        }
        let now = self.server_time()?;
        self.played.push((fault, now));
        fault.inflict(self.production)?;
        if let Some(cue) = fault.mended_after {
            self.wait(|stage| stage.cue_is_given(fault, cue))?;
            fault.mend(self.production)?;
        }
        self.wait(|stage| {
            Ok(fault
                .targets
                .iter()
                .all(|target| stage.is_past_the_worst(target, now)))
        })
    }

    fn server_time(&self) -> Result<Timestamp, Failure> {
        Ok(self.client.get::<Report>(&["report"], &[])?.at)
    }

    /// Time out is no failure here: the summary tells what did not end as it should.
    fn wait(
        &mut self,
        mut done: impl FnMut(&Self) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        wait_for(PATIENCE, || {
            self.beat()?;
            done(self)
        })
        .map(drop)
    }

    fn cue_is_given(&self, fault: &Fault, cue: Mended) -> Result<bool, Failure> {
        Ok(match cue {
            Mended::FirstFailure => {
                let status: TargetStatus = self.client.get(&["targets", fault.targets[0]], &[])?;
                status.tests.iter().any(|test| test.failed_rounds > 0)
            }
            Mended::BreakerTripped => {
                let all_held = fault.targets.iter().all(|target| {
                    self.facts(target, Timestamp::ZERO)
                        .any(|(_, fact)| matches!(fact, Fact::Held { .. }))
                });
                all_held && self.breaker_tripped()
            }
            Mended::HandedOver => fault.targets.iter().all(|target| {
                self.facts(target, Timestamp::ZERO)
                    .any(|(_, fact)| matches!(fact, Fact::HandedOver { .. }))
            }),
        })
    }

    fn breaker_tripped(&self) -> bool {
        self.records
            .iter()
            .any(|entry| matches!(entry.record.fact, Fact::BreakerTripped { .. }))
    }

    fn facts<'b>(
        &'b self,
        target: &'b str,
        since: Timestamp,
    ) -> impl Iterator<Item = (Timestamp, &'b Fact)> {
        self.records
            .iter()
            .map(|entry| &entry.record)
            .filter(move |record| {
                record.at >= since
                    && record
                        .target
                        .as_ref()
                        .is_some_and(|id| id.as_str() == target)
            })
            .map(|record| (record.at, &record.fact))
    }

    fn is_past_the_worst(&self, target: &str, since: Timestamp) -> bool {
        self.facts(target, since).any(|(_, fact)| {
            matches!(
                fact,
                Fact::Verified { passed: true, .. } | Fact::Closed { .. } | Fact::HandedOver { .. }
            )
        })
    }

    /// A case with a person ends for the demo when it is handed over; its target may stay down.
    fn has_ended(&self, fault: &Fault, target: &str, since: Timestamp) -> bool {
        self.facts(target, since).any(|(_, fact)| match fact {
            Fact::Closed { .. } => true,
            Fact::HandedOver { .. } => fault.mended_after.is_none(),
            _ => false,
        })
    }

    pub(crate) fn wait_for_endings(&mut self) -> Result<(), Failure> {
        if !self.quiet {
            print(&format!(
                "\n{}",
                painted(BOLD, "▶ waiting for probation to end")
            ))?;
        }
        let played = self.played.clone();
        self.wait(|stage| {
            Ok(played.iter().all(|(fault, since)| {
                fault
                    .targets
                    .iter()
                    .all(|target| stage.has_ended(fault, target, *since))
            }))
        })
    }

    /// One line a fault, from the ledger alone.
    pub(crate) fn endings(&self) -> Vec<Line> {
        self.played
            .iter()
            .map(|(fault, since)| self.ending(fault, *since))
            .collect()
    }

    fn ending(&self, fault: &'static Fault, since: Timestamp) -> Line {
        let facts = || {
            fault
                .targets
                .iter()
                .flat_map(move |target| self.facts(target, since))
        };
        let after = |wanted: fn(&Fact) -> bool| {
            facts()
                .find(|(_, fact)| wanted(fact))
                .map(|(at, _)| at.since(since))
        };
        let orders = facts()
            .filter(|(_, fact)| matches!(fact, Fact::Intent { .. }))
            .count();
        let told = facts().any(|(_, fact)| matches!(fact, Fact::HandedOver { .. }));
        let endings: Vec<Ending> = facts()
            .filter_map(|(_, fact)| match fact {
                Fact::Closed { ending, .. } => Some(*ending),
                _ => None,
            })
            .collect();
        let closed_well = endings.len() >= fault.targets.len()
            && endings.iter().all(|ending| *ending == fault.must.ending());
        let verified = after(|fact| matches!(fact, Fact::Verified { passed: true, .. }));
        let as_it_should = match fault.must {
            Must::Cured => closed_well && orders == 1 && verified.is_some(),
            Must::HandedOver { orders: wanted } => told && orders == wanted && verified.is_none(),
            Must::FalseAlarm => closed_well && orders == 0,
            Must::Breaker => closed_well && orders == 0 && self.breaker_tripped(),
        };
        Line {
            fault: fault.name,
            targets: fault
                .targets
                .iter()
                .map(|target| (*target).to_owned())
                .collect(),
            detected_after: after(|fact| matches!(fact, Fact::Confirmed { .. })),
            action: match (fault.must, orders) {
                (Must::Breaker, 0) => "breaker: none, a person told".to_owned(),
                (_, 0) => "none".to_owned(),
                (_, 1) => "restart".to_owned(),
                (_, orders) => format!("restart × {orders}"),
            },
            orders,
            verified_after: verified,
            ended: if told {
                Ending::HandedOver.to_string()
            } else {
                endings
                    .first()
                    .map_or_else(|| "still open".to_owned(), ToString::to_string)
            },
            as_it_should,
        }
    }
}
