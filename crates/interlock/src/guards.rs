//! Every clause that can make the interlock refuse, and every entry in its books that such a clause rests on, by name.
//!
//! Without the feature `switches` all of them hold and asking costs nothing; with it, which no build for users has,
//! one at a time can be switched off in a thread. `cargo xtask guards` does that to each of them and names those whose
//! absence nobody notices. The engine has its own list and its own switches: this crate shares nothing with it.

#[cfg(feature = "switches")]
use std::cell::Cell;

macro_rules! guards {
    ($($name:ident $text:literal $what:literal;)*) => {
        /// What an order meets before it may pass.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Guard {
            $(#[doc = $what] $name,)*
        }

        impl Guard {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it sees to, in one line.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$name => $what,)* }
            }
        }
    };
}

guards! {
    // Which target, which service.
    KnownTarget "known_target" "12: only a target that discovery knows now";
    OwnMachine "own_machine" "12: a reboot or power cycle acts on what the target runs on, and on nothing else";
    OwnService "own_service" "12: only for the service that selects the target now";

    // One order at a time.
    OneOrder "one_order" "1: one order at a time on a target";
    OrdersOnGuests "orders_on_guests" "1: no order on a host while one is in flight on what runs on it";
    OrdersOnHosts "orders_on_hosts" "1: no order on a guest while one is in flight on what it runs on";

    // The ledger.
    LedgerWritable "ledger_writable" "2: nothing without a ledger";

    // Evidence.
    Justified "justified" "3: an order by policy needs a failure that is seen right now";
    FailureThreshold "failure_threshold" "3: a failure is a streak";
    Majority "majority" "3: a failure is seen by a majority of those who answered lately";
    Freshness "freshness" "3: old answers count for nothing";
    TrustAfter "trust_after" "3: an answer from before a pause counts for nothing";
    RestartTrust "restart_trust" "3: nor does one from before a restart";
    LateAnswer "late_answer" "3: an answer to an older question than the last is ignored";
    CannotTell "cannot_tell" "3: an observer that can't tell is one of those whose majority decides";
    AnswerOnce "answer_once" "3: an answer that is heard twice is one round";
    VouchesForPasses "vouches_for_passes" "3: `unchanged` says nothing about a failure or no answer";
    VouchesForNoFuture "vouches_for_no_future" "3: `unchanged` says nothing about what is still to come";
    VouchesAnInterval "vouches_an_interval" "3: `unchanged` may have been asked an interval ago";
    ProofAfterOrder "proof_after_order" "6: the next order needs a streak from after this one";
    ProofAfterHostsOrder "proof_after_hosts_order" "6: so does one on anything that a host's order touched";
    AnswersOfOldTest "answers_of_old_test" "3: answers to a test that was changed are forgotten";

    // Room.
    MaxInFlight "max_in_flight" "3: orders in flight in a service";
    PerDomain "per_domain" "3: orders in flight in a domain";
    RoomOfGuests "room_of_guests" "3: an order on a host needs room where its guests belong";
    FlightOfGuests "flight_of_guests" "3: an order in flight on a host counts where its guests belong";
    FlightWhereGiven "flight_where_given" "3: an order in flight counts in the service that it was given for";
    FlightWhereFound "flight_where_found" "3: and in the service that its target is in now";
    FlightUntilSettled "flight_until_settled" "3: an order is in flight until its target is up again or had its time to settle";
    UpAfterLanding "up_after_landing" "3: up again means asked after the outcome";

    // Capacity.
    LastHealthy "last_healthy" "4: never the last one";
    MaxUnavailable "max_unavailable" "3: unavailable targets, counted after the removal";
    CapacityOfGuests "capacity_of_guests" "3: an order on a host takes its guests away, too";
    OwnWordForDown "own_word_for_down" "3: only what these books know to be down costs nothing, whatever the order says";
    ProbationIsNotUp "probation_is_not_up" "3: a target on probation is not counted on";
    ProbationBegins "probation_begins" "3: a target is on probation after an order";
    HeldIsNotUp "held_is_not_up" "3: a target in a person's hand is not counted on";
    FlyingIsNotUp "flying_is_not_up" "3: a target with an order in flight is not counted on";
    CarriedIsNotUp "carried_is_not_up" "3: nor is one whose host has an order in flight";
    UntestedIsNotUp "untested_is_not_up" "3: a target that nothing tests is not counted on";
    UnknownIsNotUp "unknown_is_not_up" "3: a target nobody hears of is not counted on";
    FailedIsNotUp "failed_is_not_up" "3: a target that failed its last round is not counted on";

    // Leases.
    DrainedIsNotUp "drained_is_not_up" "3: a target that is out of use is not counted on";
    LeaseEnds "lease_ends" "7: a drain ends by itself";
    OneAtTheHook "one_at_the_hook" "7: no drain while another order about that target is with its hook";
    RenewsKnown "renews_known" "7: only a lease that was begun here is renewed";
    RenewsLive "renews_live" "7: and only while it runs";
    RenewsForWork "renews_for_work" "7: and only while something is done on its target";
    RenewsInLedger "renews_in_ledger" "2: nor without a ledger";
    RenewsUnlessPaused "renews_unless_paused" "14: nor into a person's pause or hand";
    UndrainsDrained "undrains_drained" "7: only what was drained is given back";

    // Repetition.
    NotRepeated "not_repeated" "6: an operation is never given twice";
    LadderRung "ladder_rung" "15: an order stands on a rung of its repair";
    RungAction "rung_action" "15: with that rung's action";
    RungFirstTry "rung_first_try" "15: tries count from one";
    RungTries "rung_tries" "15: up to that rung's tries";

    // Mass failure and rates.
    SuspectObservers "suspect_observers" "9: nothing on the word of observers that are all suspect";
    SuspectHasNoSay "suspect_has_no_say" "9: an observer that fails its own control test is not believed";
    MassFailureOfService "mass_failure_of_service" "10: much of a service newly failing stops new disruption";
    MassFailureOfDomain "mass_failure_of_domain" "10: much of a domain newly failing stops it there";
    ServiceRate "service_rate" "11: disruptive orders in a service within a time";
    RateOfGuests "rate_of_guests" "11: an order on a host counts in the rate of every service that it touches";
    FleetBrake "fleet_brake" "11: disruptive orders over everything";
    BrakeNeedsPerson "brake_needs_person" "11: only a person releases the fleet brake";

    // Identity and time.
    Fence "fence" "12: an order carries the current fence";
    Expired "expired" "12: an expired order is stale";
    FromFuture "from_future" "12: an order from the future is wrong";

    // People.
    HeldByPerson "held_by_person" "14: a target under a person's hand is left alone";
    HostHeldByPerson "host_held_by_person" "14: so is what runs on it";
    GuestsOfPeople "guests_of_people" "14: what else goes down with a host is in nobody's hand";
    GuestsPaused "guests_paused" "14: nor is it up and in a pause";
    GuestsAutonomy "guests_autonomy" "14: nor taken more freely than its own service is repaired";
    GuestsMassFailure "guests_mass_failure" "10: nor in the middle of a mass failure";
    StopStands "stop_stands" "14: what a person stopped stays stopped";
    HoldKeepsStop "hold_keeps_stop" "14: a hold does not end the stop before it";
    NotGivenIsNoStop "not_given_is_no_stop" "14: a stop that never left holds nothing";
    NotGivenLands "not_given_lands" "2: what never left is not in flight";
    FleetPaused "fleet_paused" "14: a pause of everything stops new orders";
    ServicePaused "service_paused" "14: a pause of a service stops new orders in it";
    DomainPaused "domain_paused" "14: a pause of a domain stops new orders in it";
    PolicyNeedsAct "policy_needs_act" "14: an order by policy needs autonomy `act`";
    ApprovalNeedsApprove "approval_needs_approve" "14: an approved order needs autonomy `approve` at least";
    ApprovalHasName "approval_has_name" "14: an approval is somebody's";
    PersonHasName "person_has_name" "14: a person's order is somebody's";
    Window "window" "14: an open window makes autonomy more careful";

    // What outlives a restart.
    RestoredOrder "restored_order" "1: an order of a former run is in flight";
    RestoredOperation "restored_operation" "6: and is not given again";
    RestoredProbation "restored_probation" "3: probation";
    RestoredHold "restored_hold" "14: a person's hold";
    RestoredPause "restored_pause" "14: a pause";
    RestoredLease "restored_lease" "7: a target that is out of use";
    RestoredBrake "restored_brake" "11: the fleet brake";
    RestoredRate "restored_rate" "11: what was given lately";
}

