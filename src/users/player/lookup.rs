//! Look-ups of players by display name, or by their ids on a platform.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::links::NO_ID;
use crate::app::App;
use crate::auth::Caller;
use crate::domain::{Identity, Platform, PlayerUuid};
use crate::http::error::Error;
use crate::http::input::params::{Param as _, ParamDoc, Params, RawParams};
use crate::http::input::violation::{Violation, ViolationKind, parse_integer};
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply};

/// Most values of a parameter.
const VALUES_MAX: usize = 20;
/// Most players in an answer.
const PLAYERS_MAX: usize = 50;
/// Longest display name and longest platform id, in characters (contract).
const DISPLAY_NAME_CHARS_MAX: usize = 256;
const IDENTITY_CHARS_MAX: usize = 2048;

/// The players that were found.
#[derive(Default, Serialize, JsonSchema)]
pub struct LookupResults {
    /// Players by display name: an entry for each name that somebody has.
    pub display_names: Vec<BTreeMap<String, Vec<PlayerResponse>>>,
    /// Deprecated: always empty.
    pub identity_platforms: BTreeMap<String, Vec<PlatformIdentityLookupResults>>,
    /// Players by platform, and by their ids there.
    pub identity_platforms_by_platform: BTreeMap<Platform, Vec<PlatformIdentityLookupResults>>,
}

/// Players by their ids on one platform.
#[derive(Serialize, JsonSchema)]
pub struct PlatformIdentityLookupResults {
    /// Players by id.
    pub identity: BTreeMap<String, PlayerResponse>,
}

/// A player.
#[derive(Serialize, JsonSchema)]
pub struct PlayerResponse {
    /// Deprecated: always 0.
    pub player_id: i32,
    /// Player.
    pub player_uuid: PlayerUuid,
}

impl PlayerResponse {
    fn of(player_uuid: PlayerUuid) -> Self {
        Self { player_id: NO_ID, player_uuid }
    }
}

/// Whom to look up. Names and ids may occur several times in the query.
pub struct LookupQuery {
    display_names: Vec<String>,
    platform: Option<Platform>,
    identities: Vec<String>,
}

impl Params for LookupQuery {
    fn read(raw: &RawParams<'_>, violations: &mut Vec<Violation>) -> Option<Self> {
        let before = violations.len();
        let mut found = Self { display_names: Vec::new(), platform: None, identities: Vec::new() };
        let mut older_platform = None;
        let mut problem = |name: &'static str, kind: ViolationKind| {
            violations.push(kind.at(["query".into(), name.into()]));
        };
        for (name, value) in form_urlencoded::parse(raw.query.unwrap_or_default().as_bytes()) {
            match &*name {
                "display_name" if value.chars().count() > DISPLAY_NAME_CHARS_MAX => {
                    problem("display_name", ViolationKind::too_long(DISPLAY_NAME_CHARS_MAX as u64));
                }
                "display_name" => found.display_names.push(value.into_owned()),
                "identities" if value.chars().count() > IDENTITY_CHARS_MAX => {
                    problem("identities", ViolationKind::too_long(IDENTITY_CHARS_MAX as u64));
                }
                "identities" => found.identities.push(value.into_owned()),
                "platform" => match Platform::parse(&value) {
                    Ok(platform) => found.platform = Some(platform),
                    Err(kind) => problem("platform", kind),
                },
                "identity_platform" => match parse_integer(&value) {
                    Some(number) => {
                        older_platform = u8::try_from(number).ok().and_then(Platform::from_legacy_id)
                    }
                    None => problem("identity_platform", ViolationKind::NOT_INTEGER),
                },
                _ => {}
            }
        }
        for (name, values) in
            [("display_name", found.display_names.len()), ("identities", found.identities.len())]
        {
            if values > VALUES_MAX {
                problem(name, ViolationKind::too_many_items(VALUES_MAX as u64));
            }
        }
        found.platform = found.platform.or(older_platform);
        (violations.len() == before).then_some(found)
    }

    fn describe(generator: &mut SchemaGenerator) -> Vec<ParamDoc> {
        let list = |chars_max: usize| {
            let item = json_schema!({ "type": "string", "maxLength": chars_max });
            json_schema!({ "type": "array", "items": item, "maxItems": VALUES_MAX, "default": [] })
        };
        let platform = Platform::schema(generator);
        [
            ("display_name", "Display names, which are compared exactly.", list(DISPLAY_NAME_CHARS_MAX)),
            (
                "identity_platform",
                "Deprecated: number of the platform of `identities`.",
                json_schema!({ "type": "integer" }),
            ),
            ("platform", "Platform of `identities`.", platform),
            ("identities", "Ids of players on the platform.", list(IDENTITY_CHARS_MAX)),
        ]
        .map(|(name, description, schema)| ParamDoc {
            name,
            place: "query",
            description,
            required: false,
            schema,
        })
        .into()
    }
}

/// Looks players up.
pub async fn lookup(
    app: Arc<App>,
    _: Caller,
    input: Input<(), LookupQuery>,
) -> Result<Reply<Plain<LookupResults>>, Error> {
    let login = app.login.as_ref().ok_or(Error::PathNotFound)?;
    let LookupQuery { display_names, platform, identities } = input.query;
    let (mut results, mut players_left) = (LookupResults::default(), PLAYERS_MAX);
    for name in display_names {
        let players = login.players_named(&name, players_left).await?;
        players_left -= players.len();
        if !players.is_empty() {
            let players = players.into_iter().map(PlayerResponse::of).collect();
            results.display_names.push(BTreeMap::from([(name, players)]));
        }
    }
    let Some(platform) = platform else { return Ok(Reply::plain(&results)) };
    let mut identity = BTreeMap::new();
    for user_id in identities.into_iter().take(players_left) {
        let player = Identity::new(platform, user_id.clone()).player();
        if login.player(player).await?.is_some() {
            identity.insert(user_id, PlayerResponse::of(player));
        }
    }
    if !identity.is_empty() {
        let found = vec![PlatformIdentityLookupResults { identity }];
        results.identity_platforms_by_platform.insert(platform, found);
    }
    Ok(Reply::plain(&results))
}
