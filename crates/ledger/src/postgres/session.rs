//! One connection and the small runtime that drives it while somebody waits for an answer.
//!
//! Every wait has an end. A failure says which of two it is, and everything safe rests on that difference:
//! [`Failure::Refused`] did nothing, after [`Failure::Lost`] nobody knows yet.

use std::{cell::OnceCell, error::Error as _, time::Duration};

use tokio::{runtime::Runtime, time::timeout};
use tokio_postgres::{Client, Statement, error::SqlState};

use super::Postgres;
use crate::LedgerError;

/// How long an answer of the database may take.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// A lost peer is noticed by the database, too, within about 5 s, so that its locks go. No `statement_timeout`:
/// ending a wait for a synchronous replica with it makes PostgreSQL report a commit that the replica lacks.
const SETTINGS: &str = "
    SET lock_timeout = '2s';
    SET idle_in_transaction_session_timeout = '10s';
    SET tcp_keepalives_idle = 2; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = 5000;
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') IN ('off', 'local')";

pub(super) struct Session {
    /// Always there until it is dropped.
    runtime: Option<Runtime>,
    client: Client,
    prepared: OnceCell<Statement>,
}

#[derive(Debug)]
pub(super) enum Failure {
    /// The database said no, and did nothing of it.
    Refused(tokio_postgres::Error),
    /// There was no answer: it may have happened, and may still happen.
    Lost(String),
}

impl Session {
    pub(super) fn open(database: &Postgres) -> Result<Self, LedgerError> {
        let unreachable = |why| LedgerError::Unreachable {
            path: database.place.to_path_buf(),
            why,
        };
        let login = database.login()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(LedgerError::io(&database.place, "make a runtime for"))?;
        // The connection's own timeout covers the socket, not the login.
        let connecting = async {
            let connected = login.connect(database.tls.clone());
            let Ok(connected) = timeout(ANSWER_WITHIN, connected).await else {
                return Err("no answer to the login".to_owned());
            };
            let (client, connection) = connected.map_err(|error| words(&error))?;
            tokio::spawn(connection);
            Ok(client)
        };
        let client = match runtime.block_on(connecting) {
            Ok(client) => client,
            Err(why) => {
                runtime.shutdown_background();
                return Err(unreachable(why));
            }
        };
        let session = Self {
            runtime: Some(runtime),
            client,
            prepared: OnceCell::new(),
        };
        let encoding = session
            .run(ANSWER_WITHIN, async |client| {
                client.batch_execute(SETTINGS).await?;
                client.query_one("SHOW server_encoding", &[]).await
            })
            .map_err(|failure| failure.into_error(database, "set up"))?;
        match encoding.get::<_, &str>(0) {
            "UTF8" => Ok(session),
            other => Err(LedgerError::Address {
                why: format!("the database keeps text as {other}: make one with ENCODING 'UTF8'"),
            }),
        }
    }

    /// The one statement that is run over and over, so that a commit costs one round trip.
    pub(super) fn prepared(&self, sql: &str) -> Result<&Statement, Failure> {
        if let Some(statement) = self.prepared.get() {
            return Ok(statement);
        }
        let statement = self.run(ANSWER_WITHIN, async |client| client.prepare(sql).await)?;
        Ok(self.prepared.get_or_init(|| statement))
    }

    pub(super) fn run<T>(
        &self,
        within: Duration,
        ask: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Failure> {
        let runtime = self.runtime.as_ref().expect("there until it is dropped");
        match runtime.block_on(async { timeout(within, ask(&self.client)).await }) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if ends_session(&error) => Err(Failure::Lost(words(&error))),
            Ok(Err(error)) => Err(Failure::Refused(error)),
            Err(_elapsed) => Err(Failure::Lost(format!("no answer for {within:?}"))),
        }
    }
}

impl Drop for Session {
    /// May happen on a thread of another runtime, where waiting for this one is not allowed.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Failure {
    pub(super) fn into_error(self, database: &Postgres, doing: &'static str) -> LedgerError {
        let path = database.place.to_path_buf();
        match self {
            Self::Lost(why) => LedgerError::Unreachable { path, why },
            Self::Refused(source) => match source.code() {
                Some(&SqlState::DISK_FULL) => LedgerError::Full { path },
                Some(&SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME) => {
                    LedgerError::Absent { path }
                }
                _ => LedgerError::Postgres {
                    path,
                    doing,
                    source,
                },
            },
        }
    }
}

/// An `ERROR` leaves the session as it was and its statement undone. After `FATAL` and `PANIC` a commit may have
/// happened. A server that has become read-only is no place to write: another one may be by now.
fn ends_session(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_none_or(|refusal| {
        refusal.severity() != "ERROR" || *refusal.code() == SqlState::READ_ONLY_SQL_TRANSACTION
    })
}

/// What the database or the network said: `FATAL 57P01: terminating connection …`
pub(crate) fn words(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(refusal), _) => format!(
            "{} {}: {}",
            refusal.severity(),
            refusal.code().code(),
            refusal.message()
        ),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}
