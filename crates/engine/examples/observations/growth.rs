//! What an observation and a target cost, by the size of the fleet. One target in a thousand fails once in each
//! round, so that cases open and close.

use std::{sync::Arc, time::Duration};

use pitcrew_model::{Event, Verdict};

use crate::{
    Failure, cpu,
    fleet::{Asked, INTERVAL, Pair, START, even, production, round, split, targets},
    number, resident_bytes, say,
};

const BATCH: usize = 256;
const OBSERVATIONS: usize = 4_000_000;

pub(crate) fn measure(size: usize) -> Result<(), Failure> {
    let sizes = even(size);
    let before = resident_bytes()?;
    let targets = targets(&sizes)?;
    let alone = resident_bytes()?.saturating_sub(before);
    let mut pair = Pair::new();
    pair.tell(START, Event::Production(Arc::new(production(sizes.len())?)));
    pair.tell(
        START,
        Event::Targets {
            upserted: targets.clone(),
            removed: Vec::new(),
        },
    );
    let asked = Asked::new()?;
    let order = round(size);
    // All are known to be up before anything is measured.
    let (mut seen, mut spent, mut now, mut rounds) = (0, Duration::ZERO, START, 0);
    while seen < OBSERVATIONS.max(size * 6) {
        rounds += 1;
        let batches = order.len().div_ceil(BATCH);
        for (number, batch) in order.chunks(BATCH).enumerate() {
            let at = now + INTERVAL.mul_f64(number as f64 / batches as f64);
            let batch: Vec<_> = batch
                .iter()
                .map(|one| {
                    let (target, test) = split(*one);
                    let verdict = match (target + rounds) % 1_000 {
                        7 => Verdict::Fail,
                        _ => Verdict::Pass,
                    };
                    asked.answer(at, &targets[target].id, test, verdict)
                })
                .collect();
            let count = batch.len();
            let started = cpu();
            pair.tell(at, Event::Observations(batch));
            if rounds > 1 {
                spent += cpu() - started;
                seen += count;
            }
        }
        now = now + INTERVAL;
    }
    let kept = number(targets.len() * 4 + order.len() * 4 + targets.len() * 8);
    let bytes = number(usize::try_from(resident_bytes()?.saturating_sub(before)).unwrap_or(0));
    let nanos = spent.as_secs_f64() * 1e9 / number(seen);
    say(&format!("{size} targets: an observation"), nanos, "ns", "");
    let goal = |goal| if size == crate::MILLION { goal } else { "" };
    say(
        &format!("{size} targets: observations a second"),
        1e9 / nanos,
        "on one core",
        goal("≥ 200000"),
    );
    say(
        &format!("{size} targets: memory of a target"),
        (bytes - kept) / number(size),
        &format!("bytes, of them {} the target itself", alone / size as u64),
        goal("≤ 1024"),
    );
    Ok(())
}
