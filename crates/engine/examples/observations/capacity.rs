//! Deciding whether a degraded target of one large service may be touched: its whole service has to be counted, and
//! that must not cost what looking at each of 300,000 targets costs.

use crate::{
    Failure, MILLION,
    fleet::{INTERVAL, PER_SERVICE},
    queue::Queue,
};

const LARGE: usize = 300_000;

pub(crate) fn measure() -> Result<(), Failure> {
    let mut sizes = vec![LARGE];
    sizes.extend(std::iter::repeat_n(
        PER_SERVICE,
        (MILLION - LARGE) / PER_SERVICE,
    ));
    let mut queue = Queue::new(&sizes)?;
    let from = queue.clock;
    let mut failed = 0usize;
    queue.run(from + INTERVAL * 8, |queue, clock| {
        while failed < 200 && crate::number(failed) < (clock - from).as_secs_f64() * 10.0 {
            queue.fail(failed * 1_201 % LARGE, 1);
            failed += 1;
        }
    });
    queue.report("degraded, in a service of 300,000", "");
    Ok(())
}
