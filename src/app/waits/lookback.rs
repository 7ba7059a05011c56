//! The changes of the last seconds: what a long poll needs to know beyond the state of now.
//!
//! A long poll without a cursor is told what changed shortly before it, so that nothing is missed between a client's read
//! and its first long poll. And a player is told of changes of their own a moment later than others. This is remembered
//! only while there are long polls: without them, a change pays for one look at a flag.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use uuid::Uuid;

use super::lock;
use crate::auth::{Caller, Service};
use crate::domain::{PlayerUuid, SessionId};
use crate::env::Clock;

/// Most changes that are remembered. If there are more, the oldest are forgotten earlier.
const CHANGES_MAX: usize = 65_536;
/// How often a caller's long polls for a player without a cursor are answered at once, in milliseconds: a client that never
/// sends a cursor must not spin.
const START_EVERY_MS: i64 = 1_000;

/// The last change of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentChange {
    /// When, in milliseconds of the monotonic clock.
    pub at_up_ms: i64,
    /// The player who made it; `None`: a service or the server.
    pub actor: Option<PlayerUuid>,
}

/// What to forget.
enum Noted {
    Session(Uuid),
    Departure(PlayerUuid),
    Start(Start),
}

/// Who listens, and for which player.
type Start = (Listener, PlayerUuid);

/// A caller who listens: a player, or a service. Services without a name count as one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listener {
    player: Option<PlayerUuid>,
    service: Option<Box<Service>>,
}

impl From<&Caller> for Listener {
    fn from(caller: &Caller) -> Self {
        Self { player: caller.player(), service: caller.token().service.clone() }
    }
}

#[derive(Default)]
struct Changes {
    /// Since when every change is here, in milliseconds of the monotonic clock.
    complete_since_up_ms: i64,
    last_long_poll_up_ms: i64,
    sessions: HashMap<Uuid, RecentChange>,
    /// The sessions that are no longer on a player's list, and since when.
    departures: HashMap<PlayerUuid, Vec<(Uuid, i64)>>,
    /// When a long poll without a cursor was last answered with news.
    starts: HashMap<Start, i64>,
    /// Everything noted, oldest first, and when.
    queue: VecDeque<(i64, Noted)>,
}

impl Changes {
    fn note(&mut self, at_up_ms: i64, noted: Noted) {
        self.queue.push_back((at_up_ms, noted));
    }

    /// Forgets what was noted before a time, and what is too much.
    fn forget(&mut self, before_up_ms: i64) {
        let is_over = |changes: &Self| {
            let (at_up_ms, _) = changes.queue.front()?;
            (*at_up_ms < before_up_ms || changes.queue.len() > CHANGES_MAX).then_some(*at_up_ms)
        };
        while let Some(at_up_ms) = is_over(self) {
            self.complete_since_up_ms = self.complete_since_up_ms.max(at_up_ms + 1);
            match self.queue.pop_front() {
                // It may have changed again since.
                Some((_, Noted::Session(id)))
                    if self.sessions.get(&id).is_some_and(|last| last.at_up_ms <= at_up_ms) =>
                {
                    self.sessions.remove(&id);
                }
                Some((_, Noted::Departure(player))) => {
                    if let Some(departures) = self.departures.get_mut(&player) {
                        departures.retain(|(_, since_up_ms)| *since_up_ms > at_up_ms);
                        if departures.is_empty() {
                            self.departures.remove(&player);
                        }
                    }
                }
                Some((_, Noted::Start(start)))
                    if self.starts.get(&start).is_some_and(|last| *last <= at_up_ms) =>
                {
                    self.starts.remove(&start);
                }
                _ => {}
            }
        }
    }
}

/// The changes of the last seconds.
pub struct Lookback {
    is_on: AtomicBool,
    changes: Mutex<Changes>,
    keep_ms: i64,
    long_poll_ms_max: i64,
    clock: Clock,
}

impl Lookback {
    /// Remembers changes for this time, in milliseconds, and at least for a second. A long poll lasts at most
    /// `long_poll_ms_max`, and need not look meanwhile.
    pub fn new(keep_ms: i64, long_poll_ms_max: i64, clock: Clock) -> Self {
        Self { is_on: AtomicBool::new(false), changes: Mutex::default(), keep_ms, long_poll_ms_max, clock }
    }

    fn kept_since(&self, now_up_ms: i64) -> i64 {
        now_up_ms.saturating_sub(self.keep_ms.max(START_EVERY_MS))
    }

