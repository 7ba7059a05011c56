//! Joining and leaving a session, and kicking players from it.

use std::sync::Arc;

use crate::api::change::{After, Change};
use crate::api::wire::client::JoinRequest;
use crate::api::wire::player::PlayerUpdated;
use crate::app::join::{Guesses, join_rule, note_left};
use crate::app::{App, Failure};
use crate::auth::Caller;
use crate::domain::session::join::JoinPath;
use crate::domain::{PlayerUuid, Refused, Session, SessionId};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::param_types::{PlayerInSessionPath, Reason, RefreshQuery, RefreshTtl, SessionPath};
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{Changed, NoContent, Reply, ReplyKind, Versioned};
use crate::telemetry::Departure;

params! {
    /// Path of a player of a session, by their older, numeric id.
    PlayerIdInSessionPath in "path" {
        /// Session id, or a short code of the session.
        session_id: SessionId,
        /// Older, numeric id of the player.
        player_id: i64,
    }
}

params! {
    /// Query of leaving and kicking.
    LeaveQuery in "query" {
        /// Reason for leaving or kicking. It is in the audit event of the change, and in the server's log.
        reason: Reason,
        /// Whether this request keeps the session alive.
        refresh_ttl: RefreshTtl,
    }
}

/// Makes the caller join a session.
pub async fn join_self(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body, conditions }: Input<SessionPath, RefreshQuery, Json<JoinRequest>>,
) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    let player = caller.require_player()?;
    let joiner = body.0.joiner(&caller, player, &["body"])?;
    let rule = join_rule(&app, Guesses::new(&app, (&caller).into()), joiner, JoinPath::Session);
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0).of_player(player);
    change.without_platform().run(&path.session_id, rule, move |(), after| updated(after, player)).await
}

/// Makes the caller leave a session, or decline an invite or a reservation.
pub async fn leave_self(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, conditions, .. }: Input<SessionPath, LeaveQuery>,
) -> Result<Reply<NoContent>, Error> {
    let (player, now) = (caller.require_player()?, app.clock.now());
    let rule = move |session: &mut Session| session.leave(player, now);
    let note = |(): &(), after: &After<'_>| {
        note_left(after.app, &after.session().id, player, query.reason.0.as_deref());
    };
    let sessions = Arc::clone(&app.sessions);
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0).of_player(player);
    let change = change.because(query.reason.0.clone());
    let left = change.run_and_note(&path.session_id, rule, |(), _| Ok(Reply::no_content()), note).await;
    if matches!(left, Err(Error::Refused(Refused::SessionNotFound))) {
        // Clients leave an ended session to remove it from their list, so the entry is removed here.
        sessions.forget_membership(player, &path.session_id).await?;
    }
    left
}

/// Kicks a player from a session, or withdraws an invite.
pub async fn kick(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, conditions, .. }: Input<PlayerInSessionPath, LeaveQuery>,
) -> Result<Reply<Changed>, Error> {
    let player = NamedPlayer::by_uuid(path.player_uuid);
    let change = Change::by(app, caller, conditions);
    kick_from(change, &path.session_id, player, query, |after| Reply::changed(&after.document())).await
}

/// Deprecated: kicks a player from a session, by their older id.
pub async fn kick_by_id(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, conditions, .. }: Input<PlayerIdInSessionPath, LeaveQuery>,
) -> Result<Reply<NoContent>, Error> {
    let player = NamedPlayer::by_id(&app, &caller, path.player_id).await?;
    let change = Change::by(app, caller, conditions);
    kick_from(change, &path.session_id, player, query, |_| Reply::no_content()).await
}

async fn kick_from<K: ReplyKind>(
    change: Change,
    id: &SessionId,
    named: NamedPlayer,
    query: LeaveQuery,
    answer: impl Fn(&After<'_>) -> Reply<K> + Send + Sync + 'static,
) -> Result<Reply<K>, Error> {
    let (player, caller, now) = (named.uuid, &change.caller, change.app.clock.now());
    let (actor, is_oneself) = (caller.actor(), caller.player() == Some(player));
    let rule =
        named.known(
            move |session: &mut Session| {
                if is_oneself { session.leave(player, now) } else { session.kick(actor, player, now) }
            },
        );
    let note = |(): &(), after: &After<'_>| {
        let (id, reason) = (&after.session().id, query.reason.0.as_deref());
        if is_oneself {
            note_left(after.app, id, player, reason);
        } else {
            after.app.metrics.departed(Departure::Kicked);
            let by = after.caller.player().map(tracing::field::display);
            tracing::info!(session_id = %id, player_uuid = %player, reason, by, "player kicked from session");
        }
    };
    let change = change.keeping_alive(query.refresh_ttl.0).of_player(player).because(query.reason.0.clone());
    change.run_and_note(id, rule, move |(), after| Ok(answer(after)), note).await
}

/// The player that a path names.
pub struct NamedPlayer {
    /// The player's UUID. For an id that nobody is known by, a new UUID, which is in no session.
    pub uuid: PlayerUuid,
    is_known: bool,
}

impl NamedPlayer {
    /// The player with this UUID.
    pub fn by_uuid(uuid: PlayerUuid) -> Self {
        Self { uuid, is_known: true }
    }

    /// The player of an older, numeric id: the caller by the id in their own token, other players by the ids that the
    /// server has stored from tokens.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn by_id(app: &App, caller: &Caller, player_id: i64) -> Result<Self, Error> {
        if let Some(player) = caller.player_of_own_id(player_id) {
            return Ok(Self::by_uuid(player));
        }
        match app.sessions.player_of_id(player_id).await {
            Ok(player) => Ok(Self::by_uuid(player)),
            Err(Failure::Refused(Refused::PlayerNotFound)) => {
                Ok(Self { uuid: PlayerUuid(app.entropy.uuid()), is_known: false })
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// A rule that changes this player. An unknown player gives the refusals of a player who is not in the session, in
    /// the same order, so callers do not learn which ids the server knows.
    pub fn known<T, R>(&self, mut rule: R) -> impl FnMut(&mut Session) -> Result<T, Refused> + use<T, R>
    where
        R: FnMut(&mut Session) -> Result<T, Refused>,
    {
        let is_known = self.is_known;
        move |session| {
            let done = rule(session)?;
            if is_known { Ok(done) } else { Err(Refused::PlayerNotFound) }
        }
    }
}

/// Replies with a player's entry after a change. The ETag is that of the session, as the caller would read it now.
pub fn updated(after: &After<'_>, player: PlayerUuid) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    Ok(Reply::with_etag_of(&PlayerUpdated::of(after.session(), player)?, &after.document()))
}
