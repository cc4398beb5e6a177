//! Input that wants to hurt: it gets a clear error or a configuration, never a panic, an overflow of the
//! stack or memory out of proportion.

#![expect(clippy::unwrap_used, reason = "a test ends where it panics")]

use std::fmt::Write as _;

use pitcrew_config::{FILE_BYTES_MAX, Loaded, Problems, parse};
use pitcrew_model::SourceKind;
use proptest::prelude::*;

fn read(text: &str) -> Result<Loaded, Problems> {
    let set = |_: &str| Some("https://set.example".to_owned());
    parse(&[("tests/a.yaml".to_owned(), text.to_owned())], &set)
}

/// The first problem.
fn refused(text: &str) -> String {
    let problems = read(text).unwrap_err();
    // Rendering meets the same input.
    assert!(problems.render(true).ends_with("nothing applied\n"));
    problems.problems[0].to_string()
}

#[test]
fn deep_nesting_is_refused_in_every_form() {
    let deep = 100_000;
    for text in [
        "[".repeat(deep),
        "{a: ".repeat(deep),
        "- ".repeat(deep),
        format!("find: {}{}", "[".repeat(deep), "]".repeat(deep)),
        format!("find: {}", "[{a: ".repeat(deep)),
        (0..5_000).fold(String::new(), |mut text, depth| {
            writeln!(text, "{}a:", " ".repeat(depth)).unwrap();
            text
        }),
        "? ".repeat(deep),
        "&a ".repeat(deep),
    ] {
        let problem = refused(&text);
        let shown: String = text.chars().take(20).collect();
        assert!(
            problem.contains("nested too deeply") || problem.contains("not valid YAML"),
            "{shown}: {problem}"
        );
    }
}

#[test]
fn a_bomb_of_aliases_is_counted_before_it_goes_off() {
    let mut text = "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(text, "b{level}: &a{level} [{aliases}]").unwrap();
    }
    assert!(
        refused(&text).contains("aliases counted in full"),
        "{}",
        refused(&text)
    );
}

#[test]
fn a_chain_of_aliases_is_as_deep_as_it_would_be_written_out() {
    let mut text = "a: &a0 []\n".to_owned();
    for level in 1..10_000 {
        writeln!(text, "b{level}: &a{level} [*a{}]", level - 1).unwrap();
    }
    assert!(refused(&text).contains("nested too deeply"));
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let text = format!("#{}", "x".repeat(FILE_BYTES_MAX));
    assert_eq!(refused(&text), "tests/a.yaml:1:1: larger than 64 MiB");
}

#[test]
fn many_mistakes_are_counted_and_the_first_thousand_kept() {
    let text = "colours: 1\n".repeat(100_000);
    let problems = read(&text).unwrap_err();
    assert_eq!(problems.problems.len(), 1_000);
    assert_eq!(problems.omitted, 99_000);
    assert!(
        problems
            .render(false)
            .ends_with("… and 99000 more\n100000 errors, nothing applied\n")
    );
}

#[test]
fn many_mistakes_in_one_line_are_as_quick() {
    let targets = vec!["\"http://host.example\""; 200_000].join(", ");
    let text = format!("find: [{{ static: [{{ targets: [{targets}] }}] }}]");
    let problems = read(&text).unwrap_err();
    assert_eq!(problems.problems.len() + problems.omitted, 200_000);
    let longest = problems.render(false).lines().map(str::len).max();
    assert!(longest < Some(400), "{longest:?}");
}

#[test]
fn a_million_listed_targets_are_read() {
    let mut text =
        "find:\n  - static:\n      - labels: { service: web }\n        targets:\n".to_owned();
    for at in 0..1_000_000u32 {
        let [_, a, b, c] = at.to_be_bytes();
        writeln!(text, "          - 10.{a}.{b}.{c}:8080").unwrap();
    }
    let loaded = read(&text).unwrap();
    let SourceKind::Static { targets } = &loaded.production.sources[0].kind else {
        panic!("a static source");
    };
    assert_eq!(targets.len(), 1_000_000);
    assert_eq!(targets[999_999], "10.15.66.63:8080");
}

