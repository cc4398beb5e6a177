//! MySQL and MariaDB: log in, ping, and the user's query.
//!
//! The protocol is spoken by hand. The client libraries hand a connection that is dropped in mid-answer to
//! a task that waits for the server to finish, so a server that hangs would collect one of those per
//! round; here the connection is the question's own and ends with it.

mod login;
mod packet;

use std::path::Path;

use pitcrew_model::{MysqlTest, SqlExpectation};
use tokio::io::{AsyncWriteExt, BufReader};

use super::{FirstValue, expect_value, hello::turned_away, stream::Limited};
use crate::{Answer, Question};
use login::{Plugin, sealed};
use packet::{
    COM_PING, COM_QUERY, COM_QUIT, Fields, Greeting, ServerError, framed, is_end, read_packet,
};

pub(crate) async fn ask(question: &Question<'_>, test: &MysqlTest) -> Answer {
    match converse(question, test).await {
        Ok(words) => Answer::pass(words),
        Err(answer) => answer,
    }
}

async fn converse(question: &Question<'_>, test: &MysqlTest) -> Result<String, Answer> {
    let stream = match &test.socket {
        Some(path) => Limited::unix(question, Path::new(path)).await?,
        None => Limited::tcp(question, test.port).await?,
    };
    let mut server = Connection {
        stream: BufReader::new(stream),
        sequence: 0,
        is_local: test.socket.is_some(),
    };
    let greeting = server.greeting().await?;
    server.log_in(test, &greeting).await?;
    question
        .progress
        .reached("logged in, the query is not answered");
    server.command(COM_PING, "").await?;
    succeeded(&server.receive().await?)?;
    let name = if greeting.is_mariadb() {
        "MariaDB"
    } else {
        "MySQL"
    };
    let mut words = format!("{name} {}", short_version(&greeting.version));
    let result = match &test.query {
        None => Ok("ping answered".to_owned()),
        Some(query) => server.query(question, &greeting, query).await,
    };
    // Without the goodbye the server counts and logs an aborted connection.
    server.command(COM_QUIT, "").await.ok();
    words.push_str(", ");
    words.push_str(&result?);
    Ok(words)
}

/// `10.11.6` of `5.5.5-10.11.6-MariaDB-0+deb12u1`: MariaDB hides behind a version that old replicas accept.
fn short_version(version: &str) -> &str {
    let version = version.strip_prefix("5.5.5-").unwrap_or(version);
    version.split('-').next().unwrap_or(version)
}

struct Connection {
    stream: BufReader<Limited>,
    sequence: u8,
    /// Over a Unix socket nobody listens in.
    is_local: bool,
}

impl Connection {
    async fn greeting(&mut self) -> Result<Greeting, Answer> {
        let payload = self.receive().await?;
        Greeting::decode(&payload).ok_or_else(|| Answer::fail("it does not speak MySQL's protocol"))
    }

    async fn log_in(&mut self, test: &MysqlTest, greeting: &Greeting) -> Result<(), Answer> {
        let password = test.password.as_ref().map_or("", |secret| secret.expose());
        // A server may greet with a plugin that isn't the user's; it asks for the right one then.
        let plugin = Plugin::named(&greeting.plugin).unwrap_or(Plugin::NativePassword);
        let mut nonce = greeting.nonce.clone();
        let proof = plugin.proof(password, &nonce);
        let database = test.database.as_deref();
        self.send(&packet::login(&test.user, &proof, database, plugin.name()))
            .await?;
        // The longest login takes four answers: another plugin, its full form, the key, the verdict.
        for _ in 0..5 {
            let payload = self.receive().await?;
            match payload.split_first() {
                Some((0x00, _)) => return Ok(()),
                Some((0xfe, rest)) => {
                    let mut fields = Fields(rest);
                    let name = String::from_utf8_lossy(fields.text()).into_owned();
                    let plugin = Plugin::named(&name).ok_or_else(|| {
                        Answer::unknown(format!(
                            "user `{}` logs in by `{name}`, which is not spoken here; \
                             use mysql_native_password or caching_sha2_password",
                            test.user
                        ))
                    })?;
                    nonce = fields.text().to_vec();
                    self.send(&plugin.proof(password, &nonce)).await?;
                }
                // The cache knew the password; the verdict follows.
                Some((0x01, [0x03])) => {}
                Some((0x01, [0x04])) if self.is_local => {
                    self.send(&[password.as_bytes(), &[0]].concat()).await?;
                }
                Some((0x01, [0x04])) => self.send(&[0x02]).await?,
                Some((0x01, key)) => {
                    let sealed = sealed(password, &nonce, key).map_err(Answer::unknown)?;
                    self.send(&sealed).await?;
                }
                _ => break,
            }
        }
        Err(Answer::fail("the login does not end"))
    }

    async fn query(
        &mut self,
        question: &Question<'_>,
        greeting: &Greeting,
        query: &SqlExpectation,
    ) -> Result<String, Answer> {
        // A query that hangs on a lock would stay behind on the server after every round.
        let timeout = question.test.timeout;
        let limit = if greeting.is_mariadb() {
            format!("SET SESSION max_statement_time={}", timeout.as_secs_f64())
        } else {
            format!("SET SESSION max_execution_time={}", timeout.as_millis())
        };
        self.command(COM_QUERY, &limit).await?;
        // Servers too old to know the variable say so; the query is asked all the same.
        self.receive_any().await?;
        self.command(COM_QUERY, &query.sql).await?;
        let head = self.receive().await?;
        match head.first() {
            Some(0x00) => return expect_value(question, query, &FirstValue::NoRow),
            Some(0xfb) => {
                return Err(Answer::unknown(
                    "the query asks for a local file, which is never given",
                ));
            }
            _ => {}
        }
        while !is_end(&self.receive().await?) {}
        let row = self.receive().await?;
        let value = match Fields(&row).value() {
            _ if is_end(&row) => FirstValue::NoRow,
            Some(Some(text)) => FirstValue::Text(text.into()),
            Some(None) => FirstValue::Null,
            None => return Err(Answer::fail("it does not speak MySQL's protocol")),
        };
        if !is_end(&row) {
            // The end of the usual single row; closing on unread bytes would look like an abort.
            self.receive().await?;
        }
        expect_value(question, query, &value)
    }

