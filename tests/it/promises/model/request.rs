//! Builds the HTTP request of a step.

use http::Method;
use serde_json::{Map, Value, json};

use super::matches::match_body;
use super::queues::QUEUES;
use super::setup::{ALLOCATIONS, IDS, PASSWORDS, PLATFORMS, Setup, TEMPLATE};
use super::step::{
    Change, GameClient, InstanceChange, InstanceRequest, InviteOptions, JoinBody, PathForm, Step, TeamChange,
};
use crate::harness::{link_path, platform_path};

/// A request.
#[derive(Debug)]
pub struct Request {
    pub method: Method,
    pub path: String,
    pub body: Option<Value>,
}

/// The values that the numbers of a step stand for.
pub struct StepNames<'a> {
    pub setup: &'a Setup,
    /// The session that the step is about, and the other session that it names.
    pub session: &'a str,
    pub other: &'a str,
    /// The cursor of the page that the step reads.
    pub cursor: u64,
}

fn client_json(client: &GameClient) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("client_version".into(), client.version.into());
    body.insert("client_settings".into(), json!({"platform": client.platform, "input": client.input}));
    if let Some((platform, input)) = client.crossplay {
        let preferences = json!({"permitted_platform": platform, "permitted_input": input});
        body.insert("crossplay_preferences".into(), preferences);
    }
    body
}

