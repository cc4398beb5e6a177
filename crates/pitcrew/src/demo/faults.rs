//! What the demo breaks, how, and how each case must end.

use pitcrew_model::Ending;
use rustix::process::Signal;

use crate::{
    demo::{
        production::Production,
        service::{self, Mode},
    },
    failure::Failure,
};

/// How a fault is made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Harm {
    Signal(Signal),
    Mode(Mode),
    /// Killed, and unable to start again.
    CrashLoop,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) targets: &'static [&'static str],
    pub(crate) harm: Harm,
    /// Mended from outside as soon as this has been written to the ledger.
    pub(crate) mended_after: Option<Mended>,
    pub(crate) must: Must,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mended {
    /// One failed round.
    FirstFailure,
    BreakerTripped,
    HandedOver,
}

/// How its cases must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Must {
    /// Restarted, verified and quiet.
    Cured,
    /// With a person, after exactly so many orders.
    HandedOver { orders: usize },
    /// Touched by nobody.
    FalseAlarm,
    /// Stopped by a breaker: touched by nobody, a person told.
    Breaker,
}

impl Must {
    pub(crate) fn ending(self) -> Ending {
        match self {
            Self::Cured => Ending::Cured,
            Self::HandedOver { .. } => Ending::HandedOver,
            Self::FalseAlarm => Ending::FalseAlarm,
            Self::Breaker => Ending::SelfRecovered,
        }
    }
}

pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        name: "killed",
        targets: &["web-1"],
        harm: Harm::Signal(Signal::KILL),
        mended_after: None,
        must: Must::Cured,
    },
    Fault {
        name: "hung",
        targets: &["web-2"],
        harm: Harm::Signal(Signal::STOP),
        mended_after: None,
        must: Must::Cured,
    },
    Fault {
        name: "answers errors",
        targets: &["web-3"],
        harm: Harm::Mode(Mode::Errors),
        mended_after: None,
        must: Must::Cured,
    },
    Fault {
        name: "too slow",
        targets: &["api-1"],
        harm: Harm::Mode(Mode::Slow),
        mended_after: None,
        must: Must::Cured,
    },
    Fault {
        name: "a single blip",
        targets: &["api-2"],
        harm: Harm::Mode(Mode::Errors),
        mended_after: Some(Mended::FirstFailure),
        must: Must::FalseAlarm,
    },
    Fault {
        name: "exits after every start",
        targets: &["api-3"],
        harm: Harm::CrashLoop,
        mended_after: None,
        must: Must::HandedOver { orders: 2 },
    },
    Fault {
        name: "flapping",
        targets: &["cart-1"],
        harm: Harm::Mode(Mode::Flapping),
        mended_after: Some(Mended::HandedOver),
        must: Must::HandedOver { orders: 0 },
    },
    Fault {
        name: "a whole zone",
        targets: &["store-2", "store-5", "store-8", "store-11", "store-14"],
        harm: Harm::Mode(Mode::Errors),
        mended_after: Some(Mended::BreakerTripped),
        must: Must::Breaker,
    },
];

impl Fault {
    pub(crate) fn inflict(&self, production: &Production) -> Result<(), Failure> {
        for target in self.targets {
            match self.harm {
                Harm::Signal(signal) => production.signal(target, signal)?,
                Harm::Mode(mode) => {
                    drop(production.ask(target, "POST", &format!("/mode/{}", mode.name()))?)
                }
                Harm::CrashLoop => {
                    service::make_crash(production.directory(), target).map_err(|error| {
                        Failure::Refused(format!("the demo failed to break {target}: {error}"))
                    })?;
                    production.signal(target, Signal::KILL)?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn mend(&self, production: &Production) -> Result<(), Failure> {
        for target in self.targets {
            production.ask(target, "POST", &format!("/mode/{}", Mode::Fine.name()))?;
        }
        Ok(())
    }
}
