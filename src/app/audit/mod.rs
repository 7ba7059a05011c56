//! Audit: what has happened in sessions, for people who look into it later. Every change of a session writes its events in
//! its own commit (`app/sessions/audit_writes.rs`). This service reads events, stores those that callers post, and deletes
//! old ones (`sweep`).

mod export;
mod sweep;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use serde_json::{Map, Value};
use tokio::sync::Mutex;

pub use self::export::EventsExport;
use self::sweep::Sweep;
use super::Failure;
use super::locks::LockStripes;
use super::notifications::UnreadableLog;
use super::sessions::{ATTEMPTS_MAX, Sessions};
use super::shield::shield;
use super::{HookWrites, VisiblePlayers};
use crate::document::Document;
use crate::domain::{PlayerUuid, Refused, SessionId};
use crate::env::{Clock, Entropy};
use crate::records::audit::{self as record, Posted};
use crate::records::keys::{self, EventsId};
use crate::store::{Batch, CommitError, Entry, Key, StoreError, next_key};

/// Most events that a read skips. Callers who look further back use dates.
pub const SKIP_MAX: usize = 10_000;
/// Changes whose events a read looks at together.
const READ_AT_ONCE: usize = 32;
/// Size of posted events, for each that a session may have in a day, in bytes.
const POSTED_BYTES_EACH: u64 = 1_024;
/// A day, in milliseconds.
const DAY_MS: i64 = 86_400_000;
/// Number of locks for posts. Two sessions may share one; then posts about them wait for each other.
const LOCKS: usize = 64;

/// Settings of the audit.
#[derive(Clone, Copy, Debug)]
pub struct AuditSettings {
    /// Whether events are stored.
    pub is_on: bool,
    /// How long events are kept, in milliseconds.
    pub keep_ms: i64,
    /// Most events of a session. Beyond it, the oldest are deleted.
    pub events_per_session_max: usize,
    /// Most events that callers may post about a session in a day. Together they may have 1 KiB for each.
    pub customer_events_per_session_max: u32,
    /// Largest size of all events, in bytes. Beyond it, the oldest days are deleted.
    pub bytes_max: u64,
}

/// Which events are read: those of a session, those that concern a player, or those that do both.
#[derive(Clone, Debug)]
pub struct EventsQuery {
    /// The session.
    pub session: Option<SessionId>,
    /// The player.
    pub player: Option<PlayerUuid>,
    /// First time, in milliseconds since the epoch.
    pub from_ms: i64,
    /// End of the time (excluded), in milliseconds since the epoch.
    pub to_ms: i64,
    /// How many of the oldest events are skipped: at most [`SKIP_MAX`], or none is read.
    pub skip: usize,
    /// Most events to read.
    pub count: usize,
    /// Whose events are shown.
    pub shown: Shown,
}

/// Which players' events a reader sees. Events that concern no player are always shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// The players whom the reader sees in the session.
    pub players: VisiblePlayers,
    /// The player of the reader.
    pub own: Option<PlayerUuid>,
}

impl Shown {
    /// Those of all players.
    pub const ALL: Self = Self { players: VisiblePlayers::All, own: None };

    fn has(self, event: &Value) -> bool {
        let Some(player) = record::player_of(event) else { return event.get("player_uuid").is_none() };
        match self.players {
            VisiblePlayers::All => true,
            _ if self.own == Some(player) => true,
            VisiblePlayers::Team(team_id) => {
                event.get("team_id").and_then(Value::as_u64) == u64::try_from(team_id).ok()
            }
            VisiblePlayers::Nobody => false,
        }
    }
}

/// An event that a caller posts.
#[derive(Clone, Debug)]
pub struct PostedEvent {
    /// The session.
    pub session: SessionId,
    /// The fields of the event, in the contract's form, without times and players.
    pub fields: Map<String, Value>,
    /// The players whom it concerns; with several, it is one event for each.
    pub players: Vec<PlayerUuid>,
}

/// The audit of all sessions.
pub struct Audit {
    settings: AuditSettings,
    sessions: Arc<Sessions>,
    clock: Clock,
    entropy: Entropy,
    /// Posts about one session on this node wait for each other, and do not conflict in the store.
    posting: LockStripes<Arc<Mutex<()>>>,
    sweep: Sweep,
    unreadable: Arc<UnreadableLog>,
}

