//! Reads all documents over HTTP after a restart and checks that they agree.

use std::collections::{BTreeMap, BTreeSet};

use http::{Method, StatusCode};
use rallypoint::domain::Platform;
use rallypoint::env::Clock;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::{Client, IDLE_PLAYER, Lobbies, lobby_id, pool};
use crate::model::{Aspect, Fact, Facts, PLATFORMS, SLOTS, list_path, platform_path, session_path};
use crate::party::{PLAYERS, RIGHTS};
use crate::support::connection::Connection;

/// A document. If it does not exist, `body` is the error body.
struct Document {
    status: StatusCode,
    etag: Option<String>,
    body: Value,
}

/// All documents that were read, by path.
pub struct World {
    documents: BTreeMap<String, Document>,
    sessions: BTreeSet<String>,
    platform_sessions: BTreeSet<(Platform, String)>,
    /// All entries that the browser shows.
    browsed: Vec<Value>,
    /// The time at the end of the read.
    pub read_ms: i64,
}

/// The strings of a list.
fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The objects of a list.
fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The sessions in a player's list, each with the player's status.
fn listed(list: &Value) -> BTreeSet<(&str, &'static str)> {
    let by_type = list["sessions"].as_object().into_iter().flatten();
    let mut found = BTreeSet::new();
    for (_, of_type) in by_type {
        let invites = of_type["pending_invites"].as_object().into_iter().flatten();
        found.extend(texts(&of_type["session_ids"]).map(|id| (id, "active")));
        found.extend(texts(&of_type["reserved_sessions"]).map(|id| (id, "reserved")));
        found.extend(invites.map(|(id, _)| (id.as_str(), "invited")));
    }
    found
}

/// The status of a player, as player lists show it.
fn listed_status(entry: &Value) -> &'static str {
    match entry["status"].as_str() {
        Some("invited") => "invited",
        Some("reserved") => "reserved",
        _ => "active",
    }
}

/// The players of a session.
fn players(session: &Value) -> impl Iterator<Item = &Value> {
    items(&session["teams"]).flat_map(|team| items(&team["players"]))
}

fn is_player(entry: &Value, player: Uuid) -> bool {
    entry["player_uuid"] == json!(player)
}

/// The platform and id of a platform session.
fn name(platform_session: &Value) -> (Platform, String) {
    let text = |field: &str| platform_session[field].as_str().unwrap_or_default();
    let platform = text("platform").parse().expect("only platforms of the contract are ever answered");
    (platform, text("platform_session_id_base64").to_owned())
}

/// The path of the session list of one of a client's players, by numeric id.
fn id_path(client: &Client, player: usize) -> String {
    format!("/v1/player/id/{}/session", client.player_id(player))
}

/// The path of the session of an allocation.
fn allocation_path(allocation: &str) -> String {
    format!("/v1/session/allocation/{allocation}")
}

/// The facts about the teams of a party and about the client's players on them.
fn found_on_teams(session: &Value, client: &Client, found: &mut impl FnMut(Aspect, &Value)) {
    for team in items(&session["teams"]) {
        let (index, size) = (&team["team_id"], &team["max_size"]);
        if *size != json!(SLOTS) {
            found(Aspect::Size(index.as_u64().map_or(0, |index| index as usize)), &json!(size.to_string()));
        }
        for player in 0..PLAYERS {
            let entry = items(&team["players"]).find(|entry| is_player(entry, client.players[player]));
            let Some(entry) = entry else { continue };
            let status = entry["status"].as_str().unwrap_or_default();
            found(Aspect::Entry(player), &json!(format!("{status} {index}")));
            found(Aspect::CustomData(player), &entry["custom_data"]["written"]);
            for right in RIGHTS {
                if status != "leader" && texts(&entry["session_permissions"]).any(|held| held == right) {
                    found(Aspect::GivenRight(player, right), &json!("yes"));
                }
            }
        }
    }
}

