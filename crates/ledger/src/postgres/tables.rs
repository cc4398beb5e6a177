//! The tables in PostgreSQL, in a schema of their own, and the head that every write goes through.
//!
//! Schema changes are steps in [`MIGRATIONS`], all that are missing in one transaction; `format` counts them. A
//! step that was released is never edited.

use tokio_postgres::{Client, Row};

use super::{
    Postgres,
    session::{ANSWER_WITHIN, Failure, Session},
};
use crate::{
    LedgerError,
    chain::{self, Hash, Head, Link},
    rows::Garbled,
};

const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE pitcrew.record (
        seq bigint PRIMARY KEY,
        at bigint NOT NULL,
        case_id bigint,
        order_id bigint,
        target text,
        hash bytea NOT NULL,
        json text NOT NULL
    );
    CREATE INDEX record_case ON pitcrew.record (case_id, seq) WHERE case_id IS NOT NULL;
    CREATE INDEX record_order ON pitcrew.record (order_id, seq) WHERE order_id IS NOT NULL;
    CREATE INDEX record_target ON pitcrew.record (target, seq) WHERE target IS NOT NULL;
    CREATE TABLE pitcrew.saved (
        key text COLLATE \"C\" PRIMARY KEY,
        json text NOT NULL,
        checksum bytea NOT NULL
    );
    CREATE TABLE pitcrew.head (
        id integer PRIMARY KEY CHECK (id = 1),
        installation text NOT NULL,
        fence bigint NOT NULL,
        seq bigint NOT NULL,
        hash bytea NOT NULL,
        checksum bytea NOT NULL,
        beat bigint NOT NULL,
        leader text
    );
",
    "
    CREATE TABLE pitcrew.file (
        name text COLLATE \"C\" PRIMARY KEY,
        content bytea NOT NULL,
        checksum bytea NOT NULL
    );
",
];

/// "PtCw": servers that start together set the tables up one after another.
const SETUP_LOCK: i64 = 0x5074_4377;

pub(super) const HEAD_COLUMNS: &str = "installation, fence, seq, hash, checksum, beat, leader";

/// The head's row, whole.
pub(super) struct Standing {
    pub(super) head: Head,
    /// Grows with every write to this row.
    pub(super) beat: i64,
    /// Nobody, when the last leader has let go.
    pub(super) leader: Option<String>,
}

impl Standing {
    /// What a server with the fence `own` is told that can write no more.
    pub(super) fn deposes(self, own: u64, database: &Postgres) -> LedgerError {
        LedgerError::Deposed {
            path: database.place.to_path_buf(),
            own,
            fence: self.head.fence,
            leader: self.leader.unwrap_or_else(|| "nobody".to_owned()),
        }
    }
}

/// Creates what is missing. After an error the session may be in a broken transaction: it is of no more use.
pub(super) fn set_up(session: &Session, database: &Postgres) -> Result<(), LedgerError> {
    let installation =
        chain::new_installation().map_err(LedgerError::io(&database.place, "make an id for"))?;
    let found = session
        .run(ANSWER_WITHIN, async |client| {
            client.batch_execute("BEGIN").await?;
            let found = migrate(client, &installation).await?;
            client.batch_execute("COMMIT").await?;
            Ok(found)
        })
        .map_err(|failure| failure.into_error(database, "set up"))?;
    if usize::try_from(found).is_ok_and(|found| found <= MIGRATIONS.len()) {
        return Ok(());
    }
    Err(LedgerError::Newer {
        path: database.place.to_path_buf(),
        found,
        known: MIGRATIONS.len() as i64,
    })
}

/// Returns the format that was found; a newer one is left as it is.
async fn migrate(client: &Client, installation: &str) -> Result<i64, tokio_postgres::Error> {
    client
        .execute("SELECT pg_advisory_xact_lock($1)", &[&SETUP_LOCK])
        .await?;
    let there = client
        .query_one("SELECT to_regclass('pitcrew.format') IS NOT NULL", &[])
        .await?;
    if !there.get::<_, bool>(0) {
        client
            .batch_execute(
                "CREATE SCHEMA IF NOT EXISTS pitcrew;
                 REVOKE ALL ON SCHEMA pitcrew FROM PUBLIC;
                 CREATE TABLE pitcrew.format (version bigint NOT NULL);
                 INSERT INTO pitcrew.format VALUES (0)",
            )
            .await?;
    }
    let found: i64 = client
        .query_one("SELECT version FROM pitcrew.format", &[])
        .await?
        .get(0);
    for (version, migration) in (1i64..).zip(MIGRATIONS) {
        if version > found {
            client.batch_execute(migration).await?;
            client
                .execute("UPDATE pitcrew.format SET version = $1", &[&version])
                .await?;
        }
    }
    if found == 0 {
        let head = Head {
            last: Link::genesis(installation),
            installation: installation.into(),
            fence: 0,
        };
        client
            .execute(
                "INSERT INTO pitcrew.head (id, installation, fence, seq, hash, checksum, beat)
                 VALUES (1, $1, 0, 0, $2, $3, 0)",
                &[
                    &installation,
                    &head.last.hash.0.as_slice(),
                    &head.checksum().0.as_slice(),
                ],
            )
            .await?;
    }
    Ok(found)
}

pub(super) fn read_standing(
    session: &Session,
    database: &Postgres,
) -> Result<Standing, LedgerError> {
    let row = read_head(session).map_err(|failure| failure.into_error(database, "read"))?;
    standing(row.as_ref(), database)
}

pub(super) fn read_head(session: &Session) -> Result<Option<Row>, Failure> {
    let sql = format!("SELECT {HEAD_COLUMNS} FROM pitcrew.head WHERE id = 1");
    session.run(ANSWER_WITHIN, async |client| {
        client.query_opt(&sql, &[]).await
    })
}

/// From a row of [`HEAD_COLUMNS`], proven whole by its checksum.
pub(super) fn standing(row: Option<&Row>, database: &Postgres) -> Result<Standing, LedgerError> {
    let row =
        row.ok_or_else(|| LedgerError::corrupt(&database.place, "the head of its chain is gone"))?;
    let changed = |_| LedgerError::corrupt(&database.place, "the head of its chain was changed");
    let head = Head {
        installation: row.get::<_, &str>(0).into(),
        fence: row.get::<_, i64>(1).cast_unsigned(),
        last: Link {
            seq: row.get::<_, i64>(2).cast_unsigned(),
            hash: hash(row, 3).map_err(changed)?,
        },
    };
    if hash(row, 4) != Ok(head.checksum()) {
        return Err(changed(Garbled));
    }
    Ok(Standing {
        head,
        beat: row.get(5),
        leader: row.get(6),
    })
}

pub(super) fn hash(row: &Row, column: usize) -> Result<Hash, Garbled> {
    let bytes: &[u8] = row.try_get(column).map_err(|_other_type| Garbled)?;
    bytes.try_into().map(Hash).map_err(|_other_size| Garbled)
}
