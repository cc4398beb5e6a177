//! The loop's own series: every answer to every test as it comes, and every 15 s all that `/metrics` says.
//!
//! Answers are told from wherever they come and written by one task, so that nothing waits for the store. When it
//! can't keep up, answers are dropped here and counted; the engine has them all the same.
//!
//! The loop's clock never goes back; metrics go by the wall clock. After that was set back answers are dated by it, so that
//! whoever asks for now finds them.

use std::{sync::Arc, time::Duration};

use pitcrew_ingest::put_counted;
use pitcrew_model::{Observation, Verdict};
use pitcrew_promql::storage::stale;
use pitcrew_tsdb::{Batch, Sample, Value};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;

use super::{Form, Keys, Telemetry};
use crate::roster::Roster;

/// Batches of answers that may wait for the store.
const WAITING_MAX: usize = 1_024;

/// Answers that one append takes.
const OBSERVATIONS_MAX: usize = 20_000;

/// Between two looks at what `/metrics` says.
pub(crate) const INTERVAL: Duration = Duration::from_secs(15);

/// Where answers are told.
#[derive(Clone)]
pub(crate) struct Told {
    batches: mpsc::Sender<Vec<Observation>>,
    dropped: Counter,
}

impl Told {
    /// The task that writes ends with the last of those who tell. `dropped` counts what finds no room.
    pub(crate) fn start(telemetry: Arc<Telemetry>, roster: Arc<Roster>, dropped: Counter) -> Self {
        let (batches, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(write(telemetry, roster, waiting));
        Self { batches, dropped }
    }

    pub(crate) fn tell(&self, observations: &[Observation]) {
        if self.batches.try_send(observations.to_vec()).is_err() {
            self.dropped
                .inc_by(u64::try_from(observations.len()).unwrap_or(u64::MAX));
        }
    }
}

async fn write(
    telemetry: Arc<Telemetry>,
    roster: Arc<Roster>,
    mut waiting: mpsc::Receiver<Vec<Observation>>,
) {
    while let Some(mut observations) = waiting.recv().await {
        while observations.len() < OBSERVATIONS_MAX
            && let Ok(more) = waiting.try_recv()
        {
            observations.extend(more);
        }
        let (telemetry, roster) = (Arc::clone(&telemetry), Arc::clone(&roster));
        let writing = tokio::task::spawn_blocking(move || {
            if let Err(error) = store(&telemetry, &roster, &observations) {
                tracing::debug!(%error, "answers to tests are not in the metrics");
            }
        });
        if let Err(error) = writing.await {
            tracing::error!(%error, "writing answers to tests into the metrics broke off");
        }
    }
}

fn store(
    telemetry: &Telemetry,
    roster: &Roster,
    observations: &[Observation],
) -> Result<(), super::NotTaken> {
    let mut series = Series::dated_by(telemetry);
    for observation in observations {
        // A target that is no longer watched has no service: its last answers are nobody's.
        if let Some(watched) = roster.get(observation.target.as_str()) {
            series.add(watched.service.name.as_str(), observation);
        }
    }
    series.store(telemetry)
}

/// Samples in the order of their keys.
#[derive(Default)]
struct Series {
    /// Of the clock by which answers come, before the wall clock.
    ahead_ms: i64,
    keys: Keys,
    samples: Vec<(i64, f64)>,
}

impl Series {
    fn dated_by(telemetry: &Telemetry) -> Self {
        Self {
            ahead_ms: telemetry.loop_ahead_ms(),
            ..Self::default()
        }
    }

    fn store(&self, telemetry: &Telemetry) -> Result<(), super::NotTaken> {
        let samples = self.keys.iter().zip(&self.samples);
        let samples = samples.map(|(key, (timestamp_ms, value))| Sample {
            key,
            timestamp_ms: *timestamp_ms,
            start_ms: 0,
            value: Value::Float(*value),
        });
        let samples: Vec<Sample<'_>> = samples.collect();
        telemetry.append(&Batch {
            source: "loop",
            scope: Form::Pairs.scope(),
            labels_of: &|key, out| Form::Pairs.labels(key, out),
            samples: &samples,
            exemplars: &[],
            metadata: &[],
        })?;
        Ok(())
    }

    fn add(&mut self, service: &str, observation: &Observation) {
        let timestamp_ms = observation.answered_at.as_millis();
        let timestamp_ms = i64::try_from(timestamp_ms).unwrap_or(i64::MAX) - self.ahead_ms;
        // As Nagios numbers them.
        let (number, up) = match observation.verdict {
            Verdict::Pass => (0.0, 1.0),
            Verdict::Warn => (1.0, 1.0),
            Verdict::Fail => (2.0, 0.0),
            // Neither: it must not count in an average.
            Verdict::Unknown => (3.0, stale()),
        };
        for (name, value) in [
            ("pitcrew_test_up", up),
            ("pitcrew_test_verdict", number),
            (
                "pitcrew_test_duration_seconds",
                observation.took.as_secs_f64(),
            ),
        ] {
            self.keys.push_with(|key| {
                for (label, text) in [
                    ("__name__", name),
                    ("target", observation.target.as_str()),
                    ("test", observation.test.as_str()),
                    ("service", service),
                    ("observer", observation.observer.as_str()),
                ] {
                    put_counted(key, label.as_bytes());
                    put_counted(key, text.as_bytes());
                }
            });
            self.samples.push((timestamp_ms, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use pitcrew_model::Evidence;

    use super::*;
    use crate::telemetry::tests::{value_now, with_clock_ahead};

    #[test]
    fn answers_are_dated_by_the_wall_clock_also_after_it_was_set_back() {
        let data = tempfile::tempdir().unwrap();
        // More than the store takes from the future.
        let (telemetry, clock) = with_clock_ahead(data.path(), Duration::from_secs(3 * 3_600));
        let mut series = Series::dated_by(&telemetry);
        series.add(
            "web",
            &Observation {
                target: "web-1".parse().unwrap(),
                test: "answers".parse().unwrap(),
                observer: "here".parse().unwrap(),
                asked_at: clock.now(),
                answered_at: clock.now(),
                took: Duration::ZERO,
                verdict: Verdict::Fail,
                evidence: Evidence::new(""),
            },
        );
        series.store(&telemetry).unwrap();
        assert_eq!(value_now(&telemetry, "pitcrew_test_verdict"), Some(2.0));
        telemetry.stop();
    }
}