impl World {
    /// Reads the players' lists, every session that these lists or the clients name, by every name that it has, and
    /// every platform session that exists or existed.
    pub async fn read(
        connection: &mut Connection,
        clients: &[Client],
        lobbies: &Lobbies,
    ) -> hyper::Result<Self> {
        let mut world = Self {
            documents: BTreeMap::new(),
            sessions: lobbies.iter().cloned().collect(),
            platform_sessions: pool().collect(),
            browsed: Vec::new(),
            read_ms: 0,
        };
        for client in clients {
            for player in &client.players {
                let list = world.get(connection, list_path(*player)).await?;
                world.sessions.extend(listed(&list).into_iter().map(|(id, _)| id.to_owned()));
            }
            for player in &client.introduced {
                world.get(connection, id_path(client, *player)).await?;
            }
            world.sessions.extend(client.facts.keys().map(|(session, _)| session.clone()));
            world.sessions.extend(client.ended.iter().cloned());
            world.sessions.extend(client.short_lived.keys().cloned());
        }
        for session in world.sessions.clone() {
            world.read_session(connection, &session, clients).await?;
        }
        for (platform, id) in world.platform_sessions.clone() {
            world.get(connection, platform_path(platform, &id)).await?;
        }
        world.browse(connection).await?;
        world.read_ms = Clock::System.now_ms();
        Ok(world)
    }

    /// Reads a session by its id, its short code and its allocation.
    async fn read_session(
        &mut self,
        connection: &mut Connection,
        id: &str,
        clients: &[Client],
    ) -> hyper::Result<()> {
        // A read must not keep a short-lived session alive.
        let asks = if self.is_short_lived(id, clients) { "?refresh_ttl=false" } else { "" };
        let session = self.get_as(connection, session_path(id), asks).await?;
        self.platform_sessions.extend(items(&session["platform_session"]).map(name));
        if let Some(code) = session["short_code"].as_str() {
            self.get(connection, session_path(code)).await?;
        }
        if let Some(allocation) = session["instance"]["allocation_id"].as_str() {
            self.get(connection, allocation_path(allocation)).await?;
        }
        Ok(())
    }

    async fn browse(&mut self, connection: &mut Connection) -> hyper::Result<()> {
        let mut cursor = json!(0);
        loop {
            let path = format!("/v1/browser?session_type=party&cursor={cursor}");
            let page = self.get(connection, path).await?;
            self.browsed.extend(items(&page["browser_sessions"]).cloned());
            cursor = page["cursor"].clone();
            if cursor == json!(0) {
                return Ok(());
            }
        }
    }

    /// Whether a session is short-lived. Its client may not have received the answer to its creation.
    fn is_short_lived(&self, id: &str, clients: &[Client]) -> bool {
        clients.iter().any(|client| {
            if client.short_lived.contains_key(id) {
                return true;
            }
            let list = &self.documents[&list_path(client.players[IDLE_PLAYER])].body;
            listed(list).contains(&(id, "active"))
        })
    }

    async fn get(&mut self, connection: &mut Connection, path: String) -> hyper::Result<Value> {
        self.get_as(connection, path, "").await
    }

    async fn get_as(
        &mut self,
        connection: &mut Connection,
        path: String,
        query: &str,
    ) -> hyper::Result<Value> {
        let answer = connection.call(&Method::GET, &format!("{path}{query}"), None).await?;
        let etag = answer.headers().get("etag").and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        self.documents.insert(path, Document { status: answer.status(), etag, body: body.clone() });
        Ok(body)
    }

    /// A summary of what was read.
    pub fn size(&self) -> String {
        let (sessions, platform_sessions) = (self.sessions().count(), self.platform_sessions.len());
        format!("{sessions} sessions, {platform_sessions} platform sessions")
    }

    /// The sessions that exist.
    fn sessions(&self) -> impl Iterator<Item = (&str, &Value)> {
        let found = self.sessions.iter().map(|id| (id.as_str(), &self.documents[&session_path(id)]));
        found.filter(|(_, document)| document.status.is_success()).map(|(id, document)| (id, &document.body))
    }

