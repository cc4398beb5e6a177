//! Containers of a Docker-compatible engine, over its socket.
//!
//! The name is resolved to the engine's own identifier first, and everything after goes by that: a container
//! made anew under the same name in between is another one. The engine goes on with what it was asked when
//! the asker leaves, so a call without an answer may have taken effect.

use std::{path::Path, time::Duration};

use bollard::{
    Docker,
    errors::Error,
    models::{ContainerInspectResponse, ContainerState},
    query_parameters::{
        InspectContainerOptions, RestartContainerOptions, StartContainerOptions,
        StopContainerOptions,
    },
};
use pitcrew_model::Timestamp;

use crate::{
    Answer, Given,
    process::{Identity, now},
    supervise::Verb,
};

/// Where engines listen when nothing else is configured.
const SOCKETS: [&str; 2] = ["/var/run/docker.sock", "/run/podman/podman.sock"];

const CALL_TIMEOUT_S: u64 = 60;

/// Longest time of an operation: connecting, inspecting, continuing and the act itself.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// After this long without effect, a call whose asker died had none.
const LATE: Duration = Duration::from_secs(120);

/// A container as it is now, by the engine's identifier.
struct Found {
    docker: Docker,
    id: String,
    state: ContainerState,
}

pub(crate) async fn carry_out(name: &str, socket: Option<&str>, verb: Verb) -> Answer {
    let found = match Found::find(name, socket).await {
        Ok(found) => found,
        Err(why) => return Answer::failed(why),
    };
    let is_paused = found.state.paused == Some(true);
    // A paused container can neither heed a signal nor be restarted.
    if is_paused && let Err(error) = found.docker.unpause_container(&found.id).await {
        return answer_of(&error, false);
    }
    let acted = match verb {
        Verb::Start => {
            let options = None::<StartContainerOptions>;
            found.docker.start_container(&found.id, options).await
        }
        Verb::Stop => {
            let options = None::<StopContainerOptions>;
            found.docker.stop_container(&found.id, options).await
        }
        Verb::Restart => {
            let options = None::<RestartContainerOptions>;
            found.docker.restart_container(&found.id, options).await
        }
    };
    match acted {
        Ok(()) => Answer::done(found.now().await),
        // A restart has its stop behind it when starting again is refused.
        Err(error) => {
            let is_running = found.state.running == Some(true);
            answer_of(&error, is_paused || (verb == Verb::Restart && is_running))
        }
    }
}

/// By the times at which the engine says that it was started and ended.
pub(crate) async fn reconcile(
    name: &str,
    socket: Option<&str>,
    verb: Verb,
    given: Given,
) -> Answer {
    let found = match Found::find(name, socket).await {
        Ok(found) => found,
        Err(why) => return Answer::unknown(why),
    };
    let is_running = found.state.running == Some(true);
    let is_new = found.started_at().and_then(|at| given.is_before(at));
    match verb {
        Verb::Stop if !is_running => Answer::done("it does not run"),
        Verb::Start if is_running => Answer::done("it runs"),
        Verb::Restart if is_running && is_new == Some(true) => {
            Answer::done("it was started after the order")
        }
        Verb::Restart | Verb::Stop
            if is_running && is_new == Some(false) && now().since(given.latest()) > LATE =>
        {
            Answer::failed("it runs since before the order")
        }
        Verb::Start | Verb::Stop | Verb::Restart => {
            Answer::unknown(format!("it {}", describe(&found.state)))
        }
    }
}

impl Found {
    /// Of its first process as the kernel has it, because that follows no step of the wall clock; by the engine's word
    /// where the process can't be seen.
    fn started_at(&self) -> Option<Timestamp> {
        let pid = self.state.pid.and_then(|pid| u32::try_from(pid).ok());
        let process = pid.filter(|pid| *pid > 0).and_then(Identity::of);
        process.map(|process| process.started_at()).or_else(|| {
            let text = self.state.started_at.as_deref();
            text.and_then(parse_time)
        })
    }

    async fn find(name: &str, socket: Option<&str>) -> Result<Self, String> {
        let socket = match socket {
            Some(socket) => socket,
            None => SOCKETS
                .into_iter()
                .find(|socket| Path::new(socket).exists())
                .ok_or_else(|| {
                    format!("no container engine listens at {}", SOCKETS.join(" or "))
                })?,
        };
        let unreachable = |error: Error| format!("the engine at {socket} can't be asked: {error}");
        let docker =
            Docker::connect_with_unix(socket, CALL_TIMEOUT_S, bollard::API_DEFAULT_VERSION)
                .map_err(unreachable)?
                .negotiate_version()
                .await
                .map_err(unreachable)?;
        let inspected = docker
            .inspect_container(name, None::<InspectContainerOptions>)
            .await;
        match inspected {
            Ok(ContainerInspectResponse {
                id: Some(id),
                state: Some(state),
                ..
            }) => Ok(Self { docker, id, state }),
            Ok(_) => Err(format!(
                "the engine at {socket} says nothing of `{name}`'s state"
            )),
            Err(Error::DockerResponseServerError {
                status_code: 404, ..
            }) => Err(format!("there is no container `{name}`")),
            Err(error) => Err(unreachable(error)),
        }
    }

    async fn now(&self) -> String {
        let options = None::<InspectContainerOptions>;
        let inspected = self.docker.inspect_container(&self.id, options).await;
        let state = inspected.ok().and_then(|it| it.state);
        let short: String = self.id.chars().take(12).collect();
        match state {
            Some(state) => format!("container {short} {}", describe(&state)),
            None => format!("container {short} was not seen afterwards"),
        }
    }
}

fn describe(state: &ContainerState) -> String {
    let word = state
        .status
        .map_or_else(String::new, |status| status.to_string());
    match state.exit_code {
        Some(code) if state.running != Some(true) => format!("is {word}, exit code {code}"),
        _ => format!("is {word}"),
    }
}

/// What an error of the act itself says. `is_changed`: something was done before it.
fn answer_of(error: &Error, is_changed: bool) -> Answer {
    match error {
        Error::DockerResponseServerError {
            status_code: 400..=499,
            message,
        } if !is_changed => Answer::failed(message),
        Error::DockerResponseServerError { message, .. } => Answer::unknown(message),
        other => Answer::unknown(format!("no answer of the engine: {other}")),
    }
}

/// RFC 3339 with up to nine digits of fraction.
fn parse_time(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_millis(
        u64::try_from(time.as_millisecond()).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_s_times_are_read() {
        assert_eq!(
            parse_time("2026-11-22T19:15:19.042123456Z"),
            Some(Timestamp::from_millis(1_795_374_919_042))
        );
        assert_eq!(parse_time("0001-01-01T00:00:00Z"), None);
        assert_eq!(parse_time("soon"), None);
    }
}
