//! Every guard of the engine by name, so that a test can take one away and see what goes wrong without it.
//!
//! A guard is whatever, if it were missing, would let something happen that must not, or would lose or double
//! something. Without the feature `switches` every guard holds and asking costs nothing; with it, which no build for
//! users has, one at a time can be switched off in a thread. `cargo xtask guards` does that to each of them and names
//! those whose absence nobody notices. The interlock has its own list and its own switches.

#[cfg(feature = "switches")]
use std::cell::Cell;

macro_rules! guards {
    ($($name:ident $text:literal $what:literal;)*) => {
        /// What the engine never does without.
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
    // People.
    HeldByPerson "held_by_person" "a target under a person's hand is left alone";
    HostHeldByPerson "host_held_by_person" "so is what runs on it";
    Paused "paused" "a pause stops new orders in its scope";
    PauseNamesSomething "pause_names_something" "a misspelt pause is refused, since it would hold nothing back";
    Autonomy "autonomy" "nothing is done by itself where a person wants to see it first";
    Window "window" "an open window makes autonomy more careful";
    ApprovalNeeded "approval_needed" "with autonomy `approve` an order waits for a person";
    ApprovedDigest "approved_digest" "an approval is for what was approved, not for what is wanted now";
    AskedDigest "asked_digest" "whoever approves names the digest of the order that waits";
    ApprovalVoid "approval_void" "an order that waits for approval ends with its case";
    DeniedStays "denied_stays" "a denied order is not asked for again";
    HandedOver "handed_over" "what a person has is not repaired beside them";
    PersonsHold "persons_hold" "a person's order respects other people's holds";
    PersonsPause "persons_pause" "a person's order respects pauses, also on what was stopped";
    PersonsBreaker "persons_breaker" "a person's order respects breakers";
    PersonsRunner "persons_runner" "a person's order needs something that runs the target";
    PersonsLimits "persons_limits" "a person's order goes through the limits";
    PersonsInterlock "persons_interlock" "a person's order goes through the interlock";
    AcceptNeedsRefusal "accept_needs_refusal" "only an answer of discovery that was refused can be accepted";
    StopStands "stop_stands" "what a person stopped stays stopped";
    HoldKeepsStop "hold_keeps_stop" "a hold does not end the stop before it";
    StopIsNoRepair "stop_is_no_repair" "a person's stop is no step of a repair";
    CloseWaits "close_waits" "a case is not closed under an order in flight";

    // Evidence.
    LateAnswer "late_answer" "an answer to an older question than the last is ignored";
    AnswerOnce "answer_once" "an answer that is heard twice is one round";
    TrustAfter "trust_after" "an answer to a question from before a pause is ignored";
    FreshAfterPause "fresh_after_pause" "what was known before a pause is not known after it";
    StreakAfterPause "streak_after_pause" "a streak from before a pause does not go on after it";
    RecheckAfterPause "recheck_after_pause" "an extra round from before a pause is asked for again";
    SettleAfterPause "settle_after_pause" "a verification gets its time to settle again after a pause";
    ProbationAfterPause "probation_after_pause" "a pause does not count as probation";
    Freshness "freshness" "old answers prove nothing";
    VouchesForPasses "vouches_for_passes" "`unchanged` says nothing about a failure or no answer";
    VouchesForNoFuture "vouches_for_no_future" "`unchanged` says nothing about what is still to come";
    VouchesAnInterval "vouches_an_interval" "`unchanged` may have been asked an interval ago";
    SuspectHasNoSay "suspect_has_no_say" "an observer that fails its own control test is not believed";
    SilentHasNoSay "silent_has_no_say" "an observer that fell silent does not keep a failure up for ever";
    FailureThreshold "failure_threshold" "a failure is believed after a streak";
    SuccessThreshold "success_threshold" "a recovery is believed after a streak";
    Quorum "quorum" "a failure is believed by a majority of the observers that report";
    CannotTell "cannot_tell" "an observer that can't tell is one that reports";
    Recheck "recheck" "one extra round before anything is confirmed";
    RecheckAnswered "recheck_answered" "the extra round counts those who answered it";
    RecheckAskedAfter "recheck_asked_after" "the extra round counts questions put after it was asked for";
    RecheckMajority "recheck_majority" "the extra round needs a majority";
    SettledNeedsAnswer "settled_needs_answer" "silence is no recovery";
    SettledByStreak "settled_by_streak" "one pass is no recovery";
    SettledFindings "settled_findings" "each finding must be disproved";
    OwnOrderExplains "own_order_explains" "what an order does to its target is that order's business";
    AnswerBeforeOutcome "answer_before_outcome" "nor is the first answer that a new run has, when it was asked before the outcome";
    HostOrderExplains "host_order_explains" "what an order on a host does to its guests is no failure of theirs";
    NoCaseInFlight "no_case_in_flight" "a target that still settles after an order has no new case";
    BelievedNow "believed_now" "an order needs a failure that is believed right now";
    ObserverSuspect "observer_suspect" "nothing on the word of observers that are all suspect";
    FailingEverywhere "failing_everywhere" "when every domain fails at once the observer is suspect";
    Flapping "flapping" "what flaps is a person's business";

    // Breakers.
    Breaker "breaker" "a mass failure stops new disruption";
    BreakerHalf "breaker_half" "a breaker releases itself below half its threshold";
    BreakerCalmTime "breaker_calm_time" "a breaker releases itself after a calm time";
    BreakerManual "breaker_manual" "a manual breaker waits for a person";
    BreakerTold "breaker_told" "a person is told of a breaker that trips";
    RelapseCounts "relapse_counts" "a relapse is a new failure to a breaker";
    Escalation "escalation" "a person is not called for what a breaker explains";

    // Limits.
    LedgerWritable "ledger_writable" "nothing new without a ledger";
    OneOrder "one_order" "one order at a time on a target";
    OrdersOnGuests "orders_on_guests" "no order on a host while one is in flight on what runs on it";
    OrdersOnHosts "orders_on_hosts" "no order on a guest while one is in flight on what it runs on";
    MaxInFlight "max_in_flight" "orders in flight in a service";
    PerDomain "per_domain" "orders in flight in a domain";
    RoomOfGuests "room_of_guests" "an order on a host needs room where its guests belong";
    LastHealthy "last_healthy" "never the last one";
    MaxUnavailable "max_unavailable" "unavailable targets, counted after the removal";
    CapacityOfGuests "capacity_of_guests" "an order on a host takes its guests away, too";
    HeldIsUnavailable "held_is_unavailable" "a target in a person's hand is not counted on";
    FlyingIsUnavailable "flying_is_unavailable" "a target with an order in flight is not counted on";
    FailingIsUnavailable "failing_is_unavailable" "a target with a failed round is not counted on";
    CarriedIsUnavailable "carried_is_unavailable" "nor is one whose host has an order in flight";
    UnknownIsUnavailable "unknown_is_unavailable" "a target nobody hears of is not counted on";
    ProbationIsUnavailable "probation_is_unavailable" "a target on probation is not counted on";
    ServiceRate "service_rate" "disruptive orders in a service within a time";
    RateOfGuests "rate_of_guests" "an order on a host needs rate where its guests belong";
    RateSpentByGuests "rate_spent_by_guests" "an order on a host counts in the rate of every service that it touches";
    FlightOfGuests "flight_of_guests" "an order on a host is in flight in every service and domain that it touches";
    BystandersOfPeople "bystanders_of_people" "what runs beside the target is not taken down out of a person's hand";
    BystandersPaused "bystanders_paused" "nor out of a paused service";
    BystandersBreakers "bystanders_breakers" "nor where a breaker holds";
    BystandersAutonomy "bystanders_autonomy" "nor more freely than its own service is repaired";
    FleetBrake "fleet_brake" "disruptive orders over everything";
    BrakeNeedsPerson "brake_needs_person" "only a person releases the fleet brake";
    BrakeTold "brake_told" "a person is told of the fleet brake";
    RateOverReload "rate_over_reload" "a reload does not forget what was given";
    FlightOverReload "flight_over_reload" "a reload does not lose sight of orders in flight";
    FlightOverMove "flight_over_move" "an order in flight counts in the service its target moved to";
    Cooldown "cooldown" "a target rests after a case";
    CooldownDoubles "cooldown_doubles" "it rests longer after each further case";

    // The ladder and its end.
    NeedsRunner "needs_runner" "what needs a runner is a person's business without one";
    LadderClimbs "ladder_climbs" "a step has so many tries";
    LadderEnds "ladder_ends" "after the last step a person has it";
    Lemon "lemon" "so many cases on one target are a person's business";
    PersonCalled "person_called" "whoever gets a case is told";
    ApprovalTold "approval_told" "whoever must approve is told";
    RefusedSourceTold "refused_source_told" "a person is told of an answer of discovery that is not obeyed";
    HeldAsksAgain "held_asks_again" "what is held is asked again when its limit may have freed up";

    // Orders.
    InterlockObeyed "interlock_obeyed" "an objection of the interlock holds an order back";
    IntentFirst "intent_first" "the ledger has an order before it leaves";
    Numbering "numbering" "no two orders share a number";
    Fence "fence" "an order carries the current fence";
    Expiry "expiry" "an order expires";

    // Leases.
    DrainedIsUnavailable "drained_is_unavailable" "a target that is out of use is not counted on, whatever its tests say";
    DrainSettles "drain_settles" "connections get their time to end before the next step";
    UndrainedStops "undrained_stops" "what can't be drained and is not down is not disrupted";
    LapsedDrainsAgain "lapsed_drains_again" "a ladder whose lease ran out drains before it goes on";
    DrainedForSure "drained_for_sure" "a drain that may have had no effect is no leave to go on";
    DrainsEnd "drains_end" "a target is not drained again and again for a step that never comes";
    OneAtTheHook "one_at_the_hook" "no drain while a renewal or an undrain of that target is with its hook";
    Renewed "renewed" "a lease is renewed while its target is repaired";
    RenewedForWork "renewed_for_work" "and not while nothing is done for long";
    RenewedUnlessPaused "renewed_unless_paused" "nor into a person's pause";
    RenewedInLedger "renewed_in_ledger" "nor without a ledger";
    UnknownIsDrained "unknown_is_drained" "a drain that may have taken effect is undone";
    GivenBackToProve "given_back_to_prove" "a repaired target is back in use while it is watched";
    GivenBackAtClose "given_back_at_close" "a target is given back when its case is closed";
    GivenBackToPerson "given_back_to_person" "and when a person has its case";
    LapsedIsGivenBack "lapsed_is_given_back" "and when its lease ran out";
    UndoWaitsForNoRenewal "undo_waits_for_no_renewal" "a renewal that failed does not put off an undrain";
    FormerHookIsOutlived "former_hook_is_outlived" "an undrain is repeated after what a former run may have left with the hook";
    UndrainedAgain "undrained_again" "an undrain that failed is tried again";
    UndrainTold "undrain_told" "a person is told of a target that can't be given back";

    // Outcomes, verification, probation.
    OutcomeOnce "outcome_once" "an order has one outcome; a second report of it changes nothing";
    UnknownIsVerified "unknown_is_verified" "what may have taken effect is looked at, not repeated";
    OutcomeOverdue "outcome_overdue" "an outcome that never comes counts as `may have taken effect`";
    ProofAfterOrder "proof_after_order" "the next order needs proof from after this one";
    ProofAfterHostsOrder "proof_after_hosts_order" "so does one on anything that an order on its host touched";
    TestsDecide "tests_decide" "the actuator's own success is no proof";
    VerifiedByAll "verified_by_all" "every observer that reports must see it pass";
    VerifiedByReport "verified_by_report" "what failed is disproved by passes that were reported, not by `unchanged`";
    VerifiedFreshly "verified_freshly" "old answers verify nothing";
    VerifiedWhole "verified_whole" "every test that proves the target up must pass, not only the one that failed";
    Settle "settle" "a target gets its time to settle before the next try";
    FlightOverVerification "flight_over_verification" "an order is in flight while it is verified";
    FlightEnds "flight_ends" "an order whose case ended meanwhile is not in flight for ever";
    Probation "probation" "what passes again is watched before it counts as cured";
    ProbationQuiet "probation_quiet" "a probation does not end while something fails or nothing is heard";
    Relapse "relapse" "a failure on probation is the next try of the same case";

    // An order that the ledger could not take.
    NotGivenLands "not_given_lands" "what never left is not in flight";
    NotGivenIsNoTry "not_given_is_no_try" "what never left is no try";
    NotGivenIsNoStop "not_given_is_no_stop" "a stop that never left holds nothing";

    // What outlives a restart.
    RestartTrust "restart_trust" "cases of a former run go on with answers from now on";
    RestoredOrder "restored_order" "an order of a former run is in flight until its outcome is known";
    RestoredFlight "restored_flight" "and its target is busy, once it is found";
    RestoredApproval "restored_approval" "an order that waits for approval still waits";
    RestoredHold "restored_hold" "a person's hold";
    RestoredPause "restored_pause" "a pause";
    RestoredLease "restored_lease" "a target that is out of use";
    RestoredBreaker "restored_breaker" "a tripped breaker";
    RestoredFailing "restored_failing" "what newly failed, for the breakers";
    RestoredBrake "restored_brake" "the fleet brake";
    RestoredRate "restored_rate" "what was given in a service";
    RestoredFleetRate "restored_fleet_rate" "what was given over everything";
    RestoredMemory "restored_memory" "cooldowns and lemons";
    SettleAfterRestart "settle_after_restart" "a verification gets its time to settle again after a restart";
    LostOrderDecidedAnew "lost_order_decided_anew" "a case that waits for an order nobody knows of is decided anew";

    // Targets that change.
    CaseFollowsService "case_follows_service" "a case ends when its target leaves its service";
    CaseOfGoneTarget "case_of_gone_target" "a case ends when its target is gone";
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

/// Takes these guards away from every engine of this thread, and puts back all others.
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
