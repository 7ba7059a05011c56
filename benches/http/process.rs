//! The processes of the bench: this program again, in another role, told through its standard input.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::load::Sample;

/// Units of time in `/proc/PID/stat`: Linux shows hundredths of seconds there, whatever it counts in.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process in a role. It ends by itself when its standard input does, so also when this process panics.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub fn start(role: &[&str], errors: Stdio) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
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

    /// One cell of the measurement, by a process whose role is to ask.
    pub fn measure(&mut self, time: Duration) -> Sample {
        self.begin(time);
        self.sample()
    }

    /// Begins a cell of the measurement.
    pub fn begin(&mut self, time: Duration) {
        writeln!(self.input.as_mut().unwrap(), "{}", time.as_millis()).unwrap();
    }

    /// What the cell that was begun came to, once it is over.
    pub fn sample(&mut self) -> Sample {
        serde_json::from_str(&self.line()).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.input.take());
        // Where it failed, it has said so.
        let _ = self.child.wait();
    }
}

/// In the process itself: the times to measure for, until nobody is left to tell.
pub fn times() -> impl Iterator<Item = Duration> {
    std::io::stdin().lines().map(|line| Duration::from_millis(line.unwrap().parse().unwrap()))
}

/// In the process itself: prints a line at once.
pub fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

/// What the kernel tells of a process: its parent, and processor time that it has used, in and out of the kernel, and
/// that its children had when they ended, in seconds.
struct Stat {
    parent: u32,
    own_s: f64,
    ended_children_s: f64,
}

impl Stat {
    /// None of a process that has ended.
    fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; the parent is the 2nd field after it, times are from the 12th on.
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |field: usize| fields[field].parse::<u64>().unwrap();
        let time_s = |field: usize| (number(field) + number(field + 1)) as f64 / TICKS_PER_SECOND;
        Some(Self { parent: number(1) as u32, own_s: time_s(11), ended_children_s: time_s(13) })
    }
}

/// Processor time that a process has used, in seconds.
pub fn cpu_time_s(pid: u32) -> f64 {
    Stat::of(pid).unwrap().own_s
}

/// Processor time that a process and its children have used, in seconds.
pub fn cpu_time_with_children_s(pid: u32) -> f64 {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let children: f64 =
        pids.filter_map(Stat::of).filter(|stat| stat.parent == pid).map(|stat| stat.own_s).sum();
    let parent = Stat::of(pid).unwrap();
    parent.own_s + parent.ended_children_s + children
}

/// Memory of its own that a process has resident: its heap and stacks, not its program file.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}
