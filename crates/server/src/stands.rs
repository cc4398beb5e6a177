//! One line per case: why it is or is not acted on.

use pitcrew_engine::Engine;
use pitcrew_model::{Case, Hold, OrderId, OutcomeKind, Phase};

use crate::api::CaseLine;

pub(crate) fn case_line(engine: &Engine, case: &Case) -> CaseLine {
    CaseLine {
        needs_person: needs_person(case),
        stands: stands(engine, case),
        case: case.clone(),
    }
}

pub(crate) fn needs_person(case: &Case) -> bool {
    if !case.is_open() {
        return false;
    }
    case.handed_over.is_some() || matches!(&case.phase, Phase::Held(hold) if hold.needs_person())
}

fn stands(engine: &Engine, case: &Case) -> String {
    match &case.phase {
        Phase::Suspected => "suspected, not yet believed".to_owned(),
        Phase::Confirmed => "believed, about to be decided".to_owned(),
        Phase::Held(hold @ Hold::HeldByPerson { .. }) => hold.to_string(),
        Phase::Held(hold) => format!("held: {hold}"),
        Phase::Repairing { order } => format!("{}, under way", given(engine, *order)),
        Phase::Verifying { order, .. } => format!("{}, verifying", given(engine, *order)),
        Phase::Probation { until } => format!("passing again, probation until {until}"),
        Phase::Closed(ending) => format!("closed: {ending}"),
    }
}

/// `restart, try 1`
fn given(engine: &Engine, id: OrderId) -> String {
    let Some(state) = engine.order(id) else {
        return id.to_string();
    };
    let order = &state.order;
    let doubt = match &state.outcome {
        Some(outcome) if outcome.kind == OutcomeKind::Unknown => " (may have taken effect)",
        Some(_) | None => "",
    };
    match order.repair {
        Some(_) => format!("{}, try {}{doubt}", order.deed(), order.attempt),
        None => format!("{}{doubt}", order.deed()),
    }
}
