//! What yields the same at every step, because all its times are pinned.

use super::{Node, NodeKind};
use crate::parser::Function;

/// Functions of the step's time, or of the time of their argument's samples.
const UNFIXED: &[&str] = &[
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "time",
    "timestamp",
    "year",
];

/// Whether a node yields the same at every step.
pub(super) fn is_fixed(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Number(_) | NodeKind::Text(_) | NodeKind::Fixed(_) => true,
        NodeKind::Selector(selector) | NodeKind::Range { selector, .. } => {
            selector.when.at_ms.is_some()
        }
        NodeKind::Subquery(subquery) => subquery.when.at_ms.is_some(),
        NodeKind::Call { function, args } => is_fixed_call(function, args),
        NodeKind::Aggregate(aggregate) => {
            is_fixed(&aggregate.inner) && aggregate.param.as_ref().is_none_or(is_fixed)
        }
        NodeKind::Negative(inner) => is_fixed(inner),
        NodeKind::Binary(binary) => is_fixed(&binary.left) && is_fixed(&binary.right),
    }
}

pub(super) fn is_fixed_call(function: &Function, args: &[Node]) -> bool {
    let of_selectors = matches!(function.name, "timestamp")
        && args
            .iter()
            .all(|arg| matches!(arg.kind, NodeKind::Selector(_)));
    (of_selectors || !UNFIXED.contains(&function.name)) && args.iter().all(is_fixed)
}

fn fixed(node: Node) -> Node {
    Node {
        span: node.span,
        kind: NodeKind::Fixed(Box::new(node)),
    }
}

/// Marks what is worth it: numbers cost nothing, and ranges are no values of their own.
pub(super) fn fixed_where_possible(node: Node) -> Node {
    let worth = !matches!(
        node.kind,
        NodeKind::Number(_)
            | NodeKind::Text(_)
            | NodeKind::Range { .. }
            | NodeKind::Subquery(_)
            | NodeKind::Fixed(_)
    );
    if worth && is_fixed(&node) {
        fixed(node)
    } else {
        node
    }
}
