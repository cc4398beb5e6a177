//! Power cycles by controllers: real ones that speak IPMI and Redfish, and our own that lie.

mod ipmi;
mod liar;

use std::sync::Arc;

use pitcrew_act::Actuators;
use pitcrew_model::{Action, Outcome, PowerController, PowerRule, Runner};

use crate::support::{Home, order};

/// An order for `web@web-7`, which runs on `web-7`.
async fn cycle(home: &Home, operation: &str, controller: PowerController) -> Outcome {
    let actuators = home.actuators();
    power_order(&actuators, operation, controller).await
}

async fn power_order(
    actuators: &Actuators,
    operation: &str,
    controller: PowerController,
) -> Outcome {
    actuators.set_power(&[PowerRule {
        hosts: vec!["web-*".into()],
        controller,
    }]);
    let mut order = order(
        operation,
        "web@web-7",
        Action::PowerCycle,
        Runner::Supervised,
    );
    order.host = Some(Arc::new(pitcrew_model::Target {
        id: "web-7".parse().unwrap(),
        ..(*order.target).clone()
    }));
    actuators.carry_out(&order).await
}
