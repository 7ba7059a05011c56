//! A session as this node holds it in memory: parsed once, each of its documents rendered once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use smallvec::SmallVec;

use crate::document::Document;
use crate::domain::session::Player;
use crate::domain::template::Visibility;
use crate::domain::{Platform, PlayerUuid, Session};
use crate::records::{StoredSession, UnknownFields};
use crate::store::Version;

/// Largest document of a restricted view that is kept, in bytes.
const RESTRICTED_BYTES_KEPT_MAX: usize = 16_384;

/// What two clocks say at one moment: one may be set back, and the other may stand still while the machine sleeps.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Ms since the epoch.
    pub now_ms: i64,
    /// Ms since the node started.
    pub up_ms: i64,
}

/// How much of a session a caller sees; each view has a document and an ETag of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct View {
    /// How much of what is not players.
    pub depth: Depth,
    /// Which players.
    pub players: Shown,
}

/// How much a caller sees of a session's own data, and of each player shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Everything: for active players, and for those who may read any session.
    Full,
    /// Nothing that helps to connect: for everyone else.
    Limited,
}

/// The players of a session that a caller sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shown {
    /// Everyone.
    All,
    /// Those on a team.
    Team(usize),
    /// One player.
    Only(PlayerUuid),
    /// Nobody.
    Nobody,
}

impl View {
    /// Everything.
    pub const FULL: Self = Self { depth: Depth::Full, players: Shown::All };
    /// What everyone may know.
    pub const LIMITED: Self = Self { depth: Depth::Limited, players: Shown::All };

    /// Whether it shows a player.
    pub fn shows(self, player: PlayerUuid, entry: &Player) -> bool {
        match self.players {
            Shown::All => true,
            Shown::Team(team_id) => entry.team_id == team_id,
            Shown::Only(only) => player == only,
            Shown::Nobody => false,
        }
    }
}

/// One version of a session. It never changes; a change makes a new one.
///
/// In this order in memory: what every poll asks for lies together in front, since most of a poll's time is spent
/// waiting for memory.
#[derive(Debug)]
#[repr(C)]
pub struct CachedSession {
    stale: AtomicBool,
    /// Whether players are taken out who do not ask.
    culls: bool,
    /// Whether whoever takes part sees everyone.
    shows_everyone: bool,
    /// When it ends unless someone asks for it before, ms since the epoch; shared between its versions.
    pub(in crate::app) deadline_ms: Arc<AtomicI64>,
    /// At which time it was the last version for sure, by both clocks.
    current_ms: AtomicI64,
    current_up_ms: AtomicI64,
    /// Who takes part, in order. The few of a usual session lie right here.
    active: SmallVec<[PlayerUuid; 4]>,
    /// By linked platform, of which there is usually one: a map would make room for eleven.
    platform: SmallVec<[(Platform, OnceLock<Document>); 1]>,
    full: OnceLock<Document>,
    /// The session.
    pub session: Session,
    /// Its version in the store.
    pub version: Version,
    /// Fields of it that this build does not know.
    pub unknown: UnknownFields,
    limited: OnceLock<Document>,
    /// The documents of views that only some sessions have: where not everyone sees everyone. Small ones only, since
    /// there may be one for each player, and all repeat what the session itself holds.
    others: Mutex<BTreeMap<View, Document>>,
}

impl CachedSession {
    /// A version of a session.
    pub fn new(stored: StoredSession, version: Version, deadline_ms: Arc<AtomicI64>) -> Self {
        let StoredSession { session, unknown } = stored;
        let active = session.players.iter().filter(|(_, entry)| entry.status.is_active());
        let active = active.map(|(player, _)| *player).collect();
        let platform =
            session.platform_sessions.keys().map(|platform| (*platform, OnceLock::new())).collect();
        Self {
            stale: AtomicBool::new(false),
            culls: session.culling_timeout_s.is_some(),
            shows_everyone: [session.player_visibility, session.admin_player_visibility]
                .iter()
                .all(|visibility| *visibility == Visibility::All),
            deadline_ms,
            current_ms: AtomicI64::new(i64::MIN),
            current_up_ms: AtomicI64::new(i64::MIN),
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

    /// Notes that there is a newer version, or may be one that this one is not told of.
    pub fn mark_stale(&self) {
        self.stale.store(true, Ordering::Release);
    }

    /// Whether there may be a newer version on this node.
    pub fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire)
    }

