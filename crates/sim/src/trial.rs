//! One seed's trial: a random production in a storm of mishaps, then hours of calm.
//!
//! Safety: whatever happens, no invariant is broken and no order goes to a wrong target. Liveness: when the storm
//! is over, whatever still ails is repaired or a person has it, and nothing waits for ever. The same seed gives the
//! same trial on every machine, so that a seed is all that a failure has to tell.

mod rest;

use std::{fmt, sync::Arc, time::Duration};

use pitcrew_model::Production;

use crate::{
    Fleet, Mishap, Options, Report, SimulateError, What,
    plan::{self, Rates},
    random, simulate_and_look,
};

const HOUR: Duration = Duration::from_secs(3_600);
/// Longer than a person needs to come, a probation and whatever a case may wait for without being stuck.
const CALM: Duration = Duration::from_secs(2 * 3_600);
/// Of one seed in so many the calm lasts a day.
const LONG_CALM_EVERY: u64 = 50;

pub struct Trial {
    pub production: Production,
    pub options: Options,
    pub plan: Vec<Mishap>,
    /// The storm's length; the rest of `options.duration` is calm.
    pub storm: Duration,
}

/// What a trial found, by what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    Broken {
        invariant: u8,
        what: String,
    },
    WrongTargets(u64),
    /// `kind` stays the same while a plan is made shorter; `what` need not.
    Stuck {
        kind: &'static str,
        what: String,
    },
}

impl Flaw {
    /// Whether it is the same kind of flaw.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Broken { invariant: one, .. },
                Self::Broken {
                    invariant: other, ..
                },
            ) => one == other,
            (Self::WrongTargets(_), Self::WrongTargets(_)) => true,
            (Self::Stuck { kind: one, .. }, Self::Stuck { kind: other, .. }) => one == other,
            _ => false,
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken { invariant, what } => write!(f, "invariant {invariant} broken: {what}"),
            Self::WrongTargets(count) => write!(f, "{count} orders on wrong targets"),
            Self::Stuck { kind, what } => write!(f, "{kind}: {what}"),
        }
    }
}

/// A report and what is wrong with it.
pub struct Verdict {
    pub report: Report,
    pub flaws: Vec<Flaw>,
}

impl Trial {
    /// The trial of a seed: half an hour of storm, or one, up to two, and hours of calm.
    pub fn of(seed: u64) -> Result<Self, SimulateError> {
        let storm = HOUR / 2 * u32::try_from(1 + seed % 4).unwrap_or(1);
        let calm = if seed.is_multiple_of(LONG_CALM_EVERY) {
            24 * HOUR
        } else {
            CALM
        };
        let mut options = Options::new(0, storm + calm, seed);
        let small = random::production(seed, options.start);
        options.targets = small.targets;
        let fleet = Fleet::generate(&small.production, small.targets, seed)?;
        // Some storms are all of everything, some leave time to repair.
        let rates =
            Rates::stormy().times([0.1, 0.3, 1.0][usize::try_from(seed / 4 % 3).unwrap_or(0)]);
        let mut plan = plan::draw(&small.production, &fleet, seed, storm, &rates);
        end_by(&mut plan, storm);
        options.fleet = Some(Arc::new(fleet));
        Ok(Self {
            production: small.production,
            options,
            plan,
            storm,
        })
    }

    pub fn run(&self) -> Result<Verdict, SimulateError> {
        self.run_with(&self.plan)
    }

    /// With another plan in the same production: a shorter one, to see what a flaw needs.
    pub fn run_with(&self, plan: &[Mishap]) -> Result<Verdict, SimulateError> {
        let mut waiting = rest::Waiting::default();
        let report = simulate_and_look(
            &self.production,
            &self.options,
            plan,
            &mut |_| (),
            &mut |now, engine| waiting.look(now, engine),
        )?;
        let broken = report.broken.iter().map(|broken| Flaw::Broken {
            invariant: broken.invariant,
            what: format!("{} s: {}", broken.at_seconds, broken.what),
        });
        let mut flaws: Vec<Flaw> = broken.collect();
        if report.wrong_targets > 0 {
            flaws.push(Flaw::WrongTargets(report.wrong_targets));
        }
        flaws.extend(waiting.stuck());
        Ok(Verdict { report, flaws })
    }