/// False only in a build in which guards can be switched off.
pub const ALWAYS_HOLD: bool = cfg!(not(feature = "switches"));

/// Whether `guard` does its work: always, in a build for users.
#[cfg(not(feature = "switches"))]
#[inline(always)]
pub(crate) const fn holds(_guard: Guard) -> bool {
    true
}

#[cfg(feature = "switches")]
const COUNT: usize = Guard::ALL.len();

#[cfg(feature = "switches")]
thread_local! {
    static OFF: Cell<[bool; COUNT]> = const { Cell::new([false; COUNT]) };
    static ASKED: Cell<[u64; COUNT]> = const { Cell::new([0; COUNT]) };
}

#[cfg(feature = "switches")]
pub(crate) fn holds(guard: Guard) -> bool {
    let at = guard as usize;
    ASKED.with(|asked| asked.as_array_of_cells()[at].update(|times| times + 1));
    OFF.with(|off| !off.as_array_of_cells()[at].get())
}

/// Takes these guards away from every interlock of this thread, and puts back all others.
#[cfg(feature = "switches")]
pub fn switch_off(guards: &[Guard]) {
    let mut off = [false; COUNT];
    for guard in guards {
        off[*guard as usize] = true;
    }
    OFF.set(off);
}

/// How often each guard was asked for in this thread since the last call: one that was not makes no difference.
#[cfg(feature = "switches")]
#[must_use]
pub fn take_asked() -> Vec<(Guard, u64)> {
    let asked = ASKED.replace([0; COUNT]);
    Guard::ALL.iter().copied().zip(asked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_guards_share_a_name() {
        let names: std::collections::BTreeSet<&str> =
            Guard::ALL.iter().map(|guard| guard.name()).collect();
        assert_eq!(names.len(), Guard::ALL.len());
    }
}
