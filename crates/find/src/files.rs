//! Files in Prometheus' `file_sd` format, and noticing that they change.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    time::SystemTime,
};

use pitcrew_model::Source;

use crate::{
    Answer, FindError,
    asker::PartAnswer,
    draft::Draft,
    groups::{self, Format},
};

/// A million targets with labels of their own have about 70 MB.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// What tells one state of the files from another without reading them.
pub(crate) type Stamps = BTreeMap<PathBuf, Stamp>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    /// Another file under the same name, as renaming over it leaves.
    inode: u64,
}

pub(crate) fn stamps(directory: &Path, paths: &[String]) -> Stamps {
    use std::os::unix::fs::MetadataExt;
    paths
        .iter()
        .filter_map(|pattern| matching(directory, pattern).ok())
        .flatten()
        .filter_map(|path| {
            let metadata = fs::metadata(&path).ok()?;
            let stamp = Stamp {
                modified: metadata.modified().ok(),
                bytes: metadata.len(),
                inode: metadata.ino(),
            };
            Some((path, stamp))
        })
        .collect()
}

/// Each file once, in the order of the patterns, and by name within each.
pub(crate) fn ask(source: &Source, directory: &Path, paths: &[String]) -> Vec<PartAnswer> {
    let mut parts: Vec<PartAnswer> = Vec::new();
    for pattern in paths {
        let files = match matching(directory, pattern) {
            Ok(files) => files,
            Err(error) => {
                parts.push((pattern.clone(), Err(error)));
                continue;
            }
        };
        for path in files {
            let name = path.display().to_string();
            if parts.iter().all(|(have, _)| *have != name) {
                parts.push((name, read(source, directory, &path)));
            }
        }
    }
    parts
}

fn read(source: &Source, directory: &Path, path: &Path) -> Result<Answer, FindError> {
    let bytes = read_bounded(path)?;
    let format = match path.extension() {
        Some(extension) if extension == "json" => Format::Json,
        _ => Format::Yaml,
    };
    let groups = groups::parse(&bytes, format).map_err(|why| FindError::File {
        path: path.to_owned(),
        why,
    })?;
    let mut draft = Draft::new(source);
    let shown = path.strip_prefix(directory).unwrap_or(path);
    draft.add_groups(&shown.display().to_string(), &groups);
    Ok(draft.finish())
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, FindError> {
    let failed = |source| FindError::Read {
        path: path.to_owned(),
        source,
    };
    let refused = |why: &str| FindError::File {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    // Opening a pipe would wait for its writer.
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(refused("it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(refused("it is larger than 256 MiB; split it"));
    }
    Ok(bytes)
}

/// The files that a path names; its last part may have `*` for any run of characters and `?` for one. A path
/// without them is one file, whether or not it is there.
fn matching(directory: &Path, pattern: &str) -> Result<Vec<PathBuf>, FindError> {
    let path = directory.join(pattern);
    let last = match path.file_name().map(|name| name.to_string_lossy()) {
        Some(last) if last.contains(['*', '?']) => last.into_owned(),
        _ => return Ok(vec![path]),
    };
    let folder = path.parent().unwrap_or(directory);
    let failed = |source| FindError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let text = name.to_string_lossy();
        // As in a shell, hidden files are not meant: editors leave them.
        if (!text.starts_with('.') || last.starts_with('.')) && glob(&last, &text) {
            files.push(folder.join(&name));
        }
    }
    if files.is_empty() {
        return Err(FindError::NoFile {
            pattern: pattern.to_owned(),
        });
    }
    files.sort_unstable();
    Ok(files)
}

/// Whether `text` matches, with `*` and `?`. On a mismatch only the last `*` can take one character more.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(c) if *c == '?' || *c == text[seen] => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((star_at, taken)) = star else {
                    return false;
                };
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                seen = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, text, expected) in [
            ("*.yaml", "web.yaml", true),
            ("*.yaml", "web.yml", false),
            ("web-?.json", "web-1.json", true),
            ("web-?.json", "web-10.json", false),
            ("*a*b", "xaxbxb", true),
            ("*", "", true),
            ("a", "", false),
            ("**x", "yx", true),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_made_of_a_text_matches_it(text in "[ab.]{0,12}", stars in prop::collection::vec(0usize..13, 0..4)) {
            let mut pattern = text.clone();
            for star in stars {
                pattern.insert(star.min(pattern.len()), '*');
            }
            prop_assert!(glob(&pattern, &text));
        }

        #[test]
        fn no_pattern_hangs(pattern in "[ab*?]{0,30}", text in "[ab]{0,200}") {
            glob(&pattern, &text);
        }
    }
}
