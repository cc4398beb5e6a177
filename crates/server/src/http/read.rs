//! Lists and single things, as the engine has them now. A page is one question; no reader holds the engine long.

use axum::{Json, extract::State};
use pitcrew_engine::{Engine, LimitStatus, ServiceStatus, TargetStatus};
use pitcrew_model::{CaseId, Health, OrderId, OrderState, ServiceName, TargetId, Timestamp};
use serde::Deserialize;

use super::{
    desk::Desk,
    problem::Problem,
    request::{Id, Query},
};
use crate::{
    api::{CaseLine, LedgerEntry, LedgerVerified, Page, Report},
    stands::{case_line, needs_person},
};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// Targets looked at in one question, so that a filter that matches none doesn't hold the engine.
const LOOK_MAX: usize = 2_000;

pub(super) fn page_limit(limit: Option<usize>) -> Result<usize, Problem> {
    match limit {
        None => Ok(LIMIT_DEFAULT),
        Some(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
        Some(_) => Err(Problem::bad_request(format!("`limit` is 1 to {LIMIT_MAX}"))),
    }
}

/// `items` has one more than `limit` when there is a further page.
pub(super) fn page<T>(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Page<T> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(cursor);
    Page { items, next }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TargetQuery {
    after: Option<TargetId>,
    limit: Option<usize>,
    service: Option<ServiceName>,
    health: Option<Health>,
}

/// A page may be short of `limit` although `next` is there: what matters is `next`.
pub(crate) async fn targets(
    State(desk): State<Desk>,
    Query(query): Query<TargetQuery>,
) -> Result<Json<Page<TargetStatus>>, Problem> {
    let limit = page_limit(query.limit)?;
    let found = desk
        .inbox
        .ask(move |engine, now| matching_targets(engine, now, &query, limit))
        .await?;
    Ok(Json(found))
}

fn matching_targets(
    engine: &Engine,
    now: Timestamp,
    query: &TargetQuery,
    limit: usize,
) -> Page<TargetStatus> {
    let (mut items, mut after, mut looked) = (Vec::new(), query.after.clone(), 0);
    while looked < LOOK_MAX {
        let wanted = limit + 1;
        let chunk = engine.targets_after(now, after.as_ref(), wanted);
        looked += chunk.len();
        let last_chunk = chunk.len() < wanted;
        after = chunk
            .last()
            .map(|status| status.target.id.clone())
            .or(after);
        items.extend(chunk.into_iter().filter(|status| {
            query.health.is_none_or(|health| status.health == health)
                && (query.service.is_none() || status.service == query.service)
        }));
        if items.len() > limit {
            return page(items, limit, |status| status.target.id.to_string());
        }
        if last_chunk {
            return Page { items, next: None };
        }
    }
    let next = after.map(|id| id.to_string());
    Page { items, next }
}

pub(crate) async fn target(
    State(desk): State<Desk>,
    id: Id,
) -> Result<Json<TargetStatus>, Problem> {
    let target: TargetId = id.parse("target")?;
    let status = desk
        .inbox
        .ask(move |engine, now| engine.target(now, &target))
        .await?;
    status
        .map(Json)
        .ok_or_else(|| Problem::not_found("target", &id.0))
}

pub(crate) async fn services(
    State(desk): State<Desk>,
) -> Result<Json<Page<ServiceStatus>>, Problem> {
    let items = desk.overview.services(&desk.inbox).await?;
    Ok(Json(Page { items, next: None }))
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CaseState {
    #[default]
    Open,
    Closed,
    All,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaseQuery {
    after: Option<CaseId>,
    limit: Option<usize>,
    #[serde(default)]
    state: CaseState,
    service: Option<ServiceName>,
}

/// The newest first.
pub(crate) async fn cases(
    State(desk): State<Desk>,
    Query(query): Query<CaseQuery>,
) -> Result<Json<Page<CaseLine>>, Problem> {
    let limit = page_limit(query.limit)?;
    let lines = desk.inbox.ask(move |engine, _now| {
        let cases = engine.cases().rev().filter(|case| {
            query.after.is_none_or(|after| case.id < after)
                && query
                    .service
                    .as_ref()
                    .is_none_or(|service| case.service == *service)
                && match query.state {
                    CaseState::Open => case.is_open(),
                    CaseState::Closed => !case.is_open(),
                    CaseState::All => true,
                }
        });
        cases
            .take(limit + 1)
            .map(|case| case_line(engine, case))
            .collect::<Vec<_>>()
    });
    Ok(Json(page(lines.await?, limit, |line| {
        line.case.id.to_string()
    })))
}

pub(crate) async fn case(State(desk): State<Desk>, id: Id) -> Result<Json<CaseLine>, Problem> {
    let case: CaseId = id.parse("case")?;
    let line = desk
        .inbox
        .ask(move |engine, _now| engine.case(case).map(|case| case_line(engine, case)));
    line.await?
        .map(Json)
        .ok_or_else(|| Problem::not_found("case", &id.0))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderQuery {
    after: Option<OrderId>,
    limit: Option<usize>,
}

/// The newest first.
pub(crate) async fn orders(
    State(desk): State<Desk>,
    Query(query): Query<OrderQuery>,
) -> Result<Json<Page<OrderState>>, Problem> {
    let limit = page_limit(query.limit)?;
    let states = desk.inbox.ask(move |engine, _now| {
        let orders = engine.orders().rev();
        let older = orders.filter(|state| query.after.is_none_or(|after| state.order.id < after));
        older.take(limit + 1).cloned().collect::<Vec<_>>()
    });
    Ok(Json(page(states.await?, limit, |state| {
        state.order.id.to_string()
    })))
}

pub(crate) async fn order(State(desk): State<Desk>, id: Id) -> Result<Json<OrderState>, Problem> {
    let order: OrderId = id.parse("order")?;
    let state = desk
        .inbox
        .ask(move |engine, _now| engine.order(order).cloned())
        .await?;
    state
        .map(Json)
        .ok_or_else(|| Problem::not_found("order", &id.0))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitQuery {
    after: Option<usize>,
    limit: Option<usize>,
}

pub(crate) async fn limits(
    State(desk): State<Desk>,
    Query(query): Query<LimitQuery>,
) -> Result<Json<Page<LimitStatus>>, Problem> {
    let limit = page_limit(query.limit)?;
    let from = query.after.unwrap_or(0);
    let all = desk.overview.limits(&desk.inbox).await?;
    let count = all.len();
    let items: Vec<LimitStatus> = all.into_iter().skip(from).take(limit).collect();
    let until = from.saturating_add(items.len());
    let next = (until < count && !items.is_empty()).then(|| until.to_string());
    Ok(Json(Page { items, next }))
}

pub(crate) async fn report(State(desk): State<Desk>) -> Result<Json<Report>, Problem> {
    let server = desk.status();
    let services = desk.overview.services(&desk.inbox).await?;
    let report = desk.inbox.ask(move |engine, now| {
        let (needing, rest): (Vec<_>, Vec<_>) = engine
            .cases()
            .rev()
            .filter(|case| case.is_open())
            .partition(|case| needs_person(case));
        Report {
            at: now,
            server,
            services,
            cases_open: count(needing.len() + rest.len()),
            cases_needing_person: count(needing.len()),
            cases: needing
                .into_iter()
                .chain(rest)
                .take(Report::CASES_MAX)
                .map(|case| case_line(engine, case))
                .collect(),
        }
    });
    Ok(Json(report.await?))
}

pub(crate) fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LedgerQuery {
    after: Option<u64>,
    limit: Option<usize>,
}

/// Oldest first, after number `after`. `next` is absent at the ledger's end: ask again later with the last `seq`.
pub(crate) async fn ledger(
    State(desk): State<Desk>,
    Query(query): Query<LedgerQuery>,
) -> Result<Json<Page<LedgerEntry>>, Problem> {
    let limit = page_limit(query.limit)?;
    let after = query.after.unwrap_or(0);
    let entries = desk
        .readers
        .read(move |reader| reader.after(after, limit + 1))
        .await?;
    let entries = entries.into_iter().map(LedgerEntry::from).collect();
    Ok(Json(page(entries, limit, |entry: &LedgerEntry| {
        entry.seq.to_string()
    })))
}

pub(crate) async fn verify_ledger(
    State(desk): State<Desk>,
) -> Result<Json<LedgerVerified>, Problem> {
    let verified = desk
        .long_readers
        .read(|reader| reader.verify(&mut |_done, _all| {}))
        .await?;
    Ok(Json(LedgerVerified {
        installation: verified.installation,
        entries: verified.entries,
        last_hash: verified.last_hash,
    }))
}
