//! Half an hour of samples of a small production, the same for everybody who is compared, and how to ask about them.

use std::{
    fmt::Write as _,
    fs,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use reqwest::Url;
use serde_json::Value;

use crate::production::{Answer, Production, request};

/// Between two samples of a series.
const INTERVAL_MS: i64 = 15_000;

const SAMPLES: i64 = 120;

/// A configuration with nothing to do but keep metrics.
pub(crate) const QUIET: &str = "limits: { fleet_rate: 30/h }\n";

pub(crate) struct History {
    /// Of the first sample. Off every full second, so that no sample lies on the edge of a window: Prometheus counts
    /// an edge only since its version 3.
    pub(crate) start_ms: i64,
}

impl History {
    /// It ended a few seconds ago.
    pub(crate) fn until_now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a time since 1970");
        let now_ms = i64::try_from(since.as_millis()).expect("a time of this age");
        let minute_ms = now_ms - now_ms % 60_000;
        Self {
            start_ms: minute_ms - SAMPLES * INTERVAL_MS + 7_123,
        }
    }

    /// It ended hours ago, in the middle of the two hours that a Prometheus writes into one block.
    pub(crate) fn within_one_block() -> Self {
        const BLOCK_MS: i64 = 7_200_000;
        let recent_ms = Self::until_now().start_ms;
        Self {
            start_ms: recent_ms - recent_ms % BLOCK_MS - BLOCK_MS / 2 + 7_123,
        }
    }

    pub(crate) fn end_ms(&self) -> i64 {
        self.start_ms + (SAMPLES - 1) * INTERVAL_MS
    }

    /// In OpenMetrics: counters that are reset once, gauges, histograms, values that are no numbers, a series that ends
    /// early, and one whose name needs quotes.
    pub(crate) fn open_metrics(&self) -> String {
        let mut text =
            String::from("# TYPE http_requests counter\n# HELP http_requests All of them.\n");
        for (instance, code, pace) in [
            ("a", "200", 7),
            ("a", "500", 1),
            ("b", "200", 11),
            ("b", "500", 2),
        ] {
            let name = format!(
                "http_requests_total{{job=\"web\",instance=\"{instance}\",code=\"{code}\"}}"
            );
            self.write(&mut text, &name, SAMPLES, |index| {
                let since_reset = if index >= 70 && instance == "b" {
                    index - 70
                } else {
                    index
                };
                (since_reset * pace + (index * index) % 5).to_string()
            });
        }
        text.push_str("# TYPE temperature gauge\n");
        for (room, base) in [("attic", 28.5), ("cellar", -3.25)] {
            let name = format!("temperature{{room=\"{room}\"}}");
            self.write(&mut text, &name, SAMPLES, |index| {
                format!("{}", base + ((index * 13) % 29) as f64 / 8.0)
            });
        }
        self.write(&mut text, "temperature{room=\"hall\"}", 60, |index| {
            ["NaN", "+Inf", "0.1"][usize::try_from(index % 3).expect("below 3")].to_owned()
        });
        text.push_str("# TYPE latency_seconds histogram\n");
        for (index, bound) in ["0.1", "0.5", "2.5", "+Inf"].into_iter().enumerate() {
            let share = i64::try_from(index).expect("below 4") + 1;
            let name = format!("latency_seconds_bucket{{job=\"web\",le=\"{bound}\"}}");
            self.write(&mut text, &name, SAMPLES, |index| {
                (index * share * 3).to_string()
            });
        }
        for (name, pace) in [("sum", 4.75), ("count", 12.0)] {
            let name = format!("latency_seconds_{name}{{job=\"web\"}}");
            self.write(&mut text, &name, SAMPLES, |index| {
                (index as f64 * pace).to_string()
            });
        }
        text + "# EOF\n"
    }

    fn write(&self, text: &mut String, series: &str, samples: i64, value: impl Fn(i64) -> String) {
        for index in 0..samples {
            let at_ms = self.start_ms + index * INTERVAL_MS;
            let (seconds, millis) = (at_ms / 1_000, at_ms % 1_000);
            writeln!(text, "{series} {} {seconds}.{millis:03}", value(index))
                .expect("a string takes everything");
        }
    }

    /// A query at instants and over a range that begin between two samples.
    pub(crate) fn questions(
        &self,
        query: &str,
    ) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
        let off_ms = 2_000;
        let query = ("query", query.to_owned());
        let at = |at_ms: i64| seconds(at_ms + off_ms);
        let instant = |at_ms| ("/api/v1/query", vec![query.clone(), ("time", at(at_ms))]);
        let range = vec![
            query.clone(),
            ("start", at(self.start_ms - 60_000)),
            ("end", at(self.end_ms() + 60_000)),
            ("step", "30".to_owned()),
        ];
        vec![
            instant(self.end_ms()),
            instant(self.start_ms + 1_000_000),
            ("/api/v1/query_range", range),
        ]
    }

    pub(crate) fn file(&self, production: &Production) -> PathBuf {
        let path = production.path().join("history.om");
        fs::write(&path, self.open_metrics()).expect("the samples are written");
        path
    }

    /// A Pitcrew that has all of it.
    pub(crate) fn served() -> (Self, Production) {
        let history = Self::until_now();
        let production = history.imported();
        (history, production)
    }

    pub(crate) fn imported(&self) -> Production {
        let production = Production::served(QUIET);
        let file = self.file(&production);
        let told = production.says(&["metrics", "import", file.to_str().expect("a path")], 0);
        assert!(told.contains("1500 samples"), "{told}");
        production
    }
}

/// Seconds, as the API takes them.
pub(crate) fn seconds(at_ms: i64) -> String {
    format!("{}.{:03}", at_ms / 1_000, at_ms % 1_000)
}

/// A path with parameters, encoded as it must be.
pub(crate) fn path(path: &str, parameters: &[(&str, &str)]) -> String {
    let base = format!("http://localhost{path}");
    let url = Url::parse_with_params(&base, parameters).expect("a URL");
    let query = url
        .query()
        .map_or_else(String::new, |query| format!("?{query}"));
    format!("{}{query}", url.path())
}

pub(crate) fn ask(port: u16, path_only: &str, parameters: &[(&str, &str)]) -> Answer {
    request(port, "GET", &path(path_only, parameters), &[], "").expect("an answer")
}

/// The data of an answer that must be a success.
#[track_caller]
pub(crate) fn data(port: u16, path: &str, parameters: &[(&str, &str)]) -> Value {
    let answer = ask(port, path, parameters);
    assert_eq!(answer.status, 200, "{parameters:?} {answer:?}");
    let json = answer.json();
    assert_eq!(json["status"], "success", "{answer:?}");
    json["data"].clone()
}
