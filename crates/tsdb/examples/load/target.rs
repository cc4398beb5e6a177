//! A target: what one service's endpoint exposes, and how it moves from scrape to scrape.

use pitcrew_promql::labels::Labels;
use pitcrew_tsdb::{Sample, Value, key_of};

/// How a series moves.
#[derive(Clone, Copy)]
enum Motion {
    Constant,
    /// Counts events, about so many a scrape.
    Counter(f64),
    /// Wanders around, in whole bytes.
    Bytes,
    /// Wanders around with two decimals, as loads do.
    Load,
    /// Any fraction, as computed ratios are.
    Ratio,
    /// A histogram's bucket, sum or count: moved by what its handler served.
    Served(usize, Part),
}

#[derive(Clone, Copy)]
enum Part {
    Bucket(usize),
    Sum,
    Count,
}

struct Exposed {
    key: Vec<u8>,
    value: f64,
    motion: Motion,
}

pub(crate) struct Target {
    series: Vec<Exposed>,
    /// What each handler served since the scrape before: durations in seconds.
    served: Vec<Vec<f64>>,
    /// State of a small generator of pseudo-random numbers.
    random: u64,
    jitter_ms: i64,
    rounded: bool,
}

impl Target {
    /// Series of each target.
    pub(crate) const SERIES: usize = 1000;
    /// Handlers with a histogram of ten buckets and a sum and a count.
    const HANDLERS: usize = 50;
    const BOUNDS: [f64; 10] = [
        0.005,
        0.01,
        0.025,
        0.05,
        0.1,
        0.25,
        0.5,
        1.0,
        2.5,
        f64::INFINITY,
    ];

    /// `rounded`: no value has more than three decimals.
    pub(crate) fn new(number: usize, rounded: bool) -> Self {
        let mut target = Target {
            series: Vec::new(),
            served: vec![Vec::new(); Self::HANDLERS],
            random: 0x9e37_79b9_7f4a_7c15 ^ number as u64,
            jitter_ms: 0,
            rounded,
        };
        target.add(number, "up", &[], 1.0, Motion::Constant);
        for handler in 0..Self::HANDLERS {
            let name = format!("/api/v1/handler-{handler}");
            for (bucket, bound) in Self::BOUNDS.iter().enumerate() {
                let bound = if bound.is_finite() {
                    bound.to_string()
                } else {
                    "+Inf".to_owned()
                };
                let labels = [("handler", name.as_str()), ("le", &bound)];
                let motion = Motion::Served(handler, Part::Bucket(bucket));
                target.add(
                    number,
                    "http_request_duration_seconds_bucket",
                    &labels,
                    0.0,
                    motion,
                );
            }
            let labels = [("handler", name.as_str())];
            for (metric, part) in [("sum", Part::Sum), ("count", Part::Count)] {
                let metric = format!("http_request_duration_seconds_{metric}");
                target.add(number, &metric, &labels, 0.0, Motion::Served(handler, part));
            }
        }
        // Of ten series four never change, two count fast, one slowly, two wander, one is any fraction.
        let kinds = [
            ("app_build_info", Motion::Constant),
            ("app_pool_limit", Motion::Constant),
            ("app_errors_total", Motion::Constant),
            ("app_start_time_seconds", Motion::Constant),
            ("app_requests_total", Motion::Counter(100.0)),
            ("app_sent_bytes_total", Motion::Counter(1e6)),
            ("app_retries_total", Motion::Counter(0.3)),
            ("app_heap_bytes", Motion::Bytes),
            ("app_load", Motion::Load),
            ("app_hit_ratio", Motion::Ratio),
        ];
        for index in 0..Self::SERIES - target.series.len() {
            let (name, motion) = kinds[index % kinds.len()];
            let shard = (index / kinds.len()).to_string();
            target.add(
                number,
                name,
                &[("shard", &shard), ("kind", "worker")],
                1e5,
                motion,
            );
        }
        // As in an exposition, series of one metric follow each other.
        target
            .series
            .sort_by(|left, right| left.key.cmp(&right.key));
        target
    }

    fn add(
        &mut self,
        target: usize,
        name: &str,
        labels: &[(&str, &str)],
        value: f64,
        motion: Motion,
    ) {
        let instance = format!(
            "10.{}.{}.{}:9100",
            target >> 16,
            (target >> 8) & 255,
            target & 255
        );
        let zone = ["a", "b", "c"][target % 3];
        let common = [
            ("__name__", name),
            ("job", "service"),
            ("instance", &instance),
            ("zone", zone),
            ("cluster", "production-1"),
            ("namespace", "default"),
        ];
        let labels = Labels::from_pairs(common.into_iter().chain(labels.iter().copied()));
        self.series.push(Exposed {
            key: key_of(&labels),
            value,
            motion,
        });
    }

    /// Between 0 and 1.
    fn draw(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Lets a scrape's interval pass.
    pub(crate) fn advance(&mut self) {
        // Few handlers serve most requests, and most requests are short.
        for handler in 0..Self::HANDLERS {
            let rate = 40.0 / (handler + 1) as f64;
            let mut durations = Vec::new();
            while self.draw() * (rate + 1.0) > 1.0 {
                let draw = self.draw();
                durations.push(0.002 / (1.0 - draw * 0.9995));
            }
            self.served[handler] = durations;
        }
        for index in 0..self.series.len() {
            let draw = self.draw();
            let Exposed { value, motion, .. } = &mut self.series[index];
            let within = |handler: usize, bound: f64| {
                let served = self.served[handler].iter();
                served.filter(|duration| **duration <= bound).count() as f64
            };
            *value = match motion {
                Motion::Constant => *value,
                Motion::Counter(step) => *value + (*step * 2.0 * draw).round(),
                Motion::Served(handler, Part::Bucket(bucket)) => {
                    *value + within(*handler, Self::BOUNDS[*bucket])
                }
                Motion::Served(handler, Part::Count) => *value + within(*handler, f64::INFINITY),
                Motion::Served(handler, Part::Sum) => {
                    *value + self.served[*handler].iter().sum::<f64>()
                }
                Motion::Bytes => (*value + (draw - 0.5) * 65536.0).round().abs(),
                Motion::Load => (draw * 400.0).round() / 100.0,
                Motion::Ratio => draw,
            };
        }
        if self.rounded {
            for series in &mut self.series {
                series.value = (series.value * 1000.0).round() / 1000.0;
            }
        }
        // A scrape comes a few milliseconds late.
        self.jitter_ms = if self.draw() < 0.5 { 0 } else { 1 };
    }

    /// What a scrape at that time finds.
    pub(crate) fn samples(&self, now_ms: i64) -> Vec<Sample<'_>> {
        let series = self.series.iter();
        series
            .map(|series| Sample {
                key: &series.key,
                timestamp_ms: now_ms + self.jitter_ms,
                start_ms: 0,
                value: Value::Float(series.value),
            })
            .collect()
    }
}
