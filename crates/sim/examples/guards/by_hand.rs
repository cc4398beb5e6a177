//! What no scenario can say, because no configuration, no ledger and no actuator of ours lets it happen. Each of
//! these puts it in front of the core by hand.

use std::{sync::Arc, time::Duration};

use pitcrew_engine::Birth;
use pitcrew_model::{
    Action, Case, CaseId, Effect, Event, Evidence, Observation, Order, OrderId, Phase, Production,
    Saved, Target, Timestamp, Verdict,
};
use pitcrew_sim::{Brain, scenario::Scenario};

use crate::incidents;

/// What is wrong, if something is.
pub(crate) type Check = fn() -> Option<String>;

pub(crate) const ALL: [(&str, Check); 4] = [
    ("by hand: a ladder without an end", ladder_without_an_end),
    (
        "by hand: a service that nothing tests",
        service_that_nothing_tests,
    ),
    ("by hand: an order expires", order_expires),
    (
        "by hand: a case whose order is lost",
        case_whose_order_is_lost,
    ),
];

const PRODUCTION: &str = "
services:
  - name: web
    select: { service: web }
    autonomy: act
    runs_as: { unit: web.service }
    tests: [{ name: answers, tcp: {}, interval: 5s }]
    repairs: [{ name: restart, when: [answers], steps: [{ restart: {}, tries: 1, settle: 30s }] }]
  - name: db
    select: { service: db }
    autonomy: act
    runs_as: { unit: db.service }
    tests: [{ name: answers, tcp: {}, interval: 5s }]
";
const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const INTERVAL: Duration = Duration::from_secs(5);

fn production(change: impl Fn(&mut pitcrew_model::Service)) -> Production {
    let mut production = incidents::production(PRODUCTION).expect("a valid production");
    for service in &mut production.services {
        change(Arc::make_mut(service));
    }
    production
}

fn run(production: &Production, text: &str) -> Option<String> {
    let scenario = Scenario::parse(text, Some(production), &incidents::production)
        .expect("a scenario without mistakes");
    scenario.run().err().map(|failure| failure.found)
}

/// Configuration ends every ladder with a person; the engine does not rely on that.
fn ladder_without_an_end() -> Option<String> {
    let endless = production(|service| {
        for repair in &mut service.repairs {
            let is_order = |action: &Action| !matches!(action, Action::HandOver { .. });
            repair.steps.retain(|step| is_order(&step.action));
        }
    });
    run(
        &endless,
        "targets:\n  web-1..4 service=web\nrestart does not help\nat 1m web-1 down\nat 10m expect web-1 held handed_over\n",
    )
}

/// Configuration refuses a service without tests; the interlock does not rely on that.
fn service_that_nothing_tests() -> Option<String> {
    let untested = production(|service| {
        if service.name.as_str() == "db" {
            service.tests.clear();
        }
    });
    run(
        &untested,
        "targets:\n  web-1 service=web\n  db-1..4 service=db\nat 1m propose restart db-1 by=op\nexpect objection 4\n",
    )
}

/// Actuators refuse an expired order; in a scenario none is ever so late.
fn order_expires() -> Option<String> {
    let mut brain = brain(Vec::new());
    let given = (1..=4).find_map(|round| {
        let effects = brain.tell(START + INTERVAL * round, failure(START + INTERVAL * round));
        let mut effects = effects.into_iter();
        effects.find_map(|effect| match effect {
            Effect::Give(order) => Some(order),
            _ => None,
        })
    });
    match given {
        None => Some("no order was given".to_owned()),
        Some(order) if order.expires_at != order.given_at + Order::EXPIRY => {
            Some(format!("it expires at {}", order.expires_at))
        }
        Some(_) => None,
    }
}

/// The ledger writes a case and its order in one transaction; whatever lost the order, the case is not stuck.
fn case_whose_order_is_lost() -> Option<String> {
    let case = Case {
        id: CaseId(1),
        target: "web-1".parse().expect("a word is a valid name"),
        service: "web".parse().expect("a word is a valid name"),
        opened_at: START,
        confirmed_at: Some(START),
        closed_at: None,
        phase: Phase::Repairing { order: OrderId(7) },
        findings: Vec::new(),
        progress: None,
        orders: vec![OrderId(7)],
        handed_over: None,
    };
    let mut brain = brain(vec![Saved::Case(case)]);
    for round in 1..=6 {
        brain.tell(START + INTERVAL * round, failure(START + INTERVAL * round));
    }
    match brain.engine.case(CaseId(1)).map(|case| &case.phase) {
        Some(Phase::Repairing { order: OrderId(7) }) => {
            Some("it waits for an order that nobody knows of".to_owned())
        }
        _ => None,
    }
}

/// web-1 to web-4, as a start of the server leaves it.
fn brain(rows: Vec<Saved>) -> Brain {
    let birth = Birth {
        installation: "by-hand".to_owned(),
        fence: 1,
        last_case: 0,
        last_order: 0,
    };
    let mut brain = Brain::start(START, birth, rows);
    let target = |number: u32| {
        Arc::new(Target {
            id: format!("web-{number}")
                .parse()
                .expect("a word is a valid name"),
            address: None,
            labels: pitcrew_model::Labels::new([("service", "web")]).expect("words are valid"),
            run_on: None,
            runner: None,
            source: "discovery".parse().expect("a word is a valid name"),
        })
    };
    brain.tell(START, Event::Production(Arc::new(production(|_| ()))));
    brain.tell(
        START,
        Event::Targets {
            upserted: (1..=4).map(target).collect(),
            removed: Vec::new(),
        },
    );
    brain
}

/// The answer of web-1, and of its whole service that it alone is down.
fn failure(at: Timestamp) -> Event {
    let answer = |number: u32| Observation {
        target: format!("web-{number}")
            .parse()
            .expect("a word is a valid name"),
        test: "answers".parse().expect("a word is a valid name"),
        observer: "local".parse().expect("a word is a valid name"),
        asked_at: at,
        answered_at: at,
        took: Duration::ZERO,
        verdict: match number {
            1 => Verdict::Fail,
            _ => Verdict::Pass,
        },
        evidence: Evidence::new("by hand"),
    };
    Event::Observations((1..=4).map(answer).collect())
}
