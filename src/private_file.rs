//! Files with secrets, which only their owner can access.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::env::Entropy;
use crate::private_dir;

/// Reads a file.
///
/// # Errors
/// If the file does not exist ([`ErrorKind::NotFound`]) or cannot be read, or if users other than its owner may access
/// it. The error never contains anything of the file.
pub fn read(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        let message =
            "other users may access this file; run `chmod 600` on it, or delete it to get a new one";
        return Err(io::Error::new(ErrorKind::PermissionDenied, message));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// Creates a file with mode 0600, and its directory, unless the file exists. A reader sees the whole text or no file,
/// and of several writers at the same time the first wins.
///
/// # Errors
/// Errors of the operating system. An existing file is no error.
pub fn create_once(path: &Path, text: &str, entropy: &Entropy) -> io::Result<()> {
    write_beside(path, text, entropy, |temporary| match std::fs::hard_link(temporary, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    })
}

/// Writes a file with mode 0600, and creates its directory. Replaces an existing file at once: a reader sees the old or
/// the new text.
///
/// # Errors
/// Errors of the operating system.
pub fn replace(path: &Path, text: &str, entropy: &Entropy) -> io::Result<()> {
    write_beside(path, text, entropy, |temporary| std::fs::rename(temporary, path))
}

/// Writes a temporary file beside `path`, and lets `publish` give it its final name.
fn write_beside(
    path: &Path,
    text: &str,
    entropy: &Entropy,
    publish: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        private_dir::create(dir)?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", entropy.uuid()));
    let temporary = PathBuf::from(name);
    let published = write_new(&temporary, text).and_then(|()| publish(&temporary));
    // Best effort: a temporary file that stays does no harm. After a rename there is none.
    let _ = std::fs::remove_file(&temporary);
    published
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn of_writers_at_the_same_time_the_first_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("not/created/yet/secret");
        let found = std::thread::scope(|scope| {
            let create = |number: usize| {
                let path = &path;
                move || {
                    create_once(path, &number.to_string(), &Entropy::System).unwrap();
                    read(path).unwrap()
                }
            };
            let writers: Vec<_> = (0..8).map(|number| scope.spawn(create(number))).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(found.iter().all(|text| *text == found[0]), "{found:?}");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for text in ["one", "another"] {
            replace(&path, text, &Entropy::System).unwrap();
            assert_eq!((read(&path).unwrap(), mode(&path)), (text.into(), 0o600));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_may_access_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        assert_eq!(read(&path).unwrap_err().kind(), ErrorKind::NotFound);
        create_once(&path, "hidden", &Entropy::System).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o666, 0o610] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let refused = read(&path).unwrap_err().to_string();
            assert!(refused.contains("chmod 600") && !refused.contains("hidden"), "{refused}");
        }
    }
}
