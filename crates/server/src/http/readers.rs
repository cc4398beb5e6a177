//! Connections for reading the ledger: a few, off the runtime's threads, reused.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use pitcrew_ledger::{Ledger, LedgerError, Postgres, Reader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;

const READERS_MAX: usize = 4;

/// Where the ledger is.
pub(crate) enum Place {
    Directory(PathBuf),
    Database(Box<Postgres>),
}

impl Place {
    fn open(&self) -> Result<Reader, LedgerError> {
        match self {
            Self::Directory(directory) => Ledger::open_read_only(directory),
            Self::Database(database) => database.reader(),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Readers {
    place: Arc<Place>,
    idle: Arc<Mutex<Vec<Reader>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(crate) fn new(place: Arc<Place>) -> Self {
        Self {
            place,
            idle: Arc::default(),
            permits: Arc::new(Semaphore::new(READERS_MAX)),
        }
    }

    /// Waits for a free connection and reads with it on a thread that may block.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, Problem> {
        let permit = self.permit().await?;
        let this = self.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let reader = this.take()?;
            let answer = read(&reader);
            this.put_back(reader);
            answer
        });
        let answer = reading.await;
        answer
            .map_err(|_panicked| Problem::unavailable("reading the ledger failed"))?
            .map_err(Problem::from)
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let permits = Arc::clone(&self.permits);
        permits
            .acquire_owned()
            .await
            .map_err(|_closed| Problem::unavailable("the server is stopping"))
    }

    fn take(&self) -> Result<Reader, LedgerError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        idle.map_or_else(|| self.place.open(), Ok)
    }

    fn put_back(&self, reader: Reader) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(reader);
    }
}
