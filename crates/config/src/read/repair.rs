//! Ladders of steps.

use std::time::Duration;

use pitcrew_model::{Action, ReceiverName, Repair, RepairName, Step, TestName};

use super::{
    drain::ReadDrain,
    labels::{Placeholders, command},
};
use crate::{
    fields::Fields,
    place::Span,
    reader::Reader,
    shape::{Kind, Shape, defaulted, optional, quoted, required},
    suggest::nearest,
    tree::{Entry, Node, Value},
    values,
};

pub(crate) const REPAIR: Shape = Shape::new(
    "repair",
    "A ladder of steps, taken one after the other while the tests go on failing.",
    &[
        required("name", values::NAME, "Its name, unique in the service."),
        required(
            "when",
            Kind::List(&values::NAME),
            "Tests whose failure it repairs.",
        ),
        required(
            "steps",
            Kind::List(&Kind::Shape(&STEP)),
            "What is done. A ladder without `hand_over` at its end hands over to every receiver.",
        ),
    ],
);

const STEP: Shape = Shape::new(
    "step",
    "An action, how often it is tried and how long it has to help.",
    &[
        optional(
            "restart",
            Kind::Shape(&NOTHING),
            "By whatever runs the target: supervised process, unit, container.",
        ),
        optional(
            "start",
            Kind::Shape(&NOTHING),
            "By whatever runs the target.",
        ),
        optional(
            "stop",
            Kind::Shape(&NOTHING),
            "By whatever runs the target.",
        ),
        optional(
            "reboot",
            Kind::Shape(&NOTHING),
            "The host that the target runs on, by its own agent.",
        ),
        optional(
            "power_cycle",
            Kind::Shape(&NOTHING),
            "The host that the target runs on, by its power controller: see `power`.",
        ),
        optional(
            "drain",
            Kind::Shape(&NOTHING),
            "Out of use, as the service's `drain` says; `settle` is how long connections have to end. A repaired target is given back by itself.",
        ),
        optional("command", Kind::Shape(&COMMAND), "A command of your own."),
        optional(
            "webhook",
            Kind::Shape(&WEBHOOK),
            "A request to a system of your own.",
        ),
        optional(
            "hand_over",
            Kind::Shape(&HAND_OVER),
            "A person goes on from here; always the last step.",
        ),
        defaulted(
            "tries",
            Kind::Whole { min: 1, max: 255 },
            "2",
            "How often it is tried before the next step. Not for `hand_over`.",
        ),
        defaulted(
            "settle",
            values::DURATION,
            "60s",
            "How long the target has to pass its tests again. Not for `hand_over`.",
        ),
    ],
)
.with_exactly_one(&ACTIONS);

const ACTIONS: [&str; 9] = [
    "restart",
    "start",
    "stop",
    "reboot",
    "power_cycle",
    "drain",
    "command",
    "webhook",
    "hand_over",
];

const NOTHING: Shape = Shape::new("plain action", "Nothing more to say.", &[]);

const COMMAND: Shape = Shape::new(
    "command step",
    "A command of your own.",
    &[
        required("name", values::NAME, "What reports call it."),
        optional(
            "command",
            values::TEXTS,
            "Program and arguments, no shell; `{target}`, `{address}` and `{label}` are replaced. It runs beside the server. Without it the target's own host runs the command that its configuration has under this name.",
        ),
        defaulted(
            "timeout",
            values::DURATION,
            "30s",
            "When it is given up: it may have taken effect.",
        ),
    ],
);

const WEBHOOK: Shape = Shape::new(
    "webhook step",
    "`POST` of the order as JSON.",
    &[
        required("name", values::NAME, "What reports call it."),
        required("url", values::WEB_ADDRESS, "Where to."),
        defaulted(
            "timeout",
            values::DURATION,
            "10s",
            "When it is given up: it may have taken effect.",
        ),
    ],
);

const HAND_OVER: Shape = Shape::new(
    "hand-over",
    "A person goes on from here.",
    &[optional(
        "to",
        values::NAME,
        "A receiver of `notify`. Default: every one.",
    )],
);

