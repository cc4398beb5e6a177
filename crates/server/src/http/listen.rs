//! Connections: a bounded number at once, and a head that must arrive in time.

use std::{sync::Arc, time::Duration};

use axum::{Router, middleware};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::{JoinHandle, JoinSet},
};

use super::{
    desk::Desk,
    guard::{self, Guard},
    led_elsewhere, routes,
};

/// Further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1_024;

/// A request's head must be complete within this time, also the next one of a kept connection.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// Requests under way when the server stops have this long to end.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// The running API; ends when told to stop.
pub(crate) struct Listening(JoinHandle<()>);

impl Listening {
    pub(crate) async fn ended(self) {
        if let Err(error) = self.0.await {
            tracing::error!(%error, "the API ended badly");
        }
    }
}

pub(crate) fn listen(
    listener: Arc<TcpListener>,
    guard: Guard,
    desk: Desk,
    stopping: watch::Receiver<bool>,
) -> Listening {
    let guard = middleware::from_fn_with_state(Arc::new(guard), guard::admit);
    let refer = middleware::from_fn_with_state(Arc::clone(&desk.standing), led_elsewhere::refer);
    let router = routes::router(desk).layer(refer).layer(guard);
    Listening(tokio::spawn(accept(listener, router, stopping)))
}

async fn accept(listener: Arc<TcpListener>, router: Router, mut stopping: watch::Receiver<bool>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&permits).acquire_owned() => permit,
            () = stopped(&mut stopping) => break,
        };
        let Ok(permit) = permit else { break };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _peer)) => {
                    connections.spawn(serve(stream, router.clone(), permit, stopping.clone()));
                }
                Err(error) => {
                    // Out of descriptors, mostly: the pause lets others give some back.
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            () = stopped(&mut stopping) => break,
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_GRACE, all_ended).await.is_err() {
        tracing::info!("requests that were still under way are cut off");
    }
}

/// Also when the server is gone altogether.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    stopping.wait_for(|stopping| *stopping).await.ok();
}

async fn serve(
    stream: TcpStream,
    router: Router,
    permit: OwnedSemaphorePermit,
    mut stopping: watch::Receiver<bool>,
) {
    let _permit = permit;
    stream.set_nodelay(true).ok();
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
