//! What is read from a trace, what is refused with which words, and what fleet it implies.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use proptest::prelude::*;

use super::*;
use crate::mishap::{FaultKind, What};

fn trace(text: &str) -> Trace {
    Trace::parse("t.csv", text).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn check_refused(text: &str, expected: &[&str]) {
    let error = Trace::parse("t.csv", text).expect_err("it is refused");
    let said = error.to_string();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{said}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected), "`{expected}` is not in:\n{line}");
    }
}

fn times(trace: &Trace) -> Vec<String> {
    let failures = trace.failures.iter();
    failures
        .map(|failure| {
            let at = failure.at.to_string();
            format!("{at} {}", trace.seen.nodes[failure.node].id)
        })
        .collect()
}

#[test]
fn columns_are_found_by_any_usual_name_in_any_order_and_others_are_ignored() {
    for header in [
        "node,time,rack,room,model",
        "host,timestamp,rack_id,zone,model",
        "NODE_ID , Failure_Time,rack,machine_room_id,model",
        "\"node\",\"time\",\"rack\",\"room\",\"model\"",
    ] {
        let trace = trace(&format!("{header}\n7,2018-01-02 03:04:05,r1,z1,x\n"));
        assert_eq!(times(&trace), ["2018-01-02T03:04:05.000Z 7"], "{header}");
        assert_eq!(trace.seen.racks[0].id, "r1");
        assert_eq!(trace.seen.rooms, ["z1"]);
    }
}

#[test]
fn every_form_of_a_time_means_the_same_moment() {
    for time in [
        "2018-01-02T03:04:05Z",
        "2018-01-02T04:34:05+01:30",
        "2018-01-01T22:04:05-05:00",
        "2018-01-02 03:04:05",
        "2018-01-02 03:04:05.000",
        "1514862245",
        "1514862245.0",
        "\"2018-01-02 03:04:05\"",
        " 2018-01-02 03:04:05 ",
    ] {
        let trace = trace(&format!("time,node\n{time},a\n"));
        assert_eq!(times(&trace), ["2018-01-02T03:04:05.000Z a"], "{time}");
    }
}

#[test]
fn lines_are_sorted_by_time_and_doubles_are_kept() {
    let trace = trace("time,node\n30,b\n10,a\n30,a\n10,a\n");
    let millis = |ms: u64| Timestamp::from_millis(ms).to_string();
    let expected = [(10_000, "a"), (10_000, "a"), (30_000, "b"), (30_000, "a")];
    assert_eq!(
        times(&trace),
        expected.map(|(ms, node)| format!("{} {node}", millis(ms)))
    );
}

#[test]
fn byte_order_marks_windows_lines_quotes_and_blank_lines_are_read() {
    let text = "\u{feff}time,node,note\r\n\r\n1,\"a \"\"b\"\", c\",\"two\r\nlines\"\r\n2,d,\r\n";
    assert_eq!(
        times(&trace(text)),
        [
            "1970-01-01T00:00:01.000Z a \"b\", c",
            "1970-01-01T00:00:02.000Z d"
        ]
    );
    let windows = trace("time,node,note\r\n1,a,\"two\r\nlines\"\r\n2,b,x");
    let unix = trace("time,node,note\n1,a,x\n2,b,x\n");
    assert_eq!(times(&windows), times(&unix));
}

#[test]
fn a_wrong_line_is_shown_with_its_place_and_the_others_with_it() {
    check_refused(
        "time,node\n1,a\nyesterday,b\n2018-02-30 00:00:00,c\n,d\n2,\n3\n1514862245000,e\n",
        &[
            "t.csv:3:1: `yesterday` is not a time",
            "t.csv:4:1: `2018-02-30 00:00:00` is not a time",
            "t.csv:5:1: the time is missing",
            "t.csv:6:3: the node is missing",
            "t.csv:7:2: the node is missing",
            "t.csv:8:1: `1514862245000` is too far in the future for seconds since 1970; are these milliseconds?",
        ],
    );
    check_refused(
        "time,node\n1,\"a\"b\n2,c\rd\n3,\"e\n",
        &[
            "t.csv:2:6: behind a closing quote a comma",
            "t.csv:3:4: a carriage return without",
            "t.csv:4:3: this quote is not closed",
        ],
    );
}