    /// Notes that there is a long poll: from now on, changes are remembered. Called before the long poll reads.
    pub fn has_long_poll(&self) {
        let now_up_ms = self.clock.up_ms();
        let mut changes = lock(&self.changes);
        changes.last_long_poll_up_ms = now_up_ms;
        if !self.is_on.swap(true, Ordering::SeqCst) {
            *changes = Changes {
                complete_since_up_ms: now_up_ms,
                last_long_poll_up_ms: now_up_ms,
                ..Changes::default()
            };
        }
    }

    /// Whether changes are remembered.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::SeqCst)
    }

    /// Notes changes of sessions, each with the player who made it, and which players are no longer in them. A change of
    /// this node is noted before it can be read: a long poll that sees it then knows who made it.
    pub fn note<'a>(
        &self,
        sessions: impl IntoIterator<Item = (&'a SessionId, Option<PlayerUuid>)>,
        departures: impl IntoIterator<Item = (PlayerUuid, &'a SessionId)>,
    ) {
        if !self.is_on() {
            return;
        }
        let at_up_ms = self.clock.up_ms();
        let Some(mut changes) = self.changes_at(at_up_ms) else { return };
        for (id, actor) in sessions {
            let Some(id) = id.uuid() else { continue };
            changes.sessions.insert(id, RecentChange { at_up_ms, actor });
            changes.note(at_up_ms, Noted::Session(id));
        }
        for (player, id) in departures {
            let Some(id) = id.uuid() else { continue };
            changes.departures.entry(player).or_default().push((id, at_up_ms));
            changes.note(at_up_ms, Noted::Departure(player));
        }
    }

    /// The changes; `None` if they are no longer remembered, because there was no long poll for long.
    fn changes_at(&self, now_up_ms: i64) -> Option<MutexGuard<'_, Changes>> {
        let mut changes = lock(&self.changes);
        let since_up_ms = self.kept_since(now_up_ms);
        // After its last look a long poll can still be held.
        if changes.last_long_poll_up_ms < since_up_ms.saturating_sub(self.long_poll_ms_max) {
            self.is_on.store(false, Ordering::SeqCst);
            *changes = Changes::default();
            return None;
        }
        changes.forget(since_up_ms);
        Some(changes)
    }

    /// The last changes of these sessions, as far as they are remembered.
    pub fn changes_of(&self, ids: impl IntoIterator<Item = Uuid>) -> BTreeMap<Uuid, RecentChange> {
        let changes = lock(&self.changes);
        ids.into_iter().filter_map(|id| Some((id, *changes.sessions.get(&id)?))).collect()
    }

    /// Notes that changes of other nodes may have been missed until now.
    pub fn interrupt(&self) {
        lock(&self.changes).complete_since_up_ms = self.clock.up_ms();
    }

    /// Whether all changes of the time that a long poll without a cursor looks back are known.
    pub fn is_complete(&self) -> bool {
        let from_up_ms = self.clock.up_ms().saturating_sub(self.keep_ms);
        self.is_on() && lock(&self.changes).complete_since_up_ms <= from_up_ms
    }

    /// Which sessions left a player's list in the time that a long poll without a cursor looks back.
    pub fn departures_of(&self, player: PlayerUuid) -> BTreeSet<Uuid> {
        let from_up_ms = self.clock.up_ms().saturating_sub(self.keep_ms);
        let changes = lock(&self.changes);
        let departures = changes.departures.get(&player).into_iter().flatten();
        departures.filter(|(_, at_up_ms)| *at_up_ms >= from_up_ms).map(|(id, _)| *id).collect()
    }

    /// Whether a session changed in the time that a long poll without a cursor looks back.
    pub fn is_recent(&self, change: RecentChange) -> bool {
        change.at_up_ms >= self.clock.up_ms().saturating_sub(self.keep_ms)
    }

    /// Lets a long poll without a cursor be answered with news, at most once a second for a caller and a player. So a
    /// service that listens for a player does not slow the player's own client. Otherwise returns after how many
    /// milliseconds it may.
    ///
    /// # Errors
    /// The time until then.
    pub fn start(&self, listener: Listener, player: PlayerUuid) -> Result<(), i64> {
        let now_up_ms = self.clock.up_ms();
        let Some(mut changes) = self.changes_at(now_up_ms) else { return Ok(()) };
        let start = (listener, player);
        let next_up_ms = changes.starts.get(&start).map(|last| last.saturating_add(START_EVERY_MS));
        if let Some(next_up_ms) = next_up_ms.filter(|next_up_ms| *next_up_ms > now_up_ms) {
            return Err(next_up_ms - now_up_ms);
        }
        changes.starts.insert(start.clone(), now_up_ms);
        changes.note(now_up_ms, Noted::Start(start));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;

    const ALICE: PlayerUuid = PlayerUuid(Uuid::from_u128(1));
    const BOB: PlayerUuid = PlayerUuid(Uuid::from_u128(2));

    fn lookback() -> (Lookback, Clock) {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        (Lookback::new(30_000, 0, clock.clone()), clock)
    }

    const A: Uuid = Uuid::from_u128(10);
    const B: Uuid = Uuid::from_u128(11);
    const C: Uuid = Uuid::from_u128(12);

    fn note(lookback: &Lookback, sessions: &[Uuid]) {
        let ids: Vec<_> = sessions.iter().map(|id| SessionId::from(*id)).collect();
        lookback.note(ids.iter().map(|id| (id, None)), []);
    }

    fn is_known(lookback: &Lookback, id: Uuid) -> bool {
        !lookback.changes_of([id]).is_empty()
    }

    #[test]
    fn nothing_is_remembered_without_long_polls() {
        let (lookback, clock) = lookback();
        note(&lookback, &[A]);
        assert!(!is_known(&lookback, A));
        lookback.has_long_poll();
        note(&lookback, &[A]);
        assert!(is_known(&lookback, A));
        clock.advance(Duration::from_millis(30_001));
        note(&lookback, &[B]);
        assert!(!lookback.is_on() && !lookback.is_complete());
        assert!(!is_known(&lookback, A) && !is_known(&lookback, B));
    }

    #[test]
    fn changes_are_known_from_the_first_long_poll_on() {
        let (lookback, clock) = lookback();
        lookback.has_long_poll();
        assert!(!lookback.is_complete());
        for _ in 0..3 {
            clock.advance(Duration::from_millis(10_000));
            lookback.has_long_poll();
        }
        assert!(lookback.is_complete());
    }

    #[test]
    fn after_an_interruption_not_every_change_is_known() {
        let (lookback, clock) = lookback();
        lookback.has_long_poll();
        for is_complete in [true, false, true] {
            clock.advance(Duration::from_millis(15_000));
            if !is_complete {
                lookback.interrupt();
            }
            clock.advance(Duration::from_millis(15_000));
            lookback.has_long_poll();
            assert_eq!(lookback.is_complete(), is_complete);
        }
    }

    #[test]
    fn a_change_is_remembered_with_its_actor_for_a_time() {
        let (lookback, clock) = lookback();
        lookback.has_long_poll();
        lookback.note([(&A.into(), Some(ALICE))], [(BOB, &A.into())]);
        clock.advance(Duration::from_millis(20_000));
        lookback.has_long_poll();
        assert_eq!(lookback.changes_of([A, B])[&A].actor, Some(ALICE));
        assert_eq!((lookback.departures_of(BOB), lookback.departures_of(ALICE)), ([A].into(), [].into()));
        note(&lookback, &[B, C]);
        clock.advance(Duration::from_millis(10_001));
        lookback.has_long_poll();
        note(&lookback, &[B]);
        assert!(!is_known(&lookback, A) && lookback.departures_of(BOB).is_empty());
        clock.advance(Duration::from_millis(20_000));
        note(&lookback, &[]);
        let kept = [A, B, C].map(|id| is_known(&lookback, id));
        assert_eq!(kept, [false, true, false], "a later change is remembered longer");
        assert!(lookback.is_complete());
    }

    #[test]
    fn a_bounded_number_of_changes_is_remembered() {
        let (lookback, clock) = lookback();
        lookback.has_long_poll();
        clock.advance(Duration::from_millis(30_000));
        lookback.has_long_poll();
        assert!(lookback.is_complete());
        for number in 0..=CHANGES_MAX {
            note(&lookback, &[Uuid::from_u128(number as u128)]);
        }
        note(&lookback, &[]);
        assert!(!lookback.is_complete(), "some have been forgotten");
        assert_eq!(lookback.changes.lock().unwrap().sessions.len(), CHANGES_MAX);
    }

    #[test]
    fn starts_of_a_caller_and_a_player_are_a_second_apart() {
        let (lookback, clock) = lookback();
        lookback.has_long_poll();
        let by = |player| Listener { player, service: None };
        assert_eq!(lookback.start(by(Some(ALICE)), ALICE), Ok(()));
        clock.advance(Duration::from_millis(400));
        assert_eq!(lookback.start(by(Some(ALICE)), ALICE), Err(600));
        for (other, player) in [(Some(BOB), BOB), (Some(BOB), ALICE), (None, ALICE)] {
            assert_eq!(lookback.start(by(other), player), Ok(()));
        }
        clock.advance(Duration::from_millis(600));
        assert_eq!(lookback.start(by(Some(ALICE)), ALICE), Ok(()));
    }
}
