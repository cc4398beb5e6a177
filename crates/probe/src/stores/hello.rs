//! Whether a store answers in its own protocol, before anybody is logged in.
//!
//! For where no credentials are known: a connection alone proves nothing, since the kernel accepts it for a
//! process that hangs. Here a refusal of the login is the proof that the store is there and thinks; only what
//! it would tell every client (starting up, too many clients) is a failure.

use pitcrew_model::{HelloTest, StoreProtocol, Verdict};
use tokio::io::{AsyncWriteExt, BufReader};

use super::{
    amqp, mysql,
    redis::refused,
    resp::{Reply, command, read_reply},
    stream::{Limited, read_exactly},
};
use crate::{Answer, Question};

pub(crate) async fn ask(question: &Question<'_>, test: &HelloTest) -> Answer {
    let answered = match test.protocol {
        StoreProtocol::Postgres => postgres(question, test.port).await,
        StoreProtocol::Mysql => mysql::hello(question, test.port).await,
        StoreProtocol::Redis => redis(question, test.port).await,
        StoreProtocol::Amqp => amqp::hello(question, test.port).await,
    };
    match answered {
        Ok(words) => Answer::pass(words),
        Err(answer) => answer,
    }
}

/// A store that refuses only us answers; one that refuses everybody fails.
pub(super) fn turned_away(refusal: Answer) -> Result<String, Answer> {
    match refusal.verdict {
        Verdict::Unknown => Ok(format!("it answers: {}", refusal.evidence)),
        Verdict::Pass | Verdict::Warn | Verdict::Fail => Err(refusal),
    }
}

async fn redis(question: &Question<'_>, port: Option<u16>) -> Result<String, Answer> {
    let mut stream = BufReader::new(Limited::tcp(question, port).await?);
    send(&mut stream, &command(&["PING"])).await?;
    let reply = read_reply(&mut stream).await;
    let reply = reply.map_err(|error| Answer::from_io(&error))?;
    match (refused(&reply), reply) {
        (Err(refusal), _) => turned_away(refusal),
        (Ok(()), Reply::Simple(pong)) if pong == "PONG" => Ok(pong),
        (Ok(()), reply) => Err(Answer::fail(format!("PING was answered with {reply:?}"))),
    }
}

/// PostgreSQL's messages: a kind, and a length that counts itself.
const AUTHENTICATION: u8 = b'R';
const ERROR: u8 = b'E';
const READY: u8 = b'Z';
const TERMINATE: &[u8] = b"X\0\0\0\x04";
/// Before it is ready the server tells its settings, a dozen messages.
const MESSAGES_MAX: usize = 100;

/// Logs in as a user that need not exist. A server that asks for a password is left there: it doesn't log
/// that, as it does a wrong password.
async fn postgres(question: &Question<'_>, port: Option<u16>) -> Result<String, Answer> {
    let mut stream = Limited::tcp(question, port).await?;
    send(&mut stream, &startup()).await?;
    for _ in 0..MESSAGES_MAX {
        let head = read(&mut stream, 5).await?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let length = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_sub(4))
            .ok_or_else(not_postgres)?;
        if !head[0].is_ascii_uppercase() && head[0] != b'v' {
            return Err(not_postgres());
        }
        let body = read(&mut stream, length).await?;
        match (head[0], &body[..]) {
            (AUTHENTICATION, [0, 0, 0, 0, ..]) => {}
            (AUTHENTICATION, _) => return Ok("PostgreSQL asks who it is".to_owned()),
            (ERROR, fields) => return turned_away(judge(fields)),
            (READY, _) => {
                stream.write_all(TERMINATE).await.ok();
                return Ok("PostgreSQL is ready for queries".to_owned());
            }
            _ => {}
        }
    }
    Err(not_postgres())
}

fn startup() -> Vec<u8> {
    const VERSION_3_0: u32 = 3 << 16;
    let settings = b"user\0pitcrew\0database\0postgres\0application_name\0pitcrew\0\0";
    let length = u32::try_from(settings.len() + 8).expect("a constant of some fifty bytes");
    [
        &length.to_be_bytes(),
        &VERSION_3_0.to_be_bytes(),
        &settings[..],
    ]
    .concat()
}

/// An error's fields: each a letter and a text that ends in zero; `S` severity, `C` code, `M` message.
fn judge(fields: &[u8]) -> Answer {
    let field = |name: u8| {
        let found = fields
            .split(|byte| *byte == 0)
            .find(|field| field.first() == Some(&name));
        found.map_or_else(|| "?".into(), |field| String::from_utf8_lossy(&field[1..]))
    };
    let (severity, code, message) = (field(b'S'), field(b'C'), field(b'M'));
    let words = format!("{severity} {code}: {message}");
    match code.get(..2).unwrap_or_default() {
        // Who may log in, and where to.
        "28" | "3D" | "42" => Answer::unknown(words),
        _ => Answer::fail(words),
    }
}

fn not_postgres() -> Answer {
    Answer::fail("it does not speak PostgreSQL's protocol")
}

async fn send<S: AsyncWriteExt + Unpin>(stream: &mut S, bytes: &[u8]) -> Result<(), Answer> {
    let sent = stream.write_all(bytes).await;
    sent.map_err(|error| Answer::from_io(&error))
}

async fn read(stream: &mut Limited, length: usize) -> Result<Vec<u8>, Answer> {
    let bytes = read_exactly(stream, length).await;
    bytes.map_err(|error| Answer::from_io(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_refusal_of_the_login_proves_an_answer_and_a_refusal_of_everybody_fails() {
        for (fields, verdict) in [
            (
                &b"SFATAL\0C28P01\0Mpassword authentication failed\0\0"[..],
                Verdict::Unknown,
            ),
            (
                b"SFATAL\0C28000\0Mrole \"pitcrew\" does not exist\0\0",
                Verdict::Unknown,
            ),
            (
                b"SFATAL\0C57P03\0Mthe database system is starting up\0\0",
                Verdict::Fail,
            ),
            (
                b"SFATAL\0C53300\0Msorry, too many clients already\0\0",
                Verdict::Fail,
            ),
            (b"", Verdict::Fail),
        ] {
            assert_eq!(judge(fields).verdict, verdict);
        }
    }

    proptest! {
        #[test]
        fn no_error_panics_the_judge(fields in proptest::collection::vec(any::<u8>(), 0..200)) {
            judge(&fields);
        }
    }
}
