//! The agent of the server's own host, within the server's process: the same orders, the same session, the same messages
//! as everywhere, over a stream in memory.
//!
//! The server's configuration is this host's own, so what it says a target is needs no second word, and its limits are the
//! host's. All else is checked here as on any host: who signed an order, for whom, until when, by which server of several.

use std::{convert::Infallible, sync::Arc, time::Duration};

use pitcrew_act::Actuators;
use pitcrew_wire::{HostName, OrderKey};
use tokio::io::DuplexStream;

use crate::{
    AgentError, Processes,
    clock::ServerTime,
    hands::Hands,
    inventory::Inventory,
    orders::Orders,
    run::{Agent, boot_id, new_instance},
    session,
};

/// What the server lends to its own agent.
pub struct Embedded {
    pub installation: String,
    /// That orders are signed for.
    pub order_key: OrderKey,
    /// The server does some things itself; with the same actuators, so that nothing is done twice.
    pub actuators: Actuators,
    pub processes: Arc<Processes>,
    /// Of Pitcrew.
    pub version: String,
}

/// In place of the server's address.
const HERE: &str = "this process";

/// Between two connections, of which none should ever end before the server does.
const PAUSE: Duration = Duration::from_millis(100);

/// Until the task is ended. `connect` gives a new connection to the server's side.
pub async fn embedded(
    lent: Embedded,
    connect: impl Fn() -> DuplexStream,
) -> Result<Infallible, AgentError> {
    let time = Arc::new(ServerTime::default());
    let boot_id = boot_id()?;
    let orders = Orders {
        installation: lent.installation,
        host: HostName::local(),
        boot_id: boot_id.clone(),
        key: lent.order_key.into(),
        inventory: Arc::new(Inventory::Servers),
        commands: Vec::new(),
        caps: None,
        actuators: lent.actuators,
        leases: None,
        time: Arc::clone(&time),
    };
    let agent = Arc::new(Agent {
        host: HostName::local(),
        boot_id,
        inventory: Arc::clone(&orders.inventory),
        hands: Arc::new(Hands::Here(Arc::new(orders))),
        processes: lent.processes,
        time,
        instance: new_instance(),
        version: lent.version,
        plugins: Vec::new(),
        membership: None,
    });
    loop {
        let ended = Box::pin(session::run(&agent, HERE, connect(), |_| {})).await;
        tracing::warn!("the connection of this host's own agent ended: {ended}");
        tokio::time::sleep(PAUSE).await;
    }
}
