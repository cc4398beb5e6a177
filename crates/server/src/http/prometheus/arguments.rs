//! What a request asks, from its query string and, of a POST, its form: the same names in both. Names that Prometheus
//! doesn't know are ignored, as it does.

use std::{str::FromStr, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, header, request::Parts},
};
use pitcrew_promql::{labels::Matcher, storage::Selection};

use super::{
    answer::Error,
    syntax::{self, LONG_AGO_MS, NEVER_MS},
};
use crate::http::{guard::DEADLINE, request::BODY_BYTES_MAX};

#[derive(Clone, Debug, Default)]
pub(super) struct Arguments {
    /// The form's before the query string's: the first one of a name counts.
    pairs: Vec<(String, String)>,
    /// Whether the answer may be compressed.
    pub(super) gzip: bool,
}

impl<S: Send + Sync> FromRequest<S> for Arguments {
    type Rejection = Error;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Error> {
        let (parts, body) = request.into_parts();
        let mut pairs = Vec::new();
        if is_form(&parts.headers) {
            let bytes = read_whole(body).await?;
            pairs.extend(decoded(&bytes));
        }
        let Self {
            pairs: of_query,
            gzip,
        } = Self::of_query(&parts);
        pairs.extend(of_query);
        Ok(Self { pairs, gzip })
    }
}

/// A body that has nothing but a question in it.
pub(super) async fn read_whole(body: Body) -> Result<Bytes, Error> {
    match tokio::time::timeout(DEADLINE, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(read) => {
            read.map_err(|error| Error::bad_data(format!("failed to read the body: {error}")))
        }
        Err(_elapsed) => Err(Error::timeout("the body was not complete within 10 s")),
    }
}

fn decoded(bytes: &[u8]) -> impl Iterator<Item = (String, String)> {
    form_urlencoded::parse(bytes).map(|(name, value)| (name.into_owned(), value.into_owned()))
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| {
        kind.to_ascii_lowercase()
            .starts_with("application/x-www-form-urlencoded")
    })
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut codings = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        is_gzip && !parts.any(|weight| weight.trim_end_matches(['0', '.']) == "q=")
    })
}

impl Arguments {
    /// Of a request whose body is something else.
    pub(super) fn of_query(parts: &Parts) -> Self {
        Self {
            pairs: decoded(parts.uri.query().unwrap_or_default().as_bytes()).collect(),
            gzip: takes_gzip(&parts.headers),
        }
    }

    /// Empty where it isn't given, which is the same.
    pub(super) fn text(&self, name: &str) -> &str {
        let mut values = self.all(name);
        values.next().unwrap_or_default()
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let of_name = self.pairs.iter().filter(move |(given, _)| given == name);
        of_name.map(|(_, value)| value.as_str())
    }

    fn parsed<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Error> {
        match self.text(name) {
            "" => Ok(None),
            text => parse(text)
                .map(Some)
                .map_err(|problem| Error::bad_parameter(name, problem)),
        }
    }

    /// Milliseconds since the epoch.
    pub(super) fn time(&self, name: &str) -> Result<Option<i64>, Error> {
        self.parsed(name, syntax::time_ms)
    }

    pub(super) fn required_time(&self, name: &str) -> Result<i64, Error> {
        // An empty text is no time either.
        syntax::time_ms(self.text(name)).map_err(|problem| Error::bad_parameter(name, problem))
    }

    pub(super) fn duration_ms(&self, name: &str) -> Result<Option<i64>, Error> {
        self.parsed(name, syntax::duration_ms)
    }

    pub(super) fn required_duration_ms(&self, name: &str) -> Result<i64, Error> {
        syntax::duration_ms(self.text(name)).map_err(|problem| Error::bad_parameter(name, problem))
    }

    /// How many at the most; zero is no limit.
    pub(super) fn limit(&self, name: &str) -> Result<Option<usize>, Error> {
        let limit = self.parsed(name, |text| {
            i64::from_str(text).map_err(|_| format!("cannot parse {text:?} to an integer"))
        })?;
        match limit.map(usize::try_from) {
            None | Some(Ok(0)) => Ok(None),
            Some(Ok(limit)) => Ok(Some(limit)),
            Some(Err(_negative)) => Err(Error::bad_parameter(name, "limit must be non-negative")),
        }
    }

    /// The least of what is asked for and what is allowed.
    pub(super) fn timeout(&self, most: Duration) -> Result<Duration, Error> {
        let asked = self.duration_ms("timeout")?.unwrap_or(i64::MAX);
        Ok(u64::try_from(asked)
            .map_or(Duration::ZERO, Duration::from_millis)
            .min(most))
    }

    /// From `start` to `end`, from the beginning to the end where they aren't given.
    pub(super) fn range(&self) -> Result<Range, Error> {
        let start_ms = self.time("start")?.unwrap_or(LONG_AGO_MS);
        let end_ms = self.time("end")?.unwrap_or(NEVER_MS);
        if end_ms < start_ms {
            return Err(Error::bad_parameter(
                "end",
                "end timestamp must not be before start time",
            ));
        }
        Ok(Range { start_ms, end_ms })
    }

    /// The selectors of all `match[]`; any of them may fit.
    pub(super) fn matches(&self) -> Result<Vec<Vec<Matcher>>, Error> {
        let selectors = self.all("match[]").map(syntax::matchers);
        let matches: Result<Vec<_>, String> = selectors.collect();
        matches.map_err(|problem| Error::bad_parameter("match[]", problem))
    }

    pub(super) fn required_matches(&self) -> Result<Vec<Vec<Matcher>>, Error> {
        let matches = self.matches()?;
        if matches.is_empty() {
            return Err(Error::bad_data("no match[] parameter provided"));
        }
        Ok(matches)
    }
}

/// Milliseconds since the epoch, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
}

impl Range {
    pub(super) fn of<'a>(&self, matchers: &'a [Matcher]) -> Selection<'a> {
        let Range { start_ms, end_ms } = *self;
        Selection {
            matchers,
            start_ms,
            end_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_only_by_who_says_so() {
        for (value, expected) in [
            ("gzip", true),
            ("deflate, gzip;q=0.5, br", true),
            ("gzip;q=0", false),
            ("gzip;q=0.000", false),
            ("identity", false),
            ("", false),
        ] {
            let headers = [(header::ACCEPT_ENCODING, value.parse().unwrap())]
                .into_iter()
                .collect();
            assert_eq!(takes_gzip(&headers), expected, "{value}");
        }
    }

    #[test]
    fn the_first_of_a_name_counts_and_pairs_are_decoded() {
        let arguments = Arguments {
            pairs: decoded(b"query=up+%7Ba%3D%22b%22%7D&query=down&limit=-1&start=2&end=1")
                .collect(),
            gzip: false,
        };
        assert_eq!(arguments.text("query"), r#"up {a="b"}"#);
        assert!(arguments.limit("limit").is_err());
        assert!(arguments.range().is_err());
    }
}
