//! A production as the interlock hears of it: four web targets of which web-1 is down, a database, and web-1's
//! hosts, vm-1 on rack-1.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use pitcrew_interlock::Interlock;
use pitcrew_model::*;

pub(crate) struct Books {
    pub(crate) now: Timestamp,
    pub(crate) interlock: Interlock,
    pub(crate) production: Production,
    pub(crate) next_operation: u64,
    targets: BTreeMap<TargetId, Arc<Target>>,
    truth: BTreeMap<(TargetId, TestName), Verdict>,
    fence: u64,
}

const INTERVAL: Duration = Duration::from_secs(5);

pub(crate) fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::new(pairs.iter().copied()).unwrap()
}

pub(crate) fn target(id: &str, service: &str, zone: &str, host: Option<&str>) -> Arc<Target> {
    Arc::new(Target {
        id: name(id),
        address: None,
        labels: labels(&[("service", service), ("zone", zone)]),
        run_on: host.map(name),
        runner: Some(Runner::Supervised),
        source: name("run"),
    })
}

fn test(test: &str, proves: Proves) -> Arc<Test> {
    Arc::new(Test {
        name: name(test),
        kind: TestKind::Process,
        interval: INTERVAL,
        timeout: Duration::from_secs(2),
        failure_threshold: 3,
        success_threshold: 2,
        proves,
        place: Place::Server,
    })
}

fn repair(repair: &str, action: Action) -> Repair {
    let settle = Duration::from_secs(30);
    Repair {
        name: name(repair),
        when: vec![name("answers"), name("lag")],
        steps: vec![Step {
            action,
            tries: 2,
            settle,
        }],
    }
}

fn service(service: &str) -> Service {
    Service {
        name: name(service),
        select: Selector(labels(&[("service", service)])),
        domains: vec!["zone".to_owned()],
        autonomy: Autonomy::Act,
        tests: vec![test("answers", Proves::Down), test("lag", Proves::Degraded)],
        repairs: vec![
            repair("restart", Action::Restart),
            repair("start", Action::Start),
        ],
        limits: Limits::default(),
        windows: Vec::new(),
        runs_as: None,
        drain: None,
    }
}

impl Books {
    pub(crate) fn new() -> Self {
        let services = ["web", "db", "vm", "rack"].map(service);
        let targets = [
            target("web-1", "web", "a", Some("vm-1")),
            target("web-2", "web", "b", None),
            target("web-3", "web", "c", None),
            target("web-4", "web", "a", None),
            target("db-1", "db", "a", None),
            target("db-2", "db", "b", None),
            target("vm-1", "vm", "v", Some("rack-1")),
            target("rack-1", "rack", "r", None),
            target("vm-2", "vm", "w", None),
            target("rack-2", "rack", "s", None),
        ];
        let mut books = Self {
            now: Timestamp::from_millis(1_795_000_000_000),
            interlock: Interlock::new(7),
            production: Production {
                services: services.into_iter().map(Arc::new).collect(),
                ..Production::default()
            },
            next_operation: 1,
            targets: targets
                .into_iter()
                .map(|target| (target.id.clone(), target))
                .collect(),
            truth: BTreeMap::new(),
            fence: 7,
        };
        books.introduce();
        books.down("web-1");
        books
    }

    fn introduce(&mut self) {
        self.tell(Event::Production(Arc::new(self.production.clone())));
        let upserted = self.targets.values().cloned().collect();
        let removed = Vec::new();
        self.tell(Event::Targets { upserted, removed });
        self.rounds(3);
    }

    /// `count` further web targets, web-5 and so on, spread over zones b, c and a.
    pub(crate) fn add(&mut self, count: usize) {
        for n in 5..5 + count {
            let id = format!("web-{n}");
            let zone = ["c", "a", "b"][n % 3];
            self.targets
                .insert(name(&id), target(&id, "web", zone, None));
        }
        self.introduce();
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.interlock.note(self.now, &event);
    }

    pub(crate) fn person(&mut self, act: PersonAct) {
        let by = "op".to_owned();
        self.tell(Event::Person(Request { by, act }));
    }

    pub(crate) fn hold(&mut self, target: &str, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        let (target, why) = (name(target), "mine".to_owned());
        self.person(PersonAct::Hold { target, until, why });
    }

