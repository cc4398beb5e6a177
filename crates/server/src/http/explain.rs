//! The whole chain of a case, an order or a target: what the ledger says and what is now.

use axum::{Json, extract::State};
use pitcrew_engine::Engine;
use pitcrew_ledger::{Entry, LedgerError, Reader};
use pitcrew_model::{CaseId, OrderId, TargetId, Timestamp};

use super::{desk::Desk, problem::Problem, read::count, request::Id};
use crate::{
    api::{Explanation, LedgerEntry, Subject},
    stands::case_line,
};

/// The newest records of one subject that an explanation has.
const RECORDS_MAX: usize = 500;

/// A target may be named like a case; then the case wins, and the target is found under its own path.
pub(crate) async fn explain(
    State(desk): State<Desk>,
    id: Id,
) -> Result<Json<Explanation>, Problem> {
    let subject = if let Ok(case) = id.0.parse() {
        Subject::Case(case)
    } else if let Ok(order) = id.0.parse() {
        Subject::Order(order)
    } else {
        Subject::Target(id.parse("target")?)
    };
    let asked = chain_of(&desk, &subject).await?;
    let entries = desk
        .readers
        .read(move |reader| entries_of(reader, &asked))
        .await?;
    let (records, left_out) = newest(entries);
    let in_ledger = Related::of(&records);
    let explanation = desk
        .inbox
        .ask(move |engine, now| explanation(engine, now, subject, &in_ledger));
    let mut explanation = explanation.await?;
    if records.is_empty()
        && explanation.target.is_none()
        && explanation.case.is_none()
        && explanation.orders.is_empty()
    {
        return Err(Problem::new(
            axum::http::StatusCode::NOT_FOUND,
            format!(
                "nothing is known of `{}`; name a case (`case-1`), an order (`order-1`) or a target",
                id.0.chars().take(80).collect::<String>()
            ),
        ));
    }
    explanation.records = records;
    explanation.left_out = left_out;
    Ok(Json(explanation))
}

/// An order that waits for approval has no record of its own yet: its case's chain says why it is wanted.
async fn chain_of(desk: &Desk, subject: &Subject) -> Result<Subject, Problem> {
    let Subject::Order(id) = *subject else {
        return Ok(subject.clone());
    };
    let case = desk
        .inbox
        .ask(move |engine, _now| engine.order(id).and_then(|state| state.order.case))
        .await?;
    Ok(case.map_or(Subject::Order(id), Subject::Case))
}

fn entries_of(reader: &Reader, subject: &Subject) -> Result<Vec<Entry>, LedgerError> {
    match subject {
        Subject::Case(case) => reader.of_case(*case),
        Subject::Order(order) => {
            let own = reader.of_order(*order)?;
            match own.iter().find_map(|entry| entry.record.case) {
                Some(case) => reader.of_case(case),
                None => Ok(own),
            }
        }
        Subject::Target(target) => reader.of_target(target, RECORDS_MAX),
    }
}

fn newest(entries: Vec<Entry>) -> (Vec<LedgerEntry>, u64) {
    let left_out = entries.len().saturating_sub(RECORDS_MAX);
    let records = entries
        .into_iter()
        .skip(left_out)
        .map(LedgerEntry::from)
        .collect();
    (records, count(left_out))
}

/// What the records name, for subjects that the engine no longer has in memory.
struct Related {
    case: Option<CaseId>,
    target: Option<TargetId>,
}

impl Related {
    fn of(records: &[LedgerEntry]) -> Self {
        let newest = records.iter().rev();
        Self {
            case: newest.clone().find_map(|entry| entry.record.case),
            target: newest.clone().find_map(|entry| entry.record.target.clone()),
        }
    }
}

fn explanation(
    engine: &Engine,
    now: Timestamp,
    subject: Subject,
    related: &Related,
) -> Explanation {
    let order = match &subject {
        Subject::Order(id) => engine.order(*id),
        Subject::Case(_) | Subject::Target(_) => None,
    };
    let target = match &subject {
        Subject::Target(id) => Some(id.clone()),
        Subject::Case(id) => engine.case(*id).map(|case| case.target.clone()),
        Subject::Order(_) => order.map(|state| state.order.target.id.clone()),
    };
    let target = target.or_else(|| related.target.clone());
    let target = target.and_then(|id| engine.target(now, &id));
    let case = match &subject {
        Subject::Case(id) => Some(*id),
        Subject::Order(_) => order.and_then(|state| state.order.case).or(related.case),
        Subject::Target(_) => target.as_ref().and_then(|target| target.case),
    };
    let case = case.and_then(|id| engine.case(id));
    let orders: Vec<OrderId> = match (&subject, case) {
        (Subject::Order(id), _) => vec![*id],
        (_, Some(case)) => case.orders.clone(),
        (_, None) => Vec::new(),
    };
    Explanation {
        at: now,
        target,
        case: case.map(|case| case_line(engine, case)),
        orders: orders
            .iter()
            .filter_map(|id| engine.order(*id).cloned())
            .collect(),
        subject,
        records: Vec::new(),
        left_out: 0,
    }
}
