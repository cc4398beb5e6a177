//! Asking for a page: over connections that are kept, packed by gzip where the target can, never more than it may be.
//!
//! A page is unpacked by whoever reads it, not here: that keeps a processor busy.

use std::{borrow::Cow, error::Error as _, fmt::Write as _, io::Read as _, time::Duration};

use flate2::read::MultiGzDecoder;
use pitcrew_ingest::{Sink, families, text};
use pitcrew_model::Scrape;
use reqwest::{
    Certificate, Client, Url,
    header::{
        ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    },
    redirect::{Action, Attempt, Policy},
};
use tokio::time::{Instant, timeout_at};

use super::room::{Place, TooLarge};
use crate::telemetry::Form;

const TEXTS: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// Before text, since only it has native histograms.
const FAMILIES: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// Longer than most intervals, so that connections are there for the next time.
const IDLE: Duration = Duration::from_secs(300);

/// Asks all targets of one scrape.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: Client,
    body_bytes_max: u64,
}

/// In which form a target tells of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text(text::Format),
    Families,
}

impl Format {
    fn of_content_type(content_type: &str) -> Self {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        match kind.eq_ignore_ascii_case("application/vnd.google.protobuf") {
            true => Self::Families,
            false => Self::Text(text::Format::of_content_type(content_type)),
        }
    }

    /// That of its series.
    pub(super) fn form(self) -> Form {
        match self {
            Self::Text(_) => Form::Text,
            Self::Families => Form::Pairs,
        }
    }

    pub(super) fn read(self, page: &[u8], sink: &mut impl Sink) -> Result<(), String> {
        match self {
            Self::Text(format) => text::read(format, page, sink).map_err(|error| error.to_string()),
            Self::Families => families::read(page, sink).map_err(|error| error.to_string()),
        }
    }
}

/// A page as it came, and the room that it takes.
pub(super) struct Fetched {
    format: Format,
    is_packed: bool,
    bytes_max: u64,
    body: Vec<u8>,
    _place: Place,
}

impl Fetched {
    /// How many bytes came.
    pub(super) fn len(&self) -> usize {
        self.body.len()
    }

    pub(super) fn unpacked(&self) -> Result<(Format, Cow<'_, [u8]>), String> {
        if !self.is_packed {
            return Ok((self.format, Cow::Borrowed(&self.body)));
        }
        let mut text = Vec::new();
        let unpacking = MultiGzDecoder::new(&*self.body);
        let mut unpacking = unpacking.take(self.bytes_max.saturating_add(1));
        let read = unpacking.read_to_end(&mut text);
        read.map_err(|error| format!("the page is no gzip: {error}"))?;
        check(text.len(), self.bytes_max)?;
        Ok((self.format, Cow::Owned(text)))
    }
}

fn check(bytes: usize, bytes_max: u64) -> Result<(), String> {
    if u64::try_from(bytes).is_ok_and(|bytes| bytes > bytes_max) {
        return Err(format!(
            "the page is larger than `body_max`, {bytes_max} bytes"
        ));
    }
    Ok(())
}

/// Waits for room, until the deadline at most.
pub(super) async fn within<T>(
    deadline: Instant,
    place: impl Future<Output = Result<T, TooLarge>>,
) -> Result<T, String> {
    match timeout_at(deadline, place).await {
        Ok(placed) => placed.map_err(|too_large| too_large.to_string()),
        Err(_) => Err(
            "there was no room for the page within `timeout`: other targets' pages are being read"
                .to_owned(),
        ),
    }
}

impl Fetcher {
    pub(super) fn new(scrape: &Scrape) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        let formats = match scrape.native_histograms {
            true => FAMILIES,
            false => TEXTS,
        };
        headers.insert(ACCEPT, HeaderValue::from_static(formats));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        let seconds = scrape.timeout.as_secs_f64().to_string();
        let mut texts = vec![("X-Prometheus-Scrape-Timeout-Seconds", &*seconds)];
        let secret = scrape.headers.iter();
        texts.extend(secret.map(|(name, value)| (&**name, value.expose())));
        for (name, value) in texts {
            let name: HeaderName = name.parse().map_err(|_| format!("`{name}` is no header"))?;
            let value = HeaderValue::try_from(value);
            let mut value = value.map_err(|_| format!("the value of {name} is no header's"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let mut client = Client::builder()
            .no_proxy()
            .default_headers(headers)
            .redirect(Policy::custom(to_itself))
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .tls_danger_accept_invalid_certs(scrape.insecure)
            .user_agent(concat!("pitcrew/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = &scrape.ca_file {
            client = client.tls_certs_only(authorities(file)?);
        }
        let client = client.build();
        Ok(Self {
            client: client.map_err(|error| words(&error))?,
            body_bytes_max: scrape.limits.body_bytes_max,
        })
    }

    /// The page grows in its place, which it keeps.
    pub(super) async fn fetch(
        &self,
        url: &Url,
        mut place: Place,
        deadline: Instant,
    ) -> Result<Fetched, String> {
        let left = deadline.saturating_duration_since(Instant::now());
        let asked = self.client.get(url.clone()).timeout(left);
        let mut response = asked.send().await.map_err(|error| words(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("HTTP status {status}"));
        }
        let header = |name| {
            let value = response.headers().get(name);
            let value = value.and_then(|value: &HeaderValue| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let format = Format::of_content_type(&header(CONTENT_TYPE));
        let is_packed = header(CONTENT_ENCODING).eq_ignore_ascii_case("gzip");
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| words(&error))? {
            let bytes = body.len() + chunk.len();
            check(bytes, self.body_bytes_max)?;
            if bytes > place.bytes() {
                within(deadline, place.grow_to(bytes)).await?;
            }
            body.reserve_exact(place.bytes() - body.len());
            body.extend_from_slice(&chunk);
        }
        Ok(Fetched {
            format,
            is_packed,
            bytes_max: self.body_bytes_max,
            body,
            _place: place,
        })
    }
}

fn authorities(file: &str) -> Result<Vec<Certificate>, String> {
    let pem = std::fs::read(file).map_err(|error| format!("failed to read {file}: {error}"))?;
    Certificate::from_pem_bundle(&pem)
        .map_err(|error| format!("{file} has no certificates: {}", words(&error)))
}

/// Headers may hold secrets: only the target itself may have them.
fn to_itself(attempt: Attempt<'_>) -> Action {
    const MAX: usize = 5;
    let first = attempt.previous().first().map(Url::origin);
    match first == Some(attempt.url().origin()) && attempt.previous().len() <= MAX {
        true => attempt.follow(),
        false => attempt.stop(),
    }
}

/// Without the address, which is told beside it; with all causes.
fn words(error: &reqwest::Error) -> String {
    let mut text = match error.is_timeout() {
        true => "no answer within `timeout`".to_owned(),
        false => "failed to ask".to_owned(),
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, ": {error}").expect("a string takes everything");
        cause = error.source();
    }
    text
}