    /// The facts about a client.
    pub fn facts(&self, client: &Client) -> Facts {
        let mut facts = Facts::new();
        for (id, session) in self.sessions() {
            let Some(entry) = players(session).find(|entry| is_player(entry, client.players[0])) else {
                continue;
            };
            let mut found = |aspect, value: &Value| {
                if let Some(value) = value.as_str() {
                    facts.insert((id.to_owned(), aspect), value.to_owned());
                }
            };
            found(Aspect::Joined, &entry["version"]);
            let is_lobby = session["type"] == "lobby";
            if !is_lobby {
                found(Aspect::Data, &session["custom_data"]["written"]);
                if session["joinable"] == true {
                    found(Aspect::Open, &json!("yes"));
                }
                found(Aspect::Code, &session["short_code"]);
                found(Aspect::Listed, &session["browser"]["custom_data"]["written"]);
                found(Aspect::Instance, &session["instance"]["instance_id"]);
                found(Aspect::Allocation, &session["instance"]["allocation_id"]);
                found(Aspect::Health, &session["instance"]["instance_health"]);
                found_on_teams(session, client, &mut found);
            }
            for linked in items(&session["platform_session"]) {
                let (platform, id) = name(linked);
                if !is_lobby {
                    found(Aspect::Link(platform), &json!(id));
                } else if items(&linked["players"]).any(|entry| is_player(entry, client.players[0])) {
                    found(Aspect::Through(platform), &json!("yes"));
                }
            }
        }
        facts
    }

    /// Whether the player of an `Aspect::Entry` fact has an entry in the session.
    pub fn has(&self, (session, aspect): &Fact, client: &Client) -> bool {
        let Aspect::Entry(player) = aspect else { return false };
        let document = &self.documents[&session_path(session)].body;
        players(document).any(|entry| is_player(entry, client.players[*player]))
    }

    /// Whether a session exists.
    pub fn lives(&self, session: &str) -> bool {
        self.documents[&session_path(session)].status.is_success()
    }

    /// Whether an invite is still pending, or a player is about to be removed for inactivity.
    pub fn waits(&self, clients: &[Client]) -> bool {
        let mut players = clients.iter().flat_map(|client| &client.players);
        players.any(|player| {
            let list = &self.documents[&list_path(*player)].body;
            let soon = texts(&list["sessions"]["watch"]["session_ids"]).next().is_some();
            soon || listed(list).iter().any(|(_, status)| *status != "active")
        })
    }

    /// All contradictions between the documents, whatever was written.
    pub fn contradictions(&self, clients: &[Client], lobbies: &Lobbies) -> Vec<String> {
        let mut wrong = Vec::new();
        for (path, document) in &self.documents {
            if !document.status.is_success() && document.status != StatusCode::NOT_FOUND {
                wrong.push(format!("GET {path} was answered {} {}", document.status, document.body));
            }
        }
        for (id, session) in self.sessions() {
            self.check_session(id, session, &mut wrong);
        }
        for client in clients {
            for player in &client.players {
                self.check_list(client, *player, &mut wrong);
            }
            for player in &client.introduced {
                let (by_id, list) = (id_path(client, *player), list_path(client.players[*player]));
                if self.documents[&by_id].body != self.documents[&list].body {
                    wrong.push(format!("{by_id} is {}", self.documents[&by_id].body));
                }
            }
        }
        self.check_browser(&mut wrong);
        for (platform, id) in &self.platform_sessions {
            self.check_platform_session(*platform, id, &mut wrong);
        }
        for (lobby, session) in lobbies.iter().enumerate() {
            let linked = items(&self.documents[&session_path(session)].body["platform_session"]).map(name);
            let linked: BTreeSet<_> = linked.collect();
            if linked != PLATFORMS.map(|platform| (platform, lobby_id(lobby))).into() {
                wrong.push(format!("lobby {session} is linked to {linked:?}"));
            }
        }
        wrong
    }

