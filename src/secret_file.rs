//! Reads files that hold a secret.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Largest file, in bytes: room for a chain of certificates beside a key.
const BYTES_MAX: u64 = 65_536;
/// The mode bits that let every user of the machine read or write a file.
const OPEN_TO_OTHERS: u32 = 0o006;

/// Reads a file that others must not read. Its group may: an operator chooses the group, for example for a mounted
/// secret.
///
/// # Errors
/// If other users may read or write the file, if it is too long, or if it cannot be read. The message names the file.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |cause: String| format!("{}: {cause}", path.display());
    let io = |error: std::io::Error| failed(error.to_string());
    let file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.permissions().mode() & OPEN_TO_OTHERS != 0 {
        return Err(failed("every user of this machine can read it; run `chmod 600` on it".into()));
    }
    let mut bytes = Vec::new();
    // One byte more than allowed, to tell a file that is too long from one that just fits.
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(failed(format!("a file with a secret may have at most {BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "secret").unwrap();
        for (mode, is_read) in
            [(0o600, true), (0o400, true), (0o640, true), (0o644, false), (0o604, false), (0o602, false)]
        {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match read(&path) {
                Ok(bytes) => assert!(is_read && bytes == b"secret", "{mode:o}"),
                Err(message) => {
                    assert!(!is_read && message.contains("run `chmod 600`"), "{mode:o} {message}")
                }
            }
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, vec![b'x'; 65_537]).unwrap();
        assert!(read(&path).unwrap_err().contains("at most 65536 bytes"));
        assert!(read(&dir.path().join("absent")).unwrap_err().contains("absent: "));
    }
}
