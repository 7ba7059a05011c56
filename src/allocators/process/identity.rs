//! Who a process is, beyond its number: the operating system gives the number of an ended process to a new one.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};
use serde::{Deserialize, Serialize};

/// The state of a process that has ended, and whose parent has not asked for its exit status yet.
const ENDED: char = 'Z';
/// The state of a process where there is no `/proc`.
const UNKNOWN: char = '?';

/// A process. Where there is `/proc`, it is told apart from a later process with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The number of the process.
    pub pid: i32,
    /// When it started, in clock ticks since the machine started; `None` where there is no `/proc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<u64>,
}

impl ProcessId {
    /// The process that has this number now.
    pub fn now(pid: i32) -> Self {
        Self { pid, start: stat_of(pid).map(|(_, start)| start) }
    }

    /// Whether this process runs.
    pub fn is_running(self) -> bool {
        self.state().is_some_and(|state| state != ENDED)
    }

    /// The state of the process; `None` if it is gone. [`ENDED`] if its parent has not noticed its end yet.
    fn state(self) -> Option<char> {
        match self.start {
            Some(start) => stat_of(self.pid).filter(|(_, now)| *now == start).map(|(state, _)| state),
            None if self.pid < 1 => None,
            None => test_kill_process(Pid::from_raw(self.pid)?).ok().map(|()| UNKNOWN),
        }
    }

    /// Sends a signal to the group of processes that this one leads. If the process is gone, its number and that of its
    /// group may belong to others.
    pub fn signal_group(self, signal: Signal) {
        if let Some(group) = self.group().filter(|_| self.state().is_some()) {
            // It may end at the same moment.
            let _ = kill_process_group(group, signal);
        }
    }

    /// The group of processes that this one leads. A broken file may have a number up to 1, which no server has: a
    /// signal to that group would reach every process that this one may signal.
    fn group(self) -> Option<Pid> {
        Some(self.pid).filter(|pid| *pid > 1).and_then(Pid::from_raw)
    }
}

/// State and start time of a process. They stand behind the name of the program, which may contain spaces and
/// parentheses.
fn stat_of(pid: i32) -> Option<(char, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.nth(18)?.parse().ok()?))
}

/// Kills every process but this one that has a file open, where there is `/proc`. Returns how many there were.
pub fn kill_users_of(file: &Path) -> usize {
    let (Ok(file), Ok(processes)) = (file.canonicalize(), std::fs::read_dir("/proc")) else { return 0 };
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let users = pids.filter(|pid| *pid != own && has_open(*pid, &file)).filter_map(Pid::from_raw);
    users.filter(|pid| kill_process(*pid, Signal::KILL).is_ok()).count()
}

fn has_open(pid: i32, file: &Path) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors
        .flatten()
        .any(|descriptor| std::fs::read_link(descriptor.path()).is_ok_and(|open| open == file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_no_server_has_leads_no_group() {
        for pid in [i32::MIN, -1, 0, 1] {
            assert_eq!(ProcessId { pid, start: None }.group(), None, "{pid}");
        }
        assert!(!ProcessId { pid: -1, start: None }.is_running());
        assert_eq!(ProcessId { pid: 2, start: None }.group(), Pid::from_raw(2));
    }

    #[test]
    fn a_process_is_known_by_its_start_time() {
        let own = ProcessId::now(i32::try_from(std::process::id()).unwrap());
        assert!(own.is_running());
        let Some(start) = own.start else { return };
        let other = ProcessId { start: Some(start + 1), ..own };
        assert!(!other.is_running());
        // It would end this test.
        other.signal_group(Signal::KILL);
    }
}
