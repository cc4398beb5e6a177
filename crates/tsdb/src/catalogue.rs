//! The catalogue, written anew: without series that report no more, or because the disk may have lost some of it.
//!
//! It is written beside the one there is, which goes on taking definitions, and put in its place in one step.

use roaring::RoaringBitmap;

use crate::{
    error::Error,
    maintain::Upkeep,
    store::{Store, lock, read, write},
    wal::{Log, record},
};

impl Store {
    /// Fewer idle series than this aren't worth the work.
    const FORGET_LEAST: u64 = 1000;

    /// Forgets series that had no sample for two seals. The catalogue is written anew without them, and only
    /// then may their numbers stand for others.
    pub(crate) fn forget(&self, upkeep: &mut Upkeep) -> Result<u64, Error> {
        let series = read(&self.head).table.len() as u64;
        if upkeep.gone.len() < (series / 10).max(Self::FORGET_LEAST) {
            return Ok(0);
        }
        let gone = std::mem::take(&mut upkeep.gone);
        let mut catalogue = lock(&self.writer).wal.begin_catalogue()?;
        self.write_catalogue(&mut catalogue.log, &gone)?;
        catalogue.log.flush()?;
        // Only the log's owner makes rows, and it is held from now on: what has no samples gets none.
        let mut writer = lock(&self.writer);
        let (back, gone) = {
            let head = read(&self.head);
            let (back, gone): (Vec<u32>, Vec<u32>) =
                gone.iter().partition(|series| head.has_samples(*series));
            (head.definitions(back.iter().copied()), gone)
        };
        if let Err(error) = writer.wal.replace_catalogue(catalogue, &back) {
            // They stay in the head, and it may be in place already, without them.
            let again = read(&self.head).definitions(gone.into_iter());
            writer.unwritten.extend(again);
            return Err(error);
        }
        let gone = gone.into_iter().collect();
        {
            let mut head = write(&self.head);
            head.forget(&gone);
            head.table.give_again(&gone);
        }
        lock(&self.exemplars).retain(|series| !gone.contains(series));
        upkeep.idle -= &gone;
        Ok(gone.len())
    }

    /// Writes the catalogue again where the disk may have lost some of it. The same of segments is done by a seal.
    pub(crate) fn settle_doubts(&self) -> Result<(), Error> {
        let mut writer = lock(&self.writer);
        if read(&self.head).filling.samples == 0 {
            // All are in parts; of exemplars a few are not worth more.
            writer.wal.sealed(u64::MAX);
        }
        let doubts = writer.wal.doubts();
        drop(writer);
        if doubts.catalogue {
            self.renew_catalogue()?;
        }
        Ok(())
    }

    /// Writes the catalogue again as it is.
    fn renew_catalogue(&self) -> Result<(), Error> {
        let mut catalogue = lock(&self.writer).wal.begin_catalogue()?;
        self.write_catalogue(&mut catalogue.log, &RoaringBitmap::new())?;
        catalogue.log.flush()?;
        lock(&self.writer).wal.replace_catalogue(catalogue, &[])
    }

    /// Definitions of all series but those that are gone, and metadata. The head is looked at a little at a time; what
    /// is defined meanwhile is in the old catalogue, too.
    fn write_catalogue(&self, log: &mut Log, gone: &RoaringBitmap) -> Result<(), Error> {
        const AT_ONCE: usize = 4096;
        let known = read(&self.head).table.postings.all() - gone;
        let mut known = known.iter();
        loop {
            let some: Vec<u32> = known.by_ref().take(AT_ONCE).collect();
            if some.is_empty() {
                break;
            }
            let records = read(&self.head).definitions(some.into_iter());
            log.add(&records)?;
        }
        let mut records = Vec::new();
        for metadata in lock(&self.families).iter() {
            record::put_metadata(&mut records, metadata);
        }
        log.add(&records)
    }
}
