//! The language itself: what it refuses and where, that expectations fail when they don't hold, and that no
//! text makes it panic.

mod incidents;

use std::{fs, path::Path};

use incidents::{all, production, read};
use pitcrew_sim::scenario::Scenario;
use proptest::prelude::*;

const HEAD: &str = "\
production:
  services:
    - name: web
      select: { service: web }
      domains: [zone]
      autonomy: act
      runs_as: { unit: web.service }
      tests: [{ name: answers, tcp: {}, interval: 5s }]
      repairs:
        - { name: restart, when: [answers], steps: [{ restart: {}, settle: 30s }] }
targets:
  web-1..4  service=web zone=a,b,c
";

/// The lines of `HEAD`.
const ABOVE: usize = 12;

fn with(lines: &str) -> String {
    format!("{HEAD}{lines}\n")
}

/// Each mistake as `LINE:COLUMN: what`, lines counted from below the head.
fn mistakes(lines: &str) -> Vec<String> {
    let mistakes = read(&with(lines)).expect_err(lines);
    let told = mistakes.iter().map(|mistake| {
        let line = mistake.line.saturating_sub(ABOVE);
        format!("{line}:{}: {}", mistake.column, mistake.message)
    });
    told.collect()
}

#[test]
fn a_mistake_is_told_at_its_place_with_what_was_probably_meant() {
    for (line, expected) in [
        (
            "at 1m web-1 dwon",
            "1:13: there is no target `dwon`, did you mean `down`?",
        ),
        (
            "at 1m web-9 down",
            "1:7: there is no target `web-9`, did you mean `web-1`?",
        ),
        ("at 1m zone=x down", "1:7: no target has the label zone=x"),
        (
            "at 1m web-1 fails anwsers",
            "1:19: there is no test `anwsers`, did you mean `answers`?",
        ),
        (
            "at 1x web-1 down",
            "1:4: `1x` is not a duration: units are y, w, d, h, m, s, ms, each once, the largest first; write it like 500ms, 5s, 10m, 1h30m, 7d, or 00:10",
        ),
        (
            "at 1m web-1 down fro 5s",
            "1:18: nothing more is expected here, but there is `fro`",
        ),
        (
            "at 1m web-1 down seen by afar",
            "1:26: there is no observer `afar`; possible here: local",
        ),
        (
            "at 1m person op holds web-1 for 2h",
            "1:35: why is missing here, in quotes",
        ),
        (
            "at 1m person op pauses wbe \"x\"",
            "1:24: there is no service `wbe`, did you mean `web`?",
        ),
        (
            "at 1m preson op pauses web \"x\"",
            "1:7: unexpected `preson`, did you mean `person`?",
        ),
        (
            "at 1m server crashs",
            "1:14: unexpected `crashs`, did you mean `crashes`?",
        ),
        (
            "at 1m expect web-1 hled",
            "1:20: there is no target `hled`, did you mean `held`?",
        ),
        (
            "at 1m expect web-1 held max_inflight",
            "1:25: unexpected `max_inflight`, did you mean `max_in_flight`?",
        ),
        (
            "at 1m expect ordr restart web-1",
            "1:14: unexpected `ordr`, did you mean `order`?",
        ),
        (
            "at 1m expect 2 order",
            "1:16: unexpected `order`, did you mean `orders`?",
        ),
        (
            "at 1m expect order restrat web-1",
            "1:20: unexpected `restrat`, did you mean `restart`?",
        ),
        (
            "at 1m expect line",
            "1:18: a part of the line is missing here, in quotes",
        ),
        (
            "at 1m expect line \"x",
            "1:19: this text has no closing quote",
        ),
        (
            "within 1m web-1 down",
            "1:11: `within` only goes with `expect`",
        ),
        ("at 1m", "1:6: what happens is missing here"),
        (
            "tragets:\n  web-1",
            "1:1: unexpected `tragets:`, did you mean `targets:`?",
        ),
        (
            "at 1m web-1 down\nstart: 2026-01-01T00:00Z",
            "2:1: `start:` belongs above the first line of what happens",
        ),
        (
            "start: yesterday\nat 1m expect nothing",
            "1:8: `yesterday` is not a time such as `2026-12-24T00:00Z`",
        ),
        (
            "without: brakes\nat 1m expect nothing",
            "1:10: unexpected `brakes`; possible here: interlock, planner",
        ),
        (
            "without: interlock\nat 1m propose restart web-1",
            "2:7: nobody judges a proposal `without: interlock`",
        ),
        (
            "at 1m propose restart web-1 tyr=3",
            "1:29: unknown `tyr`, did you mean `try`?",
        ),
        (
            "at 1m discovery gives web-5 service=wbe",
            "1:40: no service selects `web-5` with {service=\"wbe\"}: web selects {service=\"web\"}",
        ),
        (
            "at 20y web-1 down",
            "1:8: by here the scenario lasts longer than ten years",
        ),
        (
            "at 2m web-1 down\nat 1m web-1 up",
            "2:4: `1m` is before a line above: time goes forward",
        ),
    ] {
        assert_eq!(
            mistakes(line).first().map(String::as_str),
            Some(expected),
            "{line}"
        );
    }
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let told = mistakes(
        "at 1m web-1 dwon\nat 2m expect nothing\nat 3m server crashs\n\nat 4m expect web-7 held",
    );
    let places: Vec<&str> = told.iter().map(|told| &told[..4]).collect();
    assert_eq!(places, ["1:13", "3:14", "5:14"]);
}

