//! Connections: a bounded number at once, a head that must arrive in time, an answer that must be read.

use std::{io, sync::Arc, time::Duration};

use axum::{Extension, Router, middleware};
use hyper::server::conn::{http1, http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
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
    led_elsewhere,
    paced::{PATIENCE, Paced},
    request::Peer,
    routes,
};

/// Further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1_024;

/// A request's head must be complete within this time, also the next one of a kept connection.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// Requests at once in one connection of HTTP/2.
const STREAMS_MAX: u32 = 64;

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
                Ok((stream, peer)) => {
                    let router = router.clone().layer(Extension(Peer(peer.ip())));
                    connections.spawn(serve(stream, router, permit, stopping.clone()));
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
    stopping: watch::Receiver<bool>,
) {
    let _permit = permit;
    stream.set_nodelay(true).ok();
    let ended = match tokio::time::timeout(HEAD_DEADLINE, speaks_http2(&stream)).await {
        Ok(Ok(false)) => serve_http1(stream, router, stopping).await,
        Ok(Ok(true)) => serve_http2(stream, router, stopping).await,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a connection ended before it began");
            return;
        }
        Err(_elapsed) => return,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Whether a connection begins as HTTP/2 does; no method of HTTP/1 begins so.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    const BEGINS: &[u8] = b"PRI";
    let mut begun = [0; BEGINS.len()];
    loop {
        let length = stream.peek(&mut begun).await?;
        if length == 0 || begun[..length] != BEGINS[..length] {
            return Ok(false);
        }
        if length == BEGINS.len() {
            return Ok(true);
        }
        // What was peeked at stays: the socket is readable all the time.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn serve_http1(
    stream: TcpStream,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .serve_connection(
            TokioIo::new(Paced::new(stream, PATIENCE)),
            TowerToHyperService::new(router),
        );
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

/// For gRPC. Whoever says nothing is asked for a sign of life, since no head of a request is waited for.
async fn serve_http2(
    stream: TcpStream,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD_DEADLINE)
        .keep_alive_timeout(HEAD_DEADLINE)
        .max_concurrent_streams(STREAMS_MAX)
        .serve_connection(
            TokioIo::new(Paced::new(stream, PATIENCE)),
            TowerToHyperService::new(router),
        );
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}
