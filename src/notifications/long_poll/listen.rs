//! The handler of long polls: compares what the player was told with the state of now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use uuid::Uuid;

use super::params::{LongPollQuery, OffsetReset};
use crate::api::session_document_of;
use crate::api::wire::CustomDataBody;
use crate::app::notifications::cursor::{Cursor, Subject, Tag};
use crate::app::notifications::news::{Change, Entry, Now, cursor_before, entries_after};
use crate::app::notifications::state::{ListedSessions, sessions_of};
use crate::app::touch::touch_sessions;
use crate::app::waits::{Listener, LongPoll, RecentChange, Seen, Topic, WaitOn};
use crate::app::{App, Failure};
use crate::auth::Caller;
use crate::domain::inbox::{Message, MessageNumber};
use crate::domain::{PlayerUuid, SessionId};
use crate::http::error::Error;
use crate::http::operation::Input;
use crate::http::reply::{LongPolled, Reply};
use crate::http::utc_time::UtcTime;
use crate::notifications::wire::{Notification, Notifications, PlayerPath};

/// How long before the client's deadline it is answered, also if the store is too slow, in milliseconds.
const EARLY_MS: u64 = 125;

/// How long the messages of other nodes take, with much to spare. Only a long poll without a cursor waits for them.
const MESSAGES_TAKE: Duration = Duration::from_millis(100);

/// Waits for notifications of the caller's player.
pub async fn own(
    app: Arc<App>,
    caller: Caller,
    Input { query, .. }: Input<(), LongPollQuery>,
) -> Result<Reply<LongPolled<Notifications>>, Error> {
    let player = caller.require_player()?;
    listen(&app, &caller, player, &query).await
}

/// Waits for notifications of a player.
pub async fn by_uuid(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<PlayerPath, LongPollQuery>,
) -> Result<Reply<LongPolled<Notifications>>, Error> {
    caller.require_reach(path.player_uuid)?;
    listen(&app, &caller, path.player_uuid, &query).await
}

/// The state of now of a player.
struct State<'a> {
    app: &'a App,
    player: PlayerUuid,
    /// The ETag of each session on the player's list, as the player reads it.
    etags: BTreeMap<Uuid, HeaderValue>,
    tags: BTreeMap<Uuid, Tag>,
    /// Sessions that cannot be read. Nothing is told of them until they can.
    unreadable: BTreeSet<Uuid>,
    /// What changes this state, and what the store had of it.
    watched: Vec<(Topic, Option<Seen>)>,
    /// After how long a listener has to be noted again, in milliseconds.
    again_after_ms: Option<i64>,
}

/// Answers within the deadline of the client: with an empty list if the store is too slow. Nothing is lost, since the
/// client goes on from its own cursor.
async fn listen(
    app: &App,
    caller: &Caller,
    player: PlayerUuid,
    query: &LongPollQuery,
) -> Result<Reply<LongPolled<Notifications>>, Error> {
    let deadline_s = u64::try_from(query.deadline.0).unwrap_or_default();
    let look = look(app, caller, player, query);
    let Some(within_ms) = (deadline_s * 1000).checked_sub(EARLY_MS) else { return look.await };
    tokio::time::timeout(Duration::from_millis(within_ms), look).await.unwrap_or_else(|_| {
        let cursor = query.exclude_before.0.clone().unwrap_or_default();
        let long_poll = Some(LongPoll { hold_ms: 0, query: String::new() });
        let wait_on = WaitOn { long_poll, ..WaitOn::topic(Topic::List(player)) };
        Ok(Reply::nothing_new(&Notifications { notifications: Vec::new(), cursor }, wait_on))
    })
}

async fn look(
    app: &App,
    caller: &Caller,
    player: PlayerUuid,
    query: &LongPollQuery,
) -> Result<Reply<LongPolled<Notifications>>, Error> {
    app.lookback.has_long_poll();
    let (mut state, cursor) = State::read(app, caller, player).await?.begin(caller, query).await?;
    let after = MessageNumber(cursor.last_message);
    let (messages, seen) = app.inboxes.watched_after(player, after, query.max_page_size.0).await?;
    let messages: BTreeMap<_, _> = messages.into_iter().collect();
    state.watched.push((Topic::Inbox(player), seen));
    // After the sessions were read: who made a change is noted before the change can be read.
    let mut departed = app.lookback.departures_of(player);
    let of = state.tags.keys().chain(cursor.sessions.keys()).chain(&departed);
    let recent = app.lookback.changes_of(of.copied());
    // The client knows what the player has left.
    departed.retain(|id| {
        let is_own = recent.get(id).is_some_and(|change| change.actor == Some(player));
        !is_own || cursor.sessions.contains_key(id)
    });
    let (quiet, mut again_after_ms) = state.quiet(&recent);
    let now = Now {
        messages: messages.keys().map(|number| number.0).collect(),
        sessions: state.tags.clone(),
        departed,
        quiet,
    };
    let created_ms = |change| state.created_ms(change, &recent, &messages);
    let entries = entries_after(&cursor, &now, query.max_page_size.0, created_ms);
    if cursor.subject == Subject::Start && !entries.is_empty() {
        match app.lookback.start(Listener::from(caller), player) {
            Ok(()) => {}
            Err(after_ms) => {
                again_after_ms = again_after_ms.into_iter().chain([after_ms]).min();
                return Ok(state.nothing_new(&cursor, query, again_after_ms));
            }
        }
    }
    let Some(last) = entries.last() else {
        // What comes from now on is told at once.
        let cursor = Cursor { subject: Subject::Nothing, ..cursor };
        return Ok(state.nothing_new(&cursor, query, again_after_ms));
    };
    let cursor = last.cursor.encode(player);
    let notifications: Vec<_> = entries.iter().map(|entry| state.notification(entry, &messages)).collect();
    app.metrics.waits.delivered(notifications.len());
    Ok(Reply::news(&Notifications { notifications, cursor }))
}

