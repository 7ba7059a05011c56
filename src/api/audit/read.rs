//! Reading events.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::event::AuditEvent;
use crate::api::policies::{READ_PLAYER_AUDIT, READ_SESSION_AUDIT};
use crate::api::wire::view::document_view;
use crate::app::App;
use crate::app::audit::{EventsQuery, Shown};
use crate::auth::Caller;
use crate::domain::{PlayerUuid, Refused, SessionId};
use crate::http::error::Error;
use crate::http::input::param_types::{PageNumber, PageSize, TimeMs};
use crate::http::input::params::params;
use crate::http::input::violation::ViolationKind;
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply};

params! {
    /// Query of a page of events.
    EventsPageQuery in "query" {
        /// Session whose events are read. At least one of session and player is required.
        session_id: Option<SessionId>,
        /// Player whose events are read.
        player_uuid: Option<PlayerUuid>,
        /// Number of the page, from 0. Pages beyond 10,000 events are empty: use dates.
        page_num: PageNumber,
        /// Largest number of events on the page.
        page_size: PageSize,
        /// Time from which events are read. Unix timestamps are allowed.
        start_date: Option<TimeMs>,
        /// Time before which events are read. Unix timestamps are allowed.
        end_date: Option<TimeMs>,
    }
}

/// A page of events, oldest first.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditResponse")]
pub struct AuditPage {
    /// Events on the page.
    #[schemars(with = "Vec<AuditEvent>")]
    events: Vec<Value>,
}

/// Reads a page of events.
pub async fn get(
    app: Arc<App>,
    caller: Caller,
    Input { query, .. }: Input<(), EventsPageQuery>,
) -> Result<Reply<Plain<AuditPage>>, Error> {
    let (session, player) = (query.session_id, query.player_uuid);
    let shown = match (&session, player) {
        (None, None) => {
            let missing = ViolationKind::MISSING.at(["query".into(), "session_id".into()]);
            return Err(Error::Invalid(vec![missing]));
        }
        (Some(session), Some(player)) if require_player(&caller, player).is_err() => {
            require_session(&app, &caller, session).await?
        }
        (_, Some(player)) => {
            require_player(&caller, player)?;
            Shown::ALL
        }
        (Some(session), None) => require_session(&app, &caller, session).await?,
    };
    let page_size = query.page_size.0;
    let events = EventsQuery {
        session,
        player,
        from_ms: query.start_date.map_or(i64::MIN, |time| time.0),
        to_ms: query.end_date.map_or(i64::MAX, |time| time.0),
        skip: query.page_num.0.saturating_mul(page_size),
        count: page_size,
        shown,
    };
    Ok(Reply::plain(&AuditPage { events: app.audit.events(&events).await? }))
}

/// Whether the caller may read the events of a player.
fn require_player(caller: &Caller, player: PlayerUuid) -> Result<(), Error> {
    Ok(caller.narrowed(READ_PLAYER_AUDIT)?.require_reach(player)?)
}

/// Whether the caller may read the events of a session: of every session, also one that has ended, or of one in which the
/// caller's player is active. Returns whose events the caller sees: those of the players whom the session shows to the
/// caller.
async fn require_session(app: &App, caller: &Caller, session: &SessionId) -> Result<Shown, Error> {
    let of_sessions = caller.narrowed(READ_SESSION_AUDIT)?;
    if of_sessions.reaches_all() {
        return Ok(Shown::ALL);
    }
    let cached = app.sessions.find(session).await?.ok_or(Refused::NotActiveInSession)?;
    cached.session.require_active(of_sessions.actor())?;
    Ok(Shown { players: document_view(app, caller, &cached).players, own: caller.player() })
}
