//! Reading a log at a start.
//!
//! A file that ends within a record is cut there; what is cut off is kept in `quarantine`. A record that isn't
//! what was written is left out, and the file is linked into `quarantine` as evidence; two such records in a row
//! mean that nothing behind them can be trusted to be a record at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufReader, Read, Seek, SeekFrom, Write},
    path::Path,
};

use super::{
    CATALOGUE_MAGIC, SEGMENT_MAGIC, catalogue_path,
    frame::{Frames, HEADER, Next, header_number},
    record::{self, Record},
    segment_path,
};
use crate::error::{At, Error};

/// What a log file turned out to be.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    /// The number in its header; none when even that can't be read.
    pub(crate) number: Option<u64>,
    /// Where the whole records end.
    pub(crate) length: u64,
    /// Whether more is missing than an append that nobody was told had succeeded.
    pub(crate) is_damaged: bool,
    /// What was wrong, for a person.
    pub(crate) notices: Vec<String>,
}

pub(crate) fn segment(
    directory: &Path,
    number: u64,
    each: &mut dyn FnMut(Record),
) -> Result<Replayed, Error> {
    file(
        directory,
        &segment_path(directory, number),
        SEGMENT_MAGIC,
        each,
    )
}

/// The secret that the catalogue's header holds, if there is a catalogue with a header.
pub(crate) fn secret(directory: &Path) -> Result<Option<u64>, Error> {
    let path = catalogue_path(directory);
    match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        opened => Ok(header_number(
            CATALOGUE_MAGIC,
            &header(&mut opened.at("open", &path)?, &path)?,
        )),
    }
}

/// None where there is no catalogue.
pub(crate) fn catalogue(
    directory: &Path,
    each: &mut dyn FnMut(Record),
) -> Result<Option<Replayed>, Error> {
    let path = catalogue_path(directory);
    if !path.try_exists().at("look for", &path)? {
        return Ok(None);
    }
    file(directory, &path, CATALOGUE_MAGIC, each).map(Some)
}

/// As much of the header as there is.
fn header(input: &mut impl Read, path: &Path) -> Result<Vec<u8>, Error> {
    let mut header = Vec::new();
    let mut start = input.take(HEADER as u64);
    start.read_to_end(&mut header).at("read", path)?;
    Ok(header)
}

fn file(
    directory: &Path,
    path: &Path,
    magic: [u8; 8],
    each: &mut dyn FnMut(Record),
) -> Result<Replayed, Error> {
    let mut input = BufReader::with_capacity(1 << 20, File::open(path).at("open", path)?);
    let header = header(&mut input, path)?;
    let mut replayed = Replayed {
        number: header_number(magic, &header),
        length: HEADER as u64,
        is_damaged: false,
        notices: Vec::new(),
    };
    if replayed.number.is_none() {
        // A crash between creating a file and writing its header leaves it empty: nothing was in it.
        if !header.is_empty() {
            replayed.is_damaged = true;
            let problem = format!("{} has no header of a log", path.display());
            replayed.notices.push(put_aside(directory, path, &problem)?);
        }
        fs::remove_file(path).at("remove", path)?;
        return Ok(replayed);
    }
    records(directory, path, input, &mut replayed, each)?;
    Ok(replayed)
}

fn records(
    directory: &Path,
    path: &Path,
    input: impl Read,
    replayed: &mut Replayed,
    each: &mut dyn FnMut(Record),
) -> Result<(), Error> {
    let mut frames = Frames::new(input, HEADER as u64);
    let mut bad_before = false;
    loop {
        let offset = frames.offset;
        let bad = match frames.next().at("read", path)? {
            Next::End => break,
            Next::Torn => {
                replayed.notices.push(cut(directory, path, offset)?);
                break;
            }
            Next::Bad => true,
            Next::Record { kind, payload } => match record::read(kind, payload) {
                Ok(record) => {
                    each(record);
                    false
                }
                Err(_) => true,
            },
        };
        if bad {
            replayed.is_damaged = true;
            let problem = format!("{}: the record at byte {offset} is damaged", path.display());
            replayed.notices.push(put_aside(directory, path, &problem)?);
            if bad_before {
                let rest = format!("{}: nothing after byte {offset} is read", path.display());
                replayed.notices.push(rest);
                replayed.notices.push(cut(directory, path, offset)?);
                break;
            }
        }
        bad_before = bad;
        replayed.length = frames.offset;
    }
    Ok(())
}

/// Cuts a file after its last whole record and keeps the rest.
fn cut(directory: &Path, path: &Path, offset: u64) -> Result<String, Error> {
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).open(path).at("open", path)?;
    file.seek(SeekFrom::Start(offset)).at("read", path)?;
    let mut rest = Vec::new();
    file.read_to_end(&mut rest).at("read", path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = directory
        .join("quarantine")
        .join(format!("{name}-from-{offset}"));
    let mut kept = File::create(&aside).at("create", &aside)?;
    kept.write_all(&rest).at("write", &aside)?;
    kept.sync_all().at("flush", &aside)?;
    file.set_len(offset).at("cut", path)?;
    file.sync_all().at("flush", path)?;
    Ok(format!(
        "{} ended within a record: cut at byte {offset}, the other {} bytes are in {}",
        path.display(),
        rest.len(),
        aside.display()
    ))
}

/// Keeps a damaged file as evidence beside its use. The problem, and where the file is.
pub(crate) fn put_aside(directory: &Path, path: &Path, problem: &str) -> Result<String, Error> {
    let name = path.file_name().unwrap_or_default();
    let aside = directory.join("quarantine").join(name);
    match fs::hard_link(path, &aside) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).at("link", &aside);
        }
        _ => {}
    }
    Ok(format!("{problem}; it is kept as {}", aside.display()))
}
