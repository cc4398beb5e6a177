//! `info`: labels of info metrics for the series that they describe.
//!
//! An info series describes those with the same identifying labels. Where several would, the latest sample
//! counts. Info series are read at the time that the samples of the first argument are from, whatever `@` and
//! `offset` they have.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{
    EvalError, Evaluator, Grid, Node, NodeKind, Row,
    plan::{SelectorPlan, When},
    row::merge_same_labels,
};
use crate::{
    labels::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher},
    parser::Span,
    storage::{Series, is_stale},
};

/// Labels by which an info series and what it describes belong together.
const IDENTIFYING: [&str; 2] = ["instance", "job"];
const TARGET_INFO: &str = "target_info";

/// What is looked for in info series.
struct Wanted {
    /// Which metrics are info metrics.
    names: Vec<Matcher>,
    /// Conditions on other labels. Where there are any, only these labels are taken over.
    data: Vec<Matcher>,
}

/// An info series that is current at a step.
struct Current<'a> {
    labels: &'a Labels,
    time_ms: i64,
}

/// Which info series describes what: for the identifying labels, one of each metric.
type Described<'a> = BTreeMap<[&'a str; 2], BTreeMap<&'a str, Current<'a>>>;

impl Evaluator<'_> {
    pub(super) fn info(
        &mut self,
        args: &[Node],
        span: Span,
        grid: &Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let rows = self.vector(&args[0], grid)?;
        let wanted = wanted(args.get(1))?;
        let is_info = |labels: &Labels| {
            let name = labels.metric_name();
            wanted.names.iter().all(|matcher| matcher.matches(name))
        };
        let infos = rows.iter().filter(|row| is_info(&row.labels));
        let mut enriched: Vec<Row> = infos.cloned().collect();
        let mut by_labels: BTreeMap<Labels, usize> = BTreeMap::new();
        let bases: Vec<&Row> = rows.iter().filter(|row| !is_info(&row.labels)).collect();
        let times = reference_times(&args[0], grid);
        let series = self.info_series(&bases, &wanted, &times, span)?;
        for (step, time) in times.iter().enumerate() {
            let described = described(&series, *time, self.options.lookback_ms)?;
            for base in &bases {
                let Some(cell) = base.get(step) else {
                    continue;
                };
                let Some(labels) = enrich(&base.labels, &described, &wanted)? else {
                    continue;
                };
                let index = *by_labels.entry(labels).or_insert_with_key(|labels| {
                    let mut row = Row::empty(labels.clone(), grid.steps);
                    row.name_dropped = base.name_dropped;
                    enriched.push(row);
                    enriched.len() - 1
                });
                if enriched[index].has(step) {
                    return Err(EvalError::DuplicateLabels);
                }
                enriched[index].set(step, cell.owned());
            }
        }
        merge_same_labels(enriched)
    }

    fn info_series(
        &mut self,
        bases: &[&Row],
        wanted: &Wanted,
        times: &[i64],
        span: Span,
    ) -> Result<Vec<Series>, EvalError> {
        let mut matchers = wanted.names.clone();
        let mut identified = false;
        for name in IDENTIFYING {
            let values = bases.iter().map(|row| row.labels.get(name));
            let values: BTreeSet<&str> = values.filter(|value| !value.is_empty()).collect();
            if !values.is_empty() {
                identified = true;
                let values = values.into_iter().map(str::to_owned).collect();
                matchers.push(Matcher::any_of(name, values));
            }
        }
        let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else {
            return Ok(Vec::new());
        };
        if !identified {
            return Ok(Vec::new());
        }
        matchers.extend(wanted.data.iter().cloned());
        let selector = SelectorPlan {
            matchers,
            when: When {
                at_ms: None,
                offset_ms: 0,
            },
            extension: None,
            finds_resets: false,
        };
        let grid = Grid {
            start_ms: *first,
            step_ms: (last - first).max(1),
            steps: if last > first { 2 } else { 1 },
        };
        let before = self.options.lookback_ms - 1;
        self.select(&selector, span, &grid, before, 0)
    }
}

fn wanted(selector: Option<&Node>) -> Result<Wanted, EvalError> {
    let given: &[Matcher] = match selector.map(|node| &node.kind) {
        Some(NodeKind::Selector(selector)) => &selector.matchers,
        _ => &[],
    };
    let (mut names, data): (Vec<Matcher>, Vec<Matcher>) = given
        .iter()
        .cloned()
        .partition(|matcher| matcher.name() == METRIC_NAME);
    let positive = |matcher: &Matcher| matches!(matcher.op(), MatchOp::Equal | MatchOp::Matches);
    if names.is_empty() {
        names.push(Matcher::equal(METRIC_NAME, TARGET_INFO));
    } else if !names.iter().any(positive) {
        // Exclusions alone would make every series an info series.
        let any_info = Matcher::new(METRIC_NAME, MatchOp::Matches, ".+_info");
        names.push(any_info.map_err(EvalError::BadPattern)?);
    }
    Ok(Wanted { names, data })
}

