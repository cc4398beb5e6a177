//! What a scenario says, as data: each line a time and an act or an expectation.

use std::{sync::Arc, time::Duration};

use pitcrew_model::{ObserverName, Production, Scope, ServiceName, Target, TargetId, TestName};

use crate::Side;

/// What is left out, so that the other's guards are seen alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Without {
    /// No order is judged.
    Interlock,
    /// No order is given but by people and by proposals.
    Planner,
}

#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) number: usize,
    /// As it is written, without its comment.
    pub(super) text: String,
    pub(super) when: When,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Since the scenario's start.
    At(Duration),
    /// Since the line above.
    After(Duration),
    /// As soon as it holds, at the latest so long after the line above.
    Within(Duration),
    /// At the moment of the line above.
    Then,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Act(Act),
    Expect(Expectation),
}

#[derive(Clone, Debug)]
pub(super) enum Act {
    Truth {
        targets: Vec<TargetId>,
        condition: Condition,
    },
    Orders(Rule),
    Person {
        by: String,
        does: Hand,
    },
    Server(Server),
    /// Milliseconds, forward or back.
    ClockSteps(i64),
    LedgerFull(bool),
    Discovery(Discovery),
    Observer {
        observer: ObserverName,
        is: Observer,
    },
    Reload(Arc<Production>),
    Propose(Proposal),
}

/// What whoever asks is told about a target. The last one said of a target, test and observer counts.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) state: State,
    /// `None`: the target as a whole, and all that runs on it.
    pub(super) test: Option<TestName>,
    /// Empty: every observer sees it.
    pub(super) seen_by: Vec<ObserverName>,
    pub(super) evidence: Option<String>,
    /// Then it is as it was before.
    pub(super) lasts: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Passes,
    Warns,
    Fails,
    /// No answer about it can be had.
    Silent,
    /// Fails a round and passes the next.
    Flaps,
}

/// What becomes of orders: the last rule that fits an order counts.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// As configuration names it, or the name of a command or webhook.
    pub(super) action: String,
    /// Empty: whatever the target.
    pub(super) of: Vec<TargetId>,
    pub(super) effect: OrderEffect,
    pub(super) heard: Heard,
    pub(super) takes: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OrderEffect {
    Cures,
    DoesNotHelp,
    /// The target is down afterwards, whatever it was before.
    Breaks,
    /// Certainly without effect, and the actuator says so.
    Fails,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Done,
    /// The actuator says that it may have taken effect.
    Unclear,
    /// The actuator never says anything.
    Never,
}

#[derive(Clone, Debug)]
pub(super) enum Hand {
    Holds {
        target: TargetId,
        lasts: Duration,
        why: String,
    },
    Releases(TargetId),
    Pauses {
        scope: Scope,
        why: String,
    },
    Resumes(Scope),
    Orders {
        action: String,
        target: TargetId,
        why: String,
    },
    /// The order that waits for approval on this target, by its own digest or another.
    Approves {
        target: TargetId,
        digest: Option<String>,
    },
    Denies(TargetId),
    Closes {
        target: TargetId,
        why: String,
    },
    /// What discovery answers, though it is not believed.
    Accepts {
        why: String,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Server {
    /// kill -9; `None`: it stays away until it is started.
    Crashes(Option<Duration>),
    CrashesAtNextOrder(Side, Option<Duration>),
    Starts,
    /// Stopped and continued, as by SIGSTOP.
    Pauses(Duration),
}

#[derive(Clone, Debug)]
pub(super) enum Discovery {
    Loses(Vec<TargetId>),
    Gives(Vec<Arc<Target>>),
    AnswersNothing,
    Fails(String),
    /// It answers again as before.
    Works,
}

#[derive(Clone, Debug)]
pub(super) enum Observer {
    Works,
    Silent,
    /// Fails its own control test, and says so.
    Suspect(String),
    SeesAllDown,
    SeesAllUp,
    /// Its answers arrive so much later.
    Late(Duration),
    /// Its answers come twice.
    HeardTwice,
    /// It does not repeat each pass but says once a round that nothing changed; its clock is so far ahead.
    SaysUnchanged(Duration),
}

/// An order that no sound planner gives, straight to the interlock. What is absent is as a sound one has it.
#[derive(Clone, Debug)]
pub(super) struct Proposal {
    pub(super) action: String,
    pub(super) target: TargetId,
    /// What a reboot or a power cycle would act on, other than what the target runs on.
    pub(super) host: Option<TargetId>,
    pub(super) service: Option<ServiceName>,
    /// A person's own order; empty: nobody's.
    pub(super) by: Option<String>,
    /// A repair that this person approved; empty: nobody.
    pub(super) approved_by: Option<String>,
    pub(super) repair: Option<String>,
    pub(super) step: Option<u8>,
    pub(super) attempt: Option<u8>,
    pub(super) fence: Option<u64>,
    /// When it was given, in milliseconds from now; it expires as any other.
    pub(super) given_ms: i64,
    /// The operation of the order proposed before it.
    pub(super) repeats: bool,
    /// Of a drain: the order that began the lease, other than the one that is known.
    pub(super) lease: Option<u64>,
    /// How long its lease would run from now, other than the service says.
    pub(super) lasts: Option<Duration>,
}

#[derive(Clone, Debug)]
pub(super) enum Expectation {
    /// All that was written since the last expectation, line by line.
    Story(Vec<StoryLine>),
    Lines {
        of: Subject,
        count: Count,
    },
    State {
        targets: Vec<TargetId>,
        is: Standing,
    },
}

#[derive(Clone, Debug)]
pub(super) struct StoryLine {
    pub(super) number: usize,
    /// Words one blank apart.
    pub(super) text: String,
    /// It may go on.
    pub(super) is_beginning: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Some,
    Exactly(usize),
}

/// Which lines of the story are meant.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    Anything,
    Line(String),
    Order {
        action: Option<String>,
        target: Option<TargetId>,
        step: Option<u8>,
        attempt: Option<u8>,
        by: Option<String>,
    },
    Notice(String),
    Refusal(String),
    Objection {
        invariant: Option<u8>,
        text: String,
    },
}

/// Where a target or its latest case stands.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    Healthy,
    Failing,
    Unknown,
    Suspected,
    /// Open and believed, whatever has become of it since.
    Confirmed,
    Held {
        limit: Option<String>,
        text: String,
    },
    Repairing,
    Verifying,
    Probation,
    Closed(Option<String>),
    /// What the balancer does, whatever anybody knows of it.
    Drained(bool),
}