#[test]
fn mistakes_in_the_production_are_at_their_place_in_the_file() {
    let text = with("at 1m expect nothing").replace("autonomy: act", "autonomy: acts");
    let mistakes = read(&text).unwrap_err();
    assert_eq!(
        (mistakes[0].line, mistakes[0].column),
        (6, 17),
        "{mistakes:?}"
    );
}

#[test]
fn a_file_without_production_targets_or_expectation_says_what_is_missing() {
    for (text, expected) in [
        ("", "`production:` is missing"),
        (
            "targets:\n  web-1 service=web\nat 1m expect nothing\n",
            "`production:` is missing",
        ),
        (&with("at 1m web-1 down"), "nothing is expected"),
        (
            &HEAD.replace(
                "targets:\n  web-1..4  service=web zone=a,b,c\n",
                "at 1m expect nothing\n",
            ),
            "`targets:` is missing",
        ),
        (
            &with("at 9y expect nothing"),
            "more than 20000000 questions would be asked",
        ),
    ] {
        let mistakes = read(text).expect_err(text);
        assert!(mistakes[0].message.contains(expected), "{mistakes:?}");
    }
}

#[test]
fn what_the_policy_says_is_used_where_a_scenario_has_no_production() {
    let yaml = HEAD
        .split("targets:")
        .next()
        .unwrap()
        .trim_start_matches("production:\n");
    let policy = production(yaml).unwrap();
    let text = "targets:\n  web-1..4  service=web zone=a,b,c\nat 1m web-1 down\nat 2m expect order restart web-1\n";
    let scenario = Scenario::parse(text, Some(&policy), &production).unwrap();
    scenario.run().unwrap();
}

