//! What the ledger's rows say, to answer whoever asks a server that follows.
//!
//! An engine that is restored from the rows as if this server had just started, and told nothing that happens: what it
//! wants done is dropped. It is made anew when somebody asks and the last one is a second old, or older where making
//! it takes long. While the database can't be reached, the last one answers.

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use pitcrew_engine::{Birth, Engine};
use pitcrew_find::Roll;
use pitcrew_ledger::{Postgres, Reader};
use pitcrew_model::{Event, Objection, Order, Production};
use pitcrew_sim::Brain;

use crate::{
    clock::Clock,
    core::{Inbox, Message},
    kept::{Kept, KeptError},
    remembered,
    standing::Standing,
};

const OLD: Duration = Duration::from_secs(1);

/// It may take a twentieth of this thread's time, and of the database's.
const SHARE: u32 = 20;

pub(crate) struct Copy {
    pub(crate) database: Postgres,
    pub(crate) kept: Kept,
    pub(crate) production: Arc<Production>,
    pub(crate) clock: Clock,
    pub(crate) inbox: Inbox,
    pub(crate) messages: mpsc::Receiver<Message>,
    pub(crate) standing: Arc<Standing>,
}

/// What was made last.
struct Made {
    engine: Engine,
    at: Instant,
    took: Duration,
}

impl Copy {
    /// Until [`Message::Stop`].
    pub(crate) fn run(self) {
        let mut made = Made {
            engine: Engine::new(nobody()),
            at: Instant::now(),
            took: Duration::ZERO,
        };
        let mut reader = None;
        self.make_anew(&mut made, &mut reader);
        while let Ok(message) = self.messages.recv() {
            self.inbox.taken();
            match message {
                Message::Ask(question) => {
                    if made.at.elapsed() > OLD.max(made.took * SHARE) {
                        self.make_anew(&mut made, &mut reader);
                    }
                    question(&made.engine, self.clock.now());
                }
                Message::Flush(done) => {
                    // The asker may have given up.
                    done.send(()).ok();
                }
                Message::Stop => return,
                // Nothing happens here, and the routes refuse what a person wants.
                Message::Event(_) | Message::Person(..) | Message::Drain => {}
            }
        }
    }

    fn make_anew(&self, made: &mut Made, reader: &mut Option<Reader>) {
        let began = Instant::now();
        match self.engine(reader) {
            Ok(engine) => made.engine = engine,
            Err(error) => tracing::debug!("what is known here is not made anew: {error}"),
        }
        made.at = Instant::now();
        made.took = began.elapsed();
    }

    fn engine(&self, reader: &mut Option<Reader>) -> Result<Engine, KeptError> {
        let reader = match reader {
            Some(reader) => reader,
            None => reader.insert(self.database.reader()?),
        };
        self.standing.installation(reader.installation());
        let rows = reader.saved()?;
        let now = self.clock.now();
        let mut brain = Brain::start(now, nobody(), rows);
        let mut roll = Roll::restore(remembered::read(&self.kept)?);
        let found = roll.set(&self.production.sources).events;
        let configured = Event::Production(Arc::clone(&self.production));
        for event in std::iter::once(configured).chain(found) {
            // What it wants done is for the server that leads.
            drop(brain.tell_stopping(now, event, not_here));
        }
        Ok(brain.engine)
    }
}

/// Never gives an order, so nobody sees it.
fn nobody() -> Birth {
    Birth {
        installation: String::new(),
        fence: 0,
        last_case: 0,
        last_order: 0,
    }
}

fn not_here(order: &Order) -> Objection {
    Objection {
        invariant: 2,
        reason: format!(
            "this server follows: {} on {} is for the one that leads",
            order.action, order.target.id
        ),
    }
}
