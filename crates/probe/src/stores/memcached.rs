//! memcached: its version and statistics, over the text protocol.

use pitcrew_model::MemcachedTest;
use tokio::io::{AsyncBufRead, AsyncWriteExt, BufReader};

use super::stream::{Limited, read_line};
use crate::{Answer, Question};

const LINE_BYTES_MAX: u64 = 4 << 10;
/// memcached 1.6 has about 80.
const STATISTICS_MAX: usize = 1_000;

pub(crate) async fn ask(question: &Question<'_>, test: &MemcachedTest) -> Answer {
    match converse(question, test).await {
        Ok(answer) | Err(answer) => answer,
    }
}

async fn converse(question: &Question<'_>, test: &MemcachedTest) -> Result<Answer, Answer> {
    let mut stream = BufReader::new(Limited::tcp(question, test.port).await?);
    stream
        .write_all(b"version\r\nstats\r\n")
        .await
        .map_err(|error| Answer::from_io(&error))?;
    let version = read_version(&mut stream).await?;
    let statistics = read_statistics(&mut stream).await?;
    stream.write_all(b"quit\r\n").await.ok();
    Ok(statistics.judge(&version))
}

async fn read_version(reader: &mut (impl AsyncBufRead + Unpin)) -> Result<String, Answer> {
    let line = next_line(reader).await?;
    match line.strip_prefix("VERSION ") {
        Some(version) => Ok(version.to_owned()),
        None => Err(refusal(&line)),
    }
}

/// What says how near the server is to refusing clients.
#[derive(Debug, Default, PartialEq, Eq)]
struct Statistics {
    connections: Option<u64>,
    connections_max: Option<u64>,
    /// 0 while it has stopped listening because every connection is taken.
    accepting: Option<u64>,
}

async fn read_statistics(reader: &mut (impl AsyncBufRead + Unpin)) -> Result<Statistics, Answer> {
    let mut statistics = Statistics::default();
    for _ in 0..STATISTICS_MAX {
        let line = next_line(reader).await?;
        if line == "END" {
            return Ok(statistics);
        }
        let Some((name, value)) = line
            .strip_prefix("STAT ")
            .and_then(|rest| rest.split_once(' '))
        else {
            return Err(refusal(&line));
        };
        let number = value.trim().parse().ok();
        match name {
            "curr_connections" => statistics.connections = number,
            "max_connections" => statistics.connections_max = number,
            "accepting_conns" => statistics.accepting = number,
            _ => {}
        }
    }
    Err(Answer::fail("its statistics have no end"))
}

impl Statistics {
    fn judge(&self, version: &str) -> Answer {
        let of = match (self.connections, self.connections_max) {
            (Some(now), Some(most)) => format!(", {now} of {most} connections"),
            _ => String::new(),
        };
        match self.accepting {
            Some(0) => Answer::fail(format!(
                "memcached {version} accepts no more connections{of}"
            )),
            _ => Answer::pass(format!("memcached {version}{of}")),
        }
    }
}

async fn next_line(reader: &mut (impl AsyncBufRead + Unpin)) -> Result<String, Answer> {
    let line = read_line(reader, LINE_BYTES_MAX)
        .await
        .map_err(|error| Answer::from_io(&error))?;
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// `CLIENT_ERROR unauthenticated` blames this test; `SERVER_ERROR …` and `ERROR Too many open
/// connections` the server; anything else is no memcached.
fn refusal(line: &str) -> Answer {
    if line.starts_with("CLIENT_ERROR") && line.contains("auth") {
        Answer::unknown(line)
    } else if line.starts_with("SERVER_ERROR") || line.starts_with("ERROR") {
        Answer::fail(line)
    } else {
        Answer::fail(format!("it does not speak memcached's protocol: {line:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use pitcrew_model::Verdict;
    use proptest::prelude::*;

    fn answer(mut bytes: &[u8]) -> Answer {
        let conversation = async {
            let version = read_version(&mut bytes).await?;
            Ok::<_, Answer>(read_statistics(&mut bytes).await?.judge(&version))
        };
        match conversation
            .now_or_never()
            .expect("a slice is always ready")
        {
            Ok(answer) | Err(answer) => answer,
        }
    }

    #[test]
    fn the_servers_own_words_decide() {
        for (bytes, verdict, words) in [
            (
                "VERSION 1.6.18\r\nSTAT curr_connections 2\r\nSTAT max_connections 1024\r\nSTAT accepting_conns 1\r\nEND\r\n",
                Verdict::Pass,
                "memcached 1.6.18, 2 of 1024 connections",
            ),
            (
                "VERSION 1.6.18\r\nSTAT accepting_conns 0\r\nEND\r\n",
                Verdict::Fail,
                "memcached 1.6.18 accepts no more connections",
            ),
            (
                "CLIENT_ERROR unauthenticated\r\n",
                Verdict::Unknown,
                "CLIENT_ERROR unauthenticated",
            ),
            (
                "ERROR Too many open connections\r\n",
                Verdict::Fail,
                "ERROR Too many open connections",
            ),
            (
                "SERVER_ERROR out of memory\r\n",
                Verdict::Fail,
                "SERVER_ERROR out of memory",
            ),
            ("VERSION 1\r\nSTAT a", Verdict::Fail, "connection closed"),
            (
                "SSH-2.0-OpenSSH\r\n",
                Verdict::Fail,
                "it does not speak memcached's protocol: \"SSH-2.0-OpenSSH\"",
            ),
        ] {
            assert_eq!(answer(bytes.as_bytes()), Answer::new(verdict, words));
        }
    }

    #[test]
    fn statistics_without_end_are_cut_off() {
        let endless = format!("VERSION 1\r\n{}", "STAT a 1\r\n".repeat(2_000));
        assert_eq!(
            answer(endless.as_bytes()).evidence.as_str(),
            "its statistics have no end"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            answer(&bytes);
        }

        #[test]
        fn numbers_are_read_back(now in any::<u64>(), most in any::<u64>()) {
            let bytes = format!("VERSION 1\r\nSTAT curr_connections {now}\r\nSTAT max_connections {most}\r\nEND\r\n");
            let words = format!("memcached 1, {now} of {most} connections");
            prop_assert_eq!(answer(bytes.as_bytes()), Answer::pass(words));
        }
    }
}