impl StepNames<'_> {
    fn player(&self, player: usize) -> String {
        self.setup.players[player].uuid.to_string()
    }

    fn join_body(&self, join_body: &JoinBody) -> Value {
        let mut body = client_json(&join_body.client);
        body.insert("team_id".into(), join_body.team.into());
        if !join_body.data.is_empty() {
            body.insert("custom_data".into(), json!(join_body.data));
        }
        if let Some(password) = join_body.password {
            body.insert("password".into(), password.into());
        }
        if let Some(friend) = join_body.friend {
            body.insert("friend_uuid".into(), self.player(friend).into());
        }
        body.into()
    }

    /// The path of the step's session.
    fn session_path(&self, rest: &str) -> String {
        format!("/v1/session/{}{rest}", self.session)
    }

    /// The path of a player of the step's session.
    fn player_path(&self, player: usize, path_form: PathForm) -> String {
        match path_form {
            PathForm::Plain => self.session_path(&format!("/player/{}", self.player(player))),
            PathForm::ByUuid => self.session_path(&format!("/player/uuid/{}", self.player(player))),
            // No token names the id 999.
            PathForm::ById => self
                .session_path(&format!("/player/id/{}", self.setup.players[player].player_id.unwrap_or(999))),
        }
    }

    /// The v2 path of a player of the step's session.
    fn player_path_v2(&self, player: usize, verb: &str) -> String {
        format!("/v2/session/{}/player/{}{verb}", self.session, self.player(player))
    }

    fn platform_player_path(&self, platform: usize, id: usize, player: Option<usize>) -> String {
        let player = player.map_or_else(|| "me".to_owned(), |player| self.player(player));
        format!("{}/player/{player}", platform_path(PLATFORMS[platform].name(), IDS[id]))
    }

    fn link(&self, platform: usize, id: usize) -> String {
        link_path(PLATFORMS[platform].name(), IDS[id], self.session)
    }

    fn browser(&self, kind: &str, region: Option<&str>, page_size: usize) -> String {
        let region = region.map_or_else(String::new, |region| format!("&region_id={region}"));
        format!("/v1/browser?session_type={kind}&page_size={page_size}&cursor={}{region}", self.cursor)
    }

    /// The request of a step; `None` if the step is not a request.
    pub fn request(&self, step: &Step) -> Option<Request> {
        let (method, path, body) = match step {
            Step::Wait { .. } => return None,
            Step::Create { .. } => (Method::POST, "/v1/session".into(), Some(self.creation_body(step))),
            Step::Read { refresh, .. } => {
                (Method::GET, self.session_path(if *refresh { "" } else { "?refresh_ttl=false" }), None)
            }
            Step::ReadPlayers { page_size, .. } => {
                let cursor = self.cursor;
                (
                    Method::GET,
                    self.session_path(&format!("/player?page_size={page_size}&cursor={cursor}")),
                    None,
                )
            }
            Step::ReadPlayer { player, .. } => {
                (Method::GET, self.player_path(*player, PathForm::Plain), None)
            }
            Step::ReadRights { player, .. } => {
                (Method::GET, self.player_path(*player, PathForm::Plain) + "/permission", None)
            }
            Step::ReadList { player: None } => (Method::GET, "/v1/player/me/session".into(), None),
            Step::ReadList { player: Some(player) } => {
                (Method::GET, format!("/v1/player/{}/session", self.player(*player)), None)
            }
            Step::ReadPlatform { platform, id } => {
                (Method::GET, platform_path(PLATFORMS[*platform].name(), IDS[*id]), None)
            }
            Step::ReadAllocation { allocation } => {
                let id = ALLOCATIONS[*allocation].replace('/', "%2F");
                (Method::GET, format!("/v1/session/allocation/{id}"), None)
            }
            Step::Browse { kind, region, page_size, .. } => {
                (Method::GET, self.browser(kind.name(), *region, *page_size), None)
            }
            Step::Join { join_body, .. } => {
                (Method::POST, self.session_path("/player/me"), Some(self.join_body(join_body)))
            }
            Step::JoinThrough { platform, id, player, join_body } => (
                Method::POST,
                self.platform_player_path(*platform, *id, *player),
                Some(self.join_body(join_body)),
            ),
            Step::Leave { .. } => (Method::DELETE, self.session_path("/player/me"), None),
            Step::LeaveThrough { platform, id, player } => {
                (Method::DELETE, self.platform_player_path(*platform, *id, *player), None)
            }
            Step::Kick { player, path_form, .. } => {
                (Method::DELETE, self.player_path(*player, *path_form), None)
            }
            Step::KickSession { .. } => {
                (Method::DELETE, self.session_path(&format!("/kicked-session/{}", self.other)), None)
            }
            Step::End { .. } => (Method::DELETE, self.session_path(""), None),
            Step::MakeMatch { match_id, by_tickets, parties, .. } => {
                let body = match_body(match_id, *by_tickets, parties, |player| self.player(player));
                (Method::POST, "/v1/match-made-session".into(), Some(body))
            }
            _ => return Some(self.change_request(step)),
        };
        Some(Request { method, path, body })
    }

    fn change_request(&self, step: &Step) -> Request {
        let (method, path, body) = match step {
            Step::Invite { player, options, .. } => {
                (Method::POST, self.player_path_v2(*player, ":invite"), Some(invite_json(options)))
            }
            Step::InviteSession { options, .. } => {
                let path = self.session_path(&format!("/invited-session/{}:invite", self.other));
                (Method::POST, path, Some(invite_json(options)))
            }
            Step::Update { player, path_form, status, options, .. } => {
                let mut body = invite_json(options);
                if let Some(status) = status {
                    body["status"] = status.name().into();
                }
                (Method::POST, self.player_path(*player, *path_form), Some(body))
            }
            Step::SetData { player, data, .. } => {
                (Method::POST, self.player_path_v2(*player, ""), Some(json!({ "custom_data": data })))
            }
            Step::Promote { player, .. } => (Method::POST, self.player_path_v2(*player, ":promote"), None),
            Step::Move { player, team, .. } => {
                let body = team.map_or_else(|| json!({}), |team| json!({ "team_id": team }));
                (Method::POST, self.player_path_v2(*player, ":move"), Some(body))
            }
            Step::Swap { players, .. } => {
                let players = players.map(|player| self.player(player));
                (Method::POST, self.session_path("/player:swap"), Some(json!({ "players": players })))
            }
            Step::GiveRight { player, right, .. } => {
                (Method::PATCH, self.right_path(*player, right.name()), None)
            }
            Step::RemoveRight { player, right, .. } => {
                (Method::DELETE, self.right_path(*player, right.name()), None)
            }
            Step::Change { change, .. } => (Method::PATCH, self.session_path(""), Some(change_json(change))),
            Step::ChangeTeam { team, change, .. } => {
                (Method::PATCH, self.session_path(&format!("/team/{team}")), Some(team_json(change)))
            }
            Step::Link { platform, id, .. } => (Method::POST, self.link(*platform, *id), None),
            Step::Unlink { platform, id, .. } => (Method::DELETE, self.link(*platform, *id), None),
            Step::MakeShortCode { .. } => (Method::POST, self.session_path(":generate-short-code"), None),
            Step::List { data, .. } => {
                (Method::POST, self.session_path("/browser"), Some(json!({ "custom_data": data })))
            }
            Step::Relist { data, .. } => {
                (Method::PATCH, self.session_path("/browser"), Some(json!({ "custom_data": data })))
            }
            Step::Unlist { .. } => (Method::DELETE, self.session_path("/browser"), None),
            Step::JoinQueue { queue, .. } => {
                (Method::POST, self.session_path("/queue"), Some(json!({ "queue_id": QUEUES[*queue] })))
            }
            Step::LeaveQueue { .. } => (Method::DELETE, self.session_path("/queue"), None),
            Step::RequestInstance { instance_request, .. } => {
                (Method::POST, self.session_path("/instance"), Some(self.instance_request(instance_request)))
            }
            Step::UpdateInstance { change, .. } => {
                (Method::PATCH, self.session_path("/instance"), Some(instance_json(change)))
            }
            Step::EndInstance { .. } => (Method::DELETE, self.session_path("/instance"), None),
            Step::ReportHealth { instance, health, .. } => {
                let body = json!({ "instance_id": instance, "instance_health": health });
                (Method::POST, self.session_path("/instance/health"), Some(body))
            }
            other => unreachable!("`request` handles {other:?}"),
        };
        Request { method, path, body }
    }

    fn right_path(&self, player: usize, right: &str) -> String {
        format!("{}/permission/{right}", self.player_path(player, PathForm::Plain))
    }

    fn instance_request(&self, instance_request: &InstanceRequest) -> Value {
        let mut body =
            json!({ "host_type": instance_request.host_type, "custom_data": instance_request.data });
        if let Some(id) = instance_request.id {
            body["instance_id"] = id.into();
        }
        if let Some(host) = instance_request.host {
            body["host_player_uuid"] = self.player(host).into();
        }
        if let Some(exists) = instance_request.template {
            let id = if exists { TEMPLATE } else { uuid::Uuid::nil() };
            body["instance_request_template_id"] = id.to_string().into();
        }
        if instance_request.startup {
            body["instance_startup_params"] = json!({ "map": "Mine", "mode": "arena", "misc_params": "" });
        }
        body
    }

    fn creation_body(&self, step: &Step) -> Value {
        let Step::Create { kind, client, join_body, password, region } = step else {
            unreachable!("{step:?} is not a creation")
        };
        let mut body = client_json(client);
        body.insert("session_type".into(), kind.name().into());
        if let Some(join_body) = join_body {
            body.insert("player".into(), self.join_body(join_body));
        }
        if *password {
            body.insert("password".into(), PASSWORDS[0].into());
        }
        if let Some(region) = region {
            body.insert("region_id".into(), (*region).into());
        }
        body.into()
    }
}

