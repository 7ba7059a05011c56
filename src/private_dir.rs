//! Directories that nobody but their owner may look into.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Creates a directory and what is missing above it, for its owner alone. One that is there already stays as it is:
/// whom it is open to was somebody's choice.
///
/// # Errors
/// Where it cannot be created.
pub fn create(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}