/// The time of the samples of the first selector in an expression, at each step.
fn reference_times(node: &Node, grid: &Grid) -> Vec<i64> {
    let mut whens = Vec::new();
    find_selector(node, &mut whens);
    let time = |step_time: i64| {
        whens
            .iter()
            .fold(step_time, |time, when| when.data_time(time))
    };
    grid.times().map(time).collect()
}

/// Collects when to look, from the outermost subquery to the first selector.
fn find_selector(node: &Node, whens: &mut Vec<When>) -> bool {
    match &node.kind {
        NodeKind::Number(_) | NodeKind::Text(_) => false,
        NodeKind::Selector(selector) | NodeKind::Range { selector, .. } => {
            whens.push(selector.when);
            true
        }
        NodeKind::Subquery(subquery) => {
            whens.push(subquery.when);
            let found = find_selector(&subquery.inner, whens);
            if !found {
                whens.pop();
            }
            found
        }
        NodeKind::Call { args, .. } => args.iter().any(|arg| find_selector(arg, whens)),
        NodeKind::Aggregate(aggregate) => find_selector(&aggregate.inner, whens),
        NodeKind::Negative(inner) | NodeKind::Fixed(inner) => find_selector(inner, whens),
        NodeKind::Binary(binary) => {
            find_selector(&binary.left, whens) || find_selector(&binary.right, whens)
        }
    }
}

fn identity(labels: &Labels) -> [&str; 2] {
    IDENTIFYING.map(|name| labels.get(name))
}

/// The info series that are current at a time.
fn described(series: &[Series], at: i64, lookback: i64) -> Result<Described<'_>, EvalError> {
    let mut described = Described::new();
    for series in series {
        let newest = |times: &[i64]| {
            let index = times.partition_point(|time| *time <= at).checked_sub(1)?;
            (times[index] > at.saturating_sub(lookback)).then_some(index)
        };
        let float = newest(&series.floats.timestamps);
        let histogram = newest(&series.histograms.timestamps);
        if histogram.is_some_and(|index| !is_stale(series.histograms.values[index].sum)) {
            return Err(EvalError::BadArgument(format!(
                "info sample should be float: {}",
                series.labels
            )));
        }
        let Some(index) = float.filter(|index| !is_stale(series.floats.values[*index])) else {
            continue;
        };
        let time_ms = series.floats.timestamps[index];
        let current = Current {
            labels: &series.labels,
            time_ms,
        };
        let metrics = described.entry(identity(&series.labels)).or_default();
        match metrics.get(series.labels.metric_name()) {
            Some(other) if other.time_ms > time_ms => {}
            Some(other) if other.time_ms == time_ms => {
                return Err(EvalError::BadArgument(format!(
                    "found duplicate series for info metric: existing {} @ {time_ms}, new {} @ {time_ms}",
                    other.labels, series.labels
                )));
            }
            _ => {
                metrics.insert(series.labels.metric_name(), current);
            }
        }
    }
    Ok(described)
}

/// A series' labels with those of the info series that describe it; nothing where a condition on them can't be
/// fulfilled.
fn enrich(
    base: &Labels,
    described: &Described<'_>,
    wanted: &Wanted,
) -> Result<Option<Labels>, EvalError> {
    let mut added = LabelsBuilder::default();
    let metrics = described.get(&identity(base));
    for info in metrics.into_iter().flatten().map(|(_, info)| info) {
        for label in info.labels.iter() {
            let asked = wanted.data.is_empty()
                || wanted
                    .data
                    .iter()
                    .any(|matcher| matcher.name() == &*label.name);
            if &*label.name == METRIC_NAME || !asked {
                continue;
            }
            let other = added.get(&label.name);
            if !other.is_empty() && other != &*label.value {
                return Err(EvalError::BadArgument(format!(
                    "conflicting label: {}",
                    label.name
                )));
            }
            if !base.has(&label.name) {
                added.set(&label.name, &label.value);
            }
        }
    }
    if metrics.is_none() && !wanted.data.iter().all(|matcher| matcher.matches("")) {
        return Ok(None);
    }
    let mut labels = LabelsBuilder::from_labels(base);
    for label in added.build().iter() {
        labels.set(&label.name, &label.value);
    }
    Ok(Some(labels.build()))
}
