//! Redfish: the few resources that a power cycle takes (DMTF DSP0266 and the ComputerSystem schema).
//!
//! Every path of a later request comes from an answer of the controller before, and stays on that controller: what
//! names another one, or redirects there, ends it. Answers are bounded in time and bytes.

use std::time::Duration;

use reqwest::{Certificate, Client, Method, StatusCode, redirect::Policy};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{PATIENCE, POLL, Power, Trouble};
use crate::{answer::one_line, webhook::describe};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
const BODY_BYTES_MAX: usize = 512 << 10;
const SHOWN_CHARS: usize = 120;
const SYSTEMS: &str = "/redfish/v1/Systems";

pub(super) struct Account<'a> {
    pub(super) username: &'a str,
    pub(super) password: &'a str,
    /// PEM; `None`: those of the system.
    pub(super) authorities: Option<&'a str>,
}

/// What was done, in words.
pub(super) async fn cycle(
    url: &str,
    account: &Account<'_>,
    system: Option<&str>,
) -> Result<String, Trouble> {
    let controller = Controller::new(url, account).map_err(Trouble::Without)?;
    let path = controller.path_of(system).await.map_err(Trouble::Without)?;
    let system = controller.system(&path).await.map_err(Trouble::Without)?;
    let offered = controller
        .offered(&system)
        .await
        .map_err(Trouble::Without)?;
    let name = system.describe(url, &path);
    let power = system
        .power()
        .map_err(|why| Trouble::Without(format!("{name}: {why}")))?;
    let done = match power {
        Power::Off => {
            controller.reset(&system, "On").await?;
            format!("{name} was off; On")
        }
        Power::On => match ["ForceRestart", "PowerCycle"]
            .iter()
            .find(|wanted| offers(&offered, wanted))
        {
            Some(kind) => {
                controller.reset(&system, kind).await?;
                format!("{name} was on; {kind}")
            }
            None if offers(&offered, "ForceOff") && offers(&offered, "On") => {
                controller.reset(&system, "ForceOff").await?;
                controller.until(&path, Power::Off).await?;
                controller.reset(&system, "On").await.map_err(unclear)?;
                format!("{name} was on; ForceOff and On")
            }
            None => {
                let offered = offered.unwrap_or_default().join(", ");
                return Err(Trouble::Without(format!(
                    "{name} can't be restarted, only: {offered}"
                )));
            }
        },
    };
    controller.until(&path, Power::On).await?;
    Ok(done)
}

/// The power is off by now, whatever this one request came to.
fn unclear(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Without(why) | Trouble::Unclear(why) => {
            Trouble::Unclear(format!("its power was cut and not given back: {why}"))
        }
    }
}

/// Controllers that don't say what they offer know at least the common ones.
fn offers(offered: &Option<Vec<String>>, kind: &str) -> bool {
    offered
        .as_ref()
        .is_none_or(|offered| offered.iter().any(|one| one == kind))
}

