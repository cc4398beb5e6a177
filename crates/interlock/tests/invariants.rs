//! The interlock alone: events, then one order that breaks exactly one invariant.
//!
//! Every row starts from the same sound order (restart web-1, which is down, by policy) and changes one thing.

#![expect(
    clippy::unwrap_used,
    reason = "a broken test world should stop the test"
)]

mod books;

use std::time::Duration;

use books::{Books, name, target};
use pitcrew_model::*;

/// After `setup`, the order that `change` makes of the sound one meets objections by exactly these invariants.
fn check(
    what: &str,
    expected: &[u8],
    setup: impl FnOnce(&mut Books),
    change: impl FnOnce(&mut Order),
) {
    let mut books = Books::new();
    setup(&mut books);
    let mut order = books.order("web-1");
    change(&mut order);
    let objections = books.interlock.check(books.now, &order);
    let met: Vec<u8> = objections
        .iter()
        .map(|objection| objection.invariant)
        .collect();
    assert_eq!(met, expected, "{what}: {objections:?}");
}

fn unchanged(_: &mut Order) {}
fn nothing(_: &mut Books) {}

/// web-1 is not down but ill: repairing it costs its capacity.
fn ill(books: &mut Books) {
    books.set("web-1", "answers", Verdict::Pass);
    books.set("web-1", "lag", Verdict::Fail);
    books.rounds(3);
}

fn roomy(books: &mut Books) {
    books.reload(|services| {
        for service in services {
            service.limits.max_in_flight = 10;
            service.limits.per_domain = vec![("zone".to_owned(), 10)];
        }
    });
    books.rounds(3);
}

#[test]
fn a_sound_order_passes() {
    check("sound", &[], nothing, unchanged);
}

#[test]
fn invariant_1_one_order_per_target_its_hosts_and_what_runs_on_it() {
    for busy in ["web-1", "vm-1", "rack-1"] {
        check(
            busy,
            &[1],
            |books| {
                roomy(books);
                books.person_gives(busy);
            },
            unchanged,
        );
    }
    check(
        "a host while its guest is under repair",
        &[1],
        |books| {
            roomy(books);
            books.down("rack-1");
            books.gives("web-1");
        },
        |order| {
            order.target = target("rack-1", "rack", "r", None);
            order.service = Some(name("rack"));
        },
    );
    check(
        "another target",
        &[],
        |books| {
            roomy(books);
            books.person_gives("web-3");
        },
        unchanged,
    );
}

#[test]
fn invariant_2_nothing_without_a_ledger() {
    let broken = |books: &mut Books| {
        let error = "disk full".to_owned();
        books.tell(Event::LedgerFailed {
            not_given: Vec::new(),
            error,
        });
    };
    check("ledger", &[2], broken, unchanged);
    check(
        "recovered",
        &[],
        |books| {
            broken(books);
            books.tell(Event::LedgerRecovered);
        },
        unchanged,
    );
}

#[test]
fn invariant_3_unknown_justifies_nothing() {
    check(
        "healthy",
        &[3],
        |books| {
            books.set("web-1", "answers", Verdict::Pass);
            books.rounds(3);
        },
        unchanged,
    );
    check(
        "silent",
        &[3],
        |books| {
            books.set("web-1", "answers", Verdict::Unknown);
            books.rounds(5);
        },
        unchanged,
    );
    check(
        "after a pause",
        &[3, 4],
        |books| {
            let paused_for = Duration::from_secs(60);
            books.now = books.now + paused_for;
            books.tell(Event::Woke { paused_for });
        },
        unchanged,
    );
}

#[test]
fn invariant_3_orders_in_flight_are_counted_per_service_and_domain() {
    check(
        "service",
        &[3],
        |books| books.person_gives("web-3"),
        unchanged,
    );
    check(
        "domain",
        &[3],
        |books| {
            books.reload(|services| services[0].limits.max_in_flight = 10);
            books.rounds(3);
            books.person_gives("web-4");
        },
        unchanged,
    );
    check(
        "domain of another service",
        &[3],
        |books| books.person_gives("db-1"),
        unchanged,
    );
    check(
        "a host whose guest's service has one in flight",
        &[3],
        |books| {
            books.down("rack-1");
            books.person_gives("web-3");
        },
        |order| {
            order.target = target("rack-1", "rack", "r", None);
            order.service = Some(name("rack"));
        },
    );
}

