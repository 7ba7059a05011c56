//! Everything that can be read over HTTP after a restart, and whether it is as it must be.

use std::collections::{BTreeMap, BTreeSet};

use http::{Method, StatusCode};
use rallypoint::domain::Platform;
use serde_json::{Value, json};

use crate::client::{Client, Lobbies, lobby_id, pool};
use crate::model::{Aspect, Facts, PLATFORMS, list_path, platform_path, session_path};
use crate::support::connection::Connection;

/// A document. Its body is the error where there is none.
struct Document {
    status: StatusCode,
    etag: Option<String>,
    body: Value,
}

/// What was read, by path.
pub struct World {
    documents: BTreeMap<String, Document>,
    sessions: BTreeSet<String>,
    platform_sessions: BTreeSet<(Platform, String)>,
}

/// The strings of a list.
fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The objects of a list.
fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The sessions that a player's list names.
fn listed(list: &Value) -> BTreeSet<&str> {
    let by_type = list["sessions"].as_object().into_iter().flatten();
    by_type.flat_map(|(_, of_type)| texts(&of_type["session_ids"])).collect()
}

/// The players of a session.
fn players(session: &Value) -> impl Iterator<Item = &Value> {
    items(&session["teams"]).flat_map(|team| items(&team["players"]))
}

fn is_player(entry: &Value, client: &Client) -> bool {
    entry["player_uuid"] == json!(client.player)
}

/// The platform and id of a platform session.
fn name(platform_session: &Value) -> (Platform, String) {
    let text = |field: &str| platform_session[field].as_str().unwrap_or_default();
    let platform = text("platform").parse().expect("only platforms of the contract are ever answered");
    (platform, text("platform_session_id_base64").to_owned())
}

impl World {
    /// Reads the clients' lists, every session that these or the clients know of, and every platform session that
    /// there is or was.
    pub async fn read(
        connection: &mut Connection,
        clients: &[Client],
        lobbies: &Lobbies,
    ) -> hyper::Result<Self> {
        let mut world = Self {
            documents: BTreeMap::new(),
            sessions: lobbies.iter().cloned().collect(),
            platform_sessions: pool().collect(),
        };
        for client in clients {
            let list = world.get(connection, list_path(client.player)).await?;
            world.sessions.extend(listed(&list).into_iter().map(str::to_owned));
            world.sessions.extend(client.facts.keys().map(|(session, _)| session.clone()));
            world.sessions.extend(client.ended.iter().cloned());
        }
        for session in world.sessions.clone() {
            let session = world.get(connection, session_path(&session)).await?;
            world.platform_sessions.extend(items(&session["platform_session"]).map(name));
        }
        for (platform, id) in world.platform_sessions.clone() {
            world.get(connection, platform_path(platform, &id)).await?;
        }
        Ok(world)
    }

    async fn get(&mut self, connection: &mut Connection, path: String) -> hyper::Result<Value> {
        let answer = connection.call(&Method::GET, &path, None).await?;
        let etag = answer.headers().get("etag").and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        self.documents.insert(path, Document { status: answer.status(), etag, body: body.clone() });
        Ok(body)
    }

    /// How much was read.
    pub fn size(&self) -> String {
        let (sessions, platform_sessions) = (self.sessions().count(), self.platform_sessions.len());
        format!("{sessions} sessions, {platform_sessions} platform sessions")
    }

    /// Sessions that there are.
    fn sessions(&self) -> impl Iterator<Item = (&str, &Value)> {
        let found = self.sessions.iter().map(|id| (id.as_str(), &self.documents[&session_path(id)]));
        found.filter(|(_, document)| document.status.is_success()).map(|(id, document)| (id, &document.body))
    }

    /// What is true of a client.
    pub fn facts(&self, client: &Client) -> Facts {
        let mut facts = Facts::new();
        for (id, session) in self.sessions() {
            let Some(entry) = players(session).find(|entry| is_player(entry, client)) else { continue };
            let mut found = |aspect, value: &Value| {
                if let Some(value) = value.as_str() {
                    facts.insert((id.to_owned(), aspect), value.to_owned());
                }
            };
            found(Aspect::Place, &entry["version"]);
            let is_lobby = session["type"] == "lobby";
            if !is_lobby {
                found(Aspect::Data, &session["custom_data"]["written"]);
            }
            for linked in items(&session["platform_session"]) {
                let (platform, id) = name(linked);
                if !is_lobby {
                    found(Aspect::Link(platform), &json!(id));
                } else if items(&linked["players"]).any(|entry| is_player(entry, client)) {
                    found(Aspect::Through(platform), &json!("yes"));
                }
            }
        }
        facts
    }

    /// Everything that is wrong with what was read in itself, whatever was written.
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
            self.check_list(client, &mut wrong);
        }
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

    /// One leader while anyone is active; every platform session in it is found by itself, and is the same there.
    fn check_session(&self, id: &str, session: &Value, wrong: &mut Vec<String>) {
        let with = |status: &'static str| players(session).filter(move |entry| entry["status"] == status);
        let (leaders, members) = (with("leader").count(), with("member").count());
        if leaders != usize::from(leaders + members > 0) {
            wrong.push(format!("session {id} has {leaders} leaders and {members} members"));
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

    /// A player's list names the sessions that the player is in, and no other.
    fn check_list(&self, client: &Client, wrong: &mut Vec<String>) {
        let listed = listed(&self.documents[&list_path(client.player)].body);
        let is_in =
            self.sessions().filter(|(_, session)| players(session).any(|entry| is_player(entry, client)));
        let is_in: BTreeSet<_> = is_in.map(|(id, _)| id).collect();
        let number = client.number;
        for id in listed.difference(&is_in) {
            let session = &self.documents[&session_path(id)];
            wrong.push(format!(
                "the list of client {number} names session {id}, which is {} {}",
                session.status, session.body
            ));
        }
        for id in is_in.difference(&listed) {
            wrong.push(format!("client {number} is in session {id}, which the client's list does not name"));
        }
    }

    /// A platform session is linked to one session, or there is none.
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
