//! `agent`: tests and acts on this host for a server elsewhere, until a signal ends it.

use pitcrew_agent::{AgentError, Options};
use pitcrew_model::HostSettings;

use crate::{
    arguments::{AgentOptions, General},
    failure::{Answer, Answered, Failure},
    output::{note, stderr_has_colour},
    serve::{runtime, start_logging},
};

pub(crate) fn agent(options: AgentOptions, general: &General) -> Answered {
    start_logging(&options.log)?;
    let settings = match &options.config {
        Some(file) => pitcrew_config::load_host(file).map_err(|error| {
            note(error.render(stderr_has_colour()).trim_end());
            Failure::Configuration
        })?,
        None => HostSettings::default(),
    };
    let runtime = runtime()?;
    let options = Options {
        servers: (general.server.iter())
            .map(|url| server(url))
            .collect::<Result<_, _>>()?,
        token_file: general.token_file.clone(),
        data: options.data,
        settings,
        version: pitcrew_server::VERSION.to_owned(),
    };
    let ran = runtime.block_on(Box::pin(pitcrew_agent::run(options, |host| {
        tracing::info!(%host, "the agent runs");
    })));
    runtime.shutdown_background();
    match ran {
        Ok(()) => Ok(Answer::Yes),
        Err(error @ AgentError::NotEnrolled) => Err(Failure::usage(error)),
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
