//! `agent`: tests and acts on this host for a server elsewhere, until a signal ends it.

use std::path::Path;

use pitcrew_agent::{AgentError, Options};
use pitcrew_model::HostSettings;

use crate::{
    arguments::{AgentOptions, General, HandsOptions},
    failure::{Answer, Answered, Failure},
    output::{note, stderr_has_colour},
    serve::{runtime, start_logging},
};

pub(crate) fn agent(options: AgentOptions, general: &General) -> Answered {
    start_logging(&options.log)?;
    let options = Options {
        servers: (general.server.iter())
            .map(|url| server(url))
            .collect::<Result<_, _>>()?,
        token_file: general.token_file.clone(),
        settings: settings(options.config.as_deref())?,
        data: options.data,
        hands: options.hands,
        version: pitcrew_server::VERSION.to_owned(),
    };
    until_it_ends(pitcrew_agent::run(options, |host| {
        tracing::info!(%host, "the agent runs");
    }))
}

/// `agent-hands`: acts on this host for an agent that has no privileges.
pub(crate) fn hands(options: HandsOptions) -> Answered {
    start_logging(&options.log)?;
    let options = pitcrew_agent::HandsOptions {
        settings: settings(options.config.as_deref())?,
        data: options.data,
        socket: options.socket,
        user: options.user,
    };
    until_it_ends(pitcrew_agent::hands(options))
}

fn settings(file: Option<&Path>) -> Result<HostSettings, Failure> {
    let Some(file) = file else {
        return Ok(HostSettings::default());
    };
    pitcrew_config::load_host(file).map_err(|error| {
        note(error.render(stderr_has_colour()).trim_end());
        Failure::Configuration
    })
}

fn until_it_ends(running: impl Future<Output = Result<(), AgentError>>) -> Answered {
    let runtime = runtime()?;
    let ran = runtime.block_on(Box::pin(running));
    runtime.shutdown_background();
    match ran {
        Ok(()) => Ok(Answer::Yes),
        Err(error @ (AgentError::NotEnrolled | AgentError::NoNetwork | AgentError::User(_))) => {
            Err(Failure::usage(error))
        }
        Err(error) => Err(Failure::Refused(with_source(&error))),
    }
}

fn with_source(error: &AgentError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// `HOST:PORT` of the server's listener for agents, which is not that of the API.
fn server(url: &str) -> Result<String, Failure> {
    let rest = url.strip_prefix("https://").unwrap_or(url);
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let port = rest.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    if rest.contains('/') || !matches!(port, Some(Ok(1..))) {
        return Err(Failure::Usage(format!(
            "`{url}` is not where agents connect: write --server HOST:PORT, as `server.agents.listen` has it on the server"
        )));
    }
    Ok(rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_a_host_and_the_port_for_agents() {
        for (url, expected) in [
            ("https://db.example:7443", Some("db.example:7443")),
            ("db.example:7443", Some("db.example:7443")),
            ("https://[::1]:7443/", Some("[::1]:7443")),
            ("http://127.0.0.1:7400", None),
            ("db.example", None),
            ("https://db.example:7443/path", None),
        ] {
            assert_eq!(server(url).ok().as_deref(), expected, "{url}");
        }
    }
}
