//! One version of a session in memory: parsed once, each of its documents rendered at most once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use smallvec::SmallVec;

use crate::document::Document;
use crate::domain::session::Player;
use crate::domain::template::Visibility;
use crate::domain::{Platform, PlayerUuid, Session};
use crate::env::ClockReading;
use crate::records::{StoredSession, UnknownFields};
use crate::store::Version;

/// Largest document of a caller's own view that is kept in memory, in bytes. Larger ones are rendered for each read.
const OWN_VIEW_BYTES_MAX: usize = 16_384;
/// Memory for all such documents of one session, in bytes. Further ones are rendered for each read.
const OWN_VIEWS_BYTES_MAX: usize = 262_144;

/// What a caller sees of a session. Each view has its own document and ETag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct View {
    /// How much of the session's data, and of each visible player's.
    pub detail: Detail,
    /// Which players.
    pub players: VisiblePlayers,
    /// The caller's player, whose entry is shown whole; `None` if the caller has no entry, or if the rest of the view
    /// shows it whole.
    pub own: Option<PlayerUuid>,
}

/// How much a caller sees of the session's data, and of the data of each visible player.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Everything: for active players, and for callers that may read any session.
    Full,
    /// Everything but the data that helps to connect: for all other callers.
    Limited,
}

/// Which players of a session a caller sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VisiblePlayers {
    /// All players.
    All,
    /// The players of the team with this id.
    Team(usize),
    /// No player.
    Nobody,
}

impl View {
    /// The view of active players in a session without restrictions.
    pub const FULL: Self = Self { detail: Detail::Full, players: VisiblePlayers::All, own: None };
    /// The view of callers outside a session without restrictions.
    pub const LIMITED: Self = Self { detail: Detail::Limited, players: VisiblePlayers::All, own: None };

    /// The view of a caller with this entry. It shows the entry whole, whatever else it shows.
    #[must_use]
    pub fn with_own(self, own: Option<(PlayerUuid, &Player)>) -> Self {
        let own = own.filter(|(player, entry)| self.shown(*player, entry) != Some(Detail::Full));
        Self { own: own.map(|(player, _)| player).or(self.own), ..self }
    }

    /// How much the view shows of a player, or `None` if it does not show the player.
    pub fn shown(self, player: PlayerUuid, entry: &Player) -> Option<Detail> {
        if self.own == Some(player) {
            return Some(Detail::Full);
        }
        let is_visible = match self.players {
            VisiblePlayers::All => true,
            VisiblePlayers::Team(team_id) => entry.team_id == team_id,
            VisiblePlayers::Nobody => false,
        };
        is_visible.then_some(self.detail)
    }
}

/// One version of a session. The session in it never changes; a change of the session creates a new version.
///
/// `repr(C)` keeps the order of the fields. The fields that every poll reads come first and lie close together, because
/// a poll spends most of its time waiting for memory.
#[derive(Debug)]
#[repr(C)]
pub struct CachedSession {
    /// Whether this node may have a newer version.
    stale: AtomicBool,
    /// Whether inactive players are removed from the session.
    has_player_timeout: bool,
    /// Whether every active player sees all players.
    all_players_visible: bool,
    /// The number of players, whatever their status.
    player_count: u32,
    /// The deadline as this node knows it, in milliseconds since the epoch. All versions of the session share it.
    pub(in crate::app) deadline_ms: Arc<AtomicI64>,
    /// When this was last known to be the latest version on any node, by both clocks.
    confirmed_ms: AtomicI64,
    confirmed_up_ms: AtomicI64,
    /// Reads that began at this time of the monotonic clock, or earlier, do not say that this is the latest version.
    doubted_up_ms: AtomicI64,
    /// The active players, sorted. Up to four are stored inline, without another allocation.
    active: SmallVec<[PlayerUuid; 4]>,
    /// The documents by linked platform. Usually there is one; a map would reserve memory for eleven.
    platform: SmallVec<[(Platform, OnceLock<Document>); 1]>,
    full: OnceLock<Document>,
    /// The session.
    pub session: Session,
    /// Its version in the store.
    pub version: Version,
    /// Its stored fields that this build does not know.
    pub unknown: UnknownFields,
    limited: OnceLock<Document>,
    /// The documents of all other views: of callers who are invited, and of all callers in sessions that hide players
    /// or have very many. There may be one such view for each player.
    others: Mutex<OwnViews>,
}

