//! Results that others bring: cron jobs and other monitors, and Alertmanager's webhook.
//!
//! Only tests of kind `push` take them: nobody can overrule what Pitcrew sees for itself. Whatever matches
//! nothing is named in the answer.

use std::time::Duration;

use axum::{Json, extract::State, http::StatusCode};
use pitcrew_model::{
    Event, Evidence, Observation, ObserverName, TestKind, TestName, Timestamp, Verdict,
};

use super::{
    desk::Desk,
    problem::Problem,
    read::count,
    request::{Body, PUSH_BYTES_MAX},
};
use crate::{
    api::{
        Alert, AlertGroup, AlertStatus, PushAnswer, PushRequest, PushedObservation, RefusedPush,
    },
    roster::{Roster, Watched},
};

/// Events that may wait before pushes are turned away.
const WAITING_MAX: usize = 100_000;

pub(crate) async fn observations(
    State(desk): State<Desk>,
    Body(request): Body<PushRequest, PUSH_BYTES_MAX>,
) -> Result<Json<PushAnswer>, Problem> {
    if request.observations.len() > PushRequest::OBSERVATIONS_MAX {
        return Err(Problem::unprocessable(format!(
            "at most {} observations at a time",
            PushRequest::OBSERVATIONS_MAX
        )));
    }
    let now = desk.clock.now();
    let results = request
        .observations
        .into_iter()
        .map(|pushed| observation(&desk.roster, now, pushed).map(|one| vec![one]));
    hand_in(&desk, results.collect()).await
}

fn observation(
    roster: &Roster,
    now: Timestamp,
    pushed: PushedObservation,
) -> Result<Observation, String> {
    let watched = roster
        .get(pushed.target.as_str())
        .ok_or_else(|| format!("no service selects a target `{}`", pushed.target))?;
    check_push_test(&watched, &pushed.test)?;
    let observer = match pushed.observer {
        Some(observer) => observer,
        None => observer_named("push"),
    };
    Ok(Observation {
        target: pushed.target,
        test: pushed.test,
        observer,
        asked_at: now,
        answered_at: now,
        took: Duration::ZERO,
        verdict: pushed.verdict,
        evidence: Evidence::new(pushed.evidence),
    })
}

fn check_push_test(watched: &Watched, test: &TestName) -> Result<(), String> {
    let service = &watched.service;
    match service.test(test).map(|test| &test.kind) {
        Some(TestKind::Push) => Ok(()),
        Some(kind) => Err(format!(
            "test `{test}` of `{}` is of kind `{}`: only tests of kind `push` take results from outside",
            service.name,
            kind.name()
        )),
        None => Err(format!(
            "`{}` has no test `{test}`; add one of kind `push` to its configuration",
            service.name
        )),
    }
}

fn observer_named(name: &str) -> ObserverName {
    ObserverName::new(name).expect("a short word is a valid name")
}

/// Alertmanager's webhook: an alert fails the push test that has its name, a resolved one passes it.
pub(crate) async fn alerts(
    State(desk): State<Desk>,
    Body(group): Body<AlertGroup, PUSH_BYTES_MAX>,
) -> Result<Json<PushAnswer>, Problem> {
    let now = desk.clock.now();
    let results = group
        .alerts
        .iter()
        .map(|alert| alert_observations(&desk.roster, now, alert));
    hand_in(&desk, results.collect()).await
}

fn alert_observations(
    roster: &Roster,
    now: Timestamp,
    alert: &Alert,
) -> Result<Vec<Observation>, String> {
    let name = alert
        .labels
        .get("alertname")
        .ok_or("the alert has no label `alertname`")?;
    let test = TestName::new(name).map_err(|error| error.to_string())?;
    let targets = alert_targets(roster, alert)?;
    for watched in &targets {
        check_push_test(watched, &test)?;
    }
    let (verdict, words) = match alert.status {
        AlertStatus::Firing => (Verdict::Fail, "firing"),
        AlertStatus::Resolved => (Verdict::Pass, "resolved"),
    };
    let says = ["summary", "description", "message"]
        .iter()
        .find_map(|name| alert.annotations.get(*name));
    let evidence = Evidence::new(match says {
        Some(says) => format!("{words}: {says}"),
        None => format!("alert `{name}` is {words}"),
    });
    let observations = targets.into_iter().map(|watched| Observation {
        target: watched.target.id.clone(),
        test: test.clone(),
        observer: observer_named("alertmanager"),
        asked_at: now,
        answered_at: now,
        took: Duration::ZERO,
        verdict,
        evidence: evidence.clone(),
    });
    Ok(observations.collect())
}

/// Named by label `target`, or by `instance` as id or as address.
fn alert_targets(roster: &Roster, alert: &Alert) -> Result<Vec<Watched>, String> {
    let named = ["target", "instance"]
        .iter()
        .filter_map(|label| alert.labels.get(*label));
    for value in named.clone() {
        if let Some(watched) = roster.get(value) {
            return Ok(vec![watched]);
        }
        let at = roster.at(value);
        if !at.is_empty() {
            return Ok(at);
        }
    }
    let tried: Vec<String> = named.map(|value| format!("`{value}`")).collect();
    Err(if tried.is_empty() {
        "the alert has neither a label `target` nor a label `instance`".to_owned()
    } else {
        format!("no target has the id or address {}", tried.join(" or "))
    })
}

/// Waits until the engine has taken them, so that whoever pushes feels how busy it is.
async fn hand_in(
    desk: &Desk,
    results: Vec<Result<Vec<Observation>, String>>,
) -> Result<Json<PushAnswer>, Problem> {
    if desk.inbox.depth() > WAITING_MAX {
        return Err(Problem::unavailable(
            "too much waits to be decided; push again later",
        ));
    }
    let (mut answer, mut observations) = (PushAnswer::default(), Vec::new());
    for (index, result) in results.into_iter().enumerate() {
        match result {
            Ok(taken) => {
                answer.accepted += 1;
                observations.extend(taken);
            }
            Err(why) => answer.refused.push(RefusedPush {
                index: count(index),
                why,
            }),
        }
    }
    if !observations.is_empty() {
        desk.metrics.count_observations(&observations);
        desk.inbox.event(Event::Observations(observations));
        desk.inbox.flush().await?;
    } else if let Some(first) = answer.refused.first() {
        let detail = format!("nothing was taken; the first: {}", first.why);
        let refused = serde_json::to_value(&answer.refused).unwrap_or_default();
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with("refused", refused));
    }
    Ok(Json(answer))
}
