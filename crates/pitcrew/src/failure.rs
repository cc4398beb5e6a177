//! How a command ends: its exit code and what is said about it.

use std::{fmt::Display, process::ExitCode};

use crate::output;

/// The answer of a command that did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    /// Unhealthy, refused, different.
    No,
}

pub(crate) type Answered = Result<Answer, Failure>;

impl From<Answer> for ExitCode {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Yes => Self::SUCCESS,
            Answer::No => Self::from(1),
        }
    }
}

/// A command that could not do its work. The text says what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Refused(String),
    Usage(String),
    /// Already said, place by place.
    Configuration,
    Unreachable(String),
    Bug(String),
    /// Whoever read our output has enough.
    OutputClosed,
}

impl Failure {
    pub(crate) fn usage(error: impl Display) -> Self {
        Self::Usage(error.to_string())
    }

    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Refused(why) | Self::Usage(why) | Self::Unreachable(why) => output::error(why),
            Self::Bug(why) => {
                output::error(why);
                output::note(PLEASE_REPORT);
            }
            Self::Configuration | Self::OutputClosed => {}
        }
        match self {
            Self::OutputClosed => ExitCode::SUCCESS,
            Self::Refused(_) => ExitCode::from(1),
            Self::Usage(_) | Self::Configuration => ExitCode::from(2),
            Self::Unreachable(_) => ExitCode::from(3),
            Self::Bug(_) => ExitCode::from(70),
        }
    }
}

const PLEASE_REPORT: &str =
    "this is a bug in pitcrew: please report it, with the lines above and what led to them";

/// A panic anywhere is a bug, and a server with half its threads must not look alive.
pub(crate) fn report_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        output::note(PLEASE_REPORT);
        let thread = std::thread::current();
        if matches!(thread.name(), Some("main" | "engine" | "ledger")) {
            std::process::exit(70);
        }
    }));
}