/// Documents of views that few callers share, up to [`OWN_VIEWS_BYTES_MAX`].
#[derive(Debug, Default)]
struct OwnViews {
    documents: BTreeMap<View, Document>,
    bytes: usize,
}

impl OwnViews {
    /// Keeps a document if it is small and there is room.
    fn keep(&mut self, view: View, document: &Document) {
        let bytes = document.body.len();
        if bytes > OWN_VIEW_BYTES_MAX || self.bytes + bytes > OWN_VIEWS_BYTES_MAX {
            return;
        }
        // Another reader may have rendered the same document meanwhile.
        if self.documents.insert(view, document.clone()).is_none() {
            self.bytes += bytes;
        }
    }
}

impl CachedSession {
    /// A version of a session, just read or committed.
    pub fn new(stored: StoredSession, version: Version, deadline_ms: Arc<AtomicI64>) -> Self {
        let StoredSession { session, unknown } = stored;
        let active = session.players.iter().filter(|(_, entry)| entry.status.is_active());
        let active = active.map(|(player, _)| *player).collect();
        let platform =
            session.platform_sessions.keys().map(|platform| (*platform, OnceLock::new())).collect();
        Self {
            stale: AtomicBool::new(false),
            has_player_timeout: session.culling_timeout_s.is_some(),
            all_players_visible: [session.player_visibility, session.admin_player_visibility]
                .iter()
                .all(|visibility| *visibility == Visibility::All),
            player_count: u32::try_from(session.players.len()).unwrap_or(u32::MAX),
            deadline_ms,
            confirmed_ms: AtomicI64::new(i64::MIN),
            confirmed_up_ms: AtomicI64::new(i64::MIN),
            doubted_up_ms: AtomicI64::new(i64::MIN),
            active,
            platform,
            full: OnceLock::new(),
            session,
            version,
            unknown,
            limited: OnceLock::new(),
            others: Mutex::default(),
        }
    }

    /// Marks this version stale: this node has a newer version, or has removed this one from the cache and would not
    /// mark it after a change.
    pub fn mark_stale(&self) {
        self.stale.store(true, Ordering::Release);
    }

