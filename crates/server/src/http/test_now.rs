//! Tests run on request, for a person to see the evidence. Their answers are not observations: asking often
//! must not change what is believed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, extract::State};
use pitcrew_model::{TargetId, Test, TestKind};
use pitcrew_probe::{Answer, Question, ask};

use super::{
    desk::Desk,
    problem::Problem,
    request::{Body, Id},
};
use crate::{
    api::{TestRequest, TestResult, TestResults},
    roster::Watched,
};

/// All requested tests of one target together end by then.
const LASTING_MAX: Duration = Duration::from_secs(60);

pub(crate) async fn test(
    State(desk): State<Desk>,
    id: Id,
    Body(request): Body<TestRequest>,
) -> Result<Json<TestResults>, Problem> {
    let Some(watched) = desk.roster.get(&id.0) else {
        return Err(not_watched(&desk, &id).await?);
    };
    let tests = chosen(&watched, &request)?;
    let running = run(&desk, &watched, tests);
    match tokio::time::timeout(LASTING_MAX, running).await {
        Ok(results) => Ok(Json(TestResults {
            target: watched.target.id.clone(),
            results: results?,
        })),
        Err(_elapsed) => Err(Problem::unavailable(
            "the tests took longer than a minute; name one of them",
        )),
    }
}

/// Discovery may know a target that no service selects.
async fn not_watched(desk: &Desk, id: &Id) -> Result<Problem, Problem> {
    let target: TargetId = id.parse("target")?;
    let is_known = desk
        .inbox
        .ask(move |engine, now| engine.target(now, &target).is_some())
        .await?;
    Ok(if is_known {
        Problem::unprocessable(format!(
            "no test is configured for `{}`: its labels match the `select` of no service that has tests",
            id.0
        ))
    } else {
        Problem::not_found("target", &id.0)
    })
}

fn chosen(watched: &Watched, request: &TestRequest) -> Result<Vec<Arc<Test>>, Problem> {
    let service = &watched.service;
    for name in &request.tests {
        if service.test(name).is_none() {
            let known: Vec<&str> = service
                .tests
                .iter()
                .map(|test| test.name.as_str())
                .collect();
            return Err(Problem::unprocessable(format!(
                "`{}` has no test `{name}`; it has: {}",
                service.name,
                known.join(", ")
            )));
        }
    }
    let all = request.tests.is_empty();
    let wanted = service
        .tests
        .iter()
        .filter(|test| request.tests.contains(&test.name) || (all && test.kind != TestKind::Push));
    Ok(wanted.cloned().collect())
}

async fn run(
    desk: &Desk,
    watched: &Watched,
    tests: Vec<Arc<Test>>,
) -> Result<Vec<TestResult>, Problem> {
    let runner = watched.service.runner_for(&watched.target);
    let mut results = Vec::new();
    for test in tests {
        let turn = desk.requested_tests.acquire().await;
        let _turn = turn.map_err(|_closed| Problem::unavailable("the server is stopping"))?;
        let question = Question::new(&watched.target, runner.as_ref(), &test, &desk.tools);
        let started = Instant::now();
        let answer = match desk.fleet.not_asked_here(&watched.target, &test) {
            Some(why) => Answer::unknown(why),
            None => Box::pin(ask(question)).await,
        };
        results.push(TestResult {
            test: test.name.clone(),
            kind: test.kind.name().to_owned(),
            verdict: answer.verdict,
            evidence: answer.evidence,
            took_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        });
    }
    Ok(results)
}
