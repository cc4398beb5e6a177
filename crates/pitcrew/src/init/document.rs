//! The configuration as text, with the reasons beside each line: it is the first that a new user reads.
//!
//! It says nothing that changes from one run to the next, such as process numbers or times, so that two runs
//! on the same machine can be compared.

use std::path::Path;

use pitcrew_model::{Runner, Test, TestKind, Verdict, format_duration};

use super::{
    questions::Asked,
    survey::{Found, Seen, Survey},
    yaml::{comment, list, quoted, template, word},
};

const REPAIR: &str = "restart-then-hand-over";

pub(super) fn document(survey: &Survey, directory: &Path) -> String {
    let mut text = head(directory);
    if survey.found.is_empty() {
        text.push_str(&skeleton());
    } else {
        let services: Vec<Written> = survey.found.iter().map(service).collect();
        text.push_str("find:\n  - static:\n");
        for service in &services {
            text.push_str(&service.source);
        }
        text.push_str("\nservices:\n");
        for (at, service) in services.iter().enumerate() {
            text.push_str(if at == 0 { "" } else { "\n" });
            text.push_str(&service.service);
        }
    }
    text.push_str(&tail(survey));
    text
}

fn head(directory: &Path) -> String {
    let directory = directory.display();
    let mut text = comment(
        0,
        "What `pitcrew init` found on this machine. With this file Pitcrew only watches; it changes nothing.",
    );
    text.push_str("#\n");
    let commands = [
        (format!("pitcrew check {directory}"), "is it right?"),
        (format!("pitcrew serve --config {directory}"), "watch"),
        ("pitcrew status".to_owned(), "what is, now"),
    ];
    let width = commands[1].0.chars().count();
    for (command, what) in &commands {
        text.push_str(&format!("#   {:width$}   {what}\n", one_line(command)));
    }
    text.push_str("#\n");
    text.push_str(&comment(
        0,
        "Once you trust what it sees, raise `autonomy` of a service, step by step if you like: `observe` watches, \
         `propose` also says what it would do, `approve` does that when you say so (`pitcrew approve`), `act` does \
         it by itself. Each service has one instance here. It is only restarted when its tests have failed several \
         times in a row and so have proven that it serves nobody; while it may still serve somebody, the limit \
         \"never the last one\" holds a restart back. When five things or more fail at once, nothing is restarted, \
         and you are told: that is rarely their own fault.",
    ));
    text.push_str("#\n");
    text.push_str(&comment(
        0,
        "The directory is watched: a change takes effect by itself. `pitcrew schema` prints every key that there is.",
    ));
    text.push('\n');
    text
}