#[test]
fn a_missing_column_names_those_that_are_there_and_the_likely_one() {
    check_refused(
        "failed_time,nodes,rack\n1,a,b\n",
        &[
            "no column for time: one of `failure_time`, `time`, `timestamp` is expected, and the header has failed_time, nodes, rack; if `failed_time` is it",
            "no column for node: one of `node`, `node_id`, `host` is expected, and the header has failed_time, nodes, rack; if `nodes` is it",
        ],
    );
    check_refused(
        "time,x\n1,a\n",
        &[
            "no column for node: one of `node`, `node_id`, `host` is expected, and the header has time, x",
        ],
    );
}

#[test]
fn an_id_that_can_name_nothing_is_refused() {
    let long = "x".repeat(300);
    check_refused(
        &format!("time,node,rack\n1,\"a\nb\",r\n1,{long},r\n1,a,{long}\n"),
        &[
            "t.csv:2:3: the node has a control character",
            "t.csv:4:3: the node is longer than 200 bytes",
            "t.csv:5:5: the rack is longer than 200 bytes",
        ],
    );
}

#[test]
fn nothing_at_all_and_nothing_but_a_header_are_refused() {
    for empty in ["", "\u{feff}", "\n\r\n"] {
        check_refused(empty, &["t.csv:1:1: the file is empty"]);
    }
    check_refused("time,node\n", &["t.csv:2:1: no failure follows the header"]);
}

#[test]
fn only_the_first_mistakes_are_shown_and_the_rest_is_counted() {
    let mut text = "time,node\n".to_owned();
    for _ in 0..50 {
        text.push_str("x,a\n");
    }
    let error = Trace::parse("t.csv", &text).unwrap_err();
    assert_eq!(error.problems.len(), TraceError::PROBLEMS_MAX);
    assert!(error.to_string().ends_with("\nand 30 more"), "{error}");
}

#[test]
fn an_endless_line_is_refused_and_the_next_is_read() {
    let long = "x".repeat(100_000);
    check_refused(
        &format!("time,node\n1,{long}\nx,b\n2,\"{long}\"\ny,c\n"),
        &[
            "t.csv:2:1: the line is longer than 64 KiB",
            "t.csv:3:1: `x` is not a time",
            "t.csv:4:3: this quote is not closed within 64 KiB",
            "t.csv:5:1: `y` is not a time",
        ],
    );
}

#[test]
fn simulations_of_a_trace_begin_and_end_at_midnight() {
    let trace = trace("time,node\n2018-01-02 03:09:38,a\n2018-01-03 00:00:00,b\n");
    assert_eq!(trace.begins().to_string(), "2018-01-02T00:00:00.000Z");
    assert_eq!(trace.span(), 2 * DAY);
}

/// 40 nodes in 10 racks of 5 rooms, with every id a multiple of 10.
fn even() -> Trace {
    let mut text = "time,node,rack,room\n".to_owned();
    for node in 1..=40 {
        let (rack, room) = (node.min(10 + node % 3) * 10, node % 5);
        writeln!(text, "{node}000,{},{rack},{room}", node * 10).unwrap();
    }
    trace(&text)
}

#[test]
fn every_failure_is_a_lasting_fault_of_its_own_node_in_its_own_rack() {
    let trace = even();
    let placed = trace.place(None).unwrap();
    assert_eq!(u64::from(placed.targets()), trace.implied().nodes);
    assert_eq!(placed.mishaps.len(), trace.failures());
    let begins: Vec<u32> = placed
        .racks
        .iter()
        .scan(0, |next, rack| {
            *next += rack.nodes;
            Some(*next - rack.nodes)
        })
        .collect();
    let mut node_of = BTreeMap::new();
    let mut rack_of = BTreeMap::new();
    for (mishap, failure) in placed.mishaps.iter().zip(&trace.failures) {
        let What::Fault(fault) = &mishap.what else {
            panic!("{mishap:?}");
        };
        assert_eq!(
            (fault.kind, fault.heals_after),
            (FaultKind::Permanent, None)
        );
        let target = fault.targets[0];
        assert_eq!(*node_of.entry(failure.node).or_insert(target), target);
        let rack = begins.partition_point(|begin| *begin <= target) - 1;
        let seen = trace.seen.nodes[failure.node].rack;
        assert_eq!(*rack_of.entry(seen).or_insert(rack), rack);
    }
    let mut racks: Vec<_> = rack_of.values().collect();
    racks.dedup();
    assert_eq!(
        racks.len(),
        trace.seen.racks.len(),
        "no two racks became one"
    );
}