    pub(crate) fn set(&mut self, target: &str, test: &str, verdict: Verdict) {
        self.truth.insert((name(target), name(test)), verdict);
    }

    /// Long enough for a majority to believe it.
    pub(crate) fn down(&mut self, target: &str) {
        self.set(target, "answers", Verdict::Fail);
        self.rounds(3);
    }

    pub(crate) fn rounds(&mut self, count: u32) {
        for _ in 0..count {
            self.now = self.now + INTERVAL;
            let tests: [TestName; 2] = [name("answers"), name("lag")];
            let seen = self
                .targets
                .keys()
                .flat_map(|target| tests.iter().map(move |test| (target.clone(), test.clone())));
            let seen = seen.map(|of| self.answer(of)).collect();
            self.tell(Event::Observations(seen));
        }
    }

    fn answer(&self, of: (TargetId, TestName)) -> Observation {
        let verdict = *self.truth.get(&of).unwrap_or(&Verdict::Pass);
        let (target, test) = of;
        Observation {
            target,
            test,
            observer: name("local"),
            asked_at: self.now,
            answered_at: self.now,
            took: Duration::ZERO,
            verdict,
            evidence: Evidence::new(""),
        }
    }

    /// Lets time pass; at its end everything is tested again.
    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.rounds(3);
    }

    pub(crate) fn reload(&mut self, change: impl FnOnce(&mut Vec<Service>)) {
        let mut services = self
            .production
            .services
            .iter()
            .map(|service| (**service).clone())
            .collect();
        change(&mut services);
        self.production.services = services.into_iter().map(Arc::new).collect();
        self.tell(Event::Production(Arc::new(self.production.clone())));
    }

    /// Only the rows that `saved` adds are known of the run before.
    pub(crate) fn restart(&mut self, saved: impl FnOnce(&mut Vec<Saved>)) {
        let mut rows = Vec::new();
        saved(&mut rows);
        self.fence += 1;
        self.interlock = Interlock::new(self.fence);
        self.interlock.restore(self.now, &rows);
        self.introduce();
    }

    /// A sound order: restart it by policy, first try of the first step.
    pub(crate) fn order(&mut self, id: &str) -> Order {
        let number = self.next_operation;
        self.next_operation += 1;
        let target = self.targets[id].clone();
        let service = target.labels.get("service").unwrap();
        Order {
            id: OrderId(number),
            operation: name(&format!("test-order-{number}")),
            case: None,
            service: Some(name(service)),
            target,
            host: None,
            lease: None,
            action: Action::Restart,
            runner: Some(Runner::Supervised),
            authority: Authority::Policy,
            repair: Some(name("restart")),
            step: 0,
            attempt: 1,
            given_at: self.now,
            settle: Duration::from_secs(30),
            expires_at: self.now + Order::EXPIRY,
            fence: self.fence,
            digest: String::new(),
            target_is_down: true,
        }
    }

    pub(crate) fn gives_order(&mut self, order: Order) -> OrderId {
        let objections = self.interlock.check(self.now, &order);
        assert!(objections.is_empty(), "{objections:?}");
        order.id
    }

    pub(crate) fn gives(&mut self, target: &str) -> OrderId {
        let order = self.order(target);
        self.gives_order(order)
    }

    fn by_person(&mut self, target: &str, action: Action) -> OrderId {
        let mut order = self.order(target);
        let (by, why) = ("op".to_owned(), String::new());
        order.authority = Authority::Person { by, why };
        order.action = action;
        self.gives_order(order)
    }

    /// A start: in flight like any other, and it needs no room.
    pub(crate) fn person_gives(&mut self, target: &str) {
        self.by_person(target, Action::Start);
    }

    pub(crate) fn gives_stop(&mut self, target: &str) -> OrderId {
        self.by_person(target, Action::Stop)
    }

    /// Stopped on purpose, and the order is through.
    pub(crate) fn stop(&mut self, target: &str) {
        let order = self.gives_stop(target);
        self.outcome(order, OutcomeKind::Done);
        self.rounds(10);
    }

    pub(crate) fn outcome(&mut self, order: OrderId, kind: OutcomeKind) {
        let (at, detail) = (self.now, String::new());
        self.tell(Event::Outcome(Outcome {
            order,
            kind,
            at,
            detail,
        }));
    }
}
