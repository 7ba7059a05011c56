//! Creating or joining a session.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::wire::client::{ClientSettings, JoinRequest, client};
use crate::app::auto_join::{self, CreateOrJoin};
use crate::app::idempotency::Recorder;
use crate::app::join::{PasswordCaller, hash_password};
use crate::app::{App, CachedSession, ChangeHook, Failure, Hook, HookWrites};
use crate::auth::{Caller, Denied};
use crate::domain::PlayerUuid;
use crate::domain::client::CrossplayPreferences;
use crate::domain::session::NewSession;
use crate::domain::session::join::Joiner;
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::conditions::Conditions;
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply};

/// A request to create or join a session.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "CreateOrJoinRequest")]
pub struct CreateOrJoinRequest {
    /// Version of the game client.
    client_version: String,
    /// Platform and input device of the player.
    client_settings: ClientSettings,
    /// Crossplay preferences. If they are absent, the player accepts everyone.
    crossplay_preferences: Option<CrossplayPreferences>,
    /// Type of session.
    session_type: String,
    /// Password of a new session. It is also tried on existing sessions.
    #[schemars(length(min = 1, max = 128))]
    password: Option<String>,
    /// Preferred region.
    #[schemars(length(min = 1, max = 128))]
    region_id: Option<String>,
    /// Client, team and data of the player. If it is absent, the fields at the top level describe the client. Only for tokens that name a player.
    player: Option<JoinRequest>,
}

/// The session that the caller joined or created.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionJoinResponse")]
pub struct SessionJoined {
    /// Session id.
    #[schemars(length(min = 1, max = 128))]
    session_id: String,
}

/// Joins the oldest open session of a type that accepts the caller, or creates a session. For a caller without a player
/// it always creates a session.
pub async fn create_or_join(
    app: Arc<App>,
    caller: Caller,
    Input { body: Json(request), conditions, .. }: Input<(), (), Json<CreateOrJoinRequest>>,
) -> Result<Reply<Plain<SessionJoined>>, Error> {
    let hook = hook(conditions);
    let Some(player) = caller.player() else { return create(&app, request, hook).await };
    let catalog = app.catalog();
    let template = catalog.template(&request.session_type)?;
    catalog.check_region(request.region_id.as_deref())?;
    let (session_type, region_id) = (request.session_type.clone(), request.region_id.clone());
    let password = request.password.clone();
    let joiner = joiner(&caller, player, request)?;
    let (password_caller, search_guess) = (PasswordCaller::from(&caller), Arc::default());
    let request =
        CreateOrJoin { session_type, region_id, password, joiner, password_caller, search_guess, hook };
    let cached = auto_join::create_or_join(&app, &caller, template, request).await?;
    Ok(joined(&cached))
}

/// Creates a session for a caller without a player, such as a game server that makes its own session.
async fn create(
    app: &App,
    request: CreateOrJoinRequest,
    hook: Hook<()>,
) -> Result<Reply<Plain<SessionJoined>>, Error> {
    if request.player.is_some() {
        return Err(Denied::PlayerRequired.into());
    }
    let catalog = app.catalog();
    let template = catalog.template(&request.session_type)?;
    catalog.check_region(request.region_id.as_deref())?;
    let is_retired = catalog.is_retired(&request.session_type);
    let new = NewSession {
        id: app.entropy.uuid().into(),
        session_type: request.session_type,
        now: app.clock.now(),
        region_id: request.region_id,
        password: request.password.as_deref().map(|password| hash_password(app, password)),
    };
    let cached = auto_join::create_for_service(app, template, is_retired, new, hook).await?;
    tracing::info!(session_id = %cached.session.id, "session created by a service");
    Ok(joined(&cached))
}

/// The answer to a caller who has joined or created a session.
fn joined(cached: &CachedSession) -> Reply<Plain<SessionJoined>> {
    Reply::plain(&SessionJoined { session_id: cached.session.id.to_string() })
}

/// The hook that stores the answer, if the request has an idempotency key. Of several players who share a creation,
/// each has a hook of their own, in the commit of their own effect.
fn hook(conditions: Conditions) -> Hook<()> {
    Some(Arc::new(StoresAnswer(conditions.recorder?)))
}

struct StoresAnswer(Arc<Recorder>);

impl ChangeHook<()> for StoresAnswer {
    fn writes(&self, (): &(), after: &CachedSession) -> Result<HookWrites, Failure> {
        Ok(self.0.writes(joined(after).into_answer().to_store(), || None))
    }
}

/// Converts the request to the input of the join rules. Without `player`, the fields at the top level describe the
/// client, and the player requests no team.
fn joiner(caller: &Caller, player: PlayerUuid, request: CreateOrJoinRequest) -> Result<Joiner, Error> {
    if let Some(player_request) = request.player {
        let mut joiner = player_request.joiner(caller, player, &["body", "player"])?;
        joiner.password = joiner.password.or(request.password);
        return Ok(joiner);
    }
    let (version, crossplay) = (request.client_version, request.crossplay_preferences);
    let client = client(caller.token().platform, version, &request.client_settings, crossplay, &["body"])?;
    Ok(Joiner {
        player,
        player_id: caller.token().player_id,
        client: Some(client),
        team_id: None,
        custom_data: None,
        password: request.password,
        friend: None,
        claims: caller.token().claims.clone(),
    })
}
