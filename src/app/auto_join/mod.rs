//! Create-or-join: joins the oldest open session of a type that takes the player, or creates one.
//!
//! Many players may ask at the same moment. The result is the same as if they had asked one after the other:
//!
//! - `search` looks for open sessions, in groups. It asks a session's rules before it waits for the session's lock.
//! - `places` counts the joins under way on this node, so that a session is tried only by as many players as it has
//!   free slots.
//! - `creations` has the creations under way on this node. A player whom one of these sessions takes waits for it.
//! - On several nodes, a creation also passes the gates of its type (`app/sessions/gates.rs`). One creation of each
//!   node passes a gate at a time. If another one has passed it since the search, the player searches again.

mod creations;
mod places;
mod search;

use std::sync::Arc;

use self::creations::{Begun, Creations, Passage, Turn};
use self::places::{Place, Places};
use self::search::Search;
use super::instances::InstanceRequest;
use super::join::{Guesses, PasswordCaller, hash_password, join_rule, join_rules};
use super::rate_limit::SearchGuess;
use super::sessions::Gates;
use super::shield::shield;
use super::{App, CachedSession, Failure, Hook, Update};
use crate::auth::Caller;
use crate::domain::session::NewSession;
use crate::domain::session::join::{JoinPath, JoinRules, Joiner};
use crate::domain::session::listing::Listing;
use crate::domain::template::Template;
use crate::domain::{Refused, Session, SessionId};
use crate::store::Batch;

/// How many open sessions may refuse a player in a search who seemed to take the player.
const REFUSALS_MAX: usize = 32;
/// How often a join is repeated that fails because players of other nodes join the same session.
const CONTENDED_JOINS_MAX: usize = 8;
/// How often a player searches again, because a creation that the player waited for came to nothing, or because another
/// node created a session first.
const ROUNDS_MAX: usize = 32;

/// A request to join an open session of a type, or to create one.
pub struct CreateOrJoin {
    /// The session type: the name of its template.
    pub session_type: String,
    /// The preferred region; `None`: any region.
    pub region_id: Option<String>,
    /// The password of the session, if one is created.
    pub password: Option<String>,
    /// The player who joins.
    pub joiner: Joiner,
    /// The caller, who tries the password of the joiner.
    pub password_caller: PasswordCaller,
    /// Whether the request has counted a wrong password.
    pub search_guess: Arc<SearchGuess>,
    /// The hook of the change that adds the player to a session, or creates one.
    pub hook: Hook<()>,
}

impl CreateOrJoin {
    /// The guesses of the request at the passwords of sessions, which count as one.
    fn guesses(&self, app: &App) -> Guesses {
        Guesses::in_search(app, self.password_caller, &self.search_guess)
    }
}

/// What this node knows of create-or-join requests under way.
#[derive(Default)]
pub struct AutoJoin {
    creations: Arc<Creations>,
    places: Places,
}

/// The result of a search for an open session.
enum Found {
    /// The player has joined one.
    Joined(Arc<CachedSession>),
    /// No session takes the player. The gates are from the beginning of the search.
    None(Gates),
}

/// Whether an open session takes the player, as far as its rules and the request say. The player's quota is checked
/// later.
fn takes(app: &App, session: &Session, request: &CreateOrJoin, rules: JoinRules) -> bool {
    let is_in_region = request.region_id.is_none() || session.region_id == request.region_id;
    let check = |session: &Session, joiner: &_| session.check_join(joiner, JoinPath::Session, rules);
    is_in_region && request.guesses(app).count(session, &request.joiner, check).is_ok()
}

/// Joins the oldest open session that takes the player, if the template tries that first. Otherwise, or if no session
/// takes the player, creates a session.
///
/// # Errors
/// [`Refused::SessionTypeNotCreatable`] if there is no session to join and players may not create one; quotas; errors
/// of the store; [`Failure::Contended`] if other players come first again and again.
pub async fn create_or_join(
    app: &App,
    caller: &Caller,
    template: &Template,
    request: CreateOrJoin,
) -> Result<Arc<CachedSession>, Failure> {
    if !template.joins_first() {
        let session = new_session(app, caller, template, &request).await?;
        return create_alone(app, template, session, request.hook).await;
    }
    for _ in 0..ROUNDS_MAX {
        if let Some(cached) = join_or_create(app, caller, template, &request).await? {
            return Ok(cached);
        }
    }
    Err(Failure::Contended)
}

