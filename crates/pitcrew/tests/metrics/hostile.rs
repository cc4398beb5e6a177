//! What is pushed or imported and is wrong, hostile or partly so: refused for itself alone, within the memory that there is.

use std::{fs, io::Write as _, net::TcpStream, thread, time::Duration};

use crate::{
    message::{
        Message, VERSION_1, VERSION_2, post, snappy, version_1, version_2, with_exemplar, write,
    },
    open_telemetry::gzip,
    production::{Production, wait_for},
    stored::{Stored, now_ms},
};

#[test]
fn each_bad_request_is_refused_for_itself_and_the_good_ones_beside_it_are_stored() {
    let mut production = Production::served("services: []\n");
    let now = now_ms();
    let year_9999 = 253_370_764_800_000;
    let good = |value| version_1(&[(&[("__name__", "good"), ("a", "b")], value, now)]);
    assert_eq!(
        write(&production, VERSION_1, snappy(&good(1.0))).status,
        204
    );

    // A few bytes that claim to be gigabytes.
    let bomb = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let answer = write(&production, VERSION_1, bomb);
    assert_eq!(answer.status, 413, "{}", answer.text());
    // Honest ones, beyond the limit.
    let answer = write(&production, VERSION_1, snappy(&vec![0; 40 << 20]));
    assert_eq!(answer.status, 413, "{}", answer.text());
    for (kind, body) in [
        (VERSION_1, b"no snappy at all".to_vec()),
        (VERSION_1, snappy(b"\xff\xff\xff\xff")),
        (VERSION_2, snappy(&Message::default().bytes(5, &[0xff]).0)),
        // A symbol that is not there.
        (
            VERSION_2,
            snappy(&Message::default().bytes(5, &[0x0a, 2, 8, 9]).0),
        ),
    ] {
        let answer = write(&production, kind, body);
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
    let answer = write(&production, "text/plain", snappy(&good(1.0)));
    assert_eq!(answer.status, 415, "{}", answer.text());
    let plain = [("content-type", VERSION_1), ("content-encoding", "gzip")];
    assert_eq!(
        post(&production, "/api/v1/write", &plain, good(1.0)).status,
        415
    );

    let megabyte = "x".repeat(1 << 20);
    let mixed = [
        (&[("__name__", "kept_1")][..], 1.0, now),
        (&[("__name__", "long"), ("a", &megabyte)][..], 1.0, now),
        (&[("__name__", "late")][..], 1.0, year_9999),
        (
            &[("__name__", "twice"), ("a", "1"), ("a", "2")][..],
            1.0,
            now,
        ),
        (&[][..], 1.0, now),
        (
            &[("b", "2"), ("a", "1"), ("__name__", "kept_2")][..],
            f64::NAN,
            now,
        ),
    ];
    let answer = write(&production, VERSION_1, snappy(&version_1(&mixed)));
    assert_eq!(answer.status, 400);
    let said = answer.text();
    assert!(said.contains("4 samples were not taken"), "{said}");
    assert!(said.contains("1048576 bytes"), "it names the first: {said}");
    assert_eq!(
        answer.header("x-prometheus-remote-write-samples-written"),
        None
    );
    let answer = write(&production, VERSION_2, snappy(&version_2(&mixed)));
    assert_eq!(answer.status, 400, "{}", answer.text());
    for (name, count) in [("samples", "2"), ("histograms", "0"), ("exemplars", "0")] {
        let name = format!("x-prometheus-remote-write-{name}-written");
        assert_eq!(answer.header(&name), Some(count), "{name}");
    }
    let answer = write(&production, VERSION_2, b"?".to_vec());
    let written = answer.header("x-prometheus-remote-write-samples-written");
    assert_eq!((answer.status, written), (400, Some("0")));

    let two = version_2(&[(&[("__name__", "good"), ("v", "2")], 2.0, now)]);
    let answer = write(&production, VERSION_2, snappy(&two));
    let written = answer.header("x-prometheus-remote-write-samples-written");
    assert_eq!((answer.status, written), (204, Some("1")));

    let text = production.request("GET", "/metrics", &[], "").unwrap().body;
    assert!(
        text.contains("pitcrew_metrics_refused_samples_total{reason=\"labels\"} 6"),
        "{text}"
    );
    assert!(
        text.contains("pitcrew_metrics_refused_samples_total{reason=\"too_new\"} 2"),
        "{text}"
    );
    assert_eq!(production.stop(), Some(0));
    let stored = Stored::of(&production);
    assert_eq!(stored.values("good").len(), 2);
    assert_eq!(stored.value("kept_1"), 1.0);
    assert!(stored.value("kept_2").is_nan());
    for name in ["long", "late", "twice"] {
        assert_eq!(stored.values(name), [], "{name}");
    }
}

#[test]
fn a_source_over_its_limit_of_series_is_told_and_its_known_series_are_taken_all_the_same() {
    const LIMIT: usize = 200;
    let yaml = format!("metrics: {{ source_series_max: {LIMIT} }}\n");
    let mut production = Production::served(&yaml);
    let now = now_ms();
    let values: Vec<String> = (0..LIMIT + 5).map(|number| number.to_string()).collect();
    let labels = values
        .iter()
        .map(|value| [("__name__", "many"), ("a", value.as_str())]);
    let labels: Vec<[(&str, &str); 2]> = labels.collect();
    let message = |count: usize, at_ms: i64| {
        let series = labels[..count]
            .iter()
            .map(|labels| (&labels[..], 1.0, at_ms));
        snappy(&version_1(&series.collect::<Vec<_>>()))
    };
    let answer = write(&production, VERSION_1, message(LIMIT + 5, now));
    assert_eq!(answer.status, 400);
    let said = answer.text();
    assert!(
        said.contains("5 samples were not taken") && said.contains("limit"),
        "{said}"
    );
    let text = production.request("GET", "/metrics", &[], "").unwrap().body;
    let counted = "pitcrew_metrics_refused_samples_total{reason=\"source_limit\"} 5";
    assert!(text.contains(counted), "{text}");
    // Who asks about that time is told that some is missing, and nobody else.
    let asked = |at_ms: i64| {
        let at = at_ms / 1_000;
        let path = format!("/api/v1/query?query=count(many)&time={at}");
        production.get(&path).unwrap()
    };
    let answer = asked(now + 2_000);
    assert_eq!(answer["data"]["result"][0]["value"][1], "200", "{answer}");
    let warnings = answer["warnings"].to_string();
    assert!(
        warnings.contains("were dropped") && warnings.contains("(5 times)"),
        "{answer}"
    );
    let long_ago = asked(now - 3_600_000);
    assert!(long_ago["warnings"].is_null(), "{long_ago}");
    assert_eq!(
        write(&production, VERSION_1, message(LIMIT, now + 1)).status,
        204
    );
    assert_eq!(production.stop(), Some(0));
}

/// As Prometheus: exemplars are a help, and sending a request again would not bring them.
#[test]
fn an_exemplar_that_is_refused_harms_no_request() {
    let production = Production::served("services: []\n");
    let long = "x".repeat(2_000);
    let now = now_ms();
    for (index, (trace, exemplars)) in [("t", "1"), (long.as_str(), "0")].into_iter().enumerate() {
        let at_ms = now + i64::try_from(index).unwrap();
        let [one, two] = with_exemplar("traced", trace, at_ms);
        let answer = write(&production, VERSION_2, snappy(&two));
        assert_eq!(answer.status, 204, "{}", answer.text());
        for (name, count) in [
            ("samples", "1"),
            ("histograms", "0"),
            ("exemplars", exemplars),
        ] {
            let name = format!("x-prometheus-remote-write-{name}-written");
            assert_eq!(answer.header(&name), Some(count), "{name}");
        }
        let answer = write(&production, VERSION_1, snappy(&one));
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    let text = production.request("GET", "/metrics", &[], "").unwrap().body;
    let counted = "pitcrew_metrics_refused_samples_total{reason=\"labels\"} 2";
    assert!(text.contains(counted), "{text}");
}

/// The most memory that the server ever had, in MiB.
fn peak_mib(production: &Production) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", production.server_pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
    kib.parse::<u64>().unwrap() / 1_024
}

const MIB: usize = 1 << 20;

fn with_little_memory() -> Production {
    let mut production = Production::new("services: []\n");
    production.arguments(&["--memory", "256MiB"]);
    production.serve();
    production
}

/// Messages within each other, each in the field of that number of the one around it; `bytes` are the innermost one.
fn nested(fields: &[u64], bytes: &[u8]) -> Vec<u8> {
    fields.iter().rev().fold(bytes.to_vec(), |inner, field| {
        Message::default().bytes(*field, &inner).0
    })
}

#[test]
fn messages_that_grow_when_they_are_decoded_take_no_more_memory_than_they_may() {
    let production = with_little_memory();
    let before = peak_mib(&production);
    let otlp = |headers: &[(&str, &str)], body| post(&production, "/v1/metrics", headers, body);
    let packed = [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "gzip"),
    ];
    // A million points, each with nothing in it, of the kind that takes most.
    let empty = nested(&[1, 2, 2, 10], &[0x0a, 0].repeat(MIB));
    let answer = otlp(&packed, gzip(&empty));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("cumulative"), "{}", answer.text());
    // And with a value.
    let one = nested(&[1], &Message::default().double(4, 1.0).0);
    let valued = nested(&[1, 2, 2, 5], &one.repeat(MIB));
    let answer = otlp(&packed, gzip(&valued));
    assert_eq!(answer.status, 413, "{}", answer.text());
    // One point with as many exemplars.
    let point = nested(&[1, 2, 2, 5, 1], &[0x2a, 0].repeat(MIB));
    let answer = otlp(&packed, gzip(&point));
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("256 KiB"), "{}", answer.text());
    let resource = nested(&[1, 1], &[0x0a, 0].repeat(MIB));
    assert_eq!(otlp(&packed, gzip(&resource)).status, 400);
    // Beyond what is unpacked at all.
    assert_eq!(otlp(&packed, gzip(&vec![0; 64 * MIB])).status, 413);
    let json = [("content-type", "application/json"), packed[1]];
    let points = format!("{{\"resourceMetrics\":[{}{{}}]}}", "{},".repeat(MIB));
    let answer = otlp(&json, gzip(points.as_bytes()));
    assert_eq!(answer.status, 413, "{}", answer.text());
    // A label of a megabyte that a million series refer to.
    let label = "x".repeat(MIB);
    let texts = ["", "a", &label]
        .iter()
        .fold(Message::default(), |message, text| {
            message.bytes(4, text.as_bytes())
        });
    let series = Message::default().bytes(5, &nested(&[1], &[1, 2])).0;
    let request = [texts.0, series.repeat(MIB)].concat();
    let answer = write(&production, VERSION_2, snappy(&request));
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert!(answer.text().contains("16 MiB"), "{}", answer.text());
    let grown = peak_mib(&production) - before;
    assert!(grown < 150, "it took {grown} MiB more");
    assert_eq!(
        production
            .request("GET", "/readyz", &[], "")
            .unwrap()
            .status,
        200
    );
}

