//! Locks of files that a process holds for as long as it runs.

use std::fs::{File, TryLockError};
use std::time::Duration;

/// How often a lock is tried, and the pause before the next try.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(100);

/// Takes the lock of a file until all copies of the open file are closed. It waits a moment for another process to give
/// the lock up: the operating system takes the lock of a killed process away only when it has freed the memory of that
/// process, and a program that another one is just starting can hold a copy. It blocks.
///
/// # Errors
/// [`TryLockError::WouldBlock`] if another process keeps the lock; otherwise an error of the operating system.
pub fn lock_soon(file: &File) -> Result<(), TryLockError> {
    for _ in 1..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::park_timeout(PAUSE),
            tried => return tried,
        }
    }
    file.try_lock()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_given_up_soon_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let open = || File::create(dir.path().join("lock")).unwrap();
        let (held, wanted) = (open(), open());
        held.try_lock().unwrap();
        assert!(matches!(lock_soon(&wanted), Err(TryLockError::WouldBlock)));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // After the first try, as a rule.
                std::thread::park_timeout(PAUSE / 2);
                held.unlock().unwrap();
            });
            lock_soon(&wanted).unwrap();
        });
    }
}