pub(crate) struct ReadRepair {
    pub(crate) name: RepairName,
    pub(crate) name_at: Span,
    pub(crate) repair: Option<Repair>,
    pub(crate) when_at: Vec<(TestName, Span)>,
    /// The actions that need something that runs the target.
    pub(crate) runner_steps: Vec<(Action, Span)>,
    /// Steps whose command is in the configuration of the target's host.
    pub(crate) host_commands: Vec<Span>,
    pub(crate) power_cycles: Vec<Span>,
    pub(crate) hand_overs: Vec<(ReceiverName, Span)>,
    /// The time to settle of each step that may cure, and the step's place.
    pub(crate) settles: Vec<(Duration, Span)>,
}

struct ReadStep {
    step: Option<Step>,
    is_hand_over: bool,
    at: Span,
    to: Option<(ReceiverName, Span)>,
}

pub(crate) fn repair(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    drain: &ReadDrain,
) -> Option<ReadRepair> {
    let fields = reader.fields(node, &REPAIR)?;
    let name = fields.value(reader, "name", values::name);
    let when_at = when(reader, &fields);
    let steps = steps(reader, &fields, drain);
    let name: RepairName = name?;
    let mut ladder: Vec<Step> = steps.iter().filter_map(|step| step.step.clone()).collect();
    let host_commands = steps.iter().filter(|step| {
        let action = step.step.as_ref().map(|step| &step.action);
        matches!(action, Some(Action::Command { command, .. }) if command.is_empty())
    });
    let host_commands = host_commands.map(|step| step.at).collect();
    let power_cycles = steps.iter().filter(|step| {
        let action = step.step.as_ref().map(|step| &step.action);
        action == Some(&Action::PowerCycle)
    });
    let power_cycles = power_cycles.map(|step| step.at).collect();
    let runner_steps = steps
        .iter()
        .filter_map(|step| Some((step.step.as_ref()?.action.clone(), step.at)))
        .filter(|(action, _)| action.needs_runner())
        .collect();
    let settles = steps
        .iter()
        .filter(|step| !step.is_hand_over)
        .filter_map(|step| Some((step.step.as_ref()?, step.at)))
        .filter(|(step, _)| !step.action.is_drain())
        .map(|(step, at)| (step.settle, at))
        .collect();
    if !ladder.last().is_some_and(is_hand_over) {
        ladder.push(hand_over_step(None));
    }
    Some(ReadRepair {
        name_at: fields.place_of("name"),
        repair: Some(Repair {
            name: name.clone(),
            when: when_at.iter().map(|(test, _)| test.clone()).collect(),
            steps: ladder,
        }),
        name,
        when_at,
        runner_steps,
        settles,
        host_commands,
        power_cycles,
        hand_overs: steps.into_iter().filter_map(|step| step.to).collect(),
    })
}

