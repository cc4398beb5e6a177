//! `ledger verify` and `ledger export`: by the server, or straight from its files. `ledger move`: from the files into a
//! database.

use std::{
    io::{self, BufWriter, IsTerminal, Write},
    path::Path,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pitcrew_ledger::{Ledger, LedgerError, Verified};
use pitcrew_server::api::LedgerVerified;

use crate::{
    arguments::{General, LedgerOptions, MoveOptions},
    client::Client,
    failure::{Answer, Answered, Failure},
    output::{GOOD, note, output_failed, painted, print, print_json, stderr_has_colour},
    words::counted,
};

pub(crate) fn verify(options: &LedgerOptions, general: &General) -> Answered {
    let verified = match &options.data {
        Some(directory) => verify_files(directory)?,
        None => Client::new(general)?.get_long(&["ledger", "verify"], &[])?,
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
    let bar = progress_bar("verifying");
    let verified = reader.verify(&mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let verified = verified.map_err(|error| Failure::Refused(error.to_string()))?;
    Ok(told(verified))
}

fn told(verified: Verified) -> LedgerVerified {
    LedgerVerified {
        installation: verified.installation,
        entries: verified.entries,
        last_hash: verified.last_hash,
    }
}

fn unreadable(error: &LedgerError) -> Failure {
    match error {
        LedgerError::Absent { .. } | LedgerError::Io { .. } | LedgerError::NotALedger { .. } => {
            Failure::Usage(error.to_string())
        }
        _ => Failure::Refused(error.to_string()),
    }
}

fn progress_bar(doing: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let template = format!("{doing} {{wide_bar}} {{human_pos}} of {{human_len}}, {{eta}} left");
    let style = ProgressStyle::with_template(&template);
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
        None => Client::new(general)?.copy(&["ledger", "export"], &[], &mut stdout)?,
    }
    stdout.flush().map_err(|error| output_failed(&error))?;
    Ok(Answer::Yes)
}

/// The server's other files that all of several servers must have alike go with it.
pub(crate) fn move_to_database(options: &MoveOptions, general: &General) -> Answered {
    let loaded = pitcrew_config::load(&options.config).map_err(|error| {
        note(error.render(stderr_has_colour()).trim_end());
        Failure::Configuration
    })?;
    let settings = loaded.production.server;
    let postgres = settings.postgres.as_ref().ok_or_else(|| {
        Failure::usage("the configuration names no database: write `server: { state: { postgres: { url: … } } }`")
    })?;
    let database = pitcrew_server::database(postgres).map_err(Failure::usage)?;
    let data = options.data.as_ref().unwrap_or(&settings.data);
    let source = Ledger::open_to_move(data).map_err(|error| unreadable(&error))?;
    let files = pitcrew_server::kept_files(data).map_err(Failure::usage)?;
    let bar = progress_bar("moving");
    let moved = database.move_from(&source, &files, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let moved = told(moved.map_err(|error| Failure::Refused(error.to_string()))?);
    if general.json {
        print_json(&moved)?;
    } else {
        print(&format!(
            "{} {} to {database}, unbroken there too; the last has hash {}",
            painted(GOOD, "moved:"),
            counted(moved.entries, "record"),
            moved.last_hash
        ))?;
    }
    Ok(Answer::Yes)
}
