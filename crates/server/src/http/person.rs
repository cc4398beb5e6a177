//! What people ask for. Each request becomes one event; the engine's answer, with the exact limit that
//! refused it, is the response. It is given when the ledger has it.

use axum::{Json, extract::State, http::StatusCode};
use pitcrew_model::{
    Action, CaseId, Fact, OrderId, PersonAct, Request, Scope, Service, SourceName, TargetId,
};

use super::{
    desk::Desk,
    problem::Problem,
    request::{Body, By, Id},
};
use crate::api::{
    AcceptRequest, Accepted, ApproveRequest, CloseRequest, DenyRequest, HoldRequest, OrderRequest,
    PauseRequest, ResumeRequest,
};

type Answered = Result<Json<Accepted>, Problem>;

async fn ask(desk: &Desk, by: By, act: PersonAct) -> Answered {
    let answer = desk.inbox.person(Request { by: by.0, act }).await?;
    if let Fact::Person {
        refused: Some(refused),
        ..
    } = &answer.record.fact
    {
        return Err(Problem::new(StatusCode::CONFLICT, refused.clone()));
    }
    if let (true, Err(error)) = (answer.not_given, &answer.recorded) {
        return Err(Problem::unavailable(format!(
            "the order was not given: the ledger can't be written ({error})"
        )));
    }
    Ok(Json(Accepted {
        recorded: answer.recorded.is_ok(),
        order: answer.order.or(answer.record.order),
        case: answer.record.case,
        record: answer.record,
    }))
}

/// Reasons are read by other people later.
fn checked_why(why: String) -> Result<String, Problem> {
    let why = why.trim().to_owned();
    if why.is_empty() || why.len() > 1_000 {
        return Err(Problem::unprocessable(
            "`why` is 1 to 1000 bytes: the others want to know",
        ));
    }
    Ok(why)
}

pub(crate) async fn pause(
    State(desk): State<Desk>,
    by: By,
    Body(request): Body<PauseRequest>,
) -> Answered {
    check_scope(&desk, &request.scope).await?;
    let why = checked_why(request.why)?;
    ask(
        &desk,
        by,
        PersonAct::Pause {
            scope: request.scope,
            why,
        },
    )
    .await
}

/// Also of a service that the configuration no longer has: its pause must be possible to lift.
pub(crate) async fn resume(
    State(desk): State<Desk>,
    by: By,
    Body(request): Body<ResumeRequest>,
) -> Answered {
    ask(
        &desk,
        by,
        PersonAct::Resume {
            scope: request.scope,
        },
    )
    .await
}

async fn check_scope(desk: &Desk, scope: &Scope) -> Result<(), Problem> {
    let service = match scope {
        Scope::Fleet => return Ok(()),
        Scope::Service(service) | Scope::Domain { service, .. } => service.clone(),
    };
    let wanted = service.clone();
    let known = desk
        .inbox
        .ask(move |engine, _now| engine.services().any(|have| have.name == wanted));
    if known.await? {
        return Ok(());
    }
    Err(Problem::not_found("service", service.as_str()))
}

async fn known_target(
    desk: &Desk,
    target: &TargetId,
) -> Result<Option<std::sync::Arc<Service>>, Problem> {
    let id = target.clone();
    let found = desk.inbox.ask(move |engine, now| {
        let status = engine.target(now, &id)?;
        let service = status.service?;
        Some(engine.services().find(|have| have.name == service).cloned())
    });
    let id = target.clone();
    match found.await? {
        Some(service) => Ok(service),
        None if desk
            .inbox
            .ask(move |engine, now| engine.target(now, &id).is_some())
            .await? =>
        {
            Ok(None)
        }
        None => Err(Problem::not_found("target", target.as_str())),
    }
}

pub(crate) async fn hold(
    State(desk): State<Desk>,
    by: By,
    Body(request): Body<HoldRequest>,
) -> Answered {
    if request.lasting.is_zero() || request.lasting > HoldRequest::LASTING_MAX {
        return Err(Problem::unprocessable(
            "`for` is more than 0 and at most 30d; hold again when it is over",
        ));
    }
    known_target(&desk, &request.target).await?;
    let why = checked_why(request.why)?;
    let until = desk.clock.now() + request.lasting;
    ask(
        &desk,
        by,
        PersonAct::Hold {
            target: request.target,
            until,
            why,
        },
    )
    .await
}

pub(crate) async fn release(State(desk): State<Desk>, by: By, id: Id) -> Answered {
    let target = id.parse("target")?;
    ask(&desk, by, PersonAct::Release { target }).await
}

