//! `ledger verify` and `ledger export`: by the server, or straight from its files.

use std::{
    io::{self, BufWriter, IsTerminal, Write},
    path::Path,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pitcrew_ledger::{Ledger, LedgerError};
use pitcrew_server::api::LedgerVerified;

use crate::{
    arguments::{General, LedgerOptions},
    client::Client,
    failure::{Answer, Answered, Failure},
    output::{GOOD, output_failed, painted, print, print_json},
    words::counted,
};

pub(crate) fn verify(options: &LedgerOptions, general: &General) -> Answered {
    let verified = match &options.data {
        Some(directory) => verify_files(directory)?,
        None => Client::new(general)?.get_long(&["ledger", "verify"])?,
    };
    if general.json {
        print_json(&verified)?;
    } else {
        print(&format!(
            "{} {}, unbroken; the last has hash {}\nKeep that hash where nobody who may write the ledger can: it tells a rewritten one apart.",
            painted(GOOD, "whole:"),
            counted(verified.entries, "record"),
            verified.last_hash
        ))?;
    }
    Ok(Answer::Yes)
}

fn verify_files(directory: &Path) -> Result<LedgerVerified, Failure> {
    let reader = Ledger::open_read_only(directory).map_err(|error| unreadable(&error))?;
    let bar = progress_bar();
    let verified = reader.verify(&mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let verified = verified.map_err(|error| Failure::Refused(error.to_string()))?;
    Ok(LedgerVerified {
        installation: verified.installation,
        entries: verified.entries,
        last_hash: verified.last_hash,
    })
}

fn unreadable(error: &LedgerError) -> Failure {
    match error {
        LedgerError::Absent { .. } | LedgerError::Io { .. } | LedgerError::NotALedger { .. } => {
            Failure::Usage(error.to_string())
        }
        _ => Failure::Refused(error.to_string()),
    }
}

fn progress_bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style =
        ProgressStyle::with_template("verifying {wide_bar} {human_pos} of {human_len}, {eta} left");
    bar.with_style(style.unwrap_or_else(|_invalid| ProgressStyle::default_bar()))
}

pub(crate) fn export(options: &LedgerOptions, general: &General) -> Answered {
    let mut stdout = BufWriter::new(io::stdout().lock());
    match &options.data {
        Some(directory) => {
            let reader = Ledger::open_read_only(directory).map_err(|error| unreadable(&error))?;
            let exported = reader.export(&mut stdout);
            exported.map_err(|error| match &error {
                LedgerError::Io { source, .. } => output_failed(source),
                _ => Failure::Refused(error.to_string()),
            })?;
        }
        None => Client::new(general)?.copy(&["ledger", "export"], &mut stdout)?,
    }
    stdout.flush().map_err(|error| output_failed(&error))?;
    Ok(Answer::Yes)
}
