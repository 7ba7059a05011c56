//! The log of a server: a file with a limit. It keeps the beginning, which says how the server started, and the end,
//! which says how it ended.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Smallest limit of a log, in bytes.
pub const BYTES_MIN: u64 = 4_096;
/// Most bytes that are copied at once.
const CHUNK_BYTES: u64 = 65_536;
/// How far the search for the end of a line goes, in bytes.
const LINE_BYTES_MAX: u64 = 65_536;

/// A log file. Once it has `max` bytes, its first half stays, and of the rest at least the newest quarter of `max`.
/// A line in between says how much is missing. Only one process writes the file, so that it can be shortened in place.
pub struct BoundedLog {
    file: File,
    size: u64,
    max: u64,
    /// Where the lines that stay for ever end, once the log was full.
    head_end: Option<u64>,
    /// How many bytes were left out.
    left_out: u64,
    /// Where the newer lines start.
    tail_start: u64,
}

impl BoundedLog {
    /// Opens a log for appending, with a limit of `max` bytes, at least [`BYTES_MIN`].
    pub fn open(path: &Path, max: u64) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file, size, max: max.max(BYTES_MIN), head_end: None, left_out: 0, tail_start: 0 })
    }

    /// Copies everything that can be read. An error of the log does not end the reading: otherwise the server could not
    /// write any more, and would hang. The first such error is returned at the end.
    pub fn copy_from(&mut self, mut from: impl Read) -> io::Result<()> {
        let chunk_bytes = CHUNK_BYTES.min(self.max / 8);
        let mut chunk = vec![0; usize::try_from(chunk_bytes).unwrap_or_default()];
        let mut failed = None;
        loop {
            match from.read(&mut chunk) {
                Ok(0) => return failed.map_or(Ok(()), Err),
                Ok(read) => {
                    if let Err(error) = self.append(&chunk[..read]) {
                        failed.get_or_insert(error);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = bytes.len() as u64;
        if self.size + length > self.max {
            self.shorten()?;
        }
        self.file.write_all_at(bytes, self.size)?;
        self.size += length;
        Ok(())
    }

    /// Leaves out lines in the middle, so that a quarter of the limit is free at least.
    fn shorten(&mut self) -> io::Result<()> {
        let head_end = match self.head_end {
            Some(head_end) => head_end,
            None => self.line_end_before(self.max / 2)?,
        };
        let from = self.size.saturating_sub(self.max / 4 - 128).max(head_end);
        let from = self.line_end_after(from)?;
        self.left_out += from - self.tail_start.max(head_end);
        let note = format!("[… {} bytes left out here: log_bytes_max …]\n", self.left_out);
        self.file.write_all_at(note.as_bytes(), head_end)?;
        let tail_start = head_end + note.len() as u64;
        let moved = self.move_down(from, tail_start)?;
        self.size = tail_start + moved;
        self.file.set_len(self.size)?;
        (self.head_end, self.tail_start) = (Some(head_end), tail_start);
        Ok(())
    }

    /// The end of the last line that ends at or before `at`, or `at` if that line is too long.
    fn line_end_before(&self, at: u64) -> io::Result<u64> {
        let start = at.saturating_sub(LINE_BYTES_MAX);
        let found = self.read(start, at - start)?.iter().rposition(|byte| *byte == b'\n');
        Ok(found.map_or(at, |index| start + index as u64 + 1))
    }

    /// The start of the first line after `at`, or `at` if the line before it is too long.
    fn line_end_after(&self, at: u64) -> io::Result<u64> {
        let length = LINE_BYTES_MAX.min(self.size - at).min(self.max / 8);
        let found = self.read(at, length)?.iter().position(|byte| *byte == b'\n');
        Ok(found.map_or(at, |index| at + index as u64 + 1))
    }

    fn read(&self, at: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    /// Moves all bytes from `from` on to the lower place `to`. Returns their number.
    fn move_down(&self, from: u64, to: u64) -> io::Result<u64> {
        let mut moved = 0;
        while from + moved < self.size {
            let chunk = self.read(from + moved, CHUNK_BYTES.min(self.size - from - moved))?;
            self.file.write_all_at(&chunk, to + moved)?;
            moved += chunk.len() as u64;
        }
        Ok(moved)
    }
}

/// The last lines of a log: at most `lines`, and at most `bytes` bytes. Control characters are replaced, because a
/// server may log what players wrote.
pub fn last_lines(path: &Path, lines: usize, bytes: u64) -> io::Result<Vec<String>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let start = size.saturating_sub(bytes);
    let mut text = vec![0; usize::try_from(size - start).unwrap_or_default()];
    let read = file.read_at(&mut text, start)?;
    let text = String::from_utf8_lossy(&text[..read]);
    let plain = |line: &str| line.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    let mut last: Vec<String> = text.lines().rev().take(lines).map(plain).collect();
    last.reverse();
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logs numbered lines with a limit, in pieces. Returns the text of the file.
    fn logged(lines: usize, max: u64) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = BoundedLog::open(&path, max).unwrap();
        for line in 0..lines {
            log.copy_from(format!("line {line}\n").as_bytes()).unwrap();
            assert!(path.metadata().unwrap().len() <= max);
        }
        std::fs::read_to_string(&path).unwrap()
    }

    #[test]
    fn a_short_log_is_kept_whole() {
        let text = logged(100, BYTES_MIN);
        assert_eq!(text.lines().count(), 100);
        assert!(!text.contains("left out"));
    }

    #[test]
    fn a_long_log_keeps_its_first_half_and_its_end() {
        for lines in [500, 700, 5_000] {
            let text = logged(lines, BYTES_MIN);
            let note = text.lines().position(|line| line.contains("left out")).unwrap();
            let all: Vec<_> = text.lines().collect();
            let (head, tail) = (&all[..note], &all[note + 1..]);
            let number = |line: &str| line.strip_prefix("line ").unwrap().parse::<usize>().unwrap();
            assert!(head.iter().enumerate().all(|(at, line)| number(line) == at), "{text}");
            let first_kept = lines - tail.len();
            assert!(tail.iter().enumerate().all(|(at, line)| number(line) == first_kept + at), "{text}");
            let bytes = |lines: &[&str]| lines.iter().map(|line| line.len() as u64 + 1).sum::<u64>();
            assert!(bytes(head) > BYTES_MIN / 2 - 16 && bytes(tail) > BYTES_MIN / 4 - 256, "{text}");
            let missing: usize = (head.len()..first_kept).map(|line| format!("line {line}\n").len()).sum();
            assert!(all[note].contains(&format!(" {missing} bytes")), "{} {missing}", all[note]);
        }
    }

    #[test]
    fn a_line_without_end_keeps_within_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = BoundedLog::open(&path, BYTES_MIN).unwrap();
        log.copy_from(&vec![b'x'; 100_000][..]).unwrap();
        log.copy_from(&b"\nthe end\n"[..]).unwrap();
        assert!(path.metadata().unwrap().len() <= BYTES_MIN);
        assert_eq!(last_lines(&path, 1, 4_096).unwrap(), ["the end"]);
    }

    #[test]
    fn the_last_lines_have_no_control_characters() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, b"one\ntwo\nthree\x1b[31m\xff\n").unwrap();
        assert_eq!(last_lines(&path, 2, 4_096).unwrap(), ["two", "three [31m\u{fffd}"]);
        assert_eq!(last_lines(&path, 9, 4_096).unwrap().len(), 3);
    }
}