/// Searches, and creates a session or waits for a creation. `None` if the creation came to nothing.
async fn join_or_create(
    app: &App,
    caller: &Caller,
    template: &Template,
    request: &CreateOrJoin,
) -> Result<Option<Arc<CachedSession>>, Failure> {
    let created = app.auto_join.creations.created(&request.session_type);
    let gates = match join_open(app, request, &mut None).await? {
        Found::Joined(cached) => return Ok(Some(cached)),
        Found::None(gates) => gates,
    };
    let session = new_session(app, caller, template, request).await?;
    if !session.is_open_with_room() {
        // Nobody else could join it.
        return create_alone(app, template, session, request.hook.clone()).await.map(Some);
    }
    let rules = join_rules(app);
    let player = request.joiner.player;
    let reserve = |other: &Session| {
        takes(app, other, request, rules).then(|| app.auto_join.places.reserve(other, player))?
    };
    match app.auto_join.creations.begin(Arc::new(session.clone()), reserve) {
        Begun::Waits(creation, place) => {
            let id = creation.id.clone();
            if creation.succeeds().await { join_at(app, request, &id, place).await } else { Ok(None) }
        }
        Begun::Creates(turn) => {
            create(app, template, request, session, turn, (created, gates)).await.map(Some)
        }
    }
}

/// Joins the oldest open session that takes the player. Gives up `passage` once there is one.
async fn join_open(
    app: &App,
    request: &CreateOrJoin,
    passage: &mut Option<Passage>,
) -> Result<Found, Failure> {
    let mut search = Search::new(app, request);
    let mut refusals = 0;
    while let Some((id, place)) = search.next().await? {
        drop(passage.take());
        if let Some(cached) = join_at(app, request, &id, place).await? {
            return Ok(Found::Joined(cached));
        }
        refusals += 1;
        if refusals == REFUSALS_MAX {
            break;
        }
    }
    Ok(Found::None(search.gates))
}