fn invite_json(options: &InviteOptions) -> Value {
    let mut body = json!({ "overflow_action": options.overflow.name() });
    if let Some(team) = options.team {
        body["team_id"] = team.into();
    }
    if !options.data.is_empty() {
        body["custom_data"] = json!(options.data);
    }
    body
}

fn team_json(change: &TeamChange) -> Value {
    let mut body = json!({});
    if let Some(size) = change.size {
        body["max_size"] = size.into();
    }
    if let Some(data) = &change.data {
        body["custom_data"] = json!(data);
    }
    body
}

fn instance_json(change: &InstanceChange) -> Value {
    let mut body = json!({});
    let texts = [
        ("allocation_id", change.allocation.map(|allocation| ALLOCATIONS[allocation])),
        ("join_status", change.join_status),
        ("version", change.version),
        ("match_id", change.match_id),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            body[name] = text.into();
        }
    }
    if let Some(address) = change.address {
        body["join_params"] = json!({ "public_conn_str": address, "private_conn_str": "10.0.0.1" });
    }
    if let Some(data) = &change.data {
        body["custom_data"] = json!(data);
    }
    body
}

fn change_json(change: &Change) -> Value {
    let mut body = json!({});
    if let Some(region) = change.region {
        body["region_id"] = region.into();
    }
    if let Some(data) = &change.data {
        body["custom_data"] = json!(data);
    }
    if let Some(joinable) = change.joinable {
        body["joinable"] = joinable.into();
    }
    if let Some(joinability) = change.joinability {
        let names = ["open", "friends", "platform"].into_iter().zip(joinability);
        let given = names.filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
        body["joinability"] = Value::Object(given.collect());
    }
    if let Some(teams) = &change.teams {
        body["teams"] = teams.iter().map(team_json).collect();
    }
    if let Some(password) = change.password {
        body["password"] = password.into();
    }
    body
}