    /// Checks a session: it has one leader if it has active players, its short code and allocation find it, and each
    /// of its platform sessions has the same content when read alone.
    fn check_session(&self, id: &str, session: &Value, wrong: &mut Vec<String>) {
        let with = |status: &'static str| players(session).filter(move |entry| entry["status"] == status);
        let (leaders, members) = (with("leader").count(), with("member").count());
        if leaders != usize::from(leaders + members > 0) {
            wrong.push(format!("session {id} has {leaders} leaders and {members} members"));
        }
        if let Some(code) = session["short_code"].as_str()
            && self.documents[&session_path(code)].body != *session
        {
            wrong.push(format!("session {id} is not found by its short code {code}"));
        }
        if let Some(allocation) = session["instance"]["allocation_id"].as_str()
            && self.documents[&allocation_path(allocation)].body["session_id"] != *id
        {
            wrong.push(format!("session {id} is not found by its allocation {allocation}"));
        }
        for linked in items(&session["platform_session"]) {
            let (platform, platform_id) = name(linked);
            let alone = &self.documents[&platform_path(platform, &platform_id)].body;
            if alone != linked {
                wrong
                    .push(format!("session {id} shows {linked}, and the platform session itself is {alone}"));
            }
        }
    }

    /// Checks a player's list: it names exactly the sessions with the player, each with the right status.
    fn check_list(&self, client: &Client, player: Uuid, wrong: &mut Vec<String>) {
        let listed = listed(&self.documents[&list_path(player)].body);
        let entry = |session| players(session).find(|entry| is_player(entry, player));
        let is_in = self.sessions().filter_map(|(id, session)| Some((id, listed_status(entry(session)?))));
        let is_in: BTreeSet<_> = is_in.collect();
        let number = client.number;
        for (id, status) in listed.difference(&is_in) {
            let session = &self.documents[&session_path(id)];
            wrong.push(format!(
                "the list of {player} of client {number} names session {id} as {status}, which is {} {}",
                session.status, session.body
            ));
        }
        for (id, status) in is_in.difference(&listed) {
            wrong.push(format!(
                "{player} of client {number} is {status} in session {id}, but their list does not say so"
            ));
        }
    }

    /// Checks the browser: it shows every listed session once, with its current data.
    fn check_browser(&self, wrong: &mut Vec<String>) {
        let active = |session| players(session).filter(|entry| listed_status(entry) == "active").count();
        let listed = self.sessions().filter(|(_, session)| session["browser"].is_object());
        let listed = listed.map(|(id, session)| {
            let data = session["browser"]["custom_data"].clone();
            (id.to_owned(), (json!(active(session)), data))
        });
        let mut listed: BTreeMap<_, _> = listed.collect();
        for shown in &self.browsed {
            let id = shown["session_id"].as_str().unwrap_or_default();
            if listed.remove(id) != Some((shown["player_count"].clone(), shown["custom_data"].clone())) {
                wrong.push(format!("the browser shows {shown}, which is outdated or shown twice"));
            }
        }
        wrong.extend(listed.keys().map(|id| format!("the browser does not show session {id}")));
    }

    /// Checks a platform session: it exists exactly if one session has linked it.
    fn check_platform_session(&self, platform: Platform, id: &str, wrong: &mut Vec<String>) {
        let linked = |session: &Value| {
            items(&session["platform_session"]).any(|linked| name(linked) == (platform, id.to_owned()))
        };
        let sessions = self.sessions().filter(|(_, session)| linked(session));
        let sessions: Vec<_> = sessions.map(|(id, _)| id).collect();
        let status = self.documents[&platform_path(platform, id)].status;
        if sessions.len() != usize::from(status.is_success()) {
            wrong.push(format!("{platform} {id} was answered {status}, and is linked to {sessions:?}"));
        }
    }

    /// The ETag of a document.
    pub fn etag(&self, path: &str) -> Option<&str> {
        self.documents.get(path)?.etag.as_deref()
    }
}