pub(crate) async fn give_order(
    State(desk): State<Desk>,
    by: By,
    Body(request): Body<OrderRequest>,
) -> Answered {
    let why = checked_why(request.why)?;
    let target = request.target.clone();
    let drained = desk
        .inbox
        .ask(move |engine, _now| engine.drained_by(&target).cloned());
    let action = match drained.await? {
        // Also where no service selects it any more, or none says how.
        Some(by) if request.action == "undrain" => Action::Undrain(by),
        _ => {
            let service = known_target(&desk, &request.target).await?;
            named_action(&request.action, service.as_deref())?
        }
    };
    ask(
        &desk,
        by,
        PersonAct::Order {
            target: request.target,
            action,
            why,
        },
    )
    .await
}

/// Only what the catalogue or the service's own repairs name: a request can't bring a command of its own.
fn named_action(name: &str, service: Option<&Service>) -> Result<Action, Problem> {
    let configured = || {
        let repairs = service.into_iter().flat_map(|service| &service.repairs);
        repairs
            .flat_map(|repair| &repair.steps)
            .map(|step| &step.action)
    };
    let own_name = |action: &Action| match action {
        Action::Command { name, .. } | Action::Webhook { name, .. } => Some(name.clone()),
        Action::Restart
        | Action::Start
        | Action::Stop
        | Action::Reboot
        | Action::PowerCycle
        | Action::Drain(_)
        | Action::Undrain(_)
        | Action::HandOver { .. } => None,
    };
    let drain = service.and_then(|service| service.drain.as_ref());
    match (name, drain) {
        ("drain", Some(drain)) => return Ok(Action::Drain(drain.clone())),
        ("undrain", Some(drain)) => return Ok(Action::Undrain(drain.by.clone())),
        ("drain" | "undrain", None) => {
            return Err(Problem::unprocessable(
                "nothing says how this target is drained: write `drain` into its service",
            ));
        }
        _ => {}
    }
    match name {
        "restart" => return Ok(Action::Restart),
        "start" => return Ok(Action::Start),
        "stop" => return Ok(Action::Stop),
        "reboot" => return Ok(Action::Reboot),
        "power_cycle" => return Ok(Action::PowerCycle),
        "hand_over" => return Ok(Action::HandOver { to: None }),
        _ => {}
    }
    if let Some(action) = configured().find(|action| own_name(action).as_deref() == Some(name)) {
        return Ok(action.clone());
    }
    let catalogue = [
        "restart",
        "start",
        "stop",
        "reboot",
        "power_cycle",
        "hand_over",
    ];
    let mut known: Vec<String> = catalogue.map(str::to_owned).into();
    known.extend(
        drain
            .iter()
            .flat_map(|_| ["drain", "undrain"].map(str::to_owned)),
    );
    known.extend(configured().filter_map(own_name));
    Err(Problem::unprocessable(format!(
        "`{}` is not an action of this target; it has: {}",
        name.chars().take(80).collect::<String>(),
        known.join(", ")
    )))
}

async fn known_order(desk: &Desk, id: &Id) -> Result<OrderId, Problem> {
    let order: OrderId = id.parse("order")?;
    if desk
        .inbox
        .ask(move |engine, _now| engine.order(order).is_some())
        .await?
    {
        return Ok(order);
    }
    Err(Problem::not_found("order", &id.0))
}

pub(crate) async fn approve(
    State(desk): State<Desk>,
    by: By,
    id: Id,
    Body(request): Body<ApproveRequest>,
) -> Answered {
    let order = known_order(&desk, &id).await?;
    ask(
        &desk,
        by,
        PersonAct::Approve {
            order,
            digest: request.digest,
        },
    )
    .await
}

pub(crate) async fn deny(
    State(desk): State<Desk>,
    by: By,
    id: Id,
    Body(DenyRequest {}): Body<DenyRequest>,
) -> Answered {
    let order = known_order(&desk, &id).await?;
    ask(&desk, by, PersonAct::Deny { order }).await
}

pub(crate) async fn close(
    State(desk): State<Desk>,
    by: By,
    id: Id,
    Body(request): Body<CloseRequest>,
) -> Answered {
    let case: CaseId = id.parse("case")?;
    if !desk
        .inbox
        .ask(move |engine, _now| engine.case(case).is_some())
        .await?
    {
        return Err(Problem::not_found("case", &id.0));
    }
    let why = checked_why(request.why)?;
    ask(&desk, by, PersonAct::Close { case, why }).await
}

pub(crate) async fn accept(
    State(desk): State<Desk>,
    by: By,
    id: Id,
    Body(request): Body<AcceptRequest>,
) -> Answered {
    let source: SourceName = id.parse("source")?;
    let why = checked_why(request.why)?;
    let act = PersonAct::Accept {
        source: source.clone(),
        why,
    };
    let accepted = ask(&desk, by, act).await?;
    desk.accepted
        .send(source)
        .map_err(|_closed| Problem::unavailable("the server is stopping".to_owned()))?;
    Ok(accepted)
}