#[test]
fn many_groups_meet_many_services() {
    let mut text = "services:\n".to_owned();
    for at in 0..1_000 {
        writeln!(
            text,
            "  - {{ name: s{at}, select: {{ job: node, service: s{at} }} }}"
        )
        .unwrap();
    }
    text.push_str("find:\n  - static:\n");
    for at in 0..100_000 {
        let service = at % 1_000;
        writeln!(
            text,
            "      - {{ targets: [h{at}], labels: {{ job: node, service: s{service} }} }}"
        )
        .unwrap();
    }
    let loaded = read(&text).unwrap();
    assert_eq!(loaded.production.sources.len(), 100_000);
}

#[test]
fn an_escape_sequence_never_reaches_the_terminal() {
    let problems = read("services: \"\\e[2Jx\"\n\"\\e]0;x\\a\": 1\n").unwrap_err();
    let shown = problems.render(false) + &problems.to_string();
    assert!(
        shown.chars().all(|c| c == '\n' || !c.is_control()),
        "{shown:?}"
    );
}

const VALID: &str = include_str!("everything.yaml");

#[test]
fn what_is_mutated_is_valid() {
    assert_eq!(read(VALID).unwrap().warnings, []);
}

/// Texts that are nearly configurations: parts of a real one cut, doubled, swapped and sprinkled with
/// characters that mean something to YAML.
fn mutated() -> impl Strategy<Value = String> {
    let snippet = prop::sample::select(vec![
        "[",
        "]",
        "{",
        "}",
        ":",
        ": ",
        "- ",
        "&a ",
        "*a",
        "!t ",
        "\"",
        "'",
        "#",
        "|",
        ">",
        "%",
        "@",
        "`",
        "\t",
        "\n",
        "\r\n",
        "---",
        "...",
        "<<: ",
        "? ",
        "~",
        "null",
        "${X}",
        "{port}",
        "\u{feff}",
        "\u{0}",
        "ä",
        "日",
        "0",
        "-1",
        "99999999999999999999",
        "1e309",
        "\u{2028}",
        "\u{85}",
    ]);
    let edit = (any::<prop::sample::Index>(), 0usize..12, snippet);
    prop::collection::vec(edit, 1..8).prop_map(|edits| {
        let mut chars: Vec<char> = VALID.chars().collect();
        for (at, cut, snippet) in edits {
            let at = at.index(chars.len());
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, snippet.chars());
        }
        chars.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        read(&text).err().map(|problems| problems.render(true));
    }

    #[test]
    fn no_yaml_makes_it_panic(text in "[a-c:{}\\[\\],&*!|>'\"%#?\\-\n ~<$]{0,120}") {
        read(&text).err().map(|problems| problems.render(false));
    }

    #[test]
    fn no_mutation_of_a_configuration_makes_it_panic(text in mutated()) {
        match read(&text) {
            Ok(loaded) => prop_assert_eq!(loaded.files.len(), 1),
            Err(problems) => {
                prop_assert!(!problems.problems.is_empty());
                for problem in &problems.problems {
                    let line = text.split('\n').nth(problem.line - 1).unwrap_or_default();
                    prop_assert!(problem.column - 1 + problem.length <= line.chars().count(), "{}", problem);
                    prop_assert!(!problem.message.contains('\n'));
                }
                prop_assert!(problems.render(true).ends_with("nothing applied\n"));
            }
        }
    }
}

#[test]
fn a_ladder_without_end_is_refused() {
    let steps = "          - restart: {}\n".repeat(300);
    let problem = refused(&format!(
        "services:\n  - name: web\n    select: {{ service: web }}\n    runs_as: {{ unit: web.service }}\n    \
         tests:\n      - {{ name: answers, tcp: {{ port: 80 }} }}\n    repairs:\n      - name: r\n        \
         when: [answers]\n        steps:\n{steps}"
    ));
    assert!(
        problem.contains("300 steps are no ladder: write at most 100"),
        "{problem}"
    );
}
