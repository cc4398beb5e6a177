//! Prometheus' `http_sd`: a page that lists all targets, in JSON.
//!
//! The peer may be slow, broken or hostile: one deadline over everything, bounded bytes, few redirects, none
//! from https to http, certificates checked, no proxy from the environment.

use std::{error::Error, time::Duration};

use pitcrew_model::Source;
use reqwest::{Client, Response, StatusCode, header, redirect};

use crate::{
    Answer, FindError,
    asker::DEADLINE,
    draft::Draft,
    groups::{self, Format},
};

const BODY_BYTES_MAX: usize = 64 << 20;
const REDIRECTS_MAX: usize = 3;

pub(crate) async fn ask(
    source: &Source,
    url: &str,
    refresh: Duration,
) -> Result<Answer, FindError> {
    let failed = |why: String| FindError::Http {
        url: shown(url),
        why,
    };
    let body = tokio::time::timeout(DEADLINE, fetch(url, refresh))
        .await
        .map_err(|_| failed(format!("no whole answer within {} s", DEADLINE.as_secs())))?
        .map_err(failed)?;
    let (source, place) = (source.clone(), shown(url));
    // Tens of megabytes of JSON would hold up every other task of this thread.
    let read = tokio::task::spawn_blocking(move || {
        let groups = groups::parse(&body, Format::Json)?;
        let mut draft = Draft::new(&source);
        draft.add_groups(&place, &groups);
        Ok(draft.finish())
    });
    read.await
        .map_err(|error| FindError::Aborted(error.to_string()))?
        .map_err(failed)
}

/// The address without what may be secret in it.
pub(crate) fn shown(url: &str) -> String {
    match reqwest::Url::parse(url) {
        Ok(mut url) => {
            // It fails only for addresses that can have no user, and those show none.
            url.set_username("").ok();
            url.set_password(None).ok();
            url.set_query(None);
            url.set_fragment(None);
            url.to_string()
        }
        Err(_) => "this address".to_owned(),
    }
}

async fn fetch(url: &str, refresh: Duration) -> Result<Vec<u8>, String> {
    let client = Client::builder()
        .redirect(redirect::Policy::limited(REDIRECTS_MAX))
        .https_only(url.starts_with("https:"))
        .no_proxy()
        .referer(false)
        // A page asked for once a minute gains nothing from connections that are kept.
        .pool_max_idle_per_host(0)
        .user_agent(concat!("pitcrew/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(told)?;
    let response = client
        .get(url)
        .header(header::ACCEPT, "application/json")
        .header("X-Prometheus-Refresh-Interval-Seconds", refresh.as_secs())
        .send()
        .await
        .map_err(told)?;
    check(&response)?;
    read_bounded(response).await
}

fn check(response: &Response) -> Result<(), String> {
    if response.status() != StatusCode::OK {
        return Err(format!("it answers {}, not 200", response.status()));
    }
    let kind = response
        .headers()
        .get(header::CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or("").trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(format!(
            "its content type is `{}`, not `application/json`",
            kind.chars().take(80).collect::<String>().escape_debug()
        ))
    }
}

async fn read_bounded(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(told)? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err("its answer is larger than 64 MiB; split the source".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The innermost causes, which say what a person can act on, without the address, which may hold a password.
fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