#[test]
fn a_fleet_may_be_larger_than_implied_but_not_smaller_than_what_failed() {
    let trace = even();
    for targets in [40, 41, 400, 10_000] {
        assert_eq!(trace.place(Some(targets)).unwrap().targets(), targets);
    }
    let error = trace.place(Some(39)).unwrap_err();
    assert!(
        error.to_string().contains("fewer than the 40 nodes"),
        "{error}"
    );
}

#[test]
fn a_file_without_racks_or_rooms_is_given_ordinary_ones() {
    let mut text = "time,node\n".to_owned();
    for node in 1..=1_000 {
        writeln!(text, "1,{node}").unwrap();
    }
    let trace = trace(&text);
    let expected = Implied {
        nodes: 1_000,
        racks: 50,
        rooms: 2,
    };
    assert_eq!(trace.implied(), expected);
    let said = trace.assumptions().join("\n");
    assert!(said.contains("names no rack: 20 nodes"), "{said}");
    assert!(said.contains("names no room: 40 racks"), "{said}");
    let placed = trace.place(None).unwrap();
    assert!(placed.racks.iter().all(|rack| rack.nodes == 20));
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn a_year_of_a_large_fleet_implies_its_size_and_shape() {
    let path = "../../../shared/data/failures/drive-failures-2018.csv";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let Ok(text) = read(&path) else {
        assert!(
            std::env::var_os("CI").is_none(),
            "{} is missing",
            path.display()
        );
        eprintln!("skipped: {} is not there", path.display());
        return;
    };
    let trace = Trace::parse("drive-failures-2018.csv", &text).unwrap();
    assert_eq!((trace.failures(), trace.nodes_failed()), (6_244, 4_384));
    assert_eq!(trace.span(), 364 * DAY);
    let expected = Implied {
        nodes: 238_595,
        racks: 28_574,
        rooms: 673,
    };
    assert_eq!(trace.implied(), expected);
    let placed = trace.place(None).unwrap();
    assert_eq!(placed.targets(), 238_595);
    let largest = placed.racks.iter().map(|rack| rack.nodes).max();
    assert!(largest < Some(30), "{largest:?}");
}

fn read(path: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(path)
}

proptest! {
    #[test]
    fn no_text_panics_the_parser(text in "\\PC{0,200}|[\",\r\n a1:TZ.-]{0,80}") {
        for text in [text.clone(), format!("time,node,rack\n{text}"), format!("time,node\n1,a\n2,{text}")] {
            if let Ok(trace) = Trace::parse("t.csv", &text) {
                prop_assert!(trace.failures() > 0);
                if trace.implied().nodes < 100_000 {
                    let placed = trace.place(None).unwrap();
                    prop_assert_eq!(placed.mishaps.len(), trace.failures());
                }
            }
        }
    }

    #[test]
    fn what_is_written_is_read_back(
        rows in prop::collection::vec((0u64..4_000_000_000_000, "[a-z\", ]{0,5}[a-z]", 0u8..5), 1..40)
    ) {
        let mut text = "time,node,rack\n".to_owned();
        for (ms, node, rack) in &rows {
            let node = format!("\"x{}\"", node.replace('"', "\"\""));
            text.push_str(&format!("{},{node},{rack}\n", Timestamp::from_millis(*ms)));
        }
        let mut expected: Vec<(u64, String)> =
            rows.into_iter().map(|(ms, node, _)| (ms, format!("x{node}"))).collect();
        expected.sort_by_key(|(ms, _)| *ms);
        let trace = trace(&text);
        let read: Vec<(u64, String)> = trace.failures.iter()
            .map(|failure| (failure.at.as_millis(), trace.seen.nodes[failure.node].id.clone()))
            .collect();
        prop_assert_eq!(read, expected);
    }
}
