//! The first moments of a process that was just started: a web server that reads its configuration yet is not
//! a failing one. It is not tested before it listens, has ended, or has had [`PATIENCE`].

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use pitcrew_act::{ProcessState, Supervisor};
use pitcrew_model::{Event, Target};
use tokio::{net::TcpStream, task::JoinHandle};

use crate::core::Inbox;

/// As long as a step's order would wait for a first sign: then the tests decide.
const PATIENCE: Duration = Duration::from_secs(10);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Processes that were started and that the engine doesn't know yet.
#[derive(Default)]
pub(crate) struct Warming(Option<JoinHandle<()>>);

impl Warming {
    /// Afterwards no target of before is announced any more.
    pub(crate) async fn end(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
            // Cancelled, or through before that: both are an end.
            task.await.ok();
        }
    }

    /// Announces each of `targets` when it is warm.
    pub(crate) fn announce(
        &mut self,
        targets: Vec<Target>,
        supervisor: &Supervisor,
        inbox: &Inbox,
    ) {
        let (supervisor, inbox) = (supervisor.clone(), inbox.clone());
        self.0 = Some(tokio::spawn(async move {
            let each = targets
                .into_iter()
                .map(|target| announce_one(target, &supervisor, &inbox));
            futures_util::future::join_all(each).await;
        }));
    }
}

async fn announce_one(target: Target, supervisor: &Supervisor, inbox: &Inbox) {
    let began = Instant::now();
    while began.elapsed() < PATIENCE && is_running(supervisor, &target) && !listens(&target).await {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    inbox.event(Event::Targets {
        upserted: vec![Arc::new(target)],
        removed: Vec::new(),
    });
}

fn is_running(supervisor: &Supervisor, target: &Target) -> bool {
    matches!(supervisor.state(&target.id), ProcessState::Running { .. })
}

/// Also true for what has no port to listen on.
async fn listens(target: &Target) -> bool {
    let Some(address) = target
        .address
        .as_ref()
        .and_then(|address| socket_address(&address.0))
    else {
        return true;
    };
    let connecting = TcpStream::connect(address);
    matches!(
        tokio::time::timeout(Duration::from_secs(1), connecting).await,
        Ok(Ok(_))
    )
}

/// Supervised processes have numeric addresses of this host: nothing is looked up.
fn socket_address(text: &str) -> Option<SocketAddr> {
    text.parse().ok()
}