/// The notification of a change of a session that has this id, as far as the id tells it: the player was told that the
/// session was added or changed. `None` if the session is no longer on the player's list, or if the id is of none.
///
/// # Errors
/// Errors of the store.
pub async fn change_notification(
    app: &App,
    caller: &Caller,
    player: PlayerUuid,
    cursor: &Cursor,
) -> Result<Option<Notification>, Error> {
    let Subject::Session(id) = cursor.subject else { return Ok(None) };
    let Some(cached) =
        sessions_of(app, player).await?.found.into_iter().find(|cached| cached.session.id.uuid() == Some(id))
    else {
        return Ok(None);
    };
    let document = session_document_of(app, player, caller, &cached);
    // Of another version the id does not tell the ETag.
    let is_still_so = cursor.sessions.get(&id) == Some(&document.short_digest());
    let etag = is_still_so.then_some(document.etag);
    Ok(Some(notification_of(cursor, player, "session_changed", id, etag.as_ref())))
}

/// A notification of a change of a session.
fn notification_of(
    cursor: &Cursor,
    player: PlayerUuid,
    message: &str,
    id: Uuid,
    etag: Option<&HeaderValue>,
) -> Notification {
    Notification {
        message: message.to_owned(),
        notification_id: cursor.encode(player),
        created: UtcTime::of_ms(cursor.created_ms),
        rh_url: Some(format!("/session/v1/session/{id}")),
        etag: etag.and_then(|etag| etag.to_str().ok()).map(str::to_owned),
        custom_data: CustomDataBody::default(),
    }
}

impl<'a> State<'a> {
    /// Reads the state of now. A caller who listens for the own player is present.
    async fn read(app: &'a App, caller: &Caller, player: PlayerUuid) -> Result<Self, Error> {
        let ListedSessions { found: sessions, unreadable, seen, depends_on_templates } =
            sessions_of(app, player).await?;
        let is_own = caller.player() == Some(player);
        let again_after_ms = match is_own && app.settings.notifications.counts_as_heard {
            true => touch_sessions(app, player, &sessions).await,
            false => None,
        };
        let (mut etags, mut tags) = (BTreeMap::new(), BTreeMap::new());
        let mut watched = vec![(Topic::List(player), seen)];
        for cached in &sessions {
            let Some(id) = cached.session.id.uuid() else { continue };
            let document = session_document_of(app, player, caller, cached);
            tags.insert(id, document.short_digest());
            etags.insert(id, document.etag);
            watched.push((Topic::Session(cached.session.id.clone()), Some(Seen(Some(cached.version)))));
        }
        watched.extend(unreadable.iter().map(|id| (Topic::Session(id.clone()), None)));
        watched.extend(depends_on_templates.then_some((Topic::Catalog, None)));
        let unreadable = unreadable.iter().filter_map(SessionId::uuid).collect();
        Ok(Self { app, player, etags, tags, unreadable, watched, again_after_ms })
    }

    /// Where the long poll begins, and the state of now.
    async fn begin(self, caller: &Caller, query: &LongPollQuery) -> Result<(Self, Cursor), Error> {
        let id = query.exclude_before.0.as_deref();
        if let Some(cursor) = id.and_then(|id| Cursor::decode(id, self.player)) {
            return Ok((self, cursor));
        }
        let message = id.and_then(MessageNumber::of_id);
        if message.is_none() && query.offset_reset_strategy == OffsetReset::Earliest {
            return Ok((self, Cursor { subject: Subject::Start, ..Cursor::nothing() }));
        }
        let lookback = &self.app.lookback;
        let is_alone = self.app.sessions.store().sole_writer();
        let hears_others = || self.app.invalidations.is_connected() && lookback.is_complete();
        let mut now = None;
        if !is_alone && hears_others() {
            // The message about a change that was just read may be under way. What changes meanwhile is told as it is
            // then, so the state is read again.
            tokio::time::sleep(MESSAGES_TAKE).await;
            now = Some(Self::read(self.app, caller, self.player).await?);
        }
        let is_complete = if is_alone { lookback.is_complete() } else { hears_others() };
        let recent: BTreeSet<_> = if is_complete {
            let changes = lookback.changes_of(self.tags.keys().copied()).into_iter();
            changes.filter(|(_, change)| lookback.is_recent(*change)).map(|(id, _)| id).collect()
        } else {
            self.tags.keys().copied().collect()
        };
        let mut departed = lookback.departures_of(self.player);
        let mut before = self.tags.clone();
        if let Some(now) = &now {
            departed.extend(before.keys().filter(|id| !now.tags.contains_key(id)));
            before.retain(|id, _| now.tags.contains_key(id));
        }
        let last_message = match message {
            Some(message) => message,
            None => self.last_message_before_lookback().await?,
        };
        let cursor = cursor_before(&before, &recent, &departed, last_message.0);
        Ok((now.unwrap_or(self), cursor))
    }

