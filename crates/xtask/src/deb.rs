//! `cargo xtask deb`: one Debian package of the binary, its units, users and an empty configuration.
//!
//! Made by `dpkg-deb` alone, from the files in `packaging/` and a binary that cargo built.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Package this binary instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Build as for a release: smaller and faster, minutes of work
    #[arg(long, conflicts_with = "binary")]
    release: bool,
    /// Instead of the workspace's version
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    version: String,
    /// Where the package goes
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

/// Path in the package, file in `packaging/`, mode.
const FILES: &[(&str, &str, u32)] = &[
    (
        "usr/lib/systemd/system/pitcrew.service",
        "pitcrew.service",
        0o644,
    ),
    (
        "usr/lib/systemd/system/pitcrew-agent.service",
        "pitcrew-agent.service",
        0o644,
    ),
    (
        "usr/lib/systemd/system/pitcrew-agent-hands.service",
        "pitcrew-agent-hands.service",
        0o644,
    ),
    ("usr/lib/sysusers.d/pitcrew.conf", "sysusers.conf", 0o644),
    ("usr/share/doc/pitcrew/copyright", "copyright", 0o644),
    ("etc/pitcrew/host.yaml", "host.yaml", 0o644),
    ("etc/default/pitcrew-agent", "pitcrew-agent.default", 0o644),
    ("DEBIAN/postinst", "postinst", 0o755),
    ("DEBIAN/prerm", "prerm", 0o755),
    ("DEBIAN/postrm", "postrm", 0o755),
];
const BINARY: &str = "usr/bin/pitcrew";
const MAINTAINER: &str = "The Pitcrew authors <packages@pitcrew.example>";

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => build(arguments.release)?,
    };
    let package = package(&binary, &arguments.version, &arguments.out)?;
    println!("{}", package.display());
    Ok(())
}

/// The binary that cargo says it made.
fn build(release: bool) -> anyhow::Result<PathBuf> {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--package", "pitcrew"])
        .args(
            release
                .then_some(["--profile", "dist"])
                .into_iter()
                .flatten(),
        )
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("failed to run cargo")?;
    ensure!(output.status.success(), "the build failed");
    let said = String::from_utf8(output.stdout)?;
    let mut executables = said.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executables.next_back().context("cargo built no executable")
}

fn package(binary: &Path, version: &str, out: &Path) -> anyhow::Result<PathBuf> {
    ensure!(
        version.starts_with(|first: char| first.is_ascii_digit())
            && version
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".+~".contains(&byte)),
        "`{version}` is not a version of a package"
    );
    fs::create_dir_all(out).with_context(|| format!("failed to make {}", out.display()))?;
    let name = format!("pitcrew_{version}_amd64");
    let tree = out.join(format!("{name}.tree"));
    let finished = out.join(format!("{name}.deb"));
    let made = fill(&tree, binary, version).and_then(|()| pack(&tree, &finished));
    fs::remove_dir_all(&tree).ok();
    made?;
    Ok(finished)
}

fn fill(tree: &Path, binary: &Path, version: &str) -> anyhow::Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging");
    for (path, file, mode) in FILES {
        install(&source.join(file), &tree.join(path), *mode)?;
    }
    install(binary, &tree.join(BINARY), 0o755)?;
    call(Command::new("strip").arg(tree.join(BINARY)))?;
    // Empty until a person writes what production is.
    fs::create_dir_all(tree.join("etc/pitcrew/production"))?;
    let libc = libc_version()?;
    let kilobytes = fs::metadata(tree.join(BINARY))?.len() / 1024;
    fs::write(
        tree.join("DEBIAN/control"),
        format!(
            "Package: pitcrew\nVersion: {version}\nArchitecture: amd64\nSection: admin\nPriority: optional\n\
             Maintainer: {MAINTAINER}\nInstalled-Size: {kilobytes}\n\
             Depends: libc6 (>= {libc}), libgcc-s1, systemd\nRecommends: ca-certificates\n\
             Description: finds, tests and repairs production, inside limits\n \
             The server, the agent for each host, and the command line, in one program.\n"
        ),
    )?;
    write_changelog(tree, binary, version)?;
    let conffiles: String = FILES
        .iter()
        .filter(|(path, ..)| path.starts_with("etc/"))
        .map(|(path, ..)| format!("/{path}\n"))
        .collect();
    fs::write(tree.join("DEBIAN/conffiles"), conffiles)?;
    Ok(())
}

/// Of this machine, where the binary was linked: an older one may lack what it uses.
fn libc_version() -> anyhow::Result<String> {
    let output = Command::new("getconf")
        .arg("GNU_LIBC_VERSION")
        .output()
        .context("failed to run getconf")?;
    let said = String::from_utf8(output.stdout)?;
    let version = said.trim().strip_prefix("glibc ");
    let version = version.with_context(|| format!("`{said}` is no version of glibc"))?;
    Ok(version.to_owned())
}

/// As Debian wants one; what changed is in the project's own. Dated as the binary.
fn write_changelog(tree: &Path, binary: &Path, version: &str) -> anyhow::Result<()> {
    let output = Command::new("date")
        .args(["--rfc-email", "--reference"])
        .arg(binary)
        .output()
        .context("failed to run date")?;
    let date = String::from_utf8(output.stdout)?;
    let file = tree.join("usr/share/doc/pitcrew/changelog");
    let text = format!(
        "pitcrew ({version}) stable; urgency=medium\n\n  * What changed: CHANGELOG.md of this version.\n\n \
         -- {MAINTAINER}  {date}"
    );
    fs::write(&file, text)?;
    call(Command::new("gzip").args(["-9", "--no-name"]).arg(&file))
}

fn install(from: &Path, to: &Path, mode: u32) -> anyhow::Result<()> {
    let folder = to.parent().context("a file in the package has a folder")?;
    fs::create_dir_all(folder)?;
    fs::copy(from, to)
        .with_context(|| format!("failed to copy {} to {}", from.display(), to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}

fn pack(tree: &Path, finished: &Path) -> anyhow::Result<()> {
    // Fast rather than small: a package is made in every run of CI.
    call(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Zgzip", "-z1", "--build"])
            .args([tree, finished])
            .stdout(std::process::Stdio::null()),
    )
}

fn call(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("failed to run {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