/// A line without an end from each: only some are read at all, and none for longer than a line may be.
#[test]
fn many_imports_at_once_take_no_more_memory_than_they_may() {
    let production = with_little_memory();
    let before = peak_mib(&production);
    let port = production.port;
    let endless = move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let patience = Some(Duration::from_secs(2));
        stream.set_write_timeout(patience).unwrap();
        let head = "POST /api/v1/import?format=jsonl HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000000\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let piece = vec![b'['; MIB];
        // Until nobody reads on, or for as long as a line may be.
        (0..15).try_for_each(|_| stream.write_all(&piece)).ok();
        stream
    };
    let clients: Vec<_> = (0..16).map(|_| thread::spawn(endless)).collect();
    let clients: Vec<TcpStream> = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .collect();
    let grown = peak_mib(&production) - before;
    assert!(grown < 150, "it took {grown} MiB more");
    drop(clients);
    wait_for("an import to be taken", || {
        let path = "/api/v1/import?format=prometheus";
        let answer = post(&production, path, &[], b"up 1\n".to_vec());
        match answer.status {
            200 => Ok(()),
            _ => Err(answer.text()),
        }
    });
}

#[test]
fn text_and_lines_that_are_none_are_named_and_nothing_else_happens() {
    let production = with_little_memory();
    let import = |format: &str, body: &str| {
        let path = format!("/api/v1/import?format={format}");
        post(&production, &path, &[], body.as_bytes().to_vec())
    };
    let at = now_ms();
    let megabyte = "x".repeat(MIB);
    for (format, body, says) in [
        ("prometheus", "{".to_owned(), "line 1"),
        ("prometheus", "up one\n".to_owned(), "line 1"),
        ("openmetrics", "up 1 1e400\n# EOF\n".to_owned(), "line 1"),
        (
            "openmetrics",
            "# TYPE up nothing\n# EOF\n".to_owned(),
            "line 1",
        ),
        ("jsonl", "[".repeat(10_000), "line 1"),
        (
            "jsonl",
            format!(
                "{{\"metric\":{{\"a\":\"b\"}},\"values\":[{}1],\"timestamps\":[1]}}\n",
                "0,".repeat(3 * MIB)
            ),
            "line 1",
        ),
    ] {
        let answer = import(format, &body);
        let said = answer.text();
        assert_eq!(answer.status, 400, "{said}");
        assert!(said.contains(says), "{said}");
    }
    for body in [
        format!("long{{a=\"{megabyte}\"}} 1 {at}\n"),
        "late 1 253370764800000\n".to_owned(),
        "up{a=\"\\q\"} 1\n".to_owned(),
        format!("twice{{a=\"1\",a=\"2\"}} 1 {at}\n"),
    ] {
        let answer = import("prometheus", &body);
        let said = answer.text();
        assert_eq!(answer.status, 200, "{said}");
        assert!(said.contains("\"count\":1"), "{said}");
    }
    let odd = format!(
        "{{\"metric\":{{\"__name__\":\"odd\"}},\"values\":[\"NaN:fff8000000000123\"],\"timestamps\":[{at}]}}\n"
    );
    assert_eq!(import("jsonl", &odd).status, 200);
    let exported = production
        .request("GET", "/api/v1/export?match[]=odd", &[], "")
        .unwrap();
    assert_eq!(exported.body, odd);
}