/// Joins a session in which the player has a place. `None` if the session refuses the player: another player may have
/// taken the slot first.
async fn join_at(
    app: &App,
    request: &CreateOrJoin,
    id: &SessionId,
    _place: Place<'_>,
) -> Result<Option<Arc<CachedSession>>, Failure> {
    for _ in 0..CONTENDED_JOINS_MAX {
        let rule = join_rule(app, request.guesses(app), request.joiner.clone(), JoinPath::Session);
        let by = Some(request.joiner.player);
        let update = Update::by_caller(true).with(request.hook.clone()).made_by(by);
        match app.sessions.update(id, update, rule).await {
            Ok(((), cached)) => return Ok(Some(cached)),
            Err(Failure::Refused(_)) => return Ok(None),
            Err(Failure::Contended) => {}
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::Contended)
}

/// Creates a session for a caller without a player: without players, so that the first player who joins leads it, and
/// without an instance. Such a caller joins no session, and may create those that players may not create.
///
/// # Errors
/// [`Refused::SessionTypeNotCreatable`] if the configuration no longer has the template; errors of the store.
pub async fn create_for_service(
    app: &App,
    template: &Template,
    is_retired: bool,
    new: NewSession,
    hook: Hook<()>,
) -> Result<Arc<CachedSession>, Failure> {
    if is_retired {
        return Err(Refused::SessionTypeNotCreatable.into());
    }
    let session = Session { made_by_service: true, ..Session::new(new, template) };
    create_alone(app, template, session, hook).await
}

/// Stores a new session, whatever sessions others create at the same moment.
async fn create_alone(
    app: &App,
    template: &Template,
    session: Session,
    hook: Hook<()>,
) -> Result<Arc<CachedSession>, Failure> {
    let session = listed(app, template, session).await?;
    app.sessions.create_if(session, Batch::default(), hook).await?.ok_or(Failure::Contended)
}

/// The session that the request creates, with the player as its leader. It has no listing yet.
async fn new_session(
    app: &App,
    caller: &Caller,
    template: &Template,
    request: &CreateOrJoin,
) -> Result<Session, Failure> {
    if !template.can_be_created_by_players_directly {
        return Err(Refused::SessionTypeNotCreatable.into());
    }
    let (id, now) = (app.entropy.uuid().into(), app.clock.now());
    let new = NewSession {
        id,
        session_type: request.session_type.clone(),
        now,
        region_id: request.region_id.clone(),
        password: request.password.as_deref().map(|password| hash_password(app, password)),
    };
    let mut session = Session::new(new, template);
    session.enter_first(&request.joiner, now)?;
    // `Sessions::create` checks again, under the player locks. This check saves a listing number, and the wait of
    // others for a creation that must fail.
    app.sessions.check_quotas(&session).await?;
    if let Some(instance) = InstanceRequest::at_start(template) {
        let mut instance = instance.instance(app, caller)?;
        app.launches.link(&app.catalog(), &session, &mut instance);
        session.instance = Some(instance);
    }
    Ok(session)
}

/// The session with a listing in the browser, if the template lists new sessions.
async fn listed(app: &App, template: &Template, mut session: Session) -> Result<Session, Failure> {
    if template.auto_add_to_browser && session.listing.is_none() {
        let sequence = app.sessions.next_listing_number().await?;
        let custom_data = template.auto_browser_params.clone();
        session.listing = Some(Listing { sequence, created: session.created, custom_data });
    }
    Ok(session)
}

/// Stores a new session, or joins one that another node, or this node since the search, has created first. `created`
/// and `gates` are from the beginning of the search.
async fn create(
    app: &App,
    template: &Template,
    request: &CreateOrJoin,
    mut session: Session,
    mut turn: Turn,
    (mut created, mut gates): (u64, Gates),
) -> Result<Arc<CachedSession>, Failure> {
    let creations = &app.auto_join.creations;
    let has_gates = !app.sessions.store().sole_writer();
    let mut was_first = true;
    for _ in 0..ROUNDS_MAX {
        let mut passage = None;
        if has_gates {
            passage = Some(creations.passage(&request.session_type, Gates::number_for(&session)).await);
        }
        let newest = creations.created(&request.session_type);
        if !was_first || newest != created {
            (created, was_first) = (newest, true);
            match join_open(app, request, &mut passage).await? {
                Found::Joined(cached) => return Ok(cached),
                Found::None(newer) => gates = newer,
            }
            if has_gates && passage.is_none() {
                // A session had room at first, but was full when the player joined. Others may pass the gate now.
                continue;
            }
        }
        session = listed(app, template, session).await?;
        turn = match store(app, session.clone(), turn, &gates, request.hook.clone()).await? {
            Stored::Created(cached) => return Ok(cached),
            Stored::NotFirst(turn) => turn,
        };
        was_first = false;
    }
    Err(Failure::Contended)
}

/// The result of a commit of a new session.
enum Stored {
    Created(Arc<CachedSession>),
    /// Another creation has passed a gate since the gates were read.
    NotFirst(Turn),
}

/// Commits a new session. This runs to its end also if the caller disconnects, and only then ends the turn: otherwise
/// those who wait for the session could create another one before they can find it.
async fn store(
    app: &App,
    session: Session,
    turn: Turn,
    gates: &Gates,
    hook: Hook<()>,
) -> Result<Stored, Failure> {
    let sessions = Arc::clone(&app.sessions);
    let is_sole_writer = sessions.store().sole_writer();
    let pass = if is_sole_writer { Batch::default() } else { gates.pass(&session) };
    shield(async move {
        Ok(match sessions.create_if(session, pass, hook).await? {
            Some(cached) => {
                turn.succeeded();
                Stored::Created(cached)
            }
            None => Stored::NotFirst(turn),
        })
    })
    .await
}
