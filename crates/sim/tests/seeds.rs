//! Properties over random productions in storms of mishaps. Safety: no invariant is ever broken and no order goes to
//! a wrong target. Liveness: once the storm is over, whatever still ails is repaired, or a person has it.
//!
//! What is random and what is demanded is in `pitcrew_sim::trial`; `cargo xtask soak` goes on where this ends.

#![expect(
    clippy::unwrap_used,
    reason = "a trial that can't be simulated should stop the test"
)]

use std::ops::Range;

use pitcrew_sim::trial::Trial;

/// Runs each seed; the first flaw is told with the command that shows it again and a short plan for it.
fn without_flaw(seeds: Range<u64>) {
    let mut orders = 0;
    for seed in seeds {
        let verdict = Trial::of(seed).unwrap().run().unwrap();
        assert!(
            verdict.flaws.is_empty(),
            "seed {seed}: {}\nagain, with the shortest plan for it: cargo xtask soak --seed {seed}",
            verdict.flaws[0]
        );
        orders += verdict.report.orders.values().sum::<u64>();
    }
    assert!(
        orders > 100,
        "only {orders} orders were given: nothing was tried"
    );
}

macro_rules! seeds {
    ($($name:ident: $seeds:expr;)*) => {$(
        #[test]
        fn $name() {
            without_flaw($seeds);
        }
    )*};
}

// Apart, so that they run beside one another.
seeds! {
    nothing_unsafe_and_nothing_stuck_in_seeds_from_0: 0..300;
    nothing_unsafe_and_nothing_stuck_in_seeds_from_300: 300..600;
    nothing_unsafe_and_nothing_stuck_in_seeds_from_600: 600..900;
    nothing_unsafe_and_nothing_stuck_in_seeds_from_900: 900..1_200;
    nothing_unsafe_and_nothing_stuck_in_seeds_from_1200: 1_200..1_500;
    nothing_unsafe_and_nothing_stuck_in_seeds_from_1500: 1_500..1_800;
    nothing_unsafe_and_nothing_stuck_in_seeds_from_1800: 1_800..2_100;
}
