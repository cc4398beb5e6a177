//! What a person asks for: pause, hold, approve, order, close. The engine answers each with the limit that
//! refused it, or with what was done.

use pitcrew_model::{OrderState, Scope};
use pitcrew_server::api::{
    AcceptRequest, Accepted, ApproveRequest, CloseRequest, DenyRequest, HoldRequest, OrderRequest,
    PauseRequest, ResumeRequest,
};

use crate::{
    arguments::{
        AcceptOptions, ApproveOptions, CloseOptions, DenyOptions, General, HoldOptions,
        OrderOptions, PauseOptions, ReleaseOptions, ResumeOptions,
    },
    client::Client,
    failure::{Answer, Answered, Failure},
    output::{note, print, print_json},
    words::{clock_time, length},
};

fn say(accepted: &Accepted, general: &General, done: &str) -> Answered {
    if general.json {
        print_json(accepted)?;
    } else {
        print(done)?;
        if !accepted.recorded {
            note("the ledger can't be written: this holds now, but would not survive a restart");
        }
    }
    Ok(Answer::Yes)
}

/// As it is written on the command line; nothing for the fleet.
pub(crate) fn scope_argument(scope: &Scope) -> String {
    match scope {
        Scope::Fleet => String::new(),
        Scope::Service(service) => format!(" {service}"),
        Scope::Domain {
            service,
            label,
            value,
        } => format!(" {service}:{label}={value}"),
    }
}

pub(crate) fn pause(options: PauseOptions, general: &General) -> Answered {
    let request = PauseRequest {
        scope: options.scope.unwrap_or(Scope::Fleet),
        why: options.why,
    };
    let accepted = Client::new(general)?.post(&["pause"], &request)?;
    let done = format!(
        "paused {}: no new order; lift it with `pitcrew resume{}`",
        request.scope,
        scope_argument(&request.scope)
    );
    say(&accepted, general, &done)
}

pub(crate) fn resume(options: ResumeOptions, general: &General) -> Answered {
    let request = ResumeRequest {
        scope: options.scope.unwrap_or(Scope::Fleet),
    };
    let accepted = Client::new(general)?.post(&["resume"], &request)?;
    say(&accepted, general, &format!("resumed {}", request.scope))
}

pub(crate) fn hold(options: HoldOptions, general: &General) -> Answered {
    let request = HoldRequest {
        target: options.target,
        lasting: options.lasting,
        why: options.why,
    };
    let accepted: Accepted = Client::new(general)?.post(&["holds"], &request)?;
    let done = format!(
        "{} is left alone for {}, until {}; give it back with `pitcrew release {}`",
        request.target,
        length(request.lasting),
        clock_time(accepted.record.at + request.lasting),
        request.target
    );
    say(&accepted, general, &done)
}

pub(crate) fn release(options: &ReleaseOptions, general: &General) -> Answered {
    let accepted = Client::new(general)?.delete(&["holds", options.target.as_str()])?;
    say(
        &accepted,
        general,
        &format!("{} is Pitcrew's again", options.target),
    )
}

/// The digest binds the approval to what was shown: an order that changed meanwhile is refused.
pub(crate) fn approve(options: &ApproveOptions, general: &General) -> Answered {
    let client = Client::new(general)?;
    let id = options.order.to_string();
    let state: OrderState = client.get(&["orders", &id], &[])?;
    let order = &state.order;
    let digest = options
        .digest
        .clone()
        .unwrap_or_else(|| order.digest.clone());
    let accepted = client.post(&["orders", &id, "approve"], &ApproveRequest { digest })?;
    say(
        &accepted,
        general,
        &format!(
            "approved {id}: {} {}; watch it with `pitcrew explain {id}`",
            order.deed(),
            order.target.id
        ),
    )
}

pub(crate) fn deny(options: &DenyOptions, general: &General) -> Answered {
    let id = options.order.to_string();
    let accepted = Client::new(general)?.post(&["orders", &id, "deny"], &DenyRequest {})?;
    say(&accepted, general, &format!("denied {id}"))
}

pub(crate) fn order(options: OrderOptions, general: &General) -> Answered {
    let client = Client::new(general)?;
    let request = OrderRequest {
        target: options.target,
        action: options.action,
        why: options.why,
    };
    let accepted: Accepted =
        client
            .post(&["orders"], &request)
            .map_err(|failure| match failure {
                Failure::Refused(why) => Failure::Refused(format!("refused: {why}")),
                other => other,
            })?;
    let mut given = match accepted.order {
        Some(order) => format!(
            "{order}: {} {}; watch it with `pitcrew explain {order}`",
            request.action, request.target
        ),
        None => format!("{} {}", request.action, request.target),
    };
    if request.action == "stop" {
        given.push_str(&format!(
            "\nit is left alone until it is started: pitcrew order {} start --why …",
            request.target
        ));
    }
    say(&accepted, general, &given)
}

pub(crate) fn close(options: &CloseOptions, general: &General) -> Answered {
    let id = options.case.to_string();
    let request = CloseRequest {
        why: options.why.clone(),
    };
    let accepted = Client::new(general)?.post(&["cases", &id, "close"], &request)?;
    say(&accepted, general, &format!("closed {id}"))
}

pub(crate) fn accept(options: &AcceptOptions, general: &General) -> Answered {
    let source = options.source.to_string();
    let request = AcceptRequest {
        why: options.why.clone(),
    };
    let accepted = Client::new(general)?.post(&["sources", &source, "accept"], &request)?;
    say(
        &accepted,
        general,
        &format!("the answer of {source} is obeyed"),
    )
}

#[cfg(test)]
mod tests {
    use pitcrew_model::ServiceName;
    use proptest::prelude::*;

    use super::*;
    use crate::arguments::parse_scope;

    proptest! {
        #[test]
        fn a_scope_as_it_is_shown_reads_back(service in "[a-z][a-z0-9-]{0,9}", label in "[a-z_]{1,9}", value in "[^=]{0,9}") {
            let service = ServiceName::new(service).unwrap();
            let part = Scope::Domain { service: service.clone(), label, value };
            for scope in [Scope::Service(service), part] {
                prop_assert_eq!(parse_scope(scope_argument(&scope).trim_start()), Ok(scope));
            }
        }

        #[test]
        fn no_text_panics_the_parser_of_scopes(text in ".{0,40}") {
            parse_scope(&text).ok();
        }
    }
}
