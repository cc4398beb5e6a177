//! This host's own agent, in this process: a host like any other, which proves who it is by being here.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use pitcrew_act::Actuators;
use pitcrew_agent::{AgentError, Embedded, Processes};
use pitcrew_model::Timestamp;
use pitcrew_wire::HostName;
use tokio::io::{DuplexStream, duplex};

use super::{
    Fleet,
    session::{self, Proven},
};
use crate::VERSION;

/// As much as one side may say before the other listens.
const BUFFER_BYTES: usize = 64 << 10;

impl Fleet {
    /// Until the task is ended: it must outlast the orders that are under way.
    pub(crate) async fn keep_own_agent(
        self: Arc<Self>,
        actuators: Actuators,
        processes: Arc<Processes>,
    ) {
        let lent = Embedded {
            installation: self.installation.clone(),
            order_key: self.own_signer.key(),
            actuators,
            processes,
            version: VERSION.to_owned(),
        };
        let Err(error): Result<_, AgentError> =
            pitcrew_agent::embedded(lent, || self.own_connection()).await;
        tracing::error!("this host's own agent can't run, so no order can be given here: {error}");
    }

    fn own_connection(self: &Arc<Self>) -> DuplexStream {
        let (here, there) = duplex(BUFFER_BYTES);
        let proven = Proven {
            host: HostName::local(),
            generation: 0,
            expires_at: Timestamp::from_millis(u64::MAX),
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let fleet = Arc::clone(self);
        tokio::spawn(async move { session::run(&fleet, here, proven).await });
        there
    }
}