#[test]
fn invariant_3_the_limit_holds_after_the_removal() {
    check("one of four", &[], ill, unchanged);
    check(
        "two of four",
        &[3],
        |books| {
            books.down("web-3");
            ill(books);
        },
        unchanged,
    );
    check(
        "an unknown one counts",
        &[3],
        |books| {
            books.set("web-3", "answers", Verdict::Unknown);
            ill(books);
            books.rounds(3);
        },
        unchanged,
    );
    check(
        "one on probation counts",
        &[3],
        |books| {
            books.down("web-3");
            let order = books.gives("web-3");
            books.set("web-3", "answers", Verdict::Pass);
            books.outcome(order, OutcomeKind::Done);
            ill(books);
        },
        unchanged,
    );
    check(
        "a held one counts",
        &[3],
        |books| {
            books.hold("web-3", 600);
            ill(books);
        },
        unchanged,
    );
    check(
        "what runs on a host goes down with it",
        &[3],
        |books| {
            books.set("web-1", "answers", Verdict::Pass);
            books.down("web-3");
            books.down("rack-1");
        },
        |order| {
            order.target = target("rack-1", "rack", "r", None);
            order.service = Some(name("rack"));
        },
    );
}

#[test]
fn invariant_4_never_the_last_one() {
    let others = |books: &mut Books| {
        ["web-2", "web-3", "web-4"]
            .into_iter()
            .for_each(|id| books.down(id))
    };
    check(
        "the last one is ill",
        &[4],
        |books| {
            others(books);
            ill(books);
        },
        unchanged,
    );
    check("the last one is down", &[], others, unchanged);
}

#[test]
fn invariant_5_an_empty_selector_selects_nothing() {
    check(
        "empty",
        &[12],
        |books| books.reload(|services| services[0].select = Selector::default()),
        unchanged,
    );
}

#[test]
fn invariant_6_an_operation_is_never_given_twice() {
    check(
        "twice",
        &[6],
        |books| {
            let order = books.order("web-1");
            let order = books.gives_order(order);
            books.outcome(order, OutcomeKind::Failed);
            books.rounds(4);
            books.next_operation -= 1;
        },
        unchanged,
    );
    check(
        "in flight when the last run ended",
        &[1, 6],
        |books| {
            let order = books.order("web-1");
            books.restart(|rows| rows.push(in_flight(order)));
            books.next_operation -= 1;
        },
        unchanged,
    );
}

fn in_flight(order: Order) -> Saved {
    Saved::Order(Box::new(OrderState {
        order,
        given: true,
        outcome: None,
        ended_at: None,
    }))
}

#[test]
fn invariant_9_not_on_the_word_of_suspect_observers() {
    let suspect = |books: &mut Books| {
        let trouble = Some("its own page is refused".to_owned());
        books.tell(Event::Observer {
            observer: name("local"),
            trouble,
        });
    };
    // Without a trusted answer nothing is known to fail, and nothing to be up.
    check("all suspect", &[3, 4, 9], suspect, unchanged);
}

#[test]
fn invariant_10_mass_failure_stops_disruption_and_nothing_else() {
    let mass = |books: &mut Books| {
        books.add(8);
        ["web-2", "web-5", "web-6", "web-7"]
            .into_iter()
            .for_each(|id| books.down(id));
    };
    check("five of twelve", &[10], mass, unchanged);
    check(
        "released by a person",
        &[],
        |books| {
            mass(books);
            books.person(PersonAct::Resume {
                scope: Scope::Service(name("web")),
            });
        },
        unchanged,
    );
    check("starting takes nothing away", &[], mass, |order| {
        order.repair = Some(name("start"));
        order.action = Action::Start;
    });
    check(
        "five of eight in one zone of sixty",
        &[10],
        |books| {
            books.add(56);
            ["web-4", "web-7", "web-10", "web-13"]
                .into_iter()
                .for_each(|id| books.down(id));
            books.reload(|services| {
                services[0].limits.breaker.percent = 21;
            });
            books.rounds(3);
        },
        unchanged,
    );
}

