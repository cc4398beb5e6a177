//! Redis (and Valkey, KeyDB): log in, PING, and what INFO and ROLE add.
//!
//! PING alone already tells of a server that loads its data, has lost its master, runs a script without
//! end, or can't persist (`MISCONF`: Redis answers PING with it on purpose). It does not tell of a full
//! `maxmemory` without eviction, so the memory section of INFO is asked for as well. That one only
//! warns: reads are still served, and a restart of such a server throws its data away.

use pitcrew_model::RedisTest;
use tokio::io::{AsyncWriteExt, BufReader};

use super::{
    resp::{Reply, command, read_reply},
    stream::Limited,
};
use crate::{Answer, Question};

pub(crate) async fn ask(question: &Question<'_>, test: &RedisTest) -> Answer {
    match converse(question, test).await {
        Ok(answer) | Err(answer) => answer,
    }
}

async fn converse(question: &Question<'_>, test: &RedisTest) -> Result<Answer, Answer> {
    let stream = Limited::tcp(question, test.port).await?;
    let mut redis = Connection(BufReader::new(stream));
    if let Some(password) = &test.password {
        let words = match &test.user {
            Some(user) => vec!["AUTH", user, password.expose()],
            None => vec!["AUTH", password.expose()],
        };
        refused(&redis.call(&words).await?)?;
    }
    match redis.call(&["PING"]).await? {
        Reply::Simple(pong) if pong == "PONG" => {}
        reply => {
            refused(&reply)?;
            return Err(Answer::fail(format!("PING was answered with {reply:?}")));
        }
    }
    let role = match &test.role {
        Some(wanted) => judge_role(&redis.call(&["ROLE"]).await?, wanted)?,
        None => Answer::pass("PONG"),
    };
    let memory = judge_memory(&redis.call(&["INFO", "memory"]).await?);
    redis.call(&["QUIT"]).await.ok();
    Ok(memory.unwrap_or(role))
}

struct Connection(BufReader<Limited>);

impl Connection {
    async fn call(&mut self, words: &[&str]) -> Result<Reply, Answer> {
        self.0
            .write_all(&command(words))
            .await
            .map_err(|error| Answer::from_io(&error))?;
        read_reply(&mut self.0)
            .await
            .map_err(|error| Answer::from_io(&error))
    }
}

/// `Err` when the reply is an error, in Redis' own words.
pub(super) fn refused(reply: &Reply) -> Result<(), Answer> {
    let Reply::Error(words) = reply else {
        return Ok(());
    };
    Err(match words.split(' ').next().unwrap_or_default() {
        // What is wrong is this test's credentials, rights or place, not the server.
        "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => Answer::unknown(words),
        // Before Redis 6 these had no code of their own.
        "ERR"
            if ["AUTH", "invalid password", "operation not permitted"]
                .iter()
                .any(|part| words.contains(part)) =>
        {
            Answer::unknown(words)
        }
        _ => Answer::fail(words),
    })
}

/// ROLE answers `[master, offset, [replica…]]` or `[slave, host, port, state, offset]`.
fn judge_role(reply: &Reply, wanted: &str) -> Result<Answer, Answer> {
    refused(reply)?;
    let Reply::Array(items) = reply else {
        return Err(Answer::fail(format!("ROLE was answered with {reply:?}")));
    };
    let text = |at: usize| match items.get(at) {
        Some(Reply::Bulk(Some(bytes))) => String::from_utf8_lossy(bytes).into_owned(),
        Some(Reply::Integer(number)) => number.to_string(),
        _ => "?".to_owned(),
    };
    let role = text(0);
    if role != wanted {
        return Err(Answer::fail(format!("role is {role}, wanted {wanted}")));
    }
    Ok(match (role.as_str(), items.get(2)) {
        ("slave", _) => {
            let (master, link) = (format!("{}:{}", text(1), text(2)), text(3));
            let words = format!("PONG, slave of {master}, link {link}");
            match link == "connected" {
                true => Answer::pass(words),
                false => Answer::warn(words),
            }
        }
        ("master", Some(Reply::Array(replicas))) => {
            Answer::pass(format!("PONG, master of {} replicas", replicas.len()))
        }
        _ => Answer::pass(format!("PONG, {role}")),
    })
}

/// A warning when the next writes will be refused with OOM: from 99 % on, for a refused write frees its own
/// buffers again and leaves memory just below the limit. A user who may not see INFO is no reason for one.
fn judge_memory(info: &Reply) -> Option<Answer> {
    let Reply::Bulk(Some(bytes)) = info else {
        return None;
    };
    let text = String::from_utf8_lossy(bytes);
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    let number = |name: &str| field(name)?.parse::<u64>().ok();
    let (used, most) = (number("used_memory")?, number("maxmemory")?);
    (most > 0 && used >= most - most / 100 && field("maxmemory_policy") == Some("noeviction")).then(
        || {
            Answer::warn(format!(
                "out of memory for writes: used_memory {used} of maxmemory {most}, noeviction"
            ))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use pitcrew_model::Verdict;

    #[test]
    fn refusals_blame_the_server_only_when_it_is_to_blame() {
        for (words, verdict) in [
            (
                "LOADING Redis is loading the dataset in memory",
                Verdict::Fail,
            ),
            (
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
                Verdict::Fail,
            ),
            (
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
                Verdict::Fail,
            ),
            ("BUSY Redis is busy running a script.", Verdict::Fail),
            ("ERR max number of clients reached", Verdict::Fail),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                Verdict::Fail,
            ),
            ("NOAUTH Authentication required.", Verdict::Unknown),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                Verdict::Unknown,
            ),
            (
                "NOPERM this user has no permissions to run the 'ping' command",
                Verdict::Unknown,
            ),
            (
                "DENIED Redis is running in protected mode because protected mode is enabled",
                Verdict::Unknown,
            ),
            (
                "ERR AUTH <password> called without any password configured for the default user.",
                Verdict::Unknown,
            ),
            ("ERR invalid password", Verdict::Unknown),
        ] {
            let answer = refused(&Reply::Error(words.to_owned())).unwrap_err();
            assert_eq!((answer.verdict, answer.evidence.as_str()), (verdict, words));
        }
    }

    #[test]
    fn memory_warns_only_when_full_and_never_evicting() {
        let info = |used: u64, most: u64, policy: &str| {
            let text = format!(
                "# Memory\r\nused_memory:{used}\r\nmaxmemory:{most}\r\nmaxmemory_policy:{policy}\r\n"
            );
            judge_memory(&Reply::Bulk(Some(text.into_bytes()))).map(|answer| answer.verdict)
        };
        assert_eq!(info(11, 10, "noeviction"), Some(Verdict::Warn));
        assert_eq!(info(989, 1_000, "noeviction"), None);
        assert_eq!(info(990, 1_000, "noeviction"), Some(Verdict::Warn));
        assert_eq!(info(11, 0, "noeviction"), None);
        assert_eq!(info(11, 10, "allkeys-lru"), None);
        assert_eq!(judge_memory(&Reply::Error("NOPERM".to_owned())), None);
    }
}
