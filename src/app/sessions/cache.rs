//! The sessions in memory: what makes reads cheap. It holds what it is told and finds nothing by itself; who puts
//! something in sees to it that it is no older than what is there.

use std::sync::{Arc, Weak};

use quick_cache::sync::Cache as Bounded;
use quick_cache::{DefaultHashBuilder, Equivalent, Lifecycle, OptionsBuilder, Weighter};

use super::cached::CachedSession;
use crate::domain::{Platform, PlatformSessionId, SessionId};

/// Bytes a cached session takes beside its stored form, roughly: keys, maps, parsed fields.
const CACHED_SESSION_BYTES: u64 = 1024;
/// A cached session holds its parsed form, whose maps make room for more than they hold, and its rendered ones:
/// together so many times the stored one (measured with 4 and with 100 players).
const CACHED_FORMS: u64 = 7;
/// Of what is stored beyond this, bytes, most is long texts, which are held as they are.
const ORDINARY_BYTES: u64 = 65_536;
/// How often long texts are held: parsed and rendered.
const CACHED_TEXTS: u64 = 3;
/// Bytes a cached platform session takes beside its name, roughly.
const CACHED_NAME_BYTES: u64 = 256;

/// The name of a platform session.
pub type PlatformKey = (Platform, PlatformSessionId);

/// The same name, borrowed.
#[derive(Hash)]
struct PlatformKeyRef<'a>(Platform, &'a str);

impl Equivalent<PlatformKey> for PlatformKeyRef<'_> {
    fn equivalent(&self, key: &PlatformKey) -> bool {
        self.0 == key.0 && self.1 == key.1.as_str()
    }
}

/// A session with the bytes it is worth.
#[derive(Clone)]
struct Cached {
    cached: Arc<CachedSession>,
    bytes: u64,
}

/// Which session a platform session belongs to, as last seen.
#[derive(Clone)]
struct Hint {
    id: SessionId,
    cached: Weak<CachedSession>,
}

/// Weighs what is cached by its bytes.
#[derive(Clone)]
struct ByBytes;

impl Weighter<SessionId, Cached> for ByBytes {
    fn weight(&self, _: &SessionId, cached: &Cached) -> u64 {
        cached.bytes
    }
}

impl Weighter<PlatformKey, Hint> for ByBytes {
    fn weight(&self, key: &PlatformKey, _: &Hint) -> u64 {
        key.1.as_str().len() as u64 + CACHED_NAME_BYTES
    }
}

/// Supersedes what has to make room: nobody will tell it when the session changes.
#[derive(Clone)]
struct MarkStale;

impl Lifecycle<SessionId, Cached> for MarkStale {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: SessionId, cached: Cached) {
        cached.cached.mark_stale();
    }
}

/// Sessions by their ids, and by their platform sessions.
pub struct Cache {
    sessions: Bounded<SessionId, Cached, ByBytes, DefaultHashBuilder, MarkStale>,
    by_platform: Bounded<PlatformKey, Hint, ByBytes>,
}

impl Cache {
    /// A cache of about so many bytes.
    pub fn new(bytes: u64) -> Self {
        let sessions_estimated =
            usize::try_from(bytes / (4 * CACHED_SESSION_BYTES)).unwrap_or(1 << 20).max(64);
        // Names are small: a quarter of the room holds more of them than the rest holds sessions.
        let name_bytes = bytes / 4;
        let (hasher, lifecycle) = (DefaultHashBuilder::default(), MarkStale);
        // In one piece: what is larger than a piece is never kept, and a session may take a good part of all the room.
        let options = OptionsBuilder::new()
            .estimated_items_capacity(sessions_estimated)
            .weight_capacity(bytes - name_bytes)
            .shards(1)
            .build()
            .expect("both capacities are given");
        Self {
            sessions: Bounded::with_options(options, ByBytes, hasher, lifecycle),
            by_platform: Bounded::with_weighter(sessions_estimated, name_bytes, ByBytes),
        }
    }

    /// A session.
    pub fn get(&self, id: &str) -> Option<Arc<CachedSession>> {
        self.sessions.get(id).map(|cached| cached.cached)
    }

    /// Puts a version of a session in the place of the one before; `stored_bytes` long as it is stored.
    pub fn put(&self, cached: &Arc<CachedSession>, stored_bytes: usize) {
        let id = &cached.session.id;
        self.mark_stale(id);
        let stored_bytes = stored_bytes as u64;
        let text_bytes = stored_bytes.saturating_sub(ORDINARY_BYTES);
        let ordinary_bytes = stored_bytes - text_bytes;
        let bytes = CACHED_SESSION_BYTES + CACHED_FORMS * ordinary_bytes + CACHED_TEXTS * text_bytes;
        self.sessions.insert(id.clone(), Cached { cached: Arc::clone(cached), bytes });
    }

    /// Forgets a session.
    pub fn remove(&self, id: &SessionId) {
        self.mark_stale(id);
        self.sessions.remove(id);
    }

    fn mark_stale(&self, id: &SessionId) {
        if let Some(before) = self.sessions.peek(id) {
            before.cached.mark_stale();
        }
    }

    /// The session that a platform session belonged to when it was last asked for: to be checked against the session.
    pub fn id_by_platform_session(&self, key: &PlatformKey) -> Option<SessionId> {
        self.by_platform.get(key).map(|hint| hint.id)
    }

    /// The session that a platform session belongs to, where it is here as it is now.
    pub fn get_by_platform_session(&self, platform: Platform, id: &str) -> Option<Arc<CachedSession>> {
        let hint = self.by_platform.get(&PlatformKeyRef(platform, id))?;
        // It was linked in this version, and this version is the last.
        hint.cached.upgrade().filter(|cached| !cached.is_stale())
    }

    /// Notes that a platform session is linked in this version of a session.
    pub fn note_linked(&self, key: &PlatformKey, cached: &Arc<CachedSession>) {
        let hint = Hint { id: cached.session.id.clone(), cached: Arc::downgrade(cached) };
        self.by_platform.insert(key.clone(), hint);
    }
}