/// The events of a read, oldest first.
struct Page {
    skip: usize,
    count: usize,
    events: Vec<Value>,
}

impl Page {
    fn is_full(&self) -> bool {
        self.events.len() == self.count
    }

    fn add(&mut self, events: impl IntoIterator<Item = Value>) {
        for event in events {
            if self.skip > 0 {
                self.skip -= 1;
            } else if !self.is_full() {
                self.events.push(event);
            }
        }
    }
}

impl Audit {
    /// The audit of these sessions.
    pub fn new(
        settings: AuditSettings,
        sessions: Arc<Sessions>,
        (clock, entropy): (Clock, Entropy),
        unreadable: Arc<UnreadableLog>,
    ) -> Self {
        let (posting, sweep) = (LockStripes::new(LOCKS), Sweep::default());
        Self { settings, sessions, clock, entropy: entropy.beside(), posting, sweep, unreadable }
    }

    /// Reads events, oldest first. Events that cannot be read are logged and left out.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn events(&self, query: &EventsQuery) -> Result<Vec<Value>, StoreError> {
        let mut page = Page { skip: query.skip, count: query.count, events: Vec::new() };
        if self.settings.is_on && query.skip <= SKIP_MAX {
            match (&query.session, query.player) {
                (_, Some(player)) => self.read_of_player(player, query, &mut page).await?,
                (Some(session), None) => self.read_of_session(session, query, &mut page).await?,
                (None, None) => {}
            }
        }
        Ok(page.events)
    }

    async fn read_of_session(
        &self,
        session: &SessionId,
        query: &EventsQuery,
        page: &mut Page,
    ) -> Result<(), StoreError> {
        let (mut from, to) = keys::events_between(session, query.from_ms, query.to_ms);
        while !page.is_full() {
            let found = self.sessions.store().scan(&from, &to, READ_AT_ONCE).await?;
            for (key, entry) in &found {
                let events = self.events_of(key, entry, None).into_iter();
                page.add(events.filter(|event| query.shown.has(event)));
            }
            match found.last() {
                Some((last, _)) if found.len() == READ_AT_ONCE => from = next_key(last),
                _ => break,
            }
        }
        Ok(())
    }

    /// The events of a stored change, or those of them that concern a player; none if they cannot be read.
    fn events_of(&self, key: &Key, entry: &Entry, player: Option<PlayerUuid>) -> Vec<Value> {
        record::decode(&entry.value, player).unwrap_or_else(|damage| {
            let session = keys::parse_events(key).map(|id| id.session.to_string()).unwrap_or_default();
            self.unreadable.note("audit events", &session, &damage);
            Vec::new()
        })
    }

    async fn read_of_player(
        &self,
        player: PlayerUuid,
        query: &EventsQuery,
        page: &mut Page,
    ) -> Result<(), StoreError> {
        let store = self.sessions.store();
        let (mut from, to) = keys::events_of_player_between(player, query.from_ms, query.to_ms);
        while !page.is_full() {
            let found = store.scan(&from, &to, READ_AT_ONCE).await?;
            let changes = found.iter().filter_map(|(key, _)| keys::parse_events_of_player(key));
            let of_session =
                |id: &EventsId| query.session.as_ref().is_none_or(|session| id.session == *session);
            let changes = changes.map(|(_, id)| id).filter(of_session);
            let changes: Vec<_> = changes.map(|id| keys::events(&id)).collect();
            let entries = try_join_all(changes.iter().map(|key| store.get(key))).await?;
            for (key, entry) in changes.iter().zip(entries) {
                // Its events may have been deleted since.
                let events = entry.map(|entry| self.events_of(key, &entry, Some(player)));
                page.add(events.unwrap_or_default().into_iter().filter(|event| query.shown.has(event)));
            }
            match found.last() {
                Some((last, _)) if found.len() == READ_AT_ONCE => from = next_key(last),
                _ => break,
            }
        }
        Ok(())
    }

    /// Stores an event that a caller posts, and what the request asks beyond it. Only the latter if events are not stored.
    ///
    /// # Errors
    /// [`Refused::AuditFull`] if callers have posted too many about the session today; [`Failure::Contended`] after 8 lost
    /// races; errors of the store.
    pub async fn post(
        self: &Arc<Self>,
        event: PostedEvent,
        also: impl Fn() -> HookWrites + Send + Sync + 'static,
    ) -> Result<(), Failure> {
        let audit = Arc::clone(self);
        let lock = Arc::clone(self.posting.of(&event.session)).lock_owned().await;
        shield(async move {
            let _lock = lock;
            for _ in 0..ATTEMPTS_MAX {
                if audit.try_post(&event, also()).await? {
                    return Ok(());
                }
            }
            Err(Failure::Contended)
        })
        .await
    }

    /// Returns `false` if another node posted first.
    async fn try_post(&self, event: &PostedEvent, also: HookWrites) -> Result<bool, Failure> {
        let now_ms = self.sessions.require_right_clock().await?;
        let event = if self.settings.is_on { self.plan_post(event, now_ms).await? } else { Batch::default() };
        let batch = event.and(also);
        if batch.is_empty() {
            return Ok(true);
        }
        match self.sessions.store().commit(batch).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict { .. }) => Ok(false),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }

    /// The writes of a posted event, and of the number of those that were posted on the same day. It sorts after the earlier
    /// changes of the session and the earlier reports, whichever nodes have stored them.
    async fn plan_post(&self, event: &PostedEvent, now_ms: i64) -> Result<Batch, Failure> {
        let key = keys::posted_events(&event.session);
        let entry = self.sessions.store().get(&key).await?;
        let latest = self.sessions.get_latest(&event.session).await?;
        // What cannot be read begins anew.
        let posted = entry.as_ref().and_then(|entry| Posted::decode(&entry.value).ok()).unwrap_or_default();
        let number = self.sessions.next_event_number();
        let last_change = latest.session.last_event_ms.map(|last_ms| (last_ms, u64::MAX));
        let at_ms = later(later(now_ms, number, last_change), number, Some(posted.last));
        let value = self.rendered(event, at_ms);
        let day = at_ms.div_euclid(DAY_MS);
        let posted = if posted.day == day { posted } else { Posted::default() };
        let events = u32::try_from(event.players.len().max(1)).unwrap_or(u32::MAX);
        let posted = Posted {
            day,
            events: posted.events.saturating_add(events),
            bytes: posted.bytes.saturating_add(value.len() as u64),
            last: (at_ms, number),
        };
        let events_max = self.settings.customer_events_per_session_max;
        if posted.events > events_max || posted.bytes > u64::from(events_max) * POSTED_BYTES_EACH {
            return Err(Refused::AuditFull.into());
        }
        let batch = match entry {
            Some(entry) => Batch::default().expect_version(key.clone(), entry.version),
            None => Batch::default().expect_absent(key.clone()),
        };
        let id = EventsId { session: event.session.clone(), at_ms, number };
        let players = event.players.iter().copied();
        Ok(batch.put(key, posted.encode()).and(record::put_rendered(&id, value, players)))
    }

    fn rendered(&self, event: &PostedEvent, at_ms: i64) -> Bytes {
        let mut fields = event.fields.clone();
        fields.insert("event_datetime".into(), record::time(at_ms).into());
        if let [player] = event.players[..] {
            fields.insert("player_uuid".into(), player.to_string().into());
        } else if !event.players.is_empty() {
            let players = event.players.iter().map(|player| Value::from(player.to_string()));
            fields.insert(record::PLAYERS.into(), players.collect());
        }
        Document::render(&[fields])
    }
}

/// The earliest time from `now_ms` on at which an event with this number sorts after the `last` one, in milliseconds since
/// the epoch. `last` is a time and a number.
fn later(now_ms: i64, number: u64, last: Option<(i64, u64)>) -> i64 {
    match last {
        Some((last_ms, last_number)) if number <= last_number => now_ms.max(last_ms.saturating_add(1)),
        Some((last_ms, _)) => now_ms.max(last_ms),
        None => now_ms,
    }
}