fn one_line(line: &str) -> String {
    line.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn skeleton() -> String {
    "\
# Nothing was found that a test here speaks to. Write what there is, like this:
#
# find:
#   - static:
#       - targets: [\"127.0.0.1:8080\"]
#         labels: { service: web }
# services:
#   - name: web
#     select: { service: web }
#     autonomy: observe
#     tests:
#       - name: answers
#         http: { path: /, status: [200] }
#         interval: 5s
#     repairs:
#       - name: restart-then-hand-over
#         when: [answers]
#         steps:
#           - restart: {}
#             settle: 30s
#           - hand_over: {}
#     runs_as: { unit: web.service }
find: []
services: []
"
    .to_owned()
}

struct Written {
    source: String,
    service: String,
}

fn service(found: &Found) -> Written {
    // The runner first: it decides which labels its braces need.
    let mut labels = Vec::new();
    let runner = found
        .choice
        .runner
        .as_ref()
        .map(|runner| runs_as(runner, &mut labels));
    let name = word(&found.name);

    let mut pairs = vec![format!("service: {name}")];
    pairs.extend(
        labels
            .iter()
            .map(|(label, value)| format!("{label}: {}", quoted(value))),
    );
    let mut source = String::new();
    if !labels.is_empty() {
        source.push_str(&comment(
            6,
            "Text in braces is replaced in commands, so these labels stand for the braces of its command.",
        ));
    }
    source.push_str(&format!(
        "      - targets: [{}]\n        labels: {{ {} }}\n",
        quoted(&found.address.to_string()),
        pairs.join(", ")
    ));

    let mut service = comment(2, &found.what);
    service.push_str(&format!(
        "  - name: {name}\n    select: {{ service: {name} }}\n    autonomy: observe\n    tests:\n"
    ));
    for asked in &found.tests {
        service.push_str(&test(asked));
    }
    if !found.untested.is_empty() {
        let ports: Vec<String> = found.untested.iter().map(u16::to_string).collect();
        service.push_str(&comment(
            6,
            &format!(
                "It also listens on {}, in a protocol or at an address that nothing here tests.",
                ports.join(", ")
            ),
        ));
    }
    service.push_str(&repairs(found));
    service.push_str(LIMITS);
    for note in &found.choice.notes {
        service.push_str(&comment(4, note));
    }
    service.push_str(&runner.unwrap_or_default());
    Written { source, service }
}

fn test(asked: &Asked) -> String {
    let test = &asked.test;
    let mut text = String::new();
    let evidence = &asked.answer.evidence;
    text.push_str(&comment(
        6,
        &match asked.answer.verdict {
            Verdict::Pass => format!("When it was asked: {evidence}"),
            verdict => format!("When it was asked this was {verdict}: {evidence}"),
        },
    ));
    for note in &asked.notes {
        text.push_str(&comment(6, note));
    }
    text.push_str(&format!(
        "      - name: {}\n        {}\n        interval: {}\n        timeout: {}\n        failure_threshold: {}\n        success_threshold: {}\n",
        word(test.name.as_str()),
        kind(test),
        format_duration(test.interval),
        format_duration(test.timeout),
        test.failure_threshold,
        test.success_threshold,
    ));
    text
}

/// The key of the test's kind, with what isn't a default.
fn kind(test: &Test) -> String {
    let mut keys: Vec<(&str, String)> = Vec::new();
    let socket =
        |socket: &Option<String>| socket.as_deref().map(|socket| ("socket", quoted(socket)));
    match &test.kind {
        TestKind::Http(http) => {
            keys.push(("path", word_or_path(&http.path)));
            keys.push(("status", statuses(&http.status)));
            if http.tls {
                keys.push(("tls", "{ insecure: true }".to_owned()));
            }
        }
        TestKind::Tls(tls) if tls.options.insecure => keys.push(("insecure", "true".to_owned())),
        TestKind::Postgres(postgres) => {
            keys.push(("user", word(&postgres.user)));
            keys.push(("database", word(&postgres.database)));
            keys.extend(socket(&postgres.socket));
        }
        TestKind::Mysql(mysql) => {
            keys.push(("user", word(&mysql.user)));
            keys.extend(socket(&mysql.socket));
        }
        TestKind::Hello(hello) => keys.push(("protocol", hello.protocol.name().to_owned())),
        _ => {}
    }
    let port = port_of(&test.kind).map(|port| ("port", port.to_string()));
    keys.extend(port);
    let keys: Vec<String> = keys
        .iter()
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    match keys.is_empty() {
        true => format!("{}: {{}}", test.kind.name()),
        false => format!("{}: {{ {} }}", test.kind.name(), keys.join(", ")),
    }
}

fn port_of(kind: &TestKind) -> Option<u16> {
    match kind {
        TestKind::Http(test) => test.port,
        TestKind::Tcp(test) => test.port,
        TestKind::Tls(test) => test.port,
        TestKind::Dns(test) => test.port,
        TestKind::Grpc(test) => test.port,
        TestKind::Postgres(test) => test.port,
        TestKind::Mysql(test) => test.port,
        TestKind::Redis(test) => test.port,
        TestKind::Memcached(test) => test.port,
        TestKind::Amqp(test) => test.port,
        TestKind::Hello(test) => test.port,
        TestKind::Nagios(_)
        | TestKind::Metric(_)
        | TestKind::Process
        | TestKind::Unit { .. }
        | TestKind::Host(_)
        | TestKind::Push => None,
    }
}

fn word_or_path(path: &str) -> String {
    if path == "/" {
        path.to_owned()
    } else {
        quoted(path)
    }
}

/// Whole classes by their name.
fn statuses(status: &[u16]) -> String {
    let classes: Vec<String> = status
        .chunks(100)
        .map(|class| format!("{}xx", class[0] / 100))
        .collect();
    let is_classes = status.len().is_multiple_of(100)
        && status
            .first()
            .is_some_and(|first| first.is_multiple_of(100));
    let single = || status.iter().map(u16::to_string).collect();
    list(&if is_classes { classes } else { single() })
}

fn repairs(found: &Found) -> String {
    let repaired = found.tests.iter().filter(|asked| asked.is_repaired);
    let when: Vec<String> = repaired
        .map(|asked| word(asked.test.name.as_str()))
        .collect();
    let mut text = format!(
        "    repairs:\n      - name: {REPAIR}\n        when: {}\n        steps:\n",
        list(&when)
    );
    if found.choice.runner.is_some() {
        // A store reads its data and recovers before it answers.
        let settle = if found.is_store { "60s" } else { "30s" };
        text.push_str(&format!(
            "          - restart: {{}}\n            tries: 2\n            settle: {settle}\n"
        ));
    }
    text.push_str("          - hand_over: {}\n");
    match found.choice.runner {
        Some(_) => text,
        None => text.replace(REPAIR, "hand-over"),
    }
}

const LIMITS: &str = "    \
limits:
      max_in_flight: 1                  # restarts under way at once
      rate: 6/h                         # restarts in any hour; more is a trouble that restarts don't mend
      cooldown: 10m                     # rest after a repair, doubled with each further one
      probation: 30m                    # quiet time until it counts as cured
      lemon: { cases: 3, within: 7d }   # from the third time on a person looks at it
";

/// `runs_as` of a service.
fn runs_as(runner: &Runner, labels: &mut Vec<(&'static str, &'static str)>) -> String {
    let mut text = |value: &str| template(value, labels);
    let body = match runner {
        Runner::Unit { name, bus: _ } => format!("      unit: {}\n", text(name)),
        Runner::Container { name, socket: None } => format!("      container: {}\n", text(name)),
        Runner::Container {
            name,
            socket: Some(socket),
        } => {
            format!(
                "      container: {{ name: {}, socket: {} }}\n",
                text(name),
                text(socket)
            )
        }
        Runner::Listener {
            port,
            exe,
            command,
            user,
            directory,
            grace,
        } => {
            let mut body = format!(
                "      listener:\n        port: {port}\n        exe: {}\n",
                text(exe)
            );
            body.push_str("        command:\n");
            for argument in command {
                body.push_str(&format!("          - {}\n", text(argument)));
            }
            if let Some(user) = user {
                body.push_str(&format!("        user: {}\n", text(user)));
            }
            if let Some(directory) = directory {
                body.push_str(&format!("        directory: {}\n", text(directory)));
            }
            body.push_str(&format!("        grace: {}\n", format_duration(*grace)));
            body
        }
        Runner::Supervised | Runner::Command { .. } => {
            unreachable!("what is found is run by a unit, a container or its own command")
        }
    };
    format!("    runs_as:\n{body}")
}

fn tail(survey: &Survey) -> String {
    let mut text = String::from("\n");
    text.push_str(&comment(
        0,
        "Who is told when a repair doesn't help, or isn't allowed. Until there is somebody, only `pitcrew status` \
         and the record know.",
    ));
    text.push_str(
        "# notify:\n#   - name: oncall\n#     webhook: { url: \"https://example.org/hook\" }   # or command: { command: [/usr/local/bin/page] }\n",
    );
    if !survey.seen.is_empty() {
        text.push_str("\n# Seen, not configured:\n");
        for seen in &survey.seen {
            text.push_str(&comment(0, &format!("- {}", seen_words(seen))));
        }
        text.push_str(WATCH_MORE);
    }
    if !survey.hidden.is_empty() {
        text.push_str("\n# Not seen:\n");
        for hidden in &survey.hidden {
            text.push_str(&comment(0, &format!("- {hidden}")));
        }
    }
    text
}

/// `127.0.0.1:22  sshd of root: part of the system, never repaired by Pitcrew`
pub(super) fn seen_words(seen: &Seen) -> String {
    format!("{} {}: {}", seen.address, seen.what, seen.why)
}

const WATCH_MORE: &str = "#
# To watch one of them, add a target above, with a label of its own, and a service:
#
#   - name: other
#     select: { service: other }
#     tests:
#       - name: accepts
#         tcp: {}        # a connection only; with send: and expect: also what it says
";

#[cfg(test)]
mod tests;
