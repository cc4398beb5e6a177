//! `/api/v1/metrics/backup`: the store as it is now, as a directory beside it that can be put in its place.
//!
//! The caller chooses a name and nothing else: whoever has the API's token must not be able to write anywhere.

use std::{fs, io};

use axum::{
    extract::{Request, State},
    response::Response,
};
use pitcrew_tsdb::Error as StoreError;
use serde_json::json;

use super::{
    Prometheus,
    answer::{Answer, Error},
    arguments::Arguments,
    queries::Lease,
};

const NAME_BYTES_MAX: usize = 64;

pub(super) async fn backup(
    State(api): State<Prometheus>,
    request: Request,
) -> Result<Response, Error> {
    let (parts, _body) = request.into_parts();
    let arguments = Arguments::of_query(&parts);
    let name = checked(arguments.text("name"))?;
    let store = api.store()?;
    let folder = api.telemetry.backups();
    let work = move |_lease: &Lease| {
        let unwritable = |error: &dyn std::fmt::Display| {
            Error::unavailable(format!("failed to write the backup: {error}"))
        };
        fs::create_dir_all(&folder).map_err(|error| unwritable(&error))?;
        let directory = folder.join(&name);
        store.backup(&directory).map_err(|error| match &error {
            StoreError::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                Error::bad_parameter("name", format!("there is a backup {name} already"))
            }
            other => unwritable(other),
        })?;
        let directory = fs::canonicalize(&directory).map_err(|error| unwritable(&error))?;
        Ok(Answer::of(json!({ "directory": directory }))?.response(false))
    };
    api.exports.run(api.budget.timeout, work).await
}

fn checked(name: &str) -> Result<String, Error> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_name = (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(is_plain);
    if !is_name {
        return Err(Error::bad_parameter(
            "name",
            "it must be 1 to 64 letters, digits, dots, dashes and underscores, and not begin with a dot",
        ));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        for name in ["2026-11-23", "before_4.2", "a"] {
            assert_eq!(checked(name).as_deref(), Ok(name));
        }
        for name in ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "a b", "é"] {
            assert!(checked(name).is_err(), "{name}");
        }
    }
}