    /// Notes that at this time it was the last version on any node.
    pub fn note_current(&self, at: Reading) {
        self.current_ms.fetch_max(at.now_ms, Ordering::Relaxed);
        self.current_up_ms.fetch_max(at.up_ms, Ordering::Relaxed);
    }

    /// How long ago it was the last version for sure, in ms. Negative after the clock was set back.
    pub fn age_ms(&self, now: Reading) -> i64 {
        let age_ms = now.now_ms.saturating_sub(self.current_ms.load(Ordering::Relaxed));
        let age_up_ms = now.up_ms.saturating_sub(self.current_up_ms.load(Ordering::Relaxed));
        if age_ms < 0 { age_ms } else { age_ms.max(age_up_ms) }
    }

    /// Whether it matters who asks for it: players who do not are taken out.
    pub fn culls(&self) -> bool {
        self.culls
    }

    /// Whether whoever takes part sees everyone: what the session's visibilities say, from nearer memory.
    pub fn shows_everyone(&self) -> bool {
        self.shows_everyone
    }

    /// Whether a player takes part: what [`Session::is_active`] says, from nearer memory.
    pub fn is_active(&self, player: PlayerUuid) -> bool {
        self.active.binary_search(&player).is_ok()
    }

    /// The document of a view, rendered the first time it is asked for.
    pub fn document(&self, view: View, render: impl FnOnce() -> Document) -> Document {
        match view {
            View::FULL => self.full_document(render).clone(),
            View::LIMITED => self.limited.get_or_init(render).clone(),
            view => {
                let others = || self.others.lock().unwrap_or_else(PoisonError::into_inner);
                let rendered = others().get(&view).cloned();
                // Not under the lock, on which readers of other views would wait.
                rendered.unwrap_or_else(|| {
                    let document = render();
                    if document.body.len() <= RESTRICTED_BYTES_KEPT_MAX {
                        others().insert(view, document.clone());
                    }
                    document
                })
            }
        }
    }

    /// The document of everything, rendered the first time it is asked for.
    pub fn full_document(&self, render: impl FnOnce() -> Document) -> &Document {
        self.full.get_or_init(render)
    }

    /// The document of a linked platform session, rendered the first time it is asked for.
    pub fn platform_document(
        &self,
        platform: Platform,
        render: impl FnOnce() -> Document,
    ) -> Option<&Document> {
        let (_, document) = self.platform.iter().find(|(linked, _)| *linked == platform)?;
        Some(document.get_or_init(render))
    }

    /// When the session ends unless someone asks for it before, ms since the epoch.
    pub fn deadline_ms(&self) -> i64 {
        self.deadline_ms.load(Ordering::Relaxed)
    }

    /// Moves the deadline as this node knows it, never back. Answers what it was.
    pub fn move_deadline(&self, deadline_ms: i64) -> i64 {
        self.deadline_ms.fetch_max(deadline_ms, Ordering::Relaxed)
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
        let age_ms = |now_ms, up_ms| cached.age_ms(Reading { now_ms, up_ms });
        assert!(age_ms(0, 0) > 1_000_000, "it was never known to be current");
        cached.note_current(Reading { now_ms: 100_000, up_ms: 50 });
        assert_eq!((age_ms(100_007, 57), age_ms(100_007, 30_057), age_ms(130_000, 57)), (7, 30_007, 30_000));
        assert!(age_ms(99_999, 57) < 0, "the clock was set back");
    }
}
