//! One question to one target, and the deadline that holds over all of it.

use std::sync::{Mutex, PoisonError};

use pitcrew_model::{Place, Runner, Target, Test, TestKind, Timestamp, Verdict, format_duration};

use crate::{Answer, Tools, dns, grpc, http, local, metric, resolve, stores, tcp, tls};

/// Everything a test needs to ask one target.
pub struct Question<'a> {
    pub target: &'a Target,
    pub runner: Option<&'a Runner>,
    pub test: &'a Test,
    pub tools: &'a Tools,
    pub(crate) progress: Progress,
}

impl<'a> Question<'a> {
    #[must_use]
    pub fn new(
        target: &'a Target,
        runner: Option<&'a Runner>,
        test: &'a Test,
        tools: &'a Tools,
    ) -> Self {
        Self {
            target,
            runner,
            test,
            tools,
            progress: Progress(Mutex::new((Verdict::Fail, "nothing was sent"))),
        }
    }

    /// The target's host, as its address names it.
    pub(crate) fn host(&self) -> Result<&str, Answer> {
        match &self.target.address {
            Some(address) => Ok(address.host()),
            None => Err(Answer::unknown("the target has no address")),
        }
    }

    /// `port` where the test names one, otherwise that of the target's address.
    pub(crate) fn port(&self, port: Option<u16>) -> Result<u16, Answer> {
        port.or_else(|| self.target.address.as_ref()?.port())
            .ok_or_else(|| Answer::unknown("neither the test nor the target's address has a port"))
    }

    fn out_of_time(&self) -> Answer {
        let (verdict, words) = self.progress.last();
        let within = format_duration(self.test.timeout);
        Answer::new(verdict, format!("no answer within {within} ({words})"))
    }
}

/// How far a question got, in words that end the sentence "no answer within 2s (…)", and whom it blames.
/// Kept beside the future, because a future that is dropped at its deadline can't tell.
pub(crate) struct Progress(Mutex<(Verdict, &'static str)>);

impl Progress {
    /// From here on it is the target that keeps us waiting.
    pub(crate) fn reached(&self, words: &'static str) {
        self.set(Verdict::Fail, words);
    }

    /// Here it is something else: the target has not been asked.
    pub(crate) fn waits_elsewhere(&self, words: &'static str) {
        self.set(Verdict::Unknown, words);
    }

    fn set(&self, verdict: Verdict, words: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (verdict, words);
    }

    fn last(&self) -> (Verdict, &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the supervisor says of a target's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessState {
    Running {
        pid: u32,
        since: Timestamp,
    },
    /// Gone by itself; `detail` is how: `exit 1`, `signal 11`.
    Exited {
        detail: String,
    },
    /// A person stopped it and wants it so.
    Stopped {
        by: String,
    },
    Unknown {
        why: String,
    },
}

/// Where the `process` test looks: the supervisor of this host, which this crate must not depend on.
pub trait ProcessStates: Send + Sync {
    /// Must answer at once: it is called on the runtime's threads.
    fn state(&self, target: &Target, runner: &Runner) -> ProcessState;
}

/// Puts the question and waits for the answer, at most `test.timeout`.
pub async fn ask(question: Question<'_>) -> Answer {
    match tokio::time::timeout(question.test.timeout, answer(&question)).await {
        Ok(answer) => answer,
        Err(_elapsed) => question.out_of_time(),
    }
}

async fn answer(question: &Question<'_>) -> Answer {
    if question.test.place == Place::Host
        && let Err(elsewhere) = resolve::on_this_host(question).await
    {
        return elsewhere;
    }
    // The stores' clients make large futures; boxed, they don't swell every other test's.
    match &question.test.kind {
        TestKind::Nagios(test) => Box::pin(local::nagios::ask(question, test)).await,
        TestKind::Process => local::process::ask(question),
        TestKind::Unit { name } => Box::pin(local::unit::ask(question, name.as_deref())).await,
        TestKind::Postgres(test) => Box::pin(stores::postgres::ask(question, test)).await,
        TestKind::Mysql(test) => Box::pin(stores::mysql::ask(question, test)).await,
        TestKind::Redis(test) => Box::pin(stores::redis::ask(question, test)).await,
        TestKind::Memcached(test) => Box::pin(stores::memcached::ask(question, test)).await,
        TestKind::Amqp(test) => Box::pin(stores::amqp::ask(question, test)).await,
        TestKind::Hello(test) => Box::pin(stores::hello::ask(question, test)).await,
        TestKind::Host(test) => Box::pin(local::host::ask(question, test)).await,
        TestKind::Metric(test) => Box::pin(metric::ask(question, test)).await,
        TestKind::Push => Answer::unknown("its results are pushed, it can't be asked"),
        TestKind::Http(test) => http::ask(question, test).await,
        TestKind::Tcp(test) => tcp::ask(question, test).await,
        TestKind::Tls(test) => Box::pin(tls::ask(question, test)).await,
        TestKind::Dns(test) => Box::pin(dns::ask(question, test)).await,
        TestKind::Grpc(test) => Box::pin(grpc::ask(question, test)).await,
    }
}
