//! Telling people: a notice to each receiver, with bounded retries and within a deadline.
//!
//! A receiver may get a notice twice (an answer can be lost), never none without a word: what could not be
//! delivered is returned with the reason. Addresses and headers are secrets and appear in no error.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pitcrew_model::{Destination, Notice, Receiver, ReceiverName, Secret};
use reqwest::Client;

use crate::{
    command::{self, Ran},
    webhook,
};

/// Everything of one notice to one receiver, retries included.
const DEADLINE: Duration = Duration::from_secs(30);
const TRY_TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses between tries; one try more than pauses.
const BACKOFF: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(4),
];

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Notifier {
    receivers: Arc<[Receiver]>,
    client: Result<Client, String>,
}

/// Why a try failed, and whether another may do better.
enum Trouble {
    Passing(String),
    Lasting(String),
}

impl Notifier {
    #[must_use]
    pub fn new(receivers: &[Receiver]) -> Self {
        Self {
            receivers: receivers.into(),
            client: webhook::client(),
        }
    }

    /// One result for each receiver that the notice names (all, when it names none), in their order.
    pub async fn notify(&self, notice: &Notice) -> Vec<(ReceiverName, Result<(), String>)> {
        let body = match serde_json::to_vec(notice) {
            Ok(body) => body,
            Err(error) => {
                let why = format!("the notice can't be written as JSON: {error}");
                let names = self.receivers.iter().map(|it| it.name.clone());
                return names.map(|name| (name, Err(why.clone()))).collect();
            }
        };
        let names: Vec<ReceiverName> = if notice.to.is_empty() {
            self.receivers.iter().map(|it| it.name.clone()).collect()
        } else {
            notice.to.clone()
        };
        let told = names.into_iter().map(|name| async {
            let receiver = self.receivers.iter().find(|it| it.name == name);
            let result = match receiver {
                Some(receiver) => self.deliver(receiver, &body).await,
                None => Err("no receiver of this name is configured".to_owned()),
            };
            (name, result)
        });
        futures_util::future::join_all(told).await
    }

    async fn deliver(&self, receiver: &Receiver, body: &[u8]) -> Result<(), String> {
        let until = Instant::now() + DEADLINE;
        let mut tries = 0;
        loop {
            tries += 1;
            let timeout = TRY_TIMEOUT.min(until.saturating_duration_since(Instant::now()));
            let trouble = match self.try_once(receiver, body, timeout).await {
                Ok(()) => return Ok(()),
                Err(trouble) => trouble,
            };
            let (why, pause) = match trouble {
                Trouble::Lasting(why) => (why, None),
                Trouble::Passing(why) => (why, BACKOFF.get(tries - 1)),
            };
            match pause {
                Some(pause) if Instant::now() + *pause < until => {
                    tokio::time::sleep(*pause).await;
                }
                _ if tries == 1 => return Err(why),
                _ => return Err(format!("{why} (tried {tries} times)")),
            }
        }
    }

    async fn try_once(
        &self,
        receiver: &Receiver,
        body: &[u8],
        timeout: Duration,
    ) -> Result<(), Trouble> {
        match &receiver.destination {
            Destination::Webhook { url, headers } => {
                let client = self
                    .client
                    .as_ref()
                    .map_err(|why| Trouble::Lasting(why.clone()))?;
                post(client, url, headers, body.to_vec(), timeout).await
            }
            Destination::Command { command } => {
                match command::run(command, None, body.to_vec(), timeout).await {
                    Ran::Succeeded { .. } => Ok(()),
                    Ran::Failed { how, last_line } => {
                        Err(Trouble::Passing(format!("the command {how}: {last_line}")))
                    }
                    Ran::TimedOut => Err(Trouble::Passing("the command took too long".to_owned())),
                    Ran::NotStarted { why } => Err(Trouble::Lasting(why)),
                }
            }
        }
    }
}

async fn post(
    client: &Client,
    url: &Secret,
    headers: &[(String, Secret)],
    body: Vec<u8>,
    timeout: Duration,
) -> Result<(), Trouble> {
    let mut request = client
        .post(url.expose())
        .timeout(timeout)
        .header("content-type", "application/json")
        .body(body);
    for (name, value) in headers {
        request = request.header(name, value.expose());
    }
    let response = request.send().await.map_err(|error| {
        if error.is_builder() {
            Trouble::Lasting(webhook::describe(error))
        } else {
            Trouble::Passing(webhook::describe(error))
        }
    })?;
    let status = response.status();
    let why = format!("answered {status}");
    if status.is_success() {
        Ok(())
    } else if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) {
        Err(Trouble::Passing(why))
    } else {
        Err(Trouble::Lasting(why))
    }
}
