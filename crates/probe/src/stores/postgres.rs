//! PostgreSQL: log in and ask `SELECT 1` or the user's query; on a replica, how far behind it is.
//!
//! The connection is driven inside the question's own future, so it ends with it. The server is told a
//! `statement_timeout` of the test's own length: a query that hangs on a lock would otherwise stay behind
//! on the server after every round, until the test itself had used up `max_connections`.

use std::{error::Error as _, io, path::Path, time::Duration};

use futures_util::{StreamExt, pin_mut};
use pitcrew_model::{PostgresTest, format_duration};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{
    Client, Config, Connection, NoTls, SimpleQueryMessage, config::SslMode, error::DbError,
    tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{FirstValue, expect_value, stream::Limited};
use crate::{
    Answer, Question, connect,
    trust::{self, Protocols},
};

const PORT: u16 = 5432;

pub(crate) async fn ask(question: &Question<'_>, test: &PostgresTest) -> Answer {
    match converse(question, test).await {
        Ok(words) => Answer::pass(words),
        Err(answer) => answer,
    }
}

async fn converse(question: &Question<'_>, test: &PostgresTest) -> Result<String, Answer> {
    let config = login(test);
    // libpq too ignores TLS on a Unix socket, and the server refuses it there.
    if let Some(directory) = &test.socket {
        let port = question.port(test.port).unwrap_or(PORT);
        let path = Path::new(directory).join(format!(".s.PGSQL.{port}"));
        let stream = Limited::unix(question, &path).await?;
        let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(blame)?;
        return drive(question, test, client, connection).await;
    }
    let stream = Limited::tcp(question, test.port).await?;
    if !test.tls {
        let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(blame)?;
        return drive(question, test, client, connection).await;
    }
    let options = &test.tls_options;
    let host = question.host()?;
    connect::server_name(options, host)?;
    let trust = connect::client_config(question, options, Protocols::Unnamed).await?;
    let mut tls = MakeRustlsConnect::new((*trust).clone());
    let name = options.server_name.as_deref().unwrap_or(host);
    let Ok(tls) = MakeTlsConnect::<Limited>::make_tls_connect(&mut tls, name);
    let (client, connection) = config.connect_raw(stream, tls).await.map_err(blame)?;
    drive(question, test, client, connection).await
}

fn login(test: &PostgresTest) -> Config {
    let mut config = Config::new();
    config
        .user(&test.user)
        .dbname(&test.database)
        .application_name("pitcrew")
        .ssl_mode(match test.tls {
            true if test.socket.is_none() => SslMode::Require,
            _ => SslMode::Disable,
        });
    if let Some(password) = &test.password {
        config.password(password.expose());
    }
    config
}

/// Asks while the connection is driven, then says goodbye.
async fn drive<S, T>(
    question: &Question<'_>,
    test: &PostgresTest,
    client: Client,
    mut connection: Connection<S, T>,
) -> Result<String, Answer>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    question
        .progress
        .reached("logged in, the query is not answered");
    let version = connection
        .parameter("server_version")
        .and_then(|version| version.split(' ').next())
        .unwrap_or("?")
        .to_owned();
    let (result, is_open) = {
        let asked = ask_all(question, test, &client, &version);
        pin_mut!(asked);
        tokio::select! {
            biased;
            result = &mut asked => (result, true),
            ended = &mut connection => match ended {
                Err(error) => (Err(blame(error)), false),
                // The server closed; what was asked knows how far it got.
                Ok(()) => (asked.await, false),
            },
        }
    };
    if is_open {
        drop(client);
        // Sends Terminate; an answer that is known isn't changed by how the connection ends.
        connection.await.ok();
    }
    result
}

async fn ask_all(
    question: &Question<'_>,
    test: &PostgresTest,
    client: &Client,
    version: &str,
) -> Result<String, Answer> {
    let mut words = format!("PostgreSQL {version}, ");
    words.push_str(&ask_query(question, test, client).await?);
    if let Some(lag_max) = test.replica_lag_max {
        words.push_str(", ");
        words.push_str(&ask_lag(question, client, lag_max).await?);
    }
    Ok(words)
}

