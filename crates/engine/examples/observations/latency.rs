//! From an observation that confirms a failure to the effects: in calm, and while 10,000 targets fail within a second.

use std::time::Duration;

use crate::{
    Failure, MILLION,
    fleet::{Dice, INTERVAL, PER_SERVICE},
    queue::Queue,
};

/// Targets of the one service that is large, the first.
const LARGE: usize = 300_000;
const MASS: usize = 10_000;

pub(crate) fn measure() -> Result<(), Failure> {
    let mut sizes = vec![LARGE];
    sizes.extend(std::iter::repeat_n(
        PER_SERVICE,
        (MILLION - LARGE) / PER_SERVICE,
    ));
    let mut queue = Queue::new(&sizes)?;
    let mut dice = Dice(11);

    // Ten targets fail in each second, anywhere.
    let from = queue.clock;
    let mut failed = 0u32;
    queue.run(from + INTERVAL * 6, |queue, clock| {
        while f64::from(failed) < (clock - from).as_secs_f64() * 10.0 && clock < from + INTERVAL * 3
        {
            queue.fail(dice.below(MILLION), 0);
            failed += 1;
        }
    });
    queue.report("confirmed to effect, in calm", "≤ 1");

    mass(
        &mut queue,
        "10,000 fail within a second, over 700 services",
        |number| LARGE + number * 67 % (MILLION - LARGE),
    );
    queue.run(queue.clock + INTERVAL * 4, |_, _| {});
    queue.forget();
    mass(
        &mut queue,
        "10,000 fail within a second, all in one service",
        |number| number * 29 % LARGE,
    );
    Ok(())
}

fn mass(queue: &mut Queue, what: &str, target: impl Fn(usize) -> usize) {
    let from = queue.clock;
    let mut failed = 0;
    queue.run(from + INTERVAL * 6, |queue, clock| {
        let share = (clock - from).as_secs_f64().min(1.0);
        while failed < MASS && crate::number(failed) < share * crate::number(MASS) {
            queue.fail(target(failed), 0);
            failed += 1;
        }
    });
    queue.report(what, "≤ 10");
    queue.run(queue.clock + Duration::from_secs(1), |_, _| {});
}
