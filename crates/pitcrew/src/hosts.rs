//! Hosts with an agent: which there are, and a token for a new one.

use pitcrew_server::api::{Enrolment, HostRequest, HostStatus};

use crate::{
    arguments::{EnrollOptions, General, HostsOptions},
    client::Client,
    failure::{Answer, Answered},
    look::print_list,
    output::{BOLD, Cell, FAINT, NEEDS_YOU, cell, note, print, print_json},
    words::{clock_time, counted},
};

pub(crate) fn enroll(options: &EnrollOptions, general: &General) -> Answered {
    let request = HostRequest {
        host: options.host.clone(),
    };
    let enrolment: Enrolment = Client::new(general)?.post(&["hosts"], &request)?;
    if general.json {
        print_json(&enrolment)?;
        return Ok(Answer::Yes);
    }
    print(&enrolment.token)?;
    note(&format!(
        "good once, until {}: on {} run `pitcrew agent --server HOST:PORT --token-file FILE --data DIR`",
        clock_time(enrolment.expires_at),
        enrolment.host
    ));
    Ok(Answer::Yes)
}

/// The answer is no when an agent is away.
pub(crate) fn hosts(options: &HostsOptions, general: &General) -> Answered {
    if let Some(host) = &options.revoke {
        return of_one(
            host,
            "revoke",
            "is no host any more: `pitcrew enroll` it to have it back",
            general,
        );
    }
    if let Some(host) = &options.accept {
        return of_one(host, "accept", "is believed what it said last", general);
    }
    let hosts: (Vec<HostStatus>, bool) = Client::new(general)?.list(&["hosts"], &[], usize::MAX)?;
    let all_here = hosts.0.iter().all(|host| host.connected_since.is_some());
    print_list(
        hosts,
        general,
        "no host has an agent yet: `pitcrew enroll HOST` begins",
        host_row,
    )?;
    Ok(if all_here { Answer::Yes } else { Answer::No })
}

fn of_one(host: &str, what: &str, done: &str, general: &General) -> Answered {
    let request = HostRequest {
        host: host.to_owned(),
    };
    let status: HostStatus = Client::new(general)?.post(&["hosts", what], &request)?;
    match general.json {
        true => print_json(&status)?,
        false => print(&format!("{host} {done}"))?,
    }
    Ok(Answer::Yes)
}

fn host_row(host: &HostStatus) -> Vec<Cell> {
    let since = match host.connected_since {
        Some(since) => cell(format!("connected since {}", clock_time(since))),
        None => cell("not connected").style(NEEDS_YOU),
    };
    let refused = match host.is_refused {
        true => format!("not believed: `pitcrew hosts --accept {}`", host.host),
        false => String::new(),
    };
    let targets = u64::try_from(host.targets).unwrap_or(u64::MAX);
    vec![
        cell(&host.host).style(BOLD),
        cell(counted(targets, "target")),
        since,
        cell(host.version.as_deref().unwrap_or_default()).style(FAINT),
        cell(refused).style(NEEDS_YOU),
    ]
}
