//! Finding the series of incoming samples: by the hash of their keys, and only for new ones by their labels.

use pitcrew_promql::labels::Labels;
use twox_hash::{XxHash3_64, XxHash3_128};

use crate::{
    batch::{Batch, RawLabels, Reason},
    canonical::Canonical,
    head::Head,
    store::Store,
    wal::record,
};

/// Finds the series that keys of one batch stand for.
pub(crate) struct Finder<'a> {
    store: &'a Store,
    batch: &'a Batch<'a>,
    seed: u64,
    source: u32,
    head: &'a mut Head,
    raw: &'a mut RawLabels,
    unwritten: &'a mut Vec<u8>,
    /// The key before and its series: formats that list samples by series repeat it.
    last: Option<(&'a [u8], u32)>,
    /// The last key that stands for none, and why: a hostile one may be long, and have many samples.
    refused: Option<(&'a [u8], Reason)>,
    pub(crate) new_series: u64,
    /// A series and how long it is kept.
    kept_ms: Option<(u32, i64)>,
}

impl<'a> Finder<'a> {
    /// `unwritten`: where definitions of new series go.
    pub(crate) fn new(
        store: &'a Store,
        batch: &'a Batch<'a>,
        head: &'a mut Head,
        raw: &'a mut RawLabels,
        unwritten: &'a mut Vec<u8>,
    ) -> Self {
        Finder {
            store,
            batch,
            seed: XxHash3_64::oneshot_with_seed(store.key_seed, batch.scope),
            source: head.source(batch.source),
            head,
            raw,
            unwritten,
            last: None,
            refused: None,
            new_series: 0,
            kept_ms: None,
        }
    }

    /// `may_define`: why a series of such labels, if it isn't known, isn't to be defined.
    pub(crate) fn find(
        &mut self,
        key: &'a [u8],
        may_define: impl FnOnce(&RawLabels) -> Result<(), Reason>,
    ) -> Result<u32, Reason> {
        if let Some((last, series)) = self.last
            && std::ptr::eq(last, key)
        {
            return Ok(series);
        }
        if let Some((refused, reason)) = &self.refused
            && std::ptr::eq(*refused, key)
        {
            return Err(reason.clone());
        }
        let found = self.by_key(key, may_define);
        match &found {
            Ok(series) => self.last = Some((key, *series)),
            // Its next sample may be young enough.
            Err(Reason::TooOld { .. }) => {}
            Err(reason) => self.refused = Some((key, reason.clone())),
        }
        found
    }

    /// Everybody waits meanwhile: what is longer than can be stored is not even hashed.
    fn by_key(
        &mut self,
        key: &[u8],
        may_define: impl FnOnce(&RawLabels) -> Result<(), Reason>,
    ) -> Result<u32, Reason> {
        let most = self.store.options.limits.key_bytes();
        if key.len() > most {
            let problem = format!("they take {} bytes, more than {most}", key.len());
            return Err(Reason::BadLabels(problem));
        }
        let hash = XxHash3_128::oneshot_with_seed(self.seed, key);
        let likely = self.last.map_or(0, |(_, series)| series.saturating_add(1));
        if let Some(series) = self.head.table.of_key(hash, likely) {
            return Ok(series);
        }
        let series = self.by_labels(key, may_define)?;
        self.head.table.remember_key(hash, series);
        Ok(series)
    }

    fn by_labels(
        &mut self,
        key: &[u8],
        may_define: impl FnOnce(&RawLabels) -> Result<(), Reason>,
    ) -> Result<u32, Reason> {
        let limits = &self.store.options.limits;
        self.raw.clear();
        (self.batch.labels_of)(key, self.raw).map_err(Reason::BadLabels)?;
        let canonical = Canonical::of(self.raw, limits).map_err(Reason::BadLabels)?;
        let fingerprint = self.head.table.fingerprint(&canonical);
        if let Some(series) = self.head.table.of_labels(&canonical, fingerprint) {
            return Ok(series);
        }
        may_define(&canonical.labels)?;
        if self.head.table.len() >= limits.series {
            return Err(Reason::SeriesLimit {
                limit: limits.series,
            });
        }
        if self.head.series_of_source(self.source) >= limits.source_series {
            return Err(Reason::SourceLimit {
                limit: limits.source_series,
            });
        }
        if self.head.bytes() > limits.head_bytes {
            return Err(Reason::Memory {
                limit: limits.head_bytes,
            });
        }
        let number = self.head.table.next_number();
        let beside = self.last.map(|(_, series)| series);
        self.head
            .define(number, &canonical, fingerprint, self.source, beside);
        record::put_series(self.unwritten, number, self.batch.source, &canonical.bytes);
        self.new_series += 1;
        Ok(number)
    }

    /// How long a series is kept.
    pub(crate) fn kept_ms(&mut self, series: u32) -> i64 {
        if let Some((_, kept_ms)) = self.kept_ms.filter(|(known, _)| *known == series) {
            return kept_ms;
        }
        let table = &self.head.table;
        let labels = table.labels(&table.known(series).labels);
        let kept_ms = self.store.options.kept_ms(&labels);
        self.kept_ms = Some((series, kept_ms));
        kept_ms
    }

    /// A key's labels as far as they can be read, for whoever sent them.
    pub(crate) fn describe(&mut self, key: &[u8]) -> String {
        const LENGTH_MAX: usize = 300;
        self.raw.clear();
        let is_read = key.len() <= self.store.options.limits.key_bytes()
            && (self.batch.labels_of)(key, self.raw).is_ok();
        let mut text = match is_read {
            true => Labels::from_pairs(self.raw.iter()).to_string(),
            false => String::from_utf8_lossy(&key[..key.len().min(LENGTH_MAX)]).into_owned(),
        };
        if text.len() > LENGTH_MAX {
            let end = (0..=LENGTH_MAX)
                .rev()
                .find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(0));
            text.push('…');
        }
        text
    }
}
