//! How many decisions a second reach the disk, beside the limits of SQLite and of the disk itself.
//!
//! `cargo run --release -p pitcrew-ledger --example commits [-- --json] [--seconds S] [--directory DIR] [--postgres ADDRESS]`
//!
//! A decision is what an order costs: an intent record and the order's and the case's saved rows. Each batch size is measured three ways, one
//! after another on the same disk in the same run, several rounds in turn: the ledger; SQLite alone, inserting rows of the same bytes with the
//! same pragmas; and the disk's own appends with `fdatasync`, which no durable commit can beat. With `--postgres ADDRESS` (and
//! `--password-file FILE`), the same in a PostgreSQL that is there already: an empty database, in which a ledger stays behind.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use pitcrew_ledger::{Bid, Candidate, Leader, Ledger, Postgres};
use pitcrew_model::{
    Action, Address, Authority, CaseId, Fact, Labels, OperationId, Order, OrderId, OrderState,
    Record, Saved, ServiceName, SourceName, Target, TargetId, Timestamp,
};

type Failure = Box<dyn std::error::Error>;

const BATCHES: [usize; 3] = [1, 16, 256];
const ROUNDS: u32 = 3;

struct Rates {
    batch: usize,
    ledger: f64,
    sqlite: f64,
    fsync: f64,
    postgres: Option<f64>,
}

fn main() -> Result<(), Failure> {
    let (mut json, mut seconds, mut directory) = (false, 2.0, std::env::temp_dir());
    let (mut postgres, mut password_file) = (None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| format!("{argument} needs a value"))
        };
        match argument.as_str() {
            "--json" => json = true,
            "--seconds" => seconds = value()?.parse()?,
            "--directory" => directory = PathBuf::from(value()?),
            "--postgres" => postgres = Some(value()?),
            "--password-file" => password_file = Some(PathBuf::from(value()?)),
            _ => return Err(format!("unknown argument `{argument}`").into()),
        }
    }
    let slice = Duration::from_secs_f64(seconds).div_f64(f64::from(ROUNDS));
    let mut leader = postgres
        .map(|address| lead(&address, password_file.as_deref()))
        .transpose()?;
    let rates = BATCHES
        .into_iter()
        .map(|batch| measure(&directory, leader.as_deref_mut(), batch, slice))
        .collect::<Result<Vec<_>, _>>()?;
    if json {
        print_json(&rates);
    } else {
        print_table(&rates);
    }
    Ok(())
}

fn lead(address: &str, password_file: Option<&Path>) -> Result<Box<Leader>, Failure> {
    let database = Postgres::new(address, password_file, None)?;
    match Candidate::new(database, "benchmark").bid()? {
        Bid::Leads(leader) => Ok(leader),
        Bid::Follows { leader, .. } => Err(format!("{leader:?} leads this ledger").into()),
    }
}

fn measure(
    parent: &Path,
    mut leader: Option<&mut Leader>,
    batch: usize,
    slice: Duration,
) -> Result<Rates, Failure> {
    let directory = tempfile::tempdir_in(parent)?;
    let decisions: Vec<(Record, Saved)> = (0..batch).map(decision).collect::<Result<_, _>>()?;
    let (mut records, mut saved): (Vec<_>, Vec<_>) = decisions.into_iter().unzip();
    let mut next = 0;
    let mut ledger = Ledger::open(&directory.path().join("ledger"))?;
    let mut sqlite = Rows::open(&directory.path().join("rows.db"), &records, &saved)?;
    let mut appends = Appends::open(&directory.path().join("appends"), sqlite.bytes())?;
    let mut rates = Rates {
        batch,
        ledger: 0.0,
        sqlite: 0.0,
        fsync: 0.0,
        postgres: leader.as_ref().map(|_| 0.0),
    };
    let share = 1.0 / f64::from(ROUNDS);
    let size = u32::try_from(batch).map(f64::from)?;
    for _ in 0..ROUNDS {
        rates.ledger += share
            * size
            * times_a_second(slice, || {
                for (record, saved) in records.iter_mut().zip(&mut saved) {
                    next += 1;
                    renumber(record, saved, next);
                }
                ledger.commit(&records, &saved)?;
                Ok(())
            })?;
        if let (Some(leader), Some(rate)) = (&mut leader, &mut rates.postgres) {
            *rate += share
                * size
                * times_a_second(slice, || {
                    for (record, saved) in records.iter_mut().zip(&mut saved) {
                        next += 1;
                        renumber(record, saved, next);
                    }
                    leader.commit(&records, &saved)?;
                    Ok(())
                })?;
        }
        rates.sqlite += share * size * times_a_second(slice, || sqlite.commit())?;
        rates.fsync += share * times_a_second(slice, || appends.append())?;
    }
    Ok(rates)
}

