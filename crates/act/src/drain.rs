//! Out of use and back: the hook that a drain names, told the same way each time.
//!
//! What it is told is idempotent by agreement, so nothing here remembers who is drained; that is for whoever keeps leases.

use pitcrew_model::{DrainBy, Order, Timestamp};

use crate::{Answer, actuators::Inner, command, webhook};

impl Inner {
    pub(crate) async fn tell_hook(&self, order: &Order, by: &DrainBy, drains: bool) -> Answer {
        match by {
            DrainBy::Webhook { url, timeout } => match self.http() {
                Ok(client) => webhook::carry_out(client, order, url, *timeout).await,
                Err(why) => Answer::failed(why),
            },
            DrainBy::Command {
                drain,
                undrain,
                timeout,
            } => {
                let command = if drains { drain } else { undrain };
                let until = order.lease.as_ref().map(|term| term.until);
                let more = |name: &str| lease_placeholder(name, self.now(), until);
                let (target, id) = (&order.target, &order.operation);
                command::carry_out_with(command, target, more, id, *timeout).await
            }
            DrainBy::HostCommand { drain, undrain } => {
                let name = if drains { drain } else { undrain };
                Answer::failed(format!(
                    "command `{name}` is of the target's own host, and no agent is known there"
                ))
            }
        }
    }
}

fn lease_placeholder(name: &str, now: Timestamp, until: Option<Timestamp>) -> Option<String> {
    match name {
        // Rounded up: whoever counts on its own must not end before the lease does.
        "lease_seconds" => Some(until?.since(now).as_millis().div_ceil(1_000).to_string()),
        "until" => Some(until?.to_string()),
        _ => None,
    }
}
