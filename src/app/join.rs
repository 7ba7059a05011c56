//! Joining sessions, creating a session if no open one takes the player, and noting that players left.

use std::sync::Arc;

use super::instances::InstanceRequest;
use super::{App, CachedSession, Failure, Update};
use crate::auth::Caller;
use crate::domain::password::PasswordHash;
use crate::domain::session::NewSession;
use crate::domain::session::join::{JoinPath, JoinRules, Joiner};
use crate::domain::session::listing::Listing;
use crate::domain::template::Template;
use crate::domain::{PlayerUuid, Refused, Session, SessionId};
use crate::telemetry::Departure;

/// How many open sessions create-or-join tries to join before it creates a session.
const AUTO_JOIN_TRIES_MAX: usize = 32;
/// How many open sessions create-or-join reads at once.
const AUTO_JOIN_PAGE: usize = 64;
/// How many such pages create-or-join reads. Sessions that do not suit the player are skipped and do not count as
/// tries.
const AUTO_JOIN_PAGES_MAX: usize = 32;

/// A request to join an open session of a type, or to create one.
#[derive(Debug)]
pub struct CreateOrJoin {
    /// The session type: the name of its template.
    pub session_type: String,
    /// The preferred region; `None`: any region.
    pub region_id: Option<String>,
    /// The password of the session, if one is created.
    pub password: Option<String>,
    /// The player who joins.
    pub joiner: Joiner,
}

/// The inputs of a join other than the session and the joiner: the time and the settings.
pub fn join_rules(app: &App) -> JoinRules {
    let now = app.clock.now();
    JoinRules { now, version_check: app.settings.version_check, trust_friends: app.settings.trust_friends }
}

/// Adds a player to a session by a join path. `also` is checked first, on the same version of the session.
///
/// # Errors
/// The refusal of `also`; the refusals of [`Session::join`]; the errors of
/// [`Sessions::update`](super::Sessions::update).
pub async fn join(
    app: &App,
    id: &SessionId,
    keeps_alive: bool,
    joiner: Joiner,
    path: JoinPath,
    also: impl Fn(&Session) -> Result<(), Refused> + Send + 'static,
) -> Result<Arc<CachedSession>, Failure> {
    let rules = join_rules(app);
    let rule = move |session: &mut Session| {
        also(session)?;
        session.join(&joiner, path, rules)
    };
    let ((), cached) = app.sessions.update(id, Update::by_caller(keeps_alive), rule).await?;
    Ok(cached)
}

/// Counts and logs that a player left a session.
pub fn note_left(app: &App, id: &SessionId, player: PlayerUuid, reason: Option<&str>) {
    app.metrics.departed(Departure::Left);
    tracing::info!(session_id = %id, player_uuid = %player, reason, "player left session");
}

/// The salted hash of a password, as it is stored.
pub fn hash_password(app: &App, password: &str) -> PasswordHash {
    PasswordHash::new(password, app.entropy.bytes())
}

/// Joins the oldest open session that takes the player, if the template tries that first. Otherwise, or if no session
/// takes the player, creates a session.
///
/// # Errors
/// [`Refused::SessionTypeNotCreatable`] if there is no session to join and players may not create one; quotas; errors
/// of the store.
pub async fn create_or_join(
    app: &App,
    caller: &Caller,
    template: &Template,
    request: CreateOrJoin,
) -> Result<Arc<CachedSession>, Failure> {
    if template.joins_first()
        && let Some(joined) = join_open(app, &request).await?
    {
        return Ok(joined);
    }
    if !template.can_be_created_by_players_directly {
        return Err(Refused::SessionTypeNotCreatable.into());
    }
    create(app, caller, template, request).await
}

/// Joins the oldest open session that takes the player. If another player takes the last slot first, the next session
/// is tried.
async fn join_open(app: &App, request: &CreateOrJoin) -> Result<Option<Arc<CachedSession>>, Failure> {
    let (mut tries, mut after) = (0, None);
    for _ in 0..AUTO_JOIN_PAGES_MAX {
        let page = app.sessions.open(&request.session_type, after.as_ref(), AUTO_JOIN_PAGE).await?;
        for (_, id) in &page {
            let Some(candidate) = app.sessions.find(id).await? else { continue };
            if !may_suit(&candidate.session, request) {
                continue;
            }
            match join(app, id, true, request.joiner.clone(), JoinPath::Session, |_| Ok(())).await {
                Ok(cached) => return Ok(Some(cached)),
                Err(Failure::Refused(_)) => tries += 1,
                Err(failure) => return Err(failure),
            }
            if tries == AUTO_JOIN_TRIES_MAX {
                return Ok(None);
            }
        }
        match page.into_iter().nth(AUTO_JOIN_PAGE - 1) {
            Some((last, _)) => after = Some(last),
            None => break,
        }
    }
    Ok(None)
}

/// Whether an open session is worth a try. Sessions in other regions, and sessions whose password the request does not
/// have, must not use up the tries.
fn may_suit(session: &Session, request: &CreateOrJoin) -> bool {
    let is_in_region = request.region_id.is_none() || session.region_id == request.region_id;
    // A player with an entry in the session, for example an invite, needs no password.
    let is_known = session.players.contains_key(&request.joiner.player);
    is_in_region && (is_known || session.password.is_none() || request.joiner.password.is_some())
}

async fn create(
    app: &App,
    caller: &Caller,
    template: &Template,
    request: CreateOrJoin,
) -> Result<Arc<CachedSession>, Failure> {
    let CreateOrJoin { session_type, region_id, password, joiner } = request;
    let (id, now) = (app.entropy.uuid().into(), app.clock.now());
    let password = password.map(|password| hash_password(app, &password));
    let mut session = Session::new(NewSession { id, session_type, now, region_id, password }, template);
    session.enter_first(&joiner, now)?;
    // `Sessions::create` checks again, under the player locks. This check saves a listing number if it refuses.
    app.sessions.check_quotas(&session).await?;
    if template.auto_add_to_browser {
        let sequence = app.sessions.next_listing_number().await?;
        let custom_data = template.auto_browser_params.clone();
        session.listing = Some(Listing { sequence, created: now, custom_data });
    }
    if let Some(request) = InstanceRequest::at_start(template) {
        session.instance = Some(request.instance(app, caller)?);
    }
    app.sessions.create(session).await
}
