//! What observers vouch for without repeating it, in the interlock's books.
//!
//! web-1 is ill, so that repairing it costs its capacity, and the others are known to be up only by their observer's
//! word that nothing changed.

#![expect(
    clippy::unwrap_used,
    reason = "a broken test world should stop the test"
)]
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "the books are those of all tests, and this file opens some of their pages"
)]

mod books;

use std::time::Duration;

use books::{Books, name};
use pitcrew_model::*;

fn answer(books: &Books, target: &str, test: &str, verdict: Verdict) -> Observation {
    Observation {
        target: name(target),
        test: name(test),
        observer: name("local"),
        asked_at: books.now,
        answered_at: books.now,
        took: Duration::ZERO,
        verdict,
        evidence: Evidence::new(""),
    }
}

fn report(books: &mut Books, target: &str, test: &str, verdict: Verdict) {
    let seen = vec![answer(books, target, test, verdict)];
    books.tell(Event::Observations(seen));
}

fn vouch(books: &mut Books, at: Timestamp) {
    let observer = name("local");
    books.tell(Event::Unchanged { observer, at });
}

/// web-1 is ill and every answer about it is reported, for a minute; `vouched`: the observer says what it may of the
/// others.
fn minute(books: &mut Books, vouched: bool) {
    for _ in 0..12 {
        books.now = books.now + Duration::from_secs(5);
        report(books, "web-1", "answers", Verdict::Pass);
        report(books, "web-1", "lag", Verdict::Fail);
        if vouched {
            let at = books.now;
            vouch(books, at);
        }
    }
}

/// By which invariants restarting web-1 is objected to.
fn met(books: &mut Books) -> Vec<u8> {
    let order = books.order("web-1");
    let objections = books.interlock.check(books.now, &order);
    objections
        .iter()
        .map(|objection| objection.invariant)
        .collect()
}

fn ill() -> Books {
    let mut books = Books::new();
    books.set("web-1", "answers", Verdict::Pass);
    books.set("web-1", "lag", Verdict::Fail);
    books.rounds(3);
    books
}

#[test]
fn what_is_vouched_for_is_counted_on_and_what_is_not_lapses() {
    let mut books = ill();
    minute(&mut books, true);
    assert_eq!(met(&mut books), []);
    let mut books = ill();
    minute(&mut books, false);
    assert_eq!(met(&mut books), [4]);
}

#[test]
fn a_failure_is_not_vouched_for() {
    let mut books = ill();
    for _ in 0..12 {
        books.now = books.now + Duration::from_secs(5);
        let at = books.now;
        vouch(&mut books, at);
    }
    // Nobody saw it fail lately; the others are fine.
    assert_eq!(met(&mut books), [3]);
}

#[test]
fn a_question_without_an_answer_is_not_vouched_for() {
    let mut books = ill();
    for target in ["web-2", "web-3", "web-4"] {
        report(&mut books, target, "answers", Verdict::Unknown);
    }
    minute(&mut books, true);
    assert_eq!(met(&mut books), [4]);
}

#[test]
fn nobody_vouches_for_what_was_before_a_pause_or_is_to_come() {
    let mut books = ill();
    minute(&mut books, true);
    let paused_for = Duration::from_secs(60);
    books.tell(Event::Woke { paused_for });
    for _ in 0..3 {
        report(&mut books, "web-1", "lag", Verdict::Fail);
        books.now = books.now + Duration::from_secs(1);
        let at = books.now;
        vouch(&mut books, at);
        report(&mut books, "web-1", "lag", Verdict::Fail);
    }
    assert_eq!(met(&mut books), [4], "asked before the pause, perhaps");

    let mut books = ill();
    let at = books.now + Duration::from_secs(86_400);
    vouch(&mut books, at);
    minute(&mut books, false);
    assert_eq!(met(&mut books), [4], "by a clock that runs ahead");
}

#[test]
fn an_old_pass_and_a_question_without_an_answer_prove_no_repair() {
    let mut books = ill();
    let order = books.gives("web-1");
    books.now = books.now + Duration::from_secs(1);
    books.outcome(order, OutcomeKind::Done);
    books.now = books.now + Duration::from_secs(1);
    report(&mut books, "web-1", "answers", Verdict::Unknown);
    report(&mut books, "web-1", "lag", Verdict::Unknown);
    let objections = {
        let order = books.order("web-1");
        books.interlock.check(books.now, &order)
    };
    assert!(
        objections.iter().any(|objection| objection.invariant == 1),
        "the first order still is in flight: {objections:?}"
    );
}