    /// Whether this node may have a newer version.
    pub fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire)
    }

    /// Notes that this was the latest version on any node at this time.
    pub fn confirm_current(&self, at: ClockReading) {
        if at.up_ms <= self.doubted_up_ms.load(Ordering::Acquire) {
            return;
        }
        self.confirmed_ms.fetch_max(at.now_ms, Ordering::Relaxed);
        self.confirmed_up_ms.fetch_max(at.up_ms, Ordering::Relaxed);
    }

    /// Forgets that this was the latest version: another node may have changed it by this time of the monotonic clock.
    pub fn doubt(&self, at_up_ms: i64) {
        self.doubted_up_ms.fetch_max(at_up_ms, Ordering::AcqRel);
        self.confirmed_ms.store(i64::MIN, Ordering::Relaxed);
        self.confirmed_up_ms.store(i64::MIN, Ordering::Relaxed);
    }

    /// How long ago this was last known to be the latest version, in milliseconds: the longer time of the two clocks.
    /// Negative after the system clock was set back.
    pub fn age_ms(&self, now: ClockReading) -> i64 {
        let age_ms = now.now_ms.saturating_sub(self.confirmed_ms.load(Ordering::Relaxed));
        let age_up_ms = now.up_ms.saturating_sub(self.confirmed_up_ms.load(Ordering::Relaxed));
        if age_ms < 0 { age_ms } else { age_ms.max(age_up_ms) }
    }

    /// Whether inactive players are removed from the session. Only then do heartbeats count.
    pub fn has_player_timeout(&self) -> bool {
        self.has_player_timeout
    }

    /// Whether every active player sees all players. Copied from the session's two visibilities to save a memory
    /// access.
    pub fn all_players_visible(&self) -> bool {
        self.all_players_visible
    }

    /// The number of players, whatever their status: a copy, to save a memory access.
    pub fn player_count(&self) -> usize {
        usize::try_from(self.player_count).unwrap_or(usize::MAX)
    }

    /// Whether a player is active: the same as [`Session::is_active`], with fewer memory accesses.
    pub fn is_active(&self, player: PlayerUuid) -> bool {
        self.active.binary_search(&player).is_ok()
    }

    /// The document of a view. The first read of a view renders it.
    pub fn document(&self, view: View, render: impl FnOnce() -> Document) -> Document {
        match view {
            View::FULL => self.full_document(render).clone(),
            View::LIMITED => self.limited.get_or_init(render).clone(),
            view => {
                if let Some(document) = self.lock_others().documents.get(&view) {
                    return document.clone();
                }
                // Without the lock: readers of other views must not wait for the rendering.
                let document = render();
                self.lock_others().keep(view, &document);
                document
            }
        }
    }

    fn lock_others(&self) -> MutexGuard<'_, OwnViews> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The document of [`View::FULL`]. The first read renders it.
    pub fn full_document(&self, render: impl FnOnce() -> Document) -> &Document {
        self.full.get_or_init(render)
    }

    /// The document of a linked platform session; `None` if the platform has none. The first read renders it.
    pub fn platform_document(
        &self,
        platform: Platform,
        render: impl FnOnce() -> Document,
    ) -> Option<&Document> {
        let (_, document) = self.platform.iter().find(|(linked, _)| *linked == platform)?;
        Some(document.get_or_init(render))
    }

    /// The deadline as this node knows it, in milliseconds since the epoch.
    pub fn deadline_ms(&self) -> i64 {
        self.deadline_ms.load(Ordering::Relaxed)
    }

    /// Moves the deadline as this node knows it, never to an earlier time. Returns the deadline before. Times are in
    /// milliseconds since the epoch.
    pub fn move_deadline(&self, deadline_ms: i64) -> i64 {
        self.deadline_ms.fetch_max(deadline_ms, Ordering::Relaxed)
    }

    /// Lowers a deadline that was noted with a clock that was ahead. `newest_ms` is the latest possible one, in
    /// milliseconds since the epoch.
    pub fn pull_back_deadline(&self, newest_ms: i64) {
        self.deadline_ms.fetch_min(newest_ms, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixtures;

    #[test]
    fn a_version_is_as_old_as_the_slower_of_two_clocks_says() {
        let session = fixtures::session("L1");
        let cached = CachedSession::new(
            StoredSession { session, unknown: UnknownFields::default() },
            Version(1),
            Arc::default(),
        );
        let age_ms = |now_ms, up_ms| cached.age_ms(ClockReading { now_ms, up_ms });
        assert!(age_ms(0, 0) > 1_000_000, "it was never known to be the latest version");
        cached.confirm_current(ClockReading { now_ms: 100_000, up_ms: 50 });
        assert_eq!((age_ms(100_007, 57), age_ms(100_007, 30_057), age_ms(130_000, 57)), (7, 30_007, 30_000));
        assert!(age_ms(99_999, 57) < 0, "the clock was set back");
        cached.doubt(60);
        assert!(age_ms(100_070, 70) > 1_000_000, "it is not known any more");
        cached.confirm_current(ClockReading { now_ms: 100_060, up_ms: 60 });
        assert!(age_ms(100_070, 70) > 1_000_000, "that read may have begun before");
        cached.confirm_current(ClockReading { now_ms: 100_061, up_ms: 61 });
        assert_eq!(age_ms(100_070, 70), 9);
    }

    #[test]
    fn the_documents_of_many_callers_take_bounded_memory() {
        let stored = StoredSession { session: fixtures::session("L1"), unknown: UnknownFields::default() };
        let cached = CachedSession::new(stored, Version(1), Arc::default());
        let own =
            |player: u128| View { own: Some(PlayerUuid(uuid::Uuid::from_u128(player))), ..View::LIMITED };
        let is_kept = |player, bytes: usize| {
            let render = || Document::of(&"x".repeat(bytes));
            let first = cached.document(own(player), render);
            let mut is_kept = true;
            let again = cached.document(own(player), || {
                is_kept = false;
                render()
            });
            assert_eq!(first.body, again.body);
            is_kept
        };
        assert!(!is_kept(0, OWN_VIEW_BYTES_MAX));
        let kept = (1..100).filter(|player| is_kept(*player, OWN_VIEW_BYTES_MAX - 2)).count();
        assert_eq!(kept, OWN_VIEWS_BYTES_MAX / OWN_VIEW_BYTES_MAX);
    }
}
