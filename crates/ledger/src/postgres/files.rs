//! Files that all servers of an installation must have alike, beside the ledger: the authority of its agents, for one.
//!
//! Written only under the fence of the server that leads: the write waits for whoever is taking the next fence and
//! then finds out. Never here: what the files mean.

use tokio_postgres::types::ToSql;

use super::{Postgres, rows::PostgresRows, session::ANSWER_WITHIN, tables};
use crate::{LedgerError, chain};

/// Of one server: to read, and while it leads to write.
pub struct SharedFiles {
    rows: PostgresRows,
    /// Of the server that leads; another one only reads.
    fence: Option<u64>,
}

/// Writes nothing where the head has another fence.
const KEEP: &str = "
    WITH led AS (SELECT id FROM pitcrew.head WHERE id = 1 AND fence = $1 FOR SHARE)
    INSERT INTO pitcrew.file (name, content, checksum) SELECT $2, $3, $4 FROM led
    ON CONFLICT (name) DO UPDATE SET content = excluded.content, checksum = excluded.checksum";

impl Postgres {
    /// To read, or with the fence of a leader of this process to write, too. Nothing is asked yet.
    #[must_use]
    pub fn files(&self, fence: Option<u64>) -> SharedFiles {
        SharedFiles {
            rows: PostgresRows::new(self.clone()),
            fence,
        }
    }
}

impl SharedFiles {
    /// `None` where there is none of this name.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, LedgerError> {
        let found = self.select("name = $1", name)?;
        Ok(found.into_iter().next().map(|(_, content)| content))
    }

    /// Those whose name begins with `start`, by name, with their content.
    pub fn beginning_with(&self, start: &str) -> Result<Vec<(String, Vec<u8>)>, LedgerError> {
        self.select("starts_with(name, $1) ORDER BY name", start)
    }

    /// Makes or replaces it; durable on return. [`LedgerError::Deposed`] when another server has taken the next fence.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), LedgerError> {
        let Some(fence) = self.fence else {
            return Err(self.deposed(0));
        };
        let checksum = chain::file_checksum(name, content).0;
        let written = self.rows.read(|session| {
            let parameters: [&(dyn ToSql + Sync); 4] =
                [&fence.cast_signed(), &name, &content, &checksum.as_slice()];
            session.run(ANSWER_WITHIN, async |client| {
                client.execute(KEEP, &parameters).await
            })
        })?;
        match written {
            0 => Err(self.deposed(fence)),
            _ => Ok(()),
        }
    }

    fn select(&self, which: &str, name: &str) -> Result<Vec<(String, Vec<u8>)>, LedgerError> {
        let sql = format!("SELECT name, content, checksum FROM pitcrew.file WHERE {which}");
        let rows = self.rows.read(|session| {
            session.run(ANSWER_WITHIN, async |client| {
                client.query(&sql, &[&name]).await
            })
        })?;
        let files = rows.iter().map(|row| {
            let (name, content): (String, Vec<u8>) = (row.get(0), row.get(1));
            if tables::hash(row, 2) == Ok(chain::file_checksum(&name, &content)) {
                return Ok((name, content));
            }
            let why = format!("its file `{name}` was changed after it was written");
            Err(LedgerError::corrupt(&self.rows.database.place, why))
        });
        files.collect()
    }

    fn deposed(&self, own: u64) -> LedgerError {
        let database = &self.rows.database;
        let row = self.rows.read(tables::read_head);
        let standing = row.and_then(|row| tables::standing(row.as_ref(), database));
        match standing {
            Ok(standing) => standing.deposes(own, database),
            Err(error) => error,
        }
    }
}
