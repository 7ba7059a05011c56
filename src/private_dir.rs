//! Directories that only their owner can access.

use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Creates a directory and its missing parents with mode 0700. An existing directory keeps its mode: the operator may
/// have chosen it.
///
/// # Errors
/// [`ErrorKind::NotADirectory`] if the path is a file; other errors of the operating system.
pub fn create(dir: &Path) -> io::Result<()> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    match created {
        // The operating system reports only that the path exists. It accepts an existing directory, so this is a file.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(io::Error::new(ErrorKind::NotADirectory, "it is a file, not a directory"))
        }
        created => created,
    }
}