    async fn command(&mut self, command: u8, text: &str) -> Result<(), Answer> {
        self.sequence = 0;
        self.send(&[&[command], text.as_bytes()].concat()).await
    }

    async fn send(&mut self, payload: &[u8]) -> Result<(), Answer> {
        let bytes = framed(self.sequence, payload).map_err(|error| Answer::from_io(&error))?;
        self.stream
            .write_all(&bytes)
            .await
            .map_err(|error| Answer::from_io(&error))
    }

    /// The next payload; `Err` when it is the server's refusal.
    async fn receive(&mut self) -> Result<Vec<u8>, Answer> {
        let payload = self.receive_any().await?;
        match ServerError::decode(&payload) {
            Some(refusal) => Err(blame(&refusal)),
            None => Ok(payload),
        }
    }

    async fn receive_any(&mut self) -> Result<Vec<u8>, Answer> {
        let packet = read_packet(&mut self.stream)
            .await
            .map_err(|error| Answer::from_io(&error))?;
        self.sequence = packet.sequence.wrapping_add(1);
        Ok(packet.payload)
    }
}

/// The greeting, then a login as a user that need not exist. A connection that ends between the two counts
/// against our host, and a server blocks a host after `max_connect_errors` of them.
pub(super) async fn hello(question: &Question<'_>, port: Option<u16>) -> Result<String, Answer> {
    let stream = Limited::tcp(question, port).await?;
    let mut server = Connection {
        stream: BufReader::new(stream),
        sequence: 0,
        is_local: false,
    };
    let first = server.receive_any().await?;
    if let Some(refusal) = ServerError::decode(&first) {
        return turned_away(blame(&refusal));
    }
    let greeting = Greeting::decode(&first)
        .ok_or_else(|| Answer::fail("it does not speak MySQL's protocol"))?;
    let plugin = Plugin::NativePassword.name();
    server
        .send(&packet::login("pitcrew", &[], None, plugin))
        .await?;
    match ServerError::decode(&server.receive_any().await?) {
        Some(refusal) => turned_away(blame(&refusal)),
        None => {
            server.command(COM_QUIT, "").await.ok();
            Ok(format!("MySQL {} greets", short_version(&greeting.version)))
        }
    }
}

fn succeeded(payload: &[u8]) -> Result<(), Answer> {
    match payload.first() {
        Some(0x00) => Ok(()),
        _ => Err(Answer::fail("the ping was not answered with OK")),
    }
}

/// What these say is wrong is the test's user, right, host or query; their SQL state doesn't tell.
const REFUSES_THIS_TEST: [u16; 10] = [
    1129, // host is blocked because of many connection errors
    1130, // host is not allowed to connect
    1251, // the client can't log in as this user must
    1820, // the user must change the password first
    1862, // the password has expired
    3118, // the account is locked (MySQL)
    3159, // connections without TLS are prohibited
    3948, // local files are never given (MySQL)
    4151, // the account is locked (MariaDB)
    4166, // local files are never given (MariaDB)
];

/// `ERROR 1045 (28000): Access denied for user 'app'@'10.0.0.9'`, as MySQL's own client prints it.
fn blame(refusal: &ServerError) -> Answer {
    let state = refusal.state.as_deref().unwrap_or_default();
    let words = match state {
        "" => format!("ERROR {}: {}", refusal.code, refusal.message),
        state => format!("ERROR {} ({state}): {}", refusal.code, refusal.message),
    };
    match state.get(..2).unwrap_or_default() {
        "28" | "42" | "22" | "3D" => Answer::unknown(words),
        _ if REFUSES_THIS_TEST.contains(&refusal.code) => Answer::unknown(words),
        _ => Answer::fail(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pitcrew_model::Verdict;

    #[test]
    fn refusals_blame_the_server_only_when_it_is_to_blame() {
        for (code, state, verdict) in [
            (1040, None, Verdict::Fail),
            (1040, Some("08004"), Verdict::Fail),
            (1053, Some("08S01"), Verdict::Fail),
            (1205, Some("HY000"), Verdict::Fail),
            (1021, Some("HY000"), Verdict::Fail),
            (1045, Some("28000"), Verdict::Unknown),
            (1049, Some("42000"), Verdict::Unknown),
            (1146, Some("42S02"), Verdict::Unknown),
            (1130, None, Verdict::Unknown),
        ] {
            let refusal = ServerError {
                code,
                state: state.map(str::to_owned),
                message: "words".to_owned(),
            };
            assert_eq!(blame(&refusal).verdict, verdict, "{code}");
        }
    }

    #[test]
    fn versions_are_shown_as_people_know_them() {
        assert_eq!(short_version("5.5.5-10.11.6-MariaDB-0+deb12u1"), "10.11.6");
        assert_eq!(short_version("8.4.3"), "8.4.3");
    }
}
