//! Builds the HTTP request of a step.

use http::Method;
use serde_json::{Map, Value, json};

use super::setup::{ALLOCATIONS, IDS, PASSWORDS, PLATFORMS, Setup, TEMPLATE};
use super::step::{Ask, Change, GameClient, Hosting, InstanceChange, Spelling, Step, TeamChange, Terms};
use crate::harness::{link_path, platform_path};

/// A request.
#[derive(Debug)]
pub struct Request {
    pub method: Method,
    pub path: String,
    pub body: Option<Value>,
}

/// The values that the numbers of a step stand for.
pub struct Names<'a> {
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

impl Names<'_> {
    fn player(&self, player: usize) -> String {
        self.setup.players[player].uuid.to_string()
    }

    fn ask(&self, ask: &Ask) -> Value {
        let mut body = client_json(&ask.client);
        body.insert("team_id".into(), ask.team.into());
        if !ask.data.is_empty() {
            body.insert("custom_data".into(), json!(ask.data));
        }
        if let Some(password) = ask.password {
            body.insert("password".into(), password.into());
        }
        if let Some(friend) = ask.friend {
            body.insert("friend_uuid".into(), self.player(friend).into());
        }
        body.into()
    }

    /// The path of the step's session.
    fn at(&self, rest: &str) -> String {
        format!("/v1/session/{}{rest}", self.session)
    }

    /// The path of a player of the step's session.
    fn player_at(&self, player: usize, spelling: Spelling) -> String {
        match spelling {
            Spelling::Plain => self.at(&format!("/player/{}", self.player(player))),
            Spelling::ByUuid => self.at(&format!("/player/uuid/{}", self.player(player))),
            // No token names the id 999.
            Spelling::ById => {
                self.at(&format!("/player/id/{}", self.setup.players[player].player_id.unwrap_or(999)))
            }
        }
    }

    /// The v2 path of a player of the step's session.
    fn newer(&self, player: usize, verb: &str) -> String {
        format!("/v2/session/{}/player/{}{verb}", self.session, self.player(player))
    }

    fn door(&self, platform: usize, id: usize, player: Option<usize>) -> String {
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
            Step::Create { .. } => (Method::POST, "/v1/session".into(), Some(self.creation(step))),
            Step::Read { refresh, .. } => {
                (Method::GET, self.at(if *refresh { "" } else { "?refresh_ttl=false" }), None)
            }
            Step::ReadPlayers { page_size, .. } => {
                let cursor = self.cursor;
                (Method::GET, self.at(&format!("/player?page_size={page_size}&cursor={cursor}")), None)
            }
            Step::ReadPlayer { player, .. } => (Method::GET, self.player_at(*player, Spelling::Plain), None),
            Step::ReadRights { player, .. } => {
                (Method::GET, self.player_at(*player, Spelling::Plain) + "/permission", None)
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
            Step::Join { ask, .. } => (Method::POST, self.at("/player/me"), Some(self.ask(ask))),
            Step::JoinThrough { platform, id, player, ask } => {
                (Method::POST, self.door(*platform, *id, *player), Some(self.ask(ask)))
            }
            Step::Leave { .. } => (Method::DELETE, self.at("/player/me"), None),
            Step::LeaveThrough { platform, id, player } => {
                (Method::DELETE, self.door(*platform, *id, *player), None)
            }
            Step::Kick { player, spelling, .. } => (Method::DELETE, self.player_at(*player, *spelling), None),
            Step::KickSession { .. } => {
                (Method::DELETE, self.at(&format!("/kicked-session/{}", self.other)), None)
            }
            Step::End { .. } => (Method::DELETE, self.at(""), None),
            _ => return Some(self.change_request(step)),
        };
        Some(Request { method, path, body })
    }

    fn change_request(&self, step: &Step) -> Request {
        let (method, path, body) = match step {
            Step::Invite { player, terms, .. } => {
                (Method::POST, self.newer(*player, ":invite"), Some(terms_json(terms)))
            }
            Step::InviteSession { terms, .. } => {
                let path = self.at(&format!("/invited-session/{}:invite", self.other));
                (Method::POST, path, Some(terms_json(terms)))
            }
            Step::Update { player, spelling, status, terms, .. } => {
                let mut body = terms_json(terms);
                if let Some(status) = status {
                    body["status"] = status.name().into();
                }
                (Method::POST, self.player_at(*player, *spelling), Some(body))
            }
            Step::SetData { player, data, .. } => {
                (Method::POST, self.newer(*player, ""), Some(json!({ "custom_data": data })))
            }
            Step::Promote { player, .. } => (Method::POST, self.newer(*player, ":promote"), None),
            Step::Move { player, team, .. } => {
                let body = team.map_or_else(|| json!({}), |team| json!({ "team_id": team }));
                (Method::POST, self.newer(*player, ":move"), Some(body))
            }
            Step::Swap { players, .. } => {
                let players = players.map(|player| self.player(player));
                (Method::POST, self.at("/player:swap"), Some(json!({ "players": players })))
            }
            Step::Lend { player, right, .. } => (Method::PATCH, self.right_path(*player, right.name()), None),
            Step::TakeBack { player, right, .. } => {
                (Method::DELETE, self.right_path(*player, right.name()), None)
            }
            Step::Change { change, .. } => (Method::PATCH, self.at(""), Some(change_json(change))),
            Step::ChangeTeam { team, change, .. } => {
                (Method::PATCH, self.at(&format!("/team/{team}")), Some(team_json(change)))
            }
            Step::Link { platform, id, .. } => (Method::POST, self.link(*platform, *id), None),
            Step::Unlink { platform, id, .. } => (Method::DELETE, self.link(*platform, *id), None),
            Step::MakeCode { .. } => (Method::POST, self.at(":generate-short-code"), None),
            Step::List { data, .. } => {
                (Method::POST, self.at("/browser"), Some(json!({ "custom_data": data })))
            }
            Step::Relist { data, .. } => {
                (Method::PATCH, self.at("/browser"), Some(json!({ "custom_data": data })))
            }
            Step::Unlist { .. } => (Method::DELETE, self.at("/browser"), None),
            Step::Host { hosting, .. } => (Method::POST, self.at("/instance"), Some(self.hosting(hosting))),
            Step::UpdateInstance { change, .. } => {
                (Method::PATCH, self.at("/instance"), Some(instance_json(change)))
            }
            Step::EndInstance { .. } => (Method::DELETE, self.at("/instance"), None),
            Step::Report { instance, health, .. } => {
                let body = json!({ "instance_id": instance, "instance_health": health });
                (Method::POST, self.at("/instance/health"), Some(body))
            }
            other => unreachable!("`request` handles {other:?}"),
        };
        Request { method, path, body }
    }

    fn right_path(&self, player: usize, right: &str) -> String {
        format!("{}/permission/{right}", self.player_at(player, Spelling::Plain))
    }

    fn hosting(&self, hosting: &Hosting) -> Value {
        let mut body = json!({ "host_type": hosting.host_type, "custom_data": hosting.data });
        if let Some(id) = hosting.id {
            body["instance_id"] = id.into();
        }
        if let Some(host) = hosting.host {
            body["host_player_uuid"] = self.player(host).into();
        }
        if let Some(exists) = hosting.template {
            let id = if exists { TEMPLATE } else { uuid::Uuid::nil() };
            body["instance_request_template_id"] = id.to_string().into();
        }
        if hosting.startup {
            body["instance_startup_params"] = json!({ "map": "Mine", "mode": "arena", "misc_params": "" });
        }
        body
    }

    fn creation(&self, step: &Step) -> Value {
        let Step::Create { kind, client, ask, password, region } = step else {
            unreachable!("{step:?} is not a creation")
        };
        let mut body = client_json(client);
        body.insert("session_type".into(), kind.name().into());
        if let Some(ask) = ask {
            body.insert("player".into(), self.ask(ask));
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

fn terms_json(terms: &Terms) -> Value {
    let mut body = json!({ "overflow_action": terms.overflow.name() });
    if let Some(team) = terms.team {
        body["team_id"] = team.into();
    }
    if !terms.data.is_empty() {
        body["custom_data"] = json!(terms.data);
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
    if let Some(doors) = change.joinability {
        let names = ["open", "friends", "platform"].into_iter().zip(doors);
        let given = names.filter_map(|(name, door)| Some((name.to_owned(), door?.into())));
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
