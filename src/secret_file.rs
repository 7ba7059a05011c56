//! Files with secrets: who may access them, and how they are read and written.
//!
//! | file | who may access it |
//! | --- | --- |
//! | the server's own ([`read_own`], [`create_own_once`], [`replace_own`]) | its owner alone: mode 0600 |
//! | the operator's ([`read`]) | its owner and its group: an operator chooses the group, for example for a mounted secret |

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::env::Entropy;
use crate::private_dir;

/// Largest file, in bytes: room for a chain of certificates beside a key.
const BYTES_MAX: u64 = 65_536;
/// The mode bits that let every user of the machine read or write a file.
const OPEN_TO_OTHERS: u32 = 0o006;
/// The mode bits that let anyone but the owner access a file.
const OPEN_BEYOND_OWNER: u32 = 0o077;

/// Reads a file of the operator.
///
/// # Errors
/// If other users may read or write the file, if it is too long, or if it cannot be read. The message names the file.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let refusal = "every user of this machine can read it; run `chmod 600` on it";
    read_unless(path, OPEN_TO_OTHERS, refusal).map_err(|error| format!("{}: {error}", path.display()))
}

/// Reads a file of the server.
///
/// # Errors
/// If the file does not exist ([`ErrorKind::NotFound`]), cannot be read, is too long or no text, or if users other than
/// its owner may access it. The error never contains anything of the file.
pub fn read_own(path: &Path) -> io::Result<String> {
    let refusal = "other users may access this file; run `chmod 600` on it, or delete it to get a new one";
    let bytes = read_unless(path, OPEN_BEYOND_OWNER, refusal)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Reads a file, unless its mode has one of these bits.
fn read_unless(path: &Path, bits: u32, refusal: &str) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if file.metadata()?.permissions().mode() & bits != 0 {
        return Err(io::Error::new(ErrorKind::PermissionDenied, refusal));
    }
    let mut bytes = Vec::new();
    // One byte more than allowed, to tell a file that is too long from one that just fits.
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        let message = format!("a file with a secret may have at most {BYTES_MAX} bytes");
        return Err(io::Error::new(ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// Creates a file with mode 0600, and its directory, unless the file exists. A reader sees the whole text or no file,
/// and of several writers at the same time the first wins.
///
/// # Errors
/// Errors of the operating system. An existing file is no error.
pub fn create_own_once(path: &Path, text: &str, entropy: &Entropy) -> io::Result<()> {
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
pub fn replace_own(path: &Path, text: &str, entropy: &Entropy) -> io::Result<()> {
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
                    create_own_once(path, &number.to_string(), &Entropy::System).unwrap();
                    read_own(path).unwrap()
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
            replace_own(&path, text, &Entropy::System).unwrap();
            assert_eq!((read_own(&path).unwrap(), mode(&path)), (text.into(), 0o600));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_own_file_that_others_may_access_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        assert_eq!(read_own(&path).unwrap_err().kind(), ErrorKind::NotFound);
        create_own_once(&path, "hidden", &Entropy::System).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o666, 0o610] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let refused = read_own(&path).unwrap_err().to_string();
            assert!(refused.contains("chmod 600") && !refused.contains("hidden"), "{refused}");
        }
    }

    #[test]
    fn a_file_of_the_operator_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "secret").unwrap();
        for (mode, is_read) in
            [(0o600, true), (0o400, true), (0o640, true), (0o644, false), (0o604, false), (0o602, false)]
        {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            match read(&path) {
                Ok(bytes) => assert!(is_read && bytes == b"secret", "{mode:o}"),
                Err(message) => {
                    assert!(!is_read && message.contains("run `chmod 600`"), "{mode:o} {message}")
                }
            }
        }
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, vec![b'x'; 65_537]).unwrap();
        assert!(read(&path).unwrap_err().contains("at most 65536 bytes"));
        assert!(read(&dir.path().join("absent")).unwrap_err().contains("absent: "));
    }
}