#[test]
fn invariant_11_rates_and_the_fleet_brake() {
    let one_before = |books: &mut Books| {
        let order = books.gives("web-1");
        books.outcome(order, OutcomeKind::Failed);
        books.rounds(4);
    };
    let slow = |books: &mut Books| {
        books.reload(|services| services[0].limits.rate.count = 1);
        books.rounds(3);
    };
    let braked = |books: &mut Books| {
        books.production.limits.fleet_rate.count = 1;
        slow(books);
        books.reload(|services| services[0].limits.rate.count = 9);
        books.rounds(3);
    };
    check(
        "the service's own",
        &[11],
        |books| {
            slow(books);
            one_before(books);
        },
        unchanged,
    );
    check(
        "an hour later",
        &[],
        |books| {
            slow(books);
            one_before(books);
            books.wait(3_600);
        },
        unchanged,
    );
    check(
        "services in another order",
        &[11],
        |books| {
            slow(books);
            one_before(books);
            books.reload(|services| services.reverse());
            books.rounds(3);
        },
        unchanged,
    );
    check(
        "the brake",
        &[11],
        |books| {
            braked(books);
            one_before(books);
        },
        unchanged,
    );
    check(
        "the brake, an hour later",
        &[11],
        |books| {
            braked(books);
            one_before(books);
            books.wait(3_600);
        },
        unchanged,
    );
    check(
        "the brake, released",
        &[],
        |books| {
            braked(books);
            one_before(books);
            books.person(PersonAct::Resume {
                scope: Scope::Fleet,
            });
        },
        unchanged,
    );
    check(
        "the service's own, over a restart",
        &[11],
        |books| {
            slow(books);
            let at = vec![books.now];
            books.restart(|rows| {
                rows.push(Saved::Given {
                    service: Some(name("web")),
                    at,
                })
            });
        },
        unchanged,
    );
    check(
        "the brake, over a restart",
        &[11],
        |books| {
            books.restart(|rows| rows.push(Saved::FleetBrake { released_at: None }));
        },
        unchanged,
    );
}

#[test]
fn invariant_12_a_stale_order_is_refused() {
    check("old fence", &[12], nothing, |order| order.fence -= 1);
    check("expired", &[12], nothing, |order| {
        order.expires_at = order.given_at
    });
    check("from the future", &[12], nothing, |order| {
        order.given_at = order.given_at + Duration::from_secs(1)
    });
    check(
        "its target is gone",
        &[12],
        |books| {
            let removed = vec![name("web-1")];
            books.tell(Event::Targets {
                upserted: Vec::new(),
                removed,
            });
        },
        unchanged,
    );
    check("another service has it now", &[12], nothing, |order| {
        order.service = Some(name("db"))
    });
}

#[test]
fn invariant_14_what_a_person_has_is_left_alone() {
    let pause = |scope: Scope| {
        move |books: &mut Books| {
            books.person(PersonAct::Pause {
                scope,
                why: "deploy".to_owned(),
            })
        }
    };
    let domain = |value: &str| Scope::Domain {
        service: name("web"),
        label: "zone".to_owned(),
        value: value.to_owned(),
    };
    check("held", &[14], |books| books.hold("web-1", 600), unchanged);
    check(
        "its hold has ended",
        &[],
        |books| {
            books.hold("web-1", 10);
            books.rounds(3);
        },
        unchanged,
    );
    check(
        "its host's host is held",
        &[14],
        |books| books.hold("rack-1", 600),
        unchanged,
    );
    check(
        "stopped",
        &[14],
        |books| {
            books.stop("web-1");
        },
        unchanged,
    );
    check(
        "stopped, then held for a moment",
        &[14],
        |books| {
            books.stop("web-1");
            books.hold("web-1", 10);
            books.rounds(4);
        },
        unchanged,
    );
    check(
        "the stop never left",
        &[],
        |books| {
            let order = books.gives_stop("web-1");
            let error = "disk full".to_owned();
            books.tell(Event::LedgerFailed {
                not_given: vec![order],
                error,
            });
            books.tell(Event::LedgerRecovered);
        },
        unchanged,
    );
    check("fleet", &[14], pause(Scope::Fleet), unchanged);
    check(
        "service",
        &[14],
        pause(Scope::Service(name("web"))),
        unchanged,
    );
    check("zone", &[14], pause(domain("a")), unchanged);
    check("other zone", &[], pause(domain("b")), unchanged);
    check(
        "other service",
        &[],
        pause(Scope::Service(name("db"))),
        unchanged,
    );
    for autonomy in [Autonomy::Observe, Autonomy::Propose, Autonomy::Approve] {
        check(
            "autonomy",
            &[14],
            |books| {
                books.reload(|services| services[0].autonomy = autonomy);
                books.rounds(3);
            },
            unchanged,
        );
    }
    check(
        "window",
        &[14],
        |books| {
            let (from, to) = (books.now, books.now + Duration::from_secs(600));
            let window = Window {
                name: "freeze".to_owned(),
                from,
                to,
                autonomy: Autonomy::Observe,
            };
            books.reload(|services| services[0].windows.push(window));
            books.rounds(3);
        },
        unchanged,
    );
    check("nobody's approval", &[14], nothing, |order| {
        order.authority = Authority::Approval { by: String::new() }
    });
}