fn when(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Vec<(TestName, Span)> {
    let mut names = Vec::new();
    let items = fields.list(reader, "when");
    if fields.is_empty_list("when") {
        reader.error(
            fields.place_of("when"),
            "`when` is empty: this repair would never be used. Name at least one test",
        );
    }
    for item in items {
        let name = reader.parsed("when", item, &values::NAME, values::name);
        names.extend(name.map(|name| (name, item.at)));
    }
    names
}

impl ReadStep {
    fn is_drain(&self) -> bool {
        let step = self.step.as_ref();
        step.is_some_and(|step| step.action.is_drain())
    }
}

/// A person is called long before; the engine counts steps in a byte.
const STEPS_MAX: usize = 100;

fn steps(reader: &mut Reader<'_>, fields: &Fields<'_>, drain: &ReadDrain) -> Vec<ReadStep> {
    let items = fields.list(reader, "steps");
    if fields.is_empty_list("steps") {
        reader.error(
            fields.place_of("steps"),
            "`steps` is empty: write at least `- hand_over: {}`",
        );
    }
    if items.len() > STEPS_MAX {
        reader.error(
            fields.place_of("steps"),
            format!(
                "{} steps are no ladder: write at most {STEPS_MAX}",
                items.len()
            ),
        );
    }
    let steps: Vec<ReadStep> = items
        .iter()
        .filter_map(|item| step(reader, item, drain))
        .collect();
    let handed_over = steps.iter().position(|step| step.is_hand_over);
    if let Some(after) = handed_over.and_then(|at| steps.get(at + 1)) {
        reader.error(
            after.at,
            "nothing can follow `hand_over`: from there on a person decides",
        );
    }
    let mut acts = steps.iter().filter(|step| !step.is_hand_over);
    if let Some(last) = acts.next_back().filter(|step| step.is_drain()) {
        reader.warn(
            last.at,
            "no step follows this `drain`",
            "a drain repairs nothing: when the ladder is at its end, the target is given back as it is",
        );
    }
    steps
}

fn is_hand_over(step: &Step) -> bool {
    matches!(step.action, Action::HandOver { .. })
}

fn hand_over_step(to: Option<ReceiverName>) -> Step {
    Step {
        action: Action::HandOver { to },
        tries: 1,
        settle: Duration::ZERO,
    }
}

fn step(reader: &mut Reader<'_>, node: &Node<'_>, drain: &ReadDrain) -> Option<ReadStep> {
    if let Some(entry) = impossible_action(node) {
        let message = match nearest(&entry.key, ACTIONS) {
            Some(meant) => format!("unknown step `{}`, did you mean `{meant}`?", entry.key),
            None => format!(
                "no actuator here can `{}`; possible steps: {}",
                entry.key,
                quoted(&ACTIONS)
            ),
        };
        reader.error(entry.key_at, message);
        return None;
    }
    if let Value::Scalar { text, .. } = &node.value
        && ACTIONS.contains(&&**text)
    {
        reader.error(
            node.at,
            format!("a step is a mapping: write `- {text}: {{}}`"),
        );
        return None;
    }
    let fields = reader.fields(node, &STEP)?;
    let entry = fields.only()?;
    let tries = fields.whole_or_default(reader, "tries");
    let settle = fields.or_default(reader, "settle", values::some_duration);
    let at = entry.key_at;
    if entry.key == "hand_over" {
        return Some(hand_over(reader, &fields, at));
    }
    let action = action(reader, &fields, entry, drain);
    Some(ReadStep {
        step: action.map(|action| Step {
            action,
            tries,
            settle,
        }),
        is_hand_over: false,
        at,
        to: None,
    })
}

/// The key that was meant as an action, in a step that has none.
fn impossible_action<'t>(node: &'t Node<'t>) -> Option<&'t Entry<'t>> {
    let Value::Map(entries) = &node.value else {
        return None;
    };
    if entries.iter().any(|entry| ACTIONS.contains(&&*entry.key)) {
        return None;
    }
    entries.iter().find(|entry| STEP.key(&entry.key).is_none())
}

fn hand_over(reader: &mut Reader<'_>, fields: &Fields<'_>, at: Span) -> ReadStep {
    for name in ["tries", "settle"] {
        if let Some(entry) = fields.entry(name) {
            reader.error(entry.key_at, format!("`hand_over` has no `{name}`"));
        }
    }
    let inner = fields.inner(reader, "hand_over");
    let to: Option<ReceiverName> = inner.and_then(|f| f.value(reader, "to", values::name));
    ReadStep {
        step: Some(hand_over_step(to.clone())),
        is_hand_over: true,
        at,
        to: to.zip(inner.map(|fields| fields.place_of("to"))),
    }
}

fn action(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    entry: &Entry<'_>,
    drain: &ReadDrain,
) -> Option<Action> {
    let inner = fields.inner(reader, &entry.key)?;
    Some(match &*entry.key {
        "restart" => Action::Restart,
        "start" => Action::Start,
        "stop" => Action::Stop,
        "reboot" => Action::Reboot,
        "power_cycle" => Action::PowerCycle,
        "drain" => match drain {
            ReadDrain::Read(drain) => Action::Drain(drain.clone()),
            ReadDrain::Wrong => return None,
            ReadDrain::Absent => {
                reader.error_with_help(
                    entry.key_at,
                    "nothing says how targets of this service are drained",
                    "write it once for the service: `drain: { webhook: { url: \"http://…\" } }`",
                );
                return None;
            }
        },
        "command" => {
            let name = inner.value(reader, "name", values::not_empty);
            let command = match inner.has("command") {
                true => command(reader, &inner, "command", Placeholders::Command),
                false => Some(Vec::new()),
            };
            Action::Command {
                timeout: inner.or_default(reader, "timeout", values::some_duration),
                name: name?,
                command: command?,
            }
        }
        _ => {
            let name = inner.value(reader, "name", values::not_empty);
            let url = inner.value(reader, "url", values::web_address);
            Action::Webhook {
                timeout: inner.or_default(reader, "timeout", values::some_duration),
                name: name?,
                url: url?,
            }
        }
    })
}