async fn ask_query(
    question: &Question<'_>,
    test: &PostgresTest,
    client: &Client,
) -> Result<String, Answer> {
    let Some(query) = &test.query else {
        first_row(question, client, "SELECT 1").await?;
        return Ok("SELECT 1 answered".to_owned());
    };
    let row = first_row(question, client, &query.sql).await?;
    let value = match &row {
        None => FirstValue::NoRow,
        Some(row) => match row.first() {
            Some(Some(text)) => FirstValue::Text(text.as_bytes().into()),
            _ => FirstValue::Null,
        },
    };
    expect_value(question, query, &value)
}

/// The first row's columns as text. Both statements are one implicit transaction, so the timeout ends
/// with it and no pooler hands it to somebody else.
async fn first_row(
    question: &Question<'_>,
    client: &Client,
    sql: &str,
) -> Result<Option<Vec<Option<String>>>, Answer> {
    let limited = format!(
        "SET LOCAL statement_timeout = {}; {sql}",
        question.test.timeout.as_millis()
    );
    let messages = client.simple_query_raw(&limited).await.map_err(blame)?;
    pin_mut!(messages);
    while let Some(message) = messages.next().await {
        if let SimpleQueryMessage::Row(row) = message.map_err(blame)? {
            let columns =
                (0..row.len()).map(|at| row.try_get(at).map(|text| text.map(str::to_owned)));
            return columns.collect::<Result<_, _>>().map(Some).map_err(blame);
        }
    }
    Ok(None)
}

/// Seconds behind, or NULL when nothing was replayed yet. Equal positions mean no lag only while a
/// receiver is there: without one a replica that hears nothing would look caught up for ever.
const LAG_SQL: &str = "SELECT pg_is_in_recovery(), CASE \
    WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() \
     AND EXISTS (SELECT FROM pg_stat_wal_receiver WHERE pid IS NOT NULL) THEN 0 \
    ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END";

async fn ask_lag(
    question: &Question<'_>,
    client: &Client,
    lag_max: Duration,
) -> Result<String, Answer> {
    let row = first_row(question, client, LAG_SQL).await?;
    let column = |at: usize| row.as_ref()?.get(at)?.as_deref();
    if column(0) == Some("f") {
        return Ok("not a replica".to_owned());
    }
    let lag = column(1)
        .and_then(|seconds| seconds.parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
    match lag {
        None => Err(Answer::unknown(
            "the replica has replayed nothing yet, its lag is not known",
        )),
        Some(lag) => {
            let behind = format_duration(Duration::from_secs(lag.as_secs()));
            match lag > lag_max {
                true => Err(Answer::fail(format!(
                    "replica is {behind} behind, at most {} is wanted",
                    format_duration(lag_max)
                ))),
                false => Ok(format!("replica {behind} behind")),
            }
        }
    }
}

/// What an error of the client library says, and of whom.
fn blame(error: tokio_postgres::Error) -> Answer {
    if let Some(refusal) = error.as_db_error() {
        return blame_refusal(refusal);
    }
    if error.is_closed() {
        return Answer::fail("connection closed");
    }
    let cause = error.source();
    let words = match cause {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    // A password that is missing or can't be sent, or a login method that the client doesn't know.
    if [
        "invalid configuration",
        "authentication error",
        "error encoding",
    ]
    .iter()
    .any(|kind| words.starts_with(kind))
    {
        return Answer::unknown(words);
    }
    let Some(error) = cause.and_then(|cause| cause.downcast_ref::<io::Error>()) else {
        return match words.contains("TLS") {
            true => Answer::unknown(words),
            false => Answer::fail(words),
        };
    };
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        return Answer::fail(trust::words(tls));
    }
    match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            Answer::fail(format!("it does not speak PostgreSQL's protocol: {error}"))
        }
        _ => Answer::from_io(error),
    }
}

/// `FATAL 53300: sorry, too many clients already`
fn blame_refusal(refusal: &DbError) -> Answer {
    let code = refusal.code().code();
    let words = format!("{} {code}: {}", refusal.severity(), refusal.message());
    match code.get(..2).unwrap_or_default() {
        // Who may log in (28), which databases exist (3D), what is SQL and who may run it (42),
        // what the data is like (22), what this server can't do at all (0A).
        "28" | "3D" | "42" | "22" | "0A" => Answer::unknown(words),
        _ => Answer::fail(words),
    }
}