    /// The number of the last message that was posted before the time that a long poll without a cursor looks back.
    async fn last_message_before_lookback(&self) -> Result<MessageNumber, Error> {
        let (sessions, lookback_ms) = (&self.app.sessions, self.app.settings.notifications.lookback_ms);
        let from_ms = match sessions.require_right_clock().await.map_err(Failure::from) {
            Ok(now_ms) => sessions.time_ago(now_ms, lookback_ms),
            Err(failure) if failure.is_clock_wrong() => None,
            Err(failure) => return Err(failure.into()),
        };
        // Otherwise nobody knows which messages are that old: all are told.
        let Some(from_ms) = from_ms else { return Ok(MessageNumber(0)) };
        let last = self.app.inboxes.last_number(self.player).await?;
        // The number of a message is at least the time of its post.
        Ok(last.min(MessageNumber(u64::try_from(from_ms).unwrap_or_default())))
    }

    /// The sessions of which nothing is told yet, and after how long it can be, in milliseconds: those that the player has
    /// changed a moment ago, and those that cannot be read.
    fn quiet(&self, recent: &BTreeMap<Uuid, RecentChange>) -> (BTreeSet<Uuid>, Option<i64>) {
        let now_up_ms = self.app.clock.up_ms();
        let told_at = |change: &RecentChange| change.at_up_ms + self.app.settings.notifications.own_delay_ms;
        let own = recent.iter().filter(|(_, change)| change.actor == Some(self.player));
        let quiet = own.filter(|(_, change)| told_at(change) > now_up_ms);
        let (mut ids, times): (BTreeSet<_>, Vec<_>) =
            quiet.map(|(id, change)| (*id, told_at(change))).unzip();
        let after_ms = times.into_iter().min().map(|first| first - now_up_ms);
        ids.extend(&self.unreadable);
        (ids, after_ms.into_iter().chain(self.again_after_ms).min())
    }

    /// When a change was made, or now if that is not known, in milliseconds since the epoch.
    fn created_ms(
        &self,
        change: Change,
        recent: &BTreeMap<Uuid, RecentChange>,
        messages: &BTreeMap<MessageNumber, Message>,
    ) -> i64 {
        let clock = &self.app.clock;
        match change {
            Change::Message(number) => {
                messages.get(&MessageNumber(number)).map_or(clock.now_ms(), |message| message.created_ms)
            }
            Change::Added(id) | Change::Changed(id) | Change::Removed(id) => {
                let age_ms = recent.get(&id).map_or(0, |change| clock.up_ms() - change.at_up_ms);
                clock.now_ms() - age_ms
            }
        }
    }

    fn notification(&self, entry: &Entry, messages: &BTreeMap<MessageNumber, Message>) -> Notification {
        let (message, id) = match entry.change {
            Change::Message(number) => {
                let number = MessageNumber(number);
                let notification_id = entry.cursor.encode(self.player);
                let message = messages[&number].clone();
                return Notification { notification_id, ..Notification::of_message(number, message) };
            }
            Change::Added(id) => ("session_added", id),
            Change::Changed(id) => ("session_changed", id),
            Change::Removed(id) => ("session_removed", id),
        };
        notification_of(&entry.cursor, self.player, message, id, self.etags.get(&id))
    }

    /// Lets the request be held until there is something after the cursor.
    fn nothing_new(
        &self,
        cursor: &Cursor,
        query: &LongPollQuery,
        again_after_ms: Option<i64>,
    ) -> Reply<LongPolled<Notifications>> {
        let (size, deadline_s) = (query.max_page_size.0, query.deadline.0);
        let at = cursor.encode(self.player);
        let query = format!("exclude_before={at}&max_page_size={size}&deadline={deadline_s}");
        let long_poll = Some(LongPoll { hold_ms: deadline_s.saturating_mul(1000), query });
        let told = match cursor.subject {
            Subject::Start => Cursor { subject: Subject::Nothing, ..cursor.clone() }.encode(self.player),
            _ => at,
        };
        let body = Notifications { notifications: Vec::new(), cursor: told };
        let wait_on = WaitOn { long_poll, ..WaitOn::topics(self.watched.iter().cloned()) };
        let wait_on = wait_on.again_after_ms(again_after_ms);
        Reply::nothing_new(&body, wait_on)
    }
}