/// What is found instead, for each expectation that does not hold after web-1 was killed and cured.
#[test]
fn an_expectation_that_does_not_hold_fails_at_its_line() {
    for (expectation, found) in [
        (
            "at 3m expect nothing",
            "there were 5 such lines: 1m10s web-1 confirmed: answers",
        ),
        (
            "at 3m expect no order",
            "there was 1 order: 1m10s web-1 order restart, step 1 try 1",
        ),
        (
            "at 3m expect 2 orders",
            "there was 1 order: 1m10s web-1 order restart, step 1 try 1",
        ),
        ("at 3m expect order restart web-2", "there was no order"),
        ("at 3m expect order start web-1", "there was no order"),
        (
            "at 3m expect order restart web-1 try 2",
            "there was no order",
        ),
        (
            "at 3m expect order restart web-1 step 2",
            "there was no order",
        ),
        (
            "at 3m expect order restart web-1 by op",
            "there was no order",
        ),
        ("at 3m expect line \"relapsed\"", "there was no line"),
        (
            "at 3m expect no line \"verified\"",
            "there was 1 line: 1m15s web-1 verified",
        ),
        ("at 3m expect notice", "there was no notice"),
        ("at 3m expect refusal", "there was no refusal"),
        ("at 3m expect objection", "there was no objection"),
        (
            "at 3m expect web-1 closed cured",
            "web-1 is probation, its case probation",
        ),
        (
            "at 40m expect web-1 closed false alarm",
            "web-1 is healthy, its case closed cured",
        ),
        (
            "at 3m expect web-1 held",
            "web-1 is probation, its case probation",
        ),
        (
            "at 3m expect web-1 healthy",
            "web-1 is probation, its case probation",
        ),
        (
            "at 3m expect web-2 confirmed",
            "web-2 has no case and is healthy",
        ),
        (
            "at 3m expect web-1 suspected",
            "web-1 is probation, its case probation",
        ),
        (
            "at 3m expect web-1 repairing",
            "web-1 is probation, its case probation",
        ),
        (
            "at 3m expect web-1 verifying",
            "web-1 is probation, its case probation",
        ),
        (
            "at 3m expect web-1 failing",
            "web-1 is probation, its case probation",
        ),
        (
            "at 3m expect web-1 unknown",
            "web-1 is probation, its case probation",
        ),
        (
            "at 1m9s expect web-1 probation",
            "web-1 is failing, its case suspected",
        ),
        (
            "within 20s expect web-1 closed",
            "web-1 is probation, its case probation",
        ),
        (
            "at 3m server crashes\nat 4m expect web-1 closed",
            "the server is away",
        ),
        (
            "at 3m expect story:\n  1m10s web-1 confirmed: answers",
            "it went on with `1m10s web-1 order restart, step 1 try 1`",
        ),
        (
            "at 1m10s expect story:\n  1m10s web-1 confirmed: answers\n  1m10s web-1 order…\n  1m11s x",
            "it ended before its line 17, `1m11s x`",
        ),
        (
            "at 3m expect story:\n  1m11s web-1 confirmed: answers",
            "instead of its line 15, `1m11s web-1 confirmed: answers`, came `1m10s web-1 confirmed: answers`",
        ),
    ] {
        let text = with(&format!("at 1m web-1 down\n{expectation}"));
        let scenario = read(&text).unwrap_or_else(|mistakes| panic!("{expectation}: {mistakes:?}"));
        let failure = scenario.run().expect_err(expectation);
        let line = failure.line - ABOVE;
        assert_eq!(
            (line, failure.found.as_str()),
            (2 + usize::from(expectation.contains("crashes")), found),
            "{expectation}"
        );
    }
}

#[test]
fn a_failure_tells_where_and_what_happened_instead() {
    let scenario = read(&with("at 1m  web-1 down\nat 2m  expect   web-1 healthy")).unwrap();
    let failure = scenario.run().unwrap_err();
    assert_eq!(
        failure.in_file("a.scenario"),
        "\
a.scenario:14: after 2m wanted `at 2m expect web-1 healthy`, but web-1 is probation, its case probation
    1m     · at 1m web-1 down
    1m10s  web-1  confirmed: answers
    1m10s  web-1  order restart, step 1 try 1
    1m11s  web-1  outcome done
    1m15s  web-1  verified
    1m15s  web-1  probation"
    );
}

/// One line for each form of sentence that the documentation lists.
const SENTENCES: [&str; 65] = [
    "web-1 up",
    "web-1..3 down \"out of memory\" for 30s",
    "zone=a silent",
    "web-1 web-2 flapping seen by far local",
    "web-1 fails answers \"HTTP 503\" for 30s seen by far",
    "web-1 passes answers",
    "web-1 warns answers",
    "web-1 flaps answers",
    "web-1 hides answers seen by far",
    "restart cures",
    "restart of web-1 does not help unheard after 20s",
    "start breaks unclear",
    "rebuild fails after 1m",
    "person op holds web-1 for 2h \"why\"",
    "person op releases web-1",
    "person op pauses fleet \"why\"",
    "person op pauses web:zone=a \"why\"",
    "person op resumes web",
    "person op orders rebuild web-1 \"why\"",
    "person op approves web-1",
    "person op approves web-1 with digest 0123456789abcdef",
    "person op denies web-1",
    "person op closes web-1 \"why\"",
    "person op accepts discovery \"why\"",
    "server crashes",
    "server crashes for 30s",
    "server starts",
    "server crashes before writing the next order",
    "server crashes before sending the next order for 30s",
    "server crashes after sending the next order",
    "server pauses 40s",
    "clock steps 1h",
    "clock steps back 1h",
    "ledger full",
    "ledger works",
    "discovery loses web-1",
    "discovery gives web-9 service=web zone=a",
    "discovery answers nothing",
    "discovery fails \"why\"",
    "discovery works",
    "observer far silent",
    "observer far suspect \"why\"",
    "observer far sees all down",
    "observer far sees all up",
    "observer far late 5s",
    "observer far says unchanged",
    "observer far says unchanged 5s ahead",
    "observer far works",
    "propose restart web-1 try=3 step=2 repair=restart service=web by=op fence=1 given=-2m operation=again",
    "propose rebuild web-1 approved=op",
    "expect web-1 healthy",
    "expect zone=a failing",
    "expect web-1 unknown",
    "expect web-1 held",
    "expect web-1 held \"why\"",
    "expect web-1 held rate \"why\"",
    "expect web-1 closed self-recovered",
    "expect order",
    "expect no order restart web-1 step 1 try 2 by op",
    "expect 2 orders web-1",
    "expect notice \"why\"",
    "expect 3 refusals",
    "expect no line \"why\"",
    "expect objection 4 \"why\"",
    "expect story:\n  1m10s web-1 confirmed…",
];

