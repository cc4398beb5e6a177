//! `serve`: the loop and the API, until a signal ends it.

use std::io::IsTerminal;

use pitcrew_server::{Options, Ready, RecordingError, ServeError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing_subscriber::EnvFilter;

use crate::{
    arguments::{LogFormat, LogOptions, ServeOptions},
    failure::{Answer, Answered, Failure},
    output::{note, stderr_has_colour},
    words::counted,
};

pub(crate) fn serve(options: ServeOptions) -> Answered {
    start_logging(&options.log)?;
    raise_descriptors();
    let runtime = runtime()?;
    let options = Options {
        configuration: options.config,
        listen: options.listen,
        data: options.data,
        record: options.record,
        memory_bytes: options.memory,
    };
    let served = runtime.block_on(Box::pin(pitcrew_server::serve(options, say_ready)));
    // What still runs, a slow command for instance, is not waited for: it lives on or is found out about later.
    runtime.shutdown_background();
    match served {
        Ok(()) => Ok(Answer::Yes),
        Err(error) => Err(failure(&error)),
    }
}

/// Descriptors for that many agents; a limit beyond would only slow down programs that close all they could have.
const DESCRIPTORS: u64 = 1 << 17;

/// Each agent and each test in flight takes one, and the usual soft limit of 1,024 is for programs that call `select`.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let reachable = limit
        .maximum
        .map_or(DESCRIPTORS, |most| most.min(DESCRIPTORS));
    if limit.current.is_some_and(|current| current < reachable) {
        let raised = Rlimit {
            current: Some(reachable),
            ..limit
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "failed to raise the limit of open descriptors");
        }
    }
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("pitcrew")
        .build()
        .map_err(|error| Failure::Refused(format!("failed to start: {error}")))
}

pub(crate) fn start_logging(options: &LogOptions) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&options.log).map_err(|error| {
        Failure::Usage(format!(
            "`{}` is not a log filter: {error}; write it like info or pitcrew_server=debug",
            options.log
        ))
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Text => log.with_ansi(stderr_has_colour()).with_target(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

fn say_ready(ready: &Ready) {
    tracing::info!(listen = %ready.listen, data = %ready.data.display(), services = ready.services, "serving");
    if let Some(agents) = ready.agents {
        tracing::info!(listen = %agents, "taking agents in");
    }
    for warning in &ready.warnings {
        tracing::warn!("{warning}");
    }
    if std::io::stderr().is_terminal() {
        note(&format!(
            "watching {}; look: `pitcrew status --server http://{}`; stop: Ctrl-C",
            counted(u64::try_from(ready.services).unwrap_or(u64::MAX), "service"),
            ready.listen
        ));
    }
}

fn failure(error: &ServeError) -> Failure {
    match error {
        ServeError::Configuration(error) => {
            note(error.render(stderr_has_colour()).trim_end());
            Failure::Configuration
        }
        ServeError::Open { .. } | ServeError::Token { .. } => Failure::usage(error),
        ServeError::Record(RecordingError::Open { source, .. }) => {
            Failure::Usage(format!("{error}: {source}"))
        }
        ServeError::Record(_) => Failure::usage(error),
        ServeError::Listen { source, .. } => Failure::Usage(format!("{error} ({source})")),
        ServeError::TokenFile { source, .. } => Failure::Usage(format!("{error}: {source}")),
        ServeError::Ledger(_) | ServeError::Supervise(_) | ServeError::Authority(_) => {
            Failure::Refused(error.to_string())
        }
        ServeError::System { source, .. } => Failure::Refused(format!("{error}: {source}")),
    }
}
