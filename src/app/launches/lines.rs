//! Who is next where servers are scarce: first come, first served.
//!
//! The launches that want a server of one allocator in one region form a line. While the allocator has servers, the
//! whole line is served at once. Once it says "later", the line pauses. After the pause only the first launch tries,
//! and the others follow when it has got a server. So no later launch overtakes, and an allocator that is away or full
//! gets one call at a time.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

/// The first pause after "later", and the longest one, in milliseconds.
const PAUSE_MS: (i64, i64) = (1_000, 10_000);

/// Names a line: the allocator, and the region of the launch.
pub(super) type LineKey = (String, Option<String>);

/// The lines of a node. A line exists while a launch waits in it.
#[derive(Default)]
pub(super) struct Lines(BTreeMap<LineKey, Line>);

#[derive(Default)]
struct Line {
    /// By the time of the request.
    waiting: BTreeSet<(i64, Uuid)>,
    pause: Option<Pause>,
}

#[derive(Clone, Copy)]
struct Pause {
    /// Its end, by the monotonic clock.
    until_up_ms: i64,
    /// The pauses in a row, this one included.
    count: u32,
    /// The launch that tries after the pause, until its call has ended.
    trying: Option<Uuid>,
}

impl Lines {
    /// Puts a launch in a line, unless it is there already.
    pub fn enter(&mut self, key: &LineKey, requested_ms: i64, launch: Uuid) {
        self.0.entry(key.clone()).or_default().waiting.insert((requested_ms, launch));
    }

    /// The launches that may call their allocator now, in order.
    pub fn ready(&self, up_ms: i64) -> Vec<(LineKey, i64, Uuid)> {
        let mut ready = Vec::new();
        for (key, line) in &self.0 {
            let most = match line.pause {
                None => usize::MAX,
                Some(pause) if pause.trying.is_none() && up_ms >= pause.until_up_ms => 1,
                Some(_) => 0,
            };
            ready.extend(line.waiting.iter().take(most).map(|(at_ms, id)| (key.clone(), *at_ms, *id)));
        }
        ready
    }

    /// Takes a launch out of its line, because it calls its allocator now or wants no server any more.
    pub fn leave(&mut self, key: &LineKey, requested_ms: i64, launch: Uuid, is_calling: bool) {
        let Some(line) = self.0.get_mut(key) else { return };
        line.waiting.remove(&(requested_ms, launch));
        if let Some(pause) = line.pause.as_mut().filter(|_| is_calling) {
            pause.trying = Some(launch);
        }
        self.tidy(key);
    }

    /// Notes the end of a call: "later", or any other answer, after which the line may go on.
    pub fn answered(&mut self, key: &LineKey, launch: Uuid, later: Option<(i64, i64)>) {
        let Some((up_ms, pause_ms)) = later else {
            if let Some(line) = self.0.get_mut(key) {
                line.pause = line.pause.filter(|pause| pause.trying != Some(launch));
            }
            return self.tidy(key);
        };
        let line = self.0.entry(key.clone()).or_default();
        let count = line.pause.map_or(0, |pause| pause.count) + 1;
        line.pause = Some(Pause { until_up_ms: up_ms + pause_ms, count, trying: None });
    }

    /// How long the next pause of a line is, in milliseconds, unless the allocator wishes another one.
    pub fn next_pause_ms(&self, key: &LineKey) -> i64 {
        let count = self.0.get(key).and_then(|line| line.pause).map_or(0, |pause| pause.count);
        (PAUSE_MS.0 << count.min(8)).min(PAUSE_MS.1)
    }

    /// Ends the pauses of an allocator: a server has become free.
    pub fn end_pauses(&mut self, allocator: &str, up_ms: i64) {
        for (_, line) in self.0.iter_mut().filter(|((name, _), _)| name == allocator) {
            if let Some(pause) = &mut line.pause {
                pause.until_up_ms = pause.until_up_ms.min(up_ms);
            }
        }
    }

    /// Forgets a line that nobody waits in, unless it pauses: a launch that was told "later" comes back.
    fn tidy(&mut self, key: &LineKey) {
        if self.0.get(key).is_some_and(|line| line.waiting.is_empty() && line.pause.is_none()) {
            self.0.remove(key);
        }
    }

    /// Forgets the lines that nobody waits in and whose pause ended this long ago.
    pub fn forget_old(&mut self, up_ms: i64) {
        self.0.retain(|_, line| {
            let is_old = |pause: Pause| pause.trying.is_none() && up_ms - pause.until_up_ms > PAUSE_MS.1;
            !line.waiting.is_empty() || line.pause.is_some_and(|pause| !is_old(pause))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> LineKey {
        ("local".into(), None)
    }

    fn ready(lines: &Lines, up_ms: i64) -> Vec<u128> {
        lines.ready(up_ms).into_iter().map(|(_, _, id)| id.as_u128()).collect()
    }

    #[test]
    fn after_a_pause_the_first_tries_alone() {
        let mut lines = Lines::default();
        for (at_ms, id) in [(30, 3), (10, 1), (20, 2)] {
            lines.enter(&key(), at_ms, Uuid::from_u128(id));
        }
        assert_eq!(ready(&lines, 0), [1, 2, 3]);
        lines.leave(&key(), 10, Uuid::from_u128(1), true);
        lines.answered(&key(), Uuid::from_u128(1), Some((0, 1_000)));
        lines.enter(&key(), 10, Uuid::from_u128(1));
        assert_eq!(ready(&lines, 999), [] as [u128; 0]);
        assert_eq!(ready(&lines, 1_000), [1]);
        lines.leave(&key(), 10, Uuid::from_u128(1), true);
        assert_eq!(ready(&lines, 1_000), [] as [u128; 0], "the first one tries");
        lines.answered(&key(), Uuid::from_u128(1), None);
        assert_eq!(ready(&lines, 1_000), [2, 3]);
    }

    #[test]
    fn pauses_grow_and_end_when_a_server_becomes_free() {
        let mut lines = Lines::default();
        let first = Uuid::from_u128(1);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            lines.enter(&key(), 10, first);
            lines.leave(&key(), 10, first, true);
            pauses.push(lines.next_pause_ms(&key()));
            lines.answered(&key(), first, Some((0, 5_000)));
        }
        assert_eq!(pauses, [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        lines.enter(&key(), 10, first);
        assert_eq!(ready(&lines, 100), [] as [u128; 0]);
        lines.end_pauses("other", 100);
        assert_eq!(ready(&lines, 100), [] as [u128; 0]);
        lines.end_pauses("local", 100);
        assert_eq!(ready(&lines, 100), [1]);
    }

    #[test]
    fn a_line_that_nobody_waits_in_is_forgotten() {
        let mut lines = Lines::default();
        let first = Uuid::from_u128(1);
        lines.enter(&key(), 10, first);
        lines.leave(&key(), 10, first, false);
        assert!(lines.0.is_empty());
        lines.answered(&key(), first, Some((0, 1_000)));
        lines.forget_old(11_000);
        assert!(!lines.0.is_empty());
        lines.forget_old(11_001);
        assert!(lines.0.is_empty());
    }
}