#[test]
fn invariant_14_holds_pauses_and_probation_outlive_a_restart() {
    for stopped in [false, true] {
        check(
            "hold",
            &[14],
            |books| {
                let until = Some(books.now + Duration::from_secs(600));
                let (by, why) = ("op".to_owned(), "mine".to_owned());
                books.restart(|rows| {
                    rows.push(Saved::Hold {
                        target: name("web-1"),
                        by,
                        why,
                        until,
                        stopped,
                    })
                });
            },
            unchanged,
        );
    }
    check(
        "pause",
        &[14],
        |books| {
            let (by, why) = ("op".to_owned(), Some("mine".to_owned()));
            books.restart(|rows| {
                rows.push(Saved::Pause {
                    scope: Scope::Fleet,
                    by,
                    why,
                })
            });
        },
        unchanged,
    );
    check(
        "probation",
        &[3],
        |books| {
            let until = books.now + Duration::from_secs(600);
            books.restart(|rows| rows.push(Saved::Case(on_probation("web-3", until))));
            ill(books);
        },
        unchanged,
    );
}

fn on_probation(target: &str, until: Timestamp) -> Case {
    Case {
        id: CaseId(1),
        target: name(target),
        service: name("web"),
        opened_at: Timestamp::ZERO,
        confirmed_at: None,
        closed_at: None,
        phase: Phase::Probation { until },
        findings: Vec::new(),
        progress: None,
        orders: Vec::new(),
        handed_over: None,
    }
}

#[test]
fn invariant_15_no_ladder_loops() {
    check("one try too many", &[15], nothing, |order| {
        order.attempt = 3
    });
    check("no try at all", &[15], nothing, |order| order.attempt = 0);
    check("not its rung's action", &[15], nothing, |order| {
        order.action = Action::Start
    });
    check("beyond the last rung", &[15], nothing, |order| {
        order.step = 9
    });
    check("no repair", &[15], nothing, |order| order.repair = None);
    check("another service's repair", &[15], nothing, |order| {
        order.repair = Some(name("other"))
    });
}

#[test]
fn a_persons_order_needs_no_proof_and_keeps_the_limits() {
    let by_person = |order: &mut Order| {
        order.authority = Authority::Person {
            by: "op".to_owned(),
            why: String::new(),
        };
        order.repair = None;
    };
    let up = |books: &mut Books| {
        books.set("web-1", "answers", Verdict::Pass);
        books.rounds(3);
    };
    check("healthy", &[], up, by_person);
    check(
        "held",
        &[14],
        |books| {
            up(books);
            books.hold("web-1", 600);
        },
        by_person,
    );
    check(
        "stopped",
        &[],
        |books| {
            books.stop("web-1");
        },
        by_person,
    );
    check(
        "two of four",
        &[3],
        |books| {
            up(books);
            books.down("web-3");
        },
        by_person,
    );
    let nobody = |order: &mut Order| {
        by_person(order);
        order.authority = Authority::Person {
            by: String::new(),
            why: String::new(),
        };
    };
    check("nobody", &[14], up, nobody);
}
