//! Answers that read every target: they may take a twentieth of the engine's time, not more. An answer that
//! took long is given again for twenty times as long; one that took microseconds is as good as new.

use std::time::{Duration, Instant};

use pitcrew_engine::{LimitStatus, ServiceStatus};
use tokio::sync::Mutex;

use super::problem::Problem;
use crate::core::{Inbox, Stopping};

const SHARE: u32 = 20;

struct Computed<T> {
    at: Instant,
    took: Duration,
    answer: T,
}

/// One asker computes while the others wait for its answer.
struct Sparing<T>(Mutex<Option<Computed<T>>>);

impl<T: Clone> Sparing<T> {
    async fn get(
        &self,
        compute: impl Future<Output = Result<(T, Duration), Stopping>>,
    ) -> Result<T, Problem> {
        let mut last = self.0.lock().await;
        if let Some(last) = &*last
            && last.at.elapsed() < last.took * SHARE
        {
            return Ok(last.answer.clone());
        }
        let (answer, took) = compute.await?;
        *last = Some(Computed {
            at: Instant::now(),
            took,
            answer: answer.clone(),
        });
        Ok(answer)
    }
}

impl<T> Default for Sparing<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

#[derive(Default)]
pub(crate) struct Overview {
    services: Sparing<Vec<ServiceStatus>>,
    limits: Sparing<Vec<LimitStatus>>,
}

impl Overview {
    /// One question for each service, so that events pass between them.
    pub(crate) async fn services(&self, inbox: &Inbox) -> Result<Vec<ServiceStatus>, Problem> {
        let compute = async {
            let names = inbox.ask(|engine, _now| {
                let names = engine.services().map(|service| service.name.clone());
                names.collect::<Vec<_>>()
            });
            let (mut statuses, mut took) = (Vec::new(), Duration::ZERO);
            for name in names.await? {
                let asked = inbox.ask(move |engine, now| {
                    let began = Instant::now();
                    (engine.service(now, &name), began.elapsed())
                });
                let (status, one_took) = asked.await?;
                // A service that was configured away meanwhile has none.
                statuses.extend(status);
                took += one_took;
            }
            Ok((statuses, took))
        };
        self.services.get(compute).await
    }

    pub(crate) async fn limits(&self, inbox: &Inbox) -> Result<Vec<LimitStatus>, Problem> {
        let compute = inbox.ask(|engine, now| {
            let began = Instant::now();
            (engine.limits(now), began.elapsed())
        });
        self.limits.get(compute).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(sparing: &Sparing<u32>, answer: u32, took: Duration) -> Result<u32, Problem> {
        sparing.get(async { Ok((answer, took)) }).await
    }

    #[tokio::test]
    async fn what_took_long_is_given_again_and_what_did_not_is_asked_anew() {
        let sparing = Sparing::default();
        assert_eq!(get(&sparing, 1, Duration::ZERO).await, Ok(1));
        assert_eq!(get(&sparing, 2, Duration::from_secs(60)).await, Ok(2));
        assert_eq!(get(&sparing, 3, Duration::ZERO).await, Ok(2));
    }
}
