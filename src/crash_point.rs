//! Points at which a test kills this process, to see what a crash at that very moment leaves behind.
//!
//! Only builds with debug assertions have them, so nothing can switch them on in a release. In such a build the
//! environment variable [`VARIABLE`] names a file. A test writes a line into it: the name of a point, at which visit of
//! the point the crash comes, and who is killed: `self`, the `parent`, `both`, or the `parent-and-halt`, after which
//! this process stands still. An example is `launch-stored 3 self`. The crash deletes the file.

/// The environment variable that names the file. Not one of `RALLYPOINT_*`, so that an allocator may hand it to its
/// shims.
pub const VARIABLE: &str = "CRASH_POINT_FILE";

/// Whether this build has the points.
pub const EXIST: bool = cfg!(debug_assertions);

/// Before a launch is stored, changed or deleted.
pub const LAUNCH_STORE: &str = "launch-store";
/// After that, and before anybody learns it.
pub const LAUNCH_STORED: &str = "launch-stored";
/// After the files of a server were written, and before its shim is started.
pub const SERVER_PREPARED: &str = "server-prepared";
/// After a shim was started, and before its report is read.
pub const SHIM_STARTED: &str = "shim-started";
/// In the shim, after it has taken the lock, and before it starts the server.
pub const SHIM_LOCKED: &str = "shim-locked";

/// This process has come to a point.
#[cfg(debug_assertions)]
pub fn reached(point: &str) {
    if let Some(file) = std::env::var_os(VARIABLE) {
        armed::reached(point, file.as_ref());
    }
}

/// This process has come to a point: nothing happens.
#[cfg(not(debug_assertions))]
pub fn reached(_point: &str) {}

#[cfg(debug_assertions)]
mod armed {
    use std::path::Path;
    use std::sync::{Mutex, PoisonError};

    use rustix::process::{Pid, Signal, getpid, getppid, kill_process};

    /// Two threads may come to a point at once.
    static VISIT: Mutex<()> = Mutex::new(());

    /// Counts a visit, and kills if it is the one that the file names.
    pub fn reached(point: &str, file: &Path) {
        let _visit = VISIT.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(line) = std::fs::read_to_string(file) else { return };
        let words: Vec<_> = line.split_whitespace().collect();
        let [armed, visits, victims] = words[..] else { return };
        if armed != point {
            return;
        }
        let visits: u32 = visits.parse().expect("a number of visits");
        if visits > 1 {
            std::fs::write(file, format!("{point} {} {victims}", visits - 1))
                .expect("the file can be written");
            return;
        }
        std::fs::remove_file(file).expect("the file can be deleted");
        match victims {
            "self" => signal(getpid(), Signal::KILL),
            "parent" => kill_parent(),
            "both" => {
                kill_parent();
                signal(getpid(), Signal::KILL);
            }
            "parent-and-halt" => {
                kill_parent();
                signal(getpid(), Signal::STOP);
            }
            other => panic!("{other:?} names no victims"),
        }
    }

    /// Kills the process that has started this one, and waits until it is gone.
    fn kill_parent() {
        let parent = getppid().expect("this process has a parent");
        signal(parent, Signal::KILL);
        while getppid() == Some(parent) {
            std::thread::yield_now();
        }
    }

    fn signal(process: Pid, signal: Signal) {
        kill_process(process, signal).expect("the process is there");
    }
}
