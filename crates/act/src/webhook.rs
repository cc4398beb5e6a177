//! `POST` of an order as JSON, for whatever the user has that can do more than Pitcrew.
//!
//! The operation is sent as `Idempotency-Key`. Redirects are not followed: an order goes where the
//! configuration says. What could not be sent is without effect; what was sent and not answered may have
//! had effect.

use std::time::Duration;

use pitcrew_model::Order;
use reqwest::{Client, StatusCode, redirect::Policy};

use crate::{Answer, answer::one_line};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const BODY_BYTES_MAX: usize = 4 << 10;
const BODY_CHARS_SHOWN: usize = 200;

/// The error is a TLS setup that this host can't offer.
pub(crate) fn client() -> Result<Client, String> {
    Client::builder()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("pitcrew/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| format!("no HTTP client can be made: {}", describe(error)))
}

pub(crate) async fn carry_out(
    client: &Client,
    order: &Order,
    url: &str,
    timeout: Duration,
) -> Answer {
    let sent = client
        .post(url)
        .timeout(timeout)
        .header("idempotency-key", order.operation.as_str())
        .json(order)
        .send()
        .await;
    let response = match sent {
        Ok(response) => response,
        Err(error) if error.is_builder() || error.is_connect() => {
            return Answer::failed(format!("not sent: {}", describe(error)));
        }
        Err(error) => return Answer::unknown(format!("no answer: {}", describe(error))),
    };
    let status = response.status();
    let said = body(response).await;
    let detail = format!("answered {status}: {said}");
    let detail = detail.trim_end_matches(": ");
    if status.is_success() {
        Answer::done(detail)
    } else if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
        Answer::unknown(detail)
    } else {
        Answer::failed(detail)
    }
}

async fn body(mut response: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < BODY_BYTES_MAX
        && let Ok(Some(chunk)) = response.chunk().await
    {
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(BODY_BYTES_MAX);
    one_line(&String::from_utf8_lossy(&bytes), BODY_CHARS_SHOWN)
}

/// With its causes and without the address, which may hold a secret.
pub(crate) fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
