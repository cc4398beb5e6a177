//! Reports as people see them.

use pitcrew_config::parse;

fn errors(text: &str) -> String {
    let files = [("production/web.yaml".to_owned(), text.to_owned())];
    let problems = parse(&files, &|_| None).expect_err("a configuration with mistakes");
    problems.render(false)
}

const WEB: &str = "\
services:
  - name: web
    select: {}
    tests:
      - name: answers
        http: { path: /healthz, statuz: [200] }
        tyymeout: 2s
    repairs:
      - name: restart
        when: [answer]
        steps:
          - restart: {}
          - reimage: {}
";

#[test]
fn a_report_shows_each_line_with_the_place_marked() {
    insta::assert_snapshot!(errors(WEB));
}

#[test]
fn a_report_of_a_very_long_line_shows_what_surrounds_the_place() {
    let labels: Vec<String> = (0..60).map(|at| format!("label_{at}: v")).collect();
    let labels = labels.join(", ");
    let more = labels.replace("label", "other");
    insta::assert_snapshot!(errors(&format!(
        "services: [{{ name: web, select: {{ {labels}, bad-label: x, {more} }} }}]"
    )));
}

#[test]
fn a_report_of_broken_yaml_points_at_where_it_stops_making_sense() {
    insta::assert_snapshot!(errors(
        "services:\n  - name: web\n   select: { service: web }\n"
    ));
}

#[test]
fn a_report_keeps_wide_letters_in_line() {
    insta::assert_snapshot!(errors(
        "run:\n  - { name: app, command: [run, \"日本 {port}\"] }\n"
    ));
}

#[test]
fn warnings_are_reported_in_the_same_form() {
    let text = "services:\n  - name: web\n    select: { service: wbe }\n    tests: [{ name: a, tcp: {} }]\n\
                find:\n  - static: [{ targets: [a], labels: { service: web } }]\n";
    let files = [("production/web.yaml".to_owned(), text.to_owned())];
    let loaded = parse(&files, &|_| None).expect("no mistakes");
    insta::assert_snapshot!(loaded.render_warnings(false));
}

#[test]
fn a_report_has_colours_only_when_asked() {
    let files = [("a.yaml".to_owned(), "colours: 1".to_owned())];
    let problems = parse(&files, &|_| None).expect_err("a mistake");
    assert!(problems.render(true).contains('\u{1b}'));
    assert!(!problems.render(false).contains('\u{1b}'));
}
