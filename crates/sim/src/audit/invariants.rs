//! The invariants, one small function for each thing that can be told from outside, numbered as in the interlock:
//! what is asked of each order, and here 1, 2, 6, 7, 11 and 12.

use pitcrew_model::{Authority, Order, Rate, Service, ServiceName, TargetId, Timestamp};

use super::{Auditor, people::allowed_by_autonomy, roster::Entry};

/// A broken invariant and how.
pub(super) type Charge = (u8, String);

pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(super) fn by_person(order: &Order) -> bool {
    matches!(order.authority, Authority::Person { .. })
}

impl Auditor {
    /// All that speaks against an order when it is decided on.
    pub(super) fn charges_against(&self, now: Timestamp, order: &Order) -> Vec<Charge> {
        let Some((entry, service)) = self.subject(order) else {
            let what = format!(
                "{} is for {}, which its service does not select now",
                order.id, order.target.id
            );
            return vec![(12, what)];
        };
        let mut charges: Vec<Charge> = [
            self.one_order_per_target(now, order),
            self.acts_on_its_machine(order, entry),
            self.lease_ends(now, order),
            self.fence_is_current(order),
            self.case_is_open(order),
            self.person_has_no_hand_on_it(order),
            allowed_by_autonomy(now, order, service),
            self.allowed_by_person(order),
            self.ladder_climbs(order, service),
            self.not_handed_over(order),
            self.no_lemon(now, order, service),
            self.rested(now, order, service),
        ]
        .into_iter()
        .flatten()
        .collect();
        if order.action.is_disruptive() {
            charges.extend(self.proven_to_fail(now, order, entry));
            charges.extend(self.room_in_flight(now, order));
            charges.extend(self.enough_left(now, order));
            charges.extend(self.not_everything_at_once(now, order, service));
            charges.extend(self.breaker_is_closed(order, service));
            charges.extend(self.no_mass_failure(now, entry, service));
        }
        charges
    }

    /// All that speaks against an order when it leaves. `decided`: in this run of the server.
    pub(super) fn leaving(&mut self, now: Timestamp, order: &Order, decided: bool) -> Vec<Charge> {
        let mut charges: Vec<Charge> = [
            self.intent_is_durable(order, decided),
            (now >= order.expires_at).then(|| (12, format!("{} left after its expiry", order.id))),
        ]
        .into_iter()
        .flatten()
        .collect();
        if self.flights.leaves(order) {
            charges.push((6, format!("operation {} left twice", order.operation)));
        }
        if order.action.is_disruptive() && !order.is_upkeep() {
            charges.extend(self.brake_holds(order));
            charges.extend(self.rate_holds(order));
        }
        charges
    }

    fn subject(&self, order: &Order) -> Option<(&Entry, &Service)> {
        let (_, entry) = self.roster.find(&order.target.id)?;
        let service = &self.roster.services[entry.service?];
        let current =
            order.service.as_ref() == Some(&service.name) && *entry.target == *order.target;
        current.then_some((entry, service))
    }

    /// 1: with what it runs on and what runs on it.
    fn one_order_per_target(&self, now: Timestamp, order: &Order) -> Option<Charge> {
        let down = self.roster.brought_down(&order.acts_on().id);
        let hosts = self.roster.hosts(order.acts_on());
        let mut beside = self.flights.beside(now, order.id);
        let other = beside.find(|other| {
            let on = [&other.target.id, &other.acts_on().id];
            on.iter().any(|id| down.contains(id) || hosts.contains(id))
        })?;
        Some((
            1,
            format!(
                "{} on {} while {} is in flight on {}",
                order.id, order.target.id, other.id, other.target.id
            ),
        ))
    }

    /// 12: what it acts on is the target, or for a reboot or a power cycle what that runs on now.
    fn acts_on_its_machine(&self, order: &Order, entry: &Entry) -> Option<Charge> {
        let on = &order.acts_on().id;
        let is_own = *on == order.target.id
            || order.action.is_on_host() && entry.target.run_on.as_ref() == Some(on);
        let what = format!("{} for {} acts on {on}", order.id, order.target.id);
        (!is_own).then_some((12, what))
    }

    /// 2: the very order that leaves was decided on in this run, and the ledger has it.
    fn intent_is_durable(&mut self, order: &Order, decided: bool) -> Option<Charge> {
        let intent = self.intents.remove(&order.id);
        if decided && !order.needs_ledger() {
            return None;
        }
        let why = match intent {
            _ if !decided => "was not decided on in this run, or its intent was struck",
            _ if self.ledger_broken => "left while the ledger could not be written",
            None => "left before its intent was in the ledger",
            Some(intent) if intent != *order => "is another than its intent says",
            Some(_) => return None,
        };
        Some((2, format!("{} {why}", order.id)))
    }

    pub(super) fn placed(&self, id: &TargetId) -> Option<(&Entry, &Service)> {
        let (_, entry) = self.roster.find(id)?;
        Some((entry, &self.roster.services[entry.service?]))
    }

    /// 7: what an order may still do ends by itself.
    pub(super) fn lease_ends(&self, now: Timestamp, order: &Order) -> Option<Charge> {
        let too_long = order.expires_at > order.given_at + Order::EXPIRY || order.given_at > now;
        too_long.then(|| (7, format!("{} is valid for too long", order.id)))
    }

    /// What is too long ago to count stays so, also when the clock is set back before the order leaves.
    pub(super) fn forget_given(&mut self, now: Timestamp, order: &Order) {
        let per = self.fleet_limits.fleet_rate.per;
        self.flights.forget_given(None, now, per);
        if let Some((name, rate)) = self.rate_of(order) {
            self.flights.forget_given(Some(&name), now, rate.per);
        }
    }

    fn rate_of(&self, order: &Order) -> Option<(ServiceName, Rate)> {
        let name = order.service.as_ref()?;
        let mut services = self.roster.services.iter();
        let service = services.find(|service| service.name == *name)?;
        Some((name.clone(), service.limits.rate))
    }

    /// 11: over everything, until a person releases it.
    fn brake_holds(&mut self, order: &Order) -> Option<Charge> {
        let rate = self.fleet_limits.fleet_rate;
        let was_on = self.flights.brake(order.given_at, rate);
        was_on.then(|| {
            (
                11,
                format!("{} left with the fleet brake on ({rate})", order.id),
            )
        })
    }

    /// 11: of its own service.
    fn rate_holds(&mut self, order: &Order) -> Option<Charge> {
        let (name, rate) = self.rate_of(order)?;
        let given = self.flights.count(Some(&name), order.given_at, rate);
        (given > rate.count).then(|| {
            (
                11,
                format!("{} is number {given} in {name}, at most {rate}", order.id),
            )
        })
    }

    /// 12: an order of another run of the server is stale.
    pub(super) fn fence_is_current(&self, order: &Order) -> Option<Charge> {
        let current = self.fence == Some(order.fence) && order.fence > self.fence_before;
        (!current).then(|| {
            (
                12,
                format!(
                    "the fence of {} is {}, not this run's",
                    order.id, order.fence
                ),
            )
        })
    }

    /// 12: the case it is for is still open.
    pub(super) fn case_is_open(&self, order: &Order) -> Option<Charge> {
        let case = order
            .case
            .filter(|case| self.annals.closed.contains(case))?;
        Some((12, format!("{} is for {case}, which is closed", order.id)))
    }
}
