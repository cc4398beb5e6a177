//! From what a former run saved of a million targets to the first effects: rows, configuration and discovery.

use std::{sync::Arc, time::Duration};

use pitcrew_model::{
    Case, CaseId, CaseMemory, Effect, Event, Hold, Phase, Saved, Target, Timestamp,
};

use crate::{
    Failure, MILLION, cpu,
    fleet::{PER_SERVICE, Pair, START, even, production, targets},
    resident_bytes, say,
};

const OPEN_CASES: usize = 10_000;
const MEMORIES: usize = MILLION / 10;
const HOLDS: usize = 1_000;

pub(crate) fn measure() -> Result<(), Failure> {
    let sizes = even(MILLION);
    let targets = targets(&sizes)?;
    let production = Arc::new(production(sizes.len())?);
    let rows = rows(&targets)?;
    let before = resident_bytes()?;
    let (started, now) = (cpu(), START + Duration::from_secs(60));
    let mut pair = Pair::new();
    pair.interlock.restore(now, &rows);
    pair.engine.restore(now, rows);
    let mut effects = pair.tell(now, Event::Production(production));
    effects.extend(pair.tell(
        now,
        Event::Targets {
            upserted: targets,
            removed: Vec::new(),
        },
    ));
    let took = cpu() - started;
    let watched = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Watch { .. }))
        .count();
    say(
        "start from a snapshot of a million targets",
        took.as_secs_f64(),
        &format!("s, until {watched} targets are watched"),
        "≤ 5",
    );
    let bytes = crate::number(usize::try_from(resident_bytes()? - before).unwrap_or(0));
    say(
        "memory while it starts, effects included",
        bytes / 1e6,
        "MB",
        "",
    );
    Ok(())
}

fn rows(targets: &[Arc<Target>]) -> Result<Vec<Saved>, Failure> {
    let mut rows = Vec::with_capacity(OPEN_CASES + MEMORIES + HOLDS);
    for (number, target) in targets.iter().step_by(MILLION / OPEN_CASES).enumerate() {
        let until = START + Duration::from_secs(1_800);
        let phase = match number % 3 {
            0 => Phase::Probation { until },
            1 => Phase::Held(Hold::Cooldown { until }),
            _ => Phase::Confirmed,
        };
        let id = CaseId(u64::try_from(number).unwrap_or(u64::MAX) + 1);
        rows.push(Saved::Case(Case {
            id,
            target: target.id.clone(),
            service: format!("service-{}", number * (MILLION / OPEN_CASES) / PER_SERVICE)
                .parse()?,
            opened_at: START,
            confirmed_at: Some(START),
            closed_at: None,
            phase,
            findings: Vec::new(),
            progress: None,
            orders: Vec::new(),
            handed_over: None,
        }));
    }
    for target in targets.iter().step_by(MILLION / MEMORIES) {
        let mut memory = CaseMemory::default();
        memory.closed_at.push(START);
        memory.cooldown_until = START + Duration::from_secs(600);
        rows.push(Saved::Memory {
            target: target.id.clone(),
            memory,
        });
    }
    for target in targets.iter().skip(1).step_by(MILLION / HOLDS) {
        rows.push(Saved::Hold {
            target: target.id.clone(),
            by: "op".to_owned(),
            why: "a look".to_owned(),
            until: Some(Timestamp::from_millis(START.as_millis() + 7_200_000)),
            stopped: false,
        });
    }
    Ok(rows)
}
