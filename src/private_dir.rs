//! Directories that nobody but their owner may look into.

use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Creates a directory and what is missing above it, for its owner alone. One that is there already stays as it is:
/// whom it is open to was somebody's choice.
///
/// # Errors
/// Where it cannot be created, or is a file.
pub fn create(dir: &Path) -> io::Result<()> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    match created {
        // The system says of a file that it exists.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(io::Error::new(ErrorKind::NotADirectory, "it is a file, not a directory"))
        }
        created => created,
    }
}