fn times_a_second(
    slice: Duration,
    mut act: impl FnMut() -> Result<(), Failure>,
) -> Result<f64, Failure> {
    let (start, mut count) = (Instant::now(), 0u32);
    while start.elapsed() < slice {
        act()?;
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

/// An order's intent and its saved row, of the size they have in production.
fn decision(number: usize) -> Result<(Record, Saved), Failure> {
    let id = u64::try_from(number)?;
    let target = Target {
        id: TargetId::new(format!("10.0.{}.{}:8080", number / 250, number % 250))?,
        address: Some(Address(
            format!("10.0.{}.{}:8080", number / 250, number % 250).into(),
        )),
        labels: Labels::new([
            ("service", "web"),
            ("zone", "a"),
            ("host", "h17"),
            ("rack", "r3"),
        ])?,
        run_on: None,
        runner: None,
        source: SourceName::new("file-1")?,
    };
    let now = Timestamp::from_millis(1_795_374_919_042);
    let order = Order {
        id: OrderId(id),
        operation: OperationId::new(format!("5c1e-{number}"))?,
        case: Some(CaseId(id)),
        target: Arc::new(target.clone()),
        service: Some(ServiceName::new("web")?),
        host: None,
        lease: None,
        action: Action::Restart,
        runner: None,
        authority: Authority::Policy,
        repair: None,
        step: 0,
        attempt: 1,
        given_at: now,
        settle: Duration::from_secs(30),
        expires_at: now + Order::EXPIRY,
        fence: 1,
        digest: "0123456789abcdef".to_owned(),
        target_is_down: true,
    };
    let record = Record {
        at: now,
        case: Some(CaseId(id)),
        order: Some(OrderId(id)),
        target: Some(target.id),
        service: order.service.clone(),
        fact: Fact::Intent {
            order: Box::new(order.clone()),
        },
    };
    let saved = Saved::Order(Box::new(OrderState {
        order,
        given: true,
        outcome: None,
        ended_at: None,
    }));
    Ok((record, saved))
}

/// Every decision is about a case and an order of its own; of their saved rows, 1,024 are alive at a time.
fn renumber(record: &mut Record, saved: &mut Saved, number: u64) {
    record.case = Some(CaseId(number));
    record.order = Some(OrderId(number));
    if let Saved::Order(state) = saved {
        state.order.id = OrderId(number % 1_024);
    }
}

/// SQLite alone: rows of the same bytes, no index, no hash, no JSON to make.
struct Rows {
    connection: rusqlite::Connection,
    rows: Vec<(String, String)>,
    next: i64,
}

impl Rows {
    fn open(path: &Path, records: &[Record], saved: &[Saved]) -> Result<Self, Failure> {
        let connection = rusqlite::Connection::open(path)?;
        connection.execute_batch(
            "PRAGMA journal_mode = wal; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 1000;
             PRAGMA journal_size_limit = 16777216;
             CREATE TABLE appended (id INTEGER PRIMARY KEY, json TEXT NOT NULL);
             CREATE TABLE kept (id INTEGER PRIMARY KEY, json TEXT NOT NULL);",
        )?;
        let rows = records
            .iter()
            .zip(saved)
            .map(|(record, saved)| {
                Ok((
                    serde_json::to_string(record)?,
                    serde_json::to_string(saved)?,
                ))
            })
            .collect::<Result<_, Failure>>()?;
        Ok(Self {
            connection,
            rows,
            next: 0,
        })
    }

    fn bytes(&self) -> usize {
        self.rows
            .iter()
            .map(|(record, saved)| record.len() + saved.len())
            .sum()
    }

    fn commit(&mut self) -> Result<(), Failure> {
        let transaction = self.connection.transaction()?;
        for (record, saved) in &self.rows {
            self.next += 1;
            transaction
                .prepare_cached("INSERT INTO appended (json) VALUES (?1)")?
                .execute([record])?;
            transaction
                .prepare_cached("INSERT OR REPLACE INTO kept (id, json) VALUES (?1, ?2)")?
                .execute((self.next % 1_024, saved))?;
        }
        Ok(transaction.commit()?)
    }
}

/// The disk alone: as many bytes appended to a file and flushed, over and over.
struct Appends {
    file: File,
    bytes: Vec<u8>,
}

impl Appends {
    fn open(path: &Path, size: usize) -> Result<Self, Failure> {
        Ok(Self {
            file: File::create(path)?,
            bytes: vec![b'x'; size],
        })
    }

    fn append(&mut self) -> Result<(), Failure> {
        self.file.write_all(&self.bytes)?;
        Ok(self.file.sync_data()?)
    }
}

fn print_table(rates: &[Rates]) {
    println!(
        "decisions on the disk a second     (a decision: an intent record and its saved order)"
    );
    println!("  batch     ledger   SQLite alone   of SQLite    fdatasync/s     PostgreSQL");
    for Rates {
        batch,
        ledger,
        sqlite,
        fsync,
        postgres,
    } in rates
    {
        let percent = 100.0 * ledger / sqlite;
        let postgres = postgres.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"));
        println!(
            "  {batch:>5} {ledger:>10.0} {sqlite:>14.0} {percent:>9.0} % {fsync:>14.0} {postgres:>14}"
        );
    }
}

fn print_json(rates: &[Rates]) {
    let rows: Vec<serde_json::Value> = rates
        .iter()
        .map(|rate| {
            serde_json::json!({
                "batch": rate.batch,
                "ledger_decisions_per_second": rate.ledger,
                "sqlite_decisions_per_second": rate.sqlite,
                "fdatasync_per_second": rate.fsync,
                "postgres_decisions_per_second": rate.postgres,
            })
        })
        .collect();
    println!("{}", serde_json::Value::from(rows));
}
