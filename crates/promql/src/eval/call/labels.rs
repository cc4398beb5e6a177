//! `label_replace` and `label_join`: new labels, same values.

use super::super::{EvalError, Evaluator, Grid, Node, NodeKind, Row, row::merge_same_labels};
use crate::labels::{LabelsBuilder, METRIC_NAME, pattern::anchored};

impl Evaluator<'_> {
    pub(super) fn label_replace(
        &mut self,
        args: &[Node],
        grid: &Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let target = name(&args[1], "destination", "label_replace")?;
        let [replacement, source, pattern] =
            [2, 3, 4].map(|index| text(&args[index]).unwrap_or_default());
        let pattern = anchored(&pattern).map_err(EvalError::BadPattern)?;
        let mut rows = self.vector(&args[0], grid)?;
        for row in &mut rows {
            let value = row.labels.get(&source).to_owned();
            let Some(captures) = pattern.captures(&value) else {
                continue;
            };
            let mut expanded = String::new();
            captures.expand(&replacement, &mut expanded);
            relabel(row, &target, &expanded);
        }
        merge_same_labels(rows)
    }

    pub(super) fn label_join(&mut self, args: &[Node], grid: &Grid) -> Result<Vec<Row>, EvalError> {
        let target = name(&args[1], "destination", "label_join")?;
        let separator = text(&args[2]).unwrap_or_default();
        let sources = args[3..]
            .iter()
            .map(|arg| name(arg, "source", "label_join"))
            .collect::<Result<Vec<_>, _>>()?;
        let mut rows = self.vector(&args[0], grid)?;
        for row in &mut rows {
            let values: Vec<&str> = sources
                .iter()
                .map(|source| row.labels.get(source))
                .collect();
            let joined = values.join(&separator);
            relabel(row, &target, &joined);
        }
        merge_same_labels(rows)
    }
}

fn relabel(row: &mut Row, target: &str, value: &str) {
    let mut builder = LabelsBuilder::from_labels(&row.labels);
    row.labels = builder.set(target, value).build();
    if target == METRIC_NAME {
        row.name_dropped = false;
    }
}

/// A string argument; nothing where it isn't UTF-8.
pub(super) fn text(node: &Node) -> Option<String> {
    match &node.kind {
        NodeKind::Text(bytes) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    }
}

pub(super) fn name(node: &Node, role: &str, function: &str) -> Result<String, EvalError> {
    match text(node) {
        Some(name) if !name.is_empty() => Ok(name),
        other => Err(EvalError::BadArgument(format!(
            "invalid {role} label name in {function}(): {}",
            other.unwrap_or_default()
        ))),
    }
}
