//! What writes there are, and what each makes true.

use std::collections::BTreeMap;
use std::fmt;

use http::Method;
use rallypoint::domain::Platform;
use serde_json::{Value, json};
use uuid::Uuid;

/// Platforms that sessions are linked on.
pub const PLATFORMS: [Platform; 3] = [Platform::XboxLive, Platform::PSN, Platform::Steam];

/// What a client can be sure of about a session: what nobody but itself changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// It is in the session; the value is the version of the game that it last joined with.
    Place,
    /// It plays on this platform or came through it; of lobbies.
    Through(Platform),
    /// The session's data; of parties, where the client is alone, as is what follows.
    Data,
    /// The platform session that is linked.
    Link(Platform),
}

/// An aspect of a session.
pub type Fact = (String, Aspect);
/// What is true. What is not here is not true.
pub type Facts = BTreeMap<Fact, String>;

/// The path of a session.
pub fn session_path(session: &str) -> String {
    format!("/v1/session/{session}")
}

/// The path of a platform session.
pub fn platform_path(platform: Platform, id: &str) -> String {
    format!("/v1/platform/{platform}/platform-session/{id}")
}

/// The path of a player's list.
pub fn list_path(player: Uuid) -> String {
    format!("/v1/player/{player}/session")
}

/// A write.
#[derive(Clone, Debug)]
pub struct Write {
    pub method: Method,
    pub path: String,
    pub body: Option<Value>,
    /// The session it writes to; none where it makes one.
    pub session: Option<String>,
    /// Whether nothing is true any more of what was true of the session.
    ends: bool,
    /// What it makes true.
    makes: Vec<(Aspect, Option<String>)>,
    /// The document whose ETag is on the answer.
    pub answers: Option<String>,
    /// The one refusal that there may be, where it depends on others whether it succeeds.
    pub refusal: Option<&'static str>,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        self.body.as_ref().map_or(Ok(()), |body| write!(f, " {body}"))
    }
}

/// What a player says on joining.
fn joining(platform: Platform, version: &str) -> Value {
    let client_settings = json!({ "platform": platform, "input": "gamepad" });
    json!({ "client_version": version, "client_settings": client_settings, "team_id": 0 })
}

impl Write {
    fn new(method: Method, path: String, session: Option<&str>) -> Self {
        Self {
            method,
            path,
            body: None,
            session: session.map(str::to_owned),
            ends: false,
            makes: Vec::new(),
            answers: None,
            refusal: None,
        }
    }

    fn makes(mut self, aspect: Aspect, value: impl Into<String>) -> Self {
        self.makes.push((aspect, Some(value.into())));
        self
    }

    /// Creates a session; the creator's version tells it from every other.
    pub fn create(session_type: &str, platform: Platform, version: &str) -> Self {
        let mut body = joining(platform, version);
        body["session_type"] = session_type.into();
        let create = Self::new(Method::POST, "/v1/session".into(), None).makes(Aspect::Place, version);
        Self { body: Some(body), ..create }
    }

    /// Joins a party again: the client's own entry changes, and nothing else.
    pub fn join_party(session: &str, platform: Platform, version: &str) -> Self {
        let path = session_path(session);
        let join = Self::new(Method::POST, format!("{path}/player/me"), Some(session));
        let join = join.makes(Aspect::Place, version);
        Self { body: Some(joining(platform, version)), answers: Some(path), ..join }
    }

    /// Joins a lobby, by itself or through a platform session.
    pub fn join_lobby(
        session: &str,
        through: Option<(Platform, &str)>,
        platform: Platform,
        version: &str,
    ) -> Self {
        let path =
            through.map_or_else(|| session_path(session), |(platform, id)| platform_path(platform, id));
        let join = Self::new(Method::POST, format!("{path}/player/me"), Some(session));
        let join = join.makes(Aspect::Place, version).makes(Aspect::Through(platform), "yes");
        let door = through.map_or(platform, |(platform, _)| platform);
        Self { body: Some(joining(platform, version)), ..join.makes(Aspect::Through(door), "yes") }
    }

    /// Leaves a session, by itself or through a platform session. A party ends with that.
    pub fn leave(session: &str, through: Option<(Platform, &str)>) -> Self {
        let path =
            through.map_or_else(|| session_path(session), |(platform, id)| platform_path(platform, id));
        Self { ends: true, ..Self::new(Method::DELETE, format!("{path}/player/me"), Some(session)) }
    }

    /// Ends a party.
    pub fn delete(session: &str) -> Self {
        Self { ends: true, ..Self::new(Method::DELETE, session_path(session), Some(session)) }
    }

    /// Replaces a party's data.
    pub fn patch(session: &str, value: &str) -> Self {
        let path = session_path(session);
        let patch = Self::new(Method::PATCH, path.clone(), Some(session)).makes(Aspect::Data, value);
        Self { body: Some(json!({ "custom_data": { "written": value } })), answers: Some(path), ..patch }
    }

    /// Links a platform session, unless another session has it.
    pub fn link(session: &str, platform: Platform, id: &str) -> Self {
        let path = platform_path(platform, id);
        let link = Self::new(Method::POST, format!("{path}/session/{session}"), Some(session));
        let link = link.makes(Aspect::Link(platform), id);
        Self { answers: Some(path), refusal: Some("platform_session_in_use"), ..link }
    }

    /// Unlinks a platform session.
    pub fn unlink(session: &str, platform: Platform, id: &str) -> Self {
        let path = format!("{}/session/{session}", platform_path(platform, id));
        let unlink = Self::new(Method::DELETE, path, Some(session));
        Self { makes: vec![(Aspect::Link(platform), None)], ..unlink }
    }

    /// Whether the list of the client's sessions changes.
    pub fn changes_list(&self) -> bool {
        self.ends || self.makes.iter().any(|(aspect, _)| *aspect == Aspect::Place)
    }

    /// The facts it changes where these were true before, each with its new value.
    pub fn changes(&self, session: &str, before: &Facts) -> Vec<(Fact, Option<String>)> {
        let ended = before.keys().filter(|(of, _)| self.ends && of == session);
        let made = self.makes.iter().map(|(aspect, value)| ((session.to_owned(), *aspect), value.clone()));
        ended.map(|fact| (fact.clone(), None)).chain(made).collect()
    }

    /// What is true once it has happened, where these facts were true before. A session that it made is looked
    /// for in what was found: its creator's version is no other session's.
    pub fn happened(&self, before: &Facts, found: &Facts) -> Facts {
        let made = |((_, aspect), version): &(&Fact, &String)| {
            self.makes.iter().any(|(made, value)| made == aspect && value.as_ref() == Some(version))
        };
        let found = || found.iter().find(made).map(|((session, _), _)| session.clone());
        let mut after = before.clone();
        if let Some(session) = self.session.clone().or_else(found) {
            for (fact, value) in self.changes(&session, before) {
                set(&mut after, fact, value);
            }
        }
        after
    }
}

/// Makes a fact true, or no longer true.
pub fn set(facts: &mut Facts, fact: Fact, value: Option<String>) {
    match value {
        Some(value) => drop(facts.insert(fact, value)),
        None => drop(facts.remove(&fact)),
    }
}
