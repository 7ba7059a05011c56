//! Processes of the bench: this program in another role, controlled through its standard input.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::load::Sample;

/// Unit of times in `/proc/PID/stat`, which Linux always shows in hundredths of seconds.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process in a role. It ends when its standard input closes, so also when this process panics.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub fn start(role: &[&str], errors: Stdio) -> Self {
        Self::start_program(std::env::current_exe().unwrap().into(), role, errors)
    }

    /// Starts another build of this program in a role.
    pub fn start_program(program: OsString, role: &[&str], errors: Stdio) -> Self {
        let mut child = Command::new(program)
            .args(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output).lines() }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> String {
        self.output.next().expect("a process of the bench ended early").unwrap()
    }

    /// Ends it, whatever it does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
    }

    /// Takes one sample, with a process that runs callers.
    pub fn measure(&mut self, time: Duration) -> Sample {
        self.begin(time);
        self.sample()
    }

    /// Starts a sample.
    pub fn begin(&mut self, time: Duration) {
        writeln!(self.input.as_mut().unwrap(), "{}", time.as_millis()).unwrap();
    }

    /// Waits for the sample that was started.
    pub fn sample(&mut self) -> Sample {
        serde_json::from_str(&self.line()).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.input.take());
        // If it failed, it has printed why.
        let _ = self.child.wait();
    }
}

/// For the process itself: the durations to measure, until standard input closes.
pub fn times() -> impl Iterator<Item = Duration> {
    std::io::stdin().lines().map(|line| Duration::from_millis(line.unwrap().parse().unwrap()))
}

/// For the process itself: prints a line and flushes it.
pub fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

/// A process in `/proc`: its parent, its CPU time (user and system), and that of its children that have ended, in
/// seconds.
struct Stat {
    parent: u32,
    own_s: f64,
    ended_children_s: f64,
}

impl Stat {
    /// `None` if the process has ended.
    fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; the parent is the 2nd field after it, times are from the 12th on.
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |field: usize| fields[field].parse::<u64>().unwrap();
        let time_s = |field: usize| (number(field) + number(field + 1)) as f64 / TICKS_PER_SECOND;
        Some(Self { parent: number(1) as u32, own_s: time_s(11), ended_children_s: time_s(13) })
    }
}

/// CPU time of a process, in seconds.
pub fn cpu_time_s(pid: u32) -> f64 {
    Stat::of(pid).unwrap().own_s
}

/// CPU time of a process and its children, in seconds.
pub fn cpu_time_with_children_s(pid: u32) -> f64 {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let children: f64 =
        pids.filter_map(Stat::of).filter(|stat| stat.parent == pid).map(|stat| stat.own_s).sum();
    let parent = Stat::of(pid).unwrap();
    parent.own_s + parent.ended_children_s + children
}

/// Resident anonymous memory of a process, in bytes: heap and stacks, without the program file.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}