#[derive(Debug, Deserialize)]
struct Link {
    #[serde(rename = "@odata.id")]
    path: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Collection {
    members: Vec<Link>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct System {
    name: Option<String>,
    #[serde(rename = "UUID")]
    uuid: Option<String>,
    serial_number: Option<String>,
    power_state: Option<String>,
    actions: Actions,
}

#[derive(Debug, Deserialize)]
struct Actions {
    #[serde(rename = "#ComputerSystem.Reset")]
    reset: Reset,
}

#[derive(Debug, Deserialize)]
struct Reset {
    target: String,
    #[serde(rename = "ResetType@Redfish.AllowableValues")]
    allowed: Option<Vec<String>>,
    #[serde(rename = "@Redfish.ActionInfo")]
    info: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ActionInfo {
    parameters: Vec<Parameter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    name: String,
    allowable_values: Option<Vec<String>>,
}

impl System {
    fn power(&self) -> Result<Power, String> {
        match self.power_state.as_deref() {
            Some("Off") => Ok(Power::Off),
            // A machine that hangs on its way is to be restarted, too.
            Some("On" | "PoweringOn" | "PoweringOff" | "Paused") => Ok(Power::On),
            Some(other) => Err(format!("its power state is `{}`", shown(other))),
            None => Err("its power state is not told".to_owned()),
        }
    }

    fn describe(&self, url: &str, path: &str) -> String {
        let known = [&self.name, &self.serial_number, &self.uuid];
        let known: Vec<String> = known
            .into_iter()
            .flatten()
            .map(|text| shown(text))
            .collect();
        format!("{url}{path} ({})", known.join(", "))
    }
}

struct Controller<'a> {
    client: Client,
    url: &'a str,
    account: &'a Account<'a>,
}

impl<'a> Controller<'a> {
    fn new(url: &'a str, account: &'a Account<'a>) -> Result<Self, String> {
        let mut client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .user_agent(concat!("pitcrew/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = account.authorities {
            let authorities = Certificate::from_pem_bundle(pem.as_bytes());
            let authorities = authorities
                .map_err(|error| format!("`ca_file` can't be used: {}", describe(error)))?;
            client = client.tls_certs_only(authorities);
        }
        let client = client.build();
        Ok(Self {
            client: client.map_err(|error| format!("no HTTP client: {}", describe(error)))?,
            url,
            account,
        })
    }

    async fn path_of(&self, system: Option<&str>) -> Result<String, String> {
        match system {
            Some(path) if path.starts_with('/') => return local(path),
            Some(id) => return local(&format!("{SYSTEMS}/{id}")),
            None => {}
        }
        let all: Collection = self.get(SYSTEMS).await?;
        match &all.members[..] {
            [only] => local(&only.path),
            [] => Err(format!("{} has no system", self.url)),
            several => Err(format!(
                "{} has {} systems: name one with `system`",
                self.url,
                several.len()
            )),
        }
    }

    async fn system(&self, path: &str) -> Result<System, String> {
        let system: System = self.get(path).await?;
        local(&system.actions.reset.target)?;
        Ok(system)
    }

    /// `None`: it does not say.
    async fn offered(&self, system: &System) -> Result<Option<Vec<String>>, String> {
        let reset = &system.actions.reset;
        if let Some(allowed) = &reset.allowed {
            return Ok(Some(allowed.clone()));
        }
        let Some(path) = &reset.info else {
            return Ok(None);
        };
        let info: ActionInfo = self.get(&local(path)?).await?;
        let mut parameters = info.parameters.into_iter();
        let kinds = parameters.find(|parameter| parameter.name == "ResetType");
        Ok(kinds.and_then(|kinds| kinds.allowable_values))
    }

    async fn reset(&self, system: &System, kind: &str) -> Result<(), Trouble> {
        let path = &system.actions.reset.target;
        let sent = self
            .request(Method::POST, path)
            .json(&json!({ "ResetType": kind }));
        let response = match sent.send().await {
            Ok(response) => response,
            Err(error) if error.is_builder() || error.is_connect() => {
                return Err(Trouble::Without(format!(
                    "{kind} was not sent: {}",
                    describe(error)
                )));
            }
            Err(error) => {
                return Err(Trouble::Unclear(format!(
                    "{kind} was not answered: {}",
                    describe(error)
                )));
            }
        };
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let body = body(response).await.unwrap_or_default();
        let why = format!("{kind} was answered {status}: {}", shown(&complaint(&body)));
        Err(
            match status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT {
                true => Trouble::Without(why),
                false => Trouble::Unclear(why),
            },
        )
    }

    async fn until(&self, path: &str, wanted: Power) -> Result<(), Trouble> {
        let last = tokio::time::Instant::now() + PATIENCE;
        loop {
            let power = self.system(path).await.and_then(|system| system.power());
            let why = match power {
                Ok(power) if power == wanted => return Ok(()),
                Ok(power) => format!("it is still {power:?}"),
                Err(why) => why,
            };
            if tokio::time::Instant::now() >= last {
                let seconds = PATIENCE.as_secs();
                let why = format!("the controller said OK, and {seconds} s later {why}");
                return Err(Trouble::Unclear(why));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let Account {
            username, password, ..
        } = self.account;
        self.client
            .request(method, format!("{}{path}", self.url))
            .basic_auth(username, Some(password))
            .header("accept", "application/json")
            .header("odata-version", "4.0")
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let about = |why: String| format!("{}{path}: {why}", self.url);
        let sent = self.request(Method::GET, path).send().await;
        let response = sent.map_err(|error| about(describe(error)))?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(about(format!("answered {status}")));
        }
        let body = body(response).await.map_err(about)?;
        serde_json::from_slice(&body).map_err(|error| {
            let start = String::from_utf8_lossy(&body[..body.len().min(4 * SHOWN_CHARS)]);
            about(format!(
                "not what Redfish answers: {error}: `{}`",
                shown(&start)
            ))
        })
    }
}

async fn body(mut response: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(describe)? {
        if bytes.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(format!(
                "its answer is longer than {} KiB",
                BODY_BYTES_MAX >> 10
            ));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// A path on this controller. A whole address would be followed to whatever it names, with the password.
fn local(path: &str) -> Result<String, String> {
    let is_plain = path
        .chars()
        .all(|c| c.is_ascii_graphic() && !matches!(c, '\\' | '#' | '@'));
    match path.starts_with("/redfish/") && is_plain && !path.contains("..") {
        true => Ok(path.to_owned()),
        false => Err(format!(
            "`{}` is no path of Redfish on this controller",
            shown(path)
        )),
    }
}

/// The message of a Redfish error, or the body itself.
fn complaint(body: &[u8]) -> String {
    let error: Option<Value> = serde_json::from_slice(body).ok();
    let message = error.as_ref().and_then(|error| {
        let extended = error.pointer("/error/@Message.ExtendedInfo/0/Message");
        extended
            .or_else(|| error.pointer("/error/message"))?
            .as_str()
    });
    message.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}

fn shown(text: &str) -> String {
    one_line(text, SHOWN_CHARS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_stays_on_its_controller() {
        assert!(local("/redfish/v1/Systems/1/Actions/ComputerSystem.Reset").is_ok());
        for elsewhere in [
            "https://evil.example/redfish/v1/Systems/1",
            "//evil.example/redfish/",
            "@evil.example/redfish/",
            "/redfish/../admin",
            "/redfish/v1/\r\nHost: x",
            "",
        ] {
            assert!(local(elsewhere).is_err(), "{elsewhere}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics_the_reader(body in prop::collection::vec(any::<u8>(), 0..200)) {
            complaint(&body);
            serde_json::from_slice::<System>(&body).ok();
            serde_json::from_slice::<Collection>(&body).ok();
        }

        #[test]
        fn what_is_accepted_as_a_path_names_no_other_host(path in "[/@:.a-z#\\\\]{0,40}") {
            if let Ok(path) = local(&path) {
                let url: reqwest::Url = format!("https://bmc.example{path}").parse().unwrap();
                prop_assert_eq!(url.host_str(), Some("bmc.example"));
            }
        }
    }
}
