//! `enroll`: a token for a new host.

use pitcrew_server::api::{EnrolRequest, Enrolment};

use crate::{
    arguments::{EnrollOptions, General},
    client::Client,
    failure::{Answer, Answered},
    output::{note, print, print_json},
    words::clock_time,
};

pub(crate) fn enroll(options: &EnrollOptions, general: &General) -> Answered {
    let request = EnrolRequest {
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
