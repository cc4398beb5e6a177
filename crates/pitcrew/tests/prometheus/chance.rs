//! Queries by chance: the grammar of PromQL, walked at random from a seed.
//!
//! Left out is what Prometheus answers otherwise since 2.42 (`atan2`, deviations of what is no number, rates of what may be
//! negative) and what no language decides (which of equal values is the greatest).

/// A small generator of pseudo-random numbers (xorshift64).
pub(crate) struct Chance(u64);

const VECTORS: &[&str] = &[
    "http_requests_total",
    r#"http_requests_total{code="200"}"#,
    r#"http_requests_total{instance=~"a|c"}"#,
    r#"temperature{room!="hall"}"#,
    r#"temperature{room=~"a.*"}"#,
    "latency_seconds_bucket",
    r#"latency_seconds_bucket{le!="+Inf"}"#,
];
const COUNTERS: &[&str] = &[
    "http_requests_total",
    r#"http_requests_total{code=~"2.."}"#,
    "latency_seconds_bucket",
    "latency_seconds_count",
];
const DURATIONS: &[&str] = &["45s", "1m", "90s", "3m", "5m", "7m"];
const OF_COUNTERS: &[&str] = &["rate", "irate", "increase"];
const OVER_TIME: &[&str] = &[
    "delta",
    "idelta",
    "deriv",
    "resets",
    "changes",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "last_over_time",
    "present_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "absent_over_time",
];
const FUNCTIONS: &[&str] = &[
    "abs",
    "ceil",
    "floor",
    "round",
    "sqrt",
    "ln",
    "log2",
    "exp",
    "sgn",
    "sin",
    "tanh",
    "deg",
    "timestamp",
    "hour",
    "absent",
    "sort",
    "-",
    "+",
];
const AGGREGATIONS: &[&str] = &["sum", "avg", "min", "max", "count", "group"];
const LABELS: &[&str] = &["code", "instance", "job", "room", "le"];
const NUMBERS: &[&str] = &["0", "1", "2", "0.5", "-1", "1e3", "Inf", "100"];
const OPERATORS: &[&str] = &[
    "+", "-", "*", "/", "%", "^", "==", "!=", ">", "<", ">=", "<=",
];

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % end
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    fn labels(&mut self) -> String {
        let count = self.below(3);
        let labels: Vec<&str> = (0..count).map(|_| self.one_of(LABELS)).collect();
        format!("({})", labels.join(","))
    }

    fn shifted(&mut self) -> String {
        match self.below(8) {
            0 => format!(" offset {}", self.one_of(DURATIONS)),
            1 => format!(" offset -{}", self.one_of(DURATIONS)),
            2 => " @ start()".to_owned(),
            _ => String::new(),
        }
    }

    fn window(&mut self, depth: usize, of: &[&str]) -> String {
        let shifted = self.shifted();
        if depth > 0 && self.below(4) == 0 {
            let step = self.one_of(&["30s", "1m", "17s", ""]);
            // Without another one in it, whose steps would lie on the edge of this one's windows.
            return format!("({})[5m:{step}]{shifted}", self.vector(1));
        }
        format!("{}[{}]{shifted}", self.one_of(of), self.one_of(DURATIONS))
    }

    /// An expression of at most that many levels.
    pub(crate) fn vector(&mut self, depth: usize) -> String {
        let Some(below) = depth.checked_sub(1) else {
            return format!("{}{}", self.one_of(VECTORS), self.shifted());
        };
        match self.below(12) {
            0 => self.vector(0),
            1 => format!("{}({})", self.one_of(OF_COUNTERS), self.window(0, COUNTERS)),
            2 | 3 => format!(
                "{}({})",
                self.one_of(OVER_TIME),
                self.window(below, VECTORS)
            ),
            4 => {
                let quantile = self.one_of(&["0", "0.3", "0.9", "1", "-1"]);
                format!(
                    "quantile_over_time({quantile}, {})",
                    self.window(below, VECTORS)
                )
            }
            5 => format!("{}({})", self.one_of(FUNCTIONS), self.vector(below)),
            6 => self.with_labels(below),
            7 | 8 => self.aggregation(below),
            9 => {
                let operator = self.one_of(&["and", "or", "unless"]);
                let on = self.matching();
                format!(
                    "({}) {operator}{on} ({})",
                    self.vector(below),
                    self.vector(below)
                )
            }
            10 => {
                let (left, number) = (self.vector(below), self.one_of(NUMBERS));
                format!("({left}) {} {number}", self.operator())
            }
            _ => self.matched(below),
        }
    }

    fn with_labels(&mut self, depth: usize) -> String {
        let (inner, label) = (self.vector(depth), self.one_of(LABELS));
        match self.below(4) {
            0 => format!(
                "label_replace({inner}, \"{label}\", \"{}\", \"{}\", \"{}\")",
                self.one_of(&["$1", "x-$1-$2", ""]),
                self.one_of(LABELS),
                self.one_of(&["(.)(.*)", "a(.*)", "", "[0-9]+"]),
            ),
            1 => format!("label_join({inner}, \"{label}\", \"-\", \"code\", \"room\")"),
            2 => format!("vector(scalar({inner}))"),
            _ => {
                let quantile = self.one_of(&["0", "0.5", "0.9", "1", "2"]);
                let window = self.one_of(DURATIONS);
                format!("histogram_quantile({quantile}, rate(latency_seconds_bucket[{window}]))")
            }
        }
    }

    fn aggregation(&mut self, depth: usize) -> String {
        let grouping = match self.below(3) {
            0 => String::new(),
            1 => format!(" by {}", self.labels()),
            _ => format!(" without {}", self.labels()),
        };
        let inner = self.vector(depth);
        match self.below(8) {
            0 => format!(
                "quantile{grouping} ({}, {inner})",
                self.one_of(&["0", "0.3", "1"])
            ),
            1 => format!("count_values{grouping} (\"code\", round({inner}))"),
            2 => format!("topk{grouping} (1, temperature{{room!=\"hall\"}})"),
            _ => format!("{}{grouping} ({inner})", self.one_of(AGGREGATIONS)),
        }
    }

    fn operator(&mut self) -> String {
        let operator = self.one_of(OPERATORS);
        let compares = operator.contains(['=', '<', '>']);
        let bool = if compares {
            self.one_of(&["", " bool"])
        } else {
            ""
        };
        format!("{operator}{bool}")
    }

    fn matching(&mut self) -> String {
        match self.below(3) {
            0 => String::new(),
            1 => format!(" on{}", self.labels()),
            _ => format!(" ignoring{}", self.labels()),
        }
    }

    fn matched(&mut self, depth: usize) -> String {
        let (many, operator) = (self.vector(depth), self.operator());
        if self.below(2) == 0 {
            let (on, other) = (self.matching(), self.vector(depth));
            let other = if self.below(2) == 0 { &many } else { &other };
            return format!("({many}) {operator}{on} ({other})");
        }
        let labels = self.labels();
        let one = format!("sum by {labels} ({})", self.vector(depth));
        if self.below(2) == 0 {
            format!("({many}) {operator} on{labels} group_left ({one})")
        } else {
            format!("({one}) {operator} on{labels} group_right ({many})")
        }
    }
}
