//! Clients that read nothing of what they asked for: they make others wait for a while and are cut off.

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use crate::{
    history::{History, QUIET, path},
    production::{Production, request, wait_for},
};

/// Enough to fill what lies between the two ends of a connection several times.
const SAMPLES: i64 = 300_000;

fn with_many_samples() -> Production {
    let yaml = format!("{QUIET}metrics: {{ query: {{ concurrency: 1, memory: 24MiB }} }}\n");
    let production = Production::served(&yaml);
    let start_ms = History::until_now().start_ms;
    let (mut values, mut times) = (String::new(), String::new());
    for index in 0..SAMPLES {
        let comma = if index > 0 { "," } else { "" };
        write!(values, "{comma}{}", index as f64 / 7.0).expect("a string takes everything");
        write!(times, "{comma}{}", start_ms + index).expect("a string takes everything");
    }
    let file = production.path().join("many.jsonl");
    let metric = "{\"__name__\":\"many\"}";
    let line = format!("{{\"metric\":{metric},\"values\":[{values}],\"timestamps\":[{times}]}}\n");
    fs::write(&file, line).expect("it is written");
    let told = production.says(&["metrics", "import", file.to_str().expect("a path")], 0);
    assert!(told.contains("300000 samples of 1 new series"), "{told}");
    production
}

fn asks_and_reads_nothing(production: &Production, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", production.port)).expect("a connection");
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("a connection");
    stream
}

#[test]
fn who_reads_nothing_gives_back_turns_and_memory() {
    let production = with_many_samples();
    let all = path("/api/v1/query", &[("query", "many[1h]")]);
    let export = path("/api/v1/export", &[("match[]", "many")]);
    // One export more than there are turns for, one answer more than fit beside a query.
    let unread: Vec<TcpStream> = [&export, &export, &all, &all]
        .map(|path| asks_and_reads_nothing(&production, path))
        .into();
    let small = path("/api/v1/query", &[("query", "1"), ("timeout", "500ms")]);
    let ask = |path: &str| request(production.port, "GET", path, &[], "");
    wait_for(
        "answers that nobody reads to hold up others",
        || match ask(&small)? {
            waiting if waiting.body.contains("query queue") => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    wait_for("a query to have its turn", || match ask(&small)? {
        answered if answered.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let nothing = path("/api/v1/export", &[("match[]", "nothing")]);
    wait_for("an export to have its turn", || match ask(&nothing)? {
        answered if answered.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    drop(unread);
}

/// Had it to wait for one of their turns, that export would have been cut off before.
#[test]
fn an_import_does_not_wait_for_exports() {
    let production = with_many_samples();
    let export = path("/api/v1/export", &[("match[]", "many")]);
    let mut unread = [(); 2].map(|()| asks_and_reads_nothing(&production, &export));
    for stream in &mut unread {
        // It has its turn.
        stream.read_exact(&mut [0]).expect("an answer");
    }
    let import = "/api/v1/import?format=jsonl";
    let line = r#"{"metric":{"__name__":"one"},"values":[1],"timestamps":[1]}"#;
    let answer = request(production.port, "POST", import, &[], line).expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    for mut stream in unread {
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n0\r\n\r\n") {
            let mut piece = [0; 64 << 10];
            let read = stream.read(&mut piece).expect("the export goes on");
            assert_ne!(read, 0, "the export was cut off");
            answer.extend_from_slice(&piece[..read]);
        }
    }
}