    /// The shortest plan found that still has a flaw like this one.
    pub fn minimise(&self, flaw: &Flaw, runs_max: u32) -> Result<Vec<Mishap>, SimulateError> {
        shortest(&self.plan, runs_max, |plan| {
            let flaws = self.run_with(plan)?.flaws;
            Ok(flaws.iter().any(|other| other.is_like(flaw)))
        })
    }
}

/// Mishaps are left out, half of them at once at first and one by one in the end, while `fails` still does
/// (A. Zeller, R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002).
fn shortest<E>(
    plan: &[Mishap],
    runs_max: u32,
    mut fails: impl FnMut(&[Mishap]) -> Result<bool, E>,
) -> Result<Vec<Mishap>, E> {
    let mut plan = plan.to_vec();
    let (mut parts, mut runs) = (2, 0);
    while !plan.is_empty() && runs < runs_max {
        let size = plan.len().div_ceil(parts);
        let mut shorter = None;
        for begin in (0..plan.len()).step_by(size) {
            let end = (begin + size).min(plan.len());
            let without = [&plan[..begin], &plan[end..]].concat();
            runs += 1;
            if fails(&without)? {
                shorter = Some(without);
                break;
            }
            if runs >= runs_max {
                break;
            }
        }
        match shorter {
            Some(without) => (plan, parts) = (without, (parts - 1).max(2)),
            None if size == 1 => break,
            None => parts = (parts * 2).min(plan.len()),
        }
    }
    Ok(plan)
}

/// Whatever ends by itself ends with the storm; what only a repair ends stays.
fn end_by(plan: &mut [Mishap], storm: Duration) {
    for mishap in plan {
        let left = storm.saturating_sub(mishap.at);
        match &mut mishap.what {
            What::Fault(fault) => {
                fault.heals_after = fault.heals_after.map(|after| after.min(left))
            }
            What::Observer { lasts, .. }
            | What::Cut { lasts, .. }
            | What::Network { lasts, .. }
            | What::LedgerFull { lasts }
            | What::Discovery { lasts, .. }
            | What::Person(
                crate::Hand::Pause { lasts, .. }
                | crate::Hand::Hold { lasts, .. }
                | crate::Hand::Stop { lasts, .. },
            ) => *lasts = (*lasts).min(left),
            What::Blip { .. } | What::Server(_) | What::ClockStep { .. } | What::Person(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mishap(seconds: u64) -> Mishap {
        Mishap {
            at: Duration::from_secs(seconds),
            what: What::ClockStep { ms: 1 },
        }
    }

    #[test]
    fn a_plan_is_made_as_short_as_its_flaw_allows() {
        let plan: Vec<Mishap> = (0..100).map(mishap).collect();
        let needs = |wanted: &'static [u64]| {
            let mut runs = 0;
            let found = shortest(&plan, 2_000, |plan| {
                runs += 1;
                let has = |seconds: &u64| plan.contains(&mishap(*seconds));
                Ok::<bool, ()>(wanted.iter().all(has))
            });
            (found.unwrap(), runs)
        };
        for wanted in [&[17, 80][..], &[0], &[99], &[3, 4, 5, 50, 98], &[]] {
            let (found, runs) = needs(wanted);
            let expected: Vec<Mishap> = wanted.iter().copied().map(mishap).collect();
            assert_eq!(found, expected, "after {runs} runs");
        }
    }

    #[test]
    fn a_search_for_a_shorter_plan_ends() {
        let plan: Vec<Mishap> = (0..100).map(mishap).collect();
        let mut runs = 0;
        let found = shortest(&plan, 10, |_| {
            runs += 1;
            Ok::<bool, ()>(false)
        });
        assert_eq!((found.unwrap().len(), runs), (100, 10));
    }

    #[test]
    fn the_storm_ends_when_it_ends() {
        let trial = Trial::of(7).unwrap();
        assert!(!trial.plan.is_empty());
        for mishap in &trial.plan {
            let lasts = match &mishap.what {
                What::Fault(fault) => fault.heals_after.unwrap_or_default(),
                What::Observer { lasts, .. } | What::Cut { lasts, .. } => *lasts,
                _ => Duration::ZERO,
            };
            assert!(mishap.at + lasts <= trial.storm, "{mishap:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_trial() {
        let report = |seed| Trial::of(seed).unwrap().run().unwrap().report;
        assert_eq!(report(4), report(4));
        assert_ne!(report(4), report(5));
    }
}