#[test]
fn every_form_of_sentence_is_read_and_run() {
    let steps = "steps: [{ command: { name: rebuild, command: [\"./rebuild\"] } }, { restart: {}, settle: 30s }]";
    let head = HEAD.replace("steps: [{ restart: {}, settle: 30s }]", steps);
    for sentence in SENTENCES {
        let text =
            format!("{head}observers: local far\nat 1m {sentence}\nat 2m expect web-1 healthy\n");
        let scenario = read(&text).unwrap_or_else(|mistakes| panic!("{sentence}: {mistakes:?}"));
        scenario.run().ok();
    }
}

#[test]
fn within_waits_no_longer_than_it_has_to() {
    let text = with(
        "at 1m web-1 down\nwithin 1m expect web-1 probation\nafter 1s expect nothing\nat 40m expect web-1 closed cured",
    );
    read(&text).unwrap().run().unwrap();
}

#[test]
fn expectations_at_one_moment_look_at_the_same_lines_and_later_ones_at_what_came_since() {
    let text = with(
        "at 1m web-1 down\nat 2m expect 1 order\nexpect 1 order\nat 3m expect no order\nat 3m expect nothing",
    );
    read(&text).unwrap().run().unwrap();
}

/// Sentences made of the language's own words, so that more than the first word is read.
fn sentences() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => proptest::sample::select(vec![
            "at", "after", "within", "expect", "no", "nothing", "story:", "order", "orders", "line", "notice",
            "person", "op", "holds", "pauses", "web", "web:zone=a", "fleet", "resumes", "approves", "for", "1m",
            "00:10", "server", "crashes", "before", "writing", "the", "next", "pauses", "starts", "clock", "steps",
            "back", "ledger", "full", "works", "discovery", "loses", "gives", "answers", "fails", "observer",
            "local", "sees", "all", "down", "up", "late", "reload:", "propose", "restart", "start", "web-1",
            "web-1..3", "zone=a", "flapping", "silent", "seen", "by", "held", "closed", "cured", "does", "not",
            "help", "unheard", "of", "try", "3", "\"why\"", "\"", "#", "objection", "4", "given=-1m",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,8}",
    ];
    proptest::collection::vec(proptest::collection::vec(word, 0..9), 0..6).prop_map(|lines| {
        let lines: Vec<String> = lines.iter().map(|words| words.join(" ")).collect();
        lines.join("\n")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_text_panics_the_parser(text in "(\\PC|\n|\t|\"){0,200}") {
        read(&text).ok();
        read(&with(&text)).ok();
    }

    #[test]
    fn no_sentence_panics_parser_or_run(lines in sentences()) {
        if let Ok(scenario) = read(&with(&lines)) {
            scenario.run().ok();
        }
    }

    #[test]
    fn no_cut_file_panics_the_parser(at in 0usize..4_000, which in 0usize..1_000) {
        let files = all();
        let (_, text) = &files[which % files.len()];
        let end = text.char_indices().map(|(at, _)| at).nth(at).unwrap_or(text.len());
        read(&text[..end]).ok();
    }
}

#[test]
fn the_scenarios_in_the_documentation_hold() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/scenarios.md");
    let document = fs::read_to_string(document).unwrap();
    let blocks: Vec<&str> = document
        .split("```scenario\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        read(block).unwrap().run().unwrap();
    }
}
