//! The kinds of writes, and the facts that each makes true.

use std::collections::BTreeMap;
use std::fmt;

use http::Method;
use rallypoint::domain::Platform;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::IDLE_PLAYER;

/// Platforms that sessions are linked on.
pub const PLATFORMS: [Platform; 3] = [Platform::XboxLive, Platform::PSN, Platform::Steam];

/// An aspect of a session that only the client itself changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// The client is in the session; the value is the game version of its last join.
    Joined,
    /// Of lobbies: the client plays on this platform or joined through it.
    Through(Platform),
    /// The session's data. This and all aspects below are of parties, which only the client's players use.
    Data,
    /// The platform session that is linked.
    Link(Platform),
    /// Status and team of one of the client's players, by number.
    Entry(usize),
    /// The custom data of such a player.
    CustomData(usize),
    /// A right that was given to such a player.
    GivenRight(usize, &'static str),
    /// The size of a team, if it was changed.
    Size(usize),
    /// The session is open.
    Open,
    /// The short code.
    Code,
    /// The data of its listing in the browser.
    Listed,
    /// The instance.
    Instance,
    /// The allocation of the instance.
    Allocation,
    /// The health of the instance.
    Health,
}

/// Changed sizes of teams; no team starts with one of them.
pub const SIZES: std::ops::Range<usize> = 5..9;
/// Initial number of slots of a team.
pub const SLOTS: usize = 4;

/// An aspect of a session.
pub type Fact = (String, Aspect);
/// All true facts with their values.
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

/// A write request, with the facts that it makes true.
#[derive(Clone, Debug)]
pub struct Write {
    pub method: Method,
    pub path: String,
    pub body: Option<Value>,
    /// The session that it changes; `None` if it creates one.
    pub session: Option<String>,
    /// Which of the client's players sends it.
    pub by: usize,
    /// Whether it ends all facts of the session.
    ends: bool,
    /// The aspects that it sets, or ends with `None`.
    sets: Vec<(Aspect, Option<String>)>,
    /// The aspect whose value the server chooses, and the field of the answer with that value.
    chosen: Option<(Aspect, &'static str)>,
    /// The path of the document whose ETag the answer has.
    pub answers: Option<String>,
    /// The only acceptable refusal, for writes that depend on other clients.
    pub refusal: Option<&'static str>,
    /// The player whose invite may have expired before this write. Then the write is refused.
    pub waits: Option<usize>,
    /// The shortest lifetime of the created session if nobody uses it, in seconds.
    lives_s: Option<i64>,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        self.body.as_ref().map_or(Ok(()), |body| write!(f, " {body}"))
    }
}

/// The body of a join.
pub fn joining(platform: Platform, version: &str) -> Value {
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
            by: 0,
            ends: false,
            sets: Vec::new(),
            chosen: None,
            answers: None,
            refusal: None,
            waits: None,
            lives_s: None,
        }
    }

    /// A write to a session whose answer has the session's ETag.
    pub fn to(method: Method, path: String, session: &str) -> Self {
        Self { answers: Some(session_path(session)), ..Self::new(method, path, Some(session)) }
    }

    /// The same write by another of the client's players.
    pub fn by(self, by: usize) -> Self {
        Self { by, ..self }
    }

    pub fn with(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    /// The same write, if its answer has no ETag.
    pub fn without_etag(self) -> Self {
        Self { answers: None, ..self }
    }

    pub fn chooses(self, aspect: Aspect, field: &'static str) -> Self {
        Self { chosen: Some((aspect, field)), ..self }
    }

    /// The same write, if other clients may cause this refusal.
    pub fn unless(self, refusal: &'static str) -> Self {
        Self { refusal: Some(refusal), ..self }
    }

    /// The same write, if the invite of this player may have expired.
    pub fn waits(self, player: usize, refusal: &'static str) -> Self {
        Self { waits: Some(player), ..self.unless(refusal) }
    }

    pub fn sets(mut self, aspect: Aspect, value: impl Into<String>) -> Self {
        self.sets.push((aspect, Some(value.into())));
        self
    }

    /// The same write, which also ends these aspects.
    pub fn clears(mut self, aspects: impl IntoIterator<Item = Aspect>) -> Self {
        self.sets.extend(aspects.into_iter().map(|aspect| (aspect, None)));
        self
    }

    /// Creates a session. Its version is unique and identifies it.
    pub fn create(session_type: &str, platform: Platform, version: &str) -> Self {
        let mut body = joining(platform, version);
        body["session_type"] = session_type.into();
        let create = Self::new(Method::POST, "/v1/session".into(), None).sets(Aspect::Joined, version);
        Self { body: Some(body), ..create }.sets(Aspect::Entry(0), "leader 0")
    }

    /// Creates a short-lived session: nobody uses it, so it ends by itself.
    pub fn short_lived(session_type: &str, lives_s: i64, platform: Platform) -> Self {
        let mut body = joining(platform, "1.0.0");
        body["session_type"] = session_type.into();
        let create = Self::new(Method::POST, "/v1/session".into(), None).by(IDLE_PLAYER);
        Self { body: Some(body), lives_s: Some(lives_s), refusal: Some("too_many_sessions"), ..create }
    }

    /// The shortest lifetime of a created short-lived session, in seconds.
    pub fn lives_s(&self) -> Option<i64> {
        self.lives_s
    }

    /// Joins a party again, which changes only the client's own entry.
    pub fn join_party(session: &str, platform: Platform, version: &str) -> Self {
        let path = session_path(session);
        let join = Self::new(Method::POST, format!("{path}/player/me"), Some(session));
        let join = join.sets(Aspect::Joined, version);
        Self { body: Some(joining(platform, version)), answers: Some(path), ..join }
    }

    /// Joins a lobby, directly or through a platform session.
    pub fn join_lobby(
        session: &str,
        through: Option<(Platform, &str)>,
        platform: Platform,
        version: &str,
    ) -> Self {
        let path =
            through.map_or_else(|| session_path(session), |(platform, id)| platform_path(platform, id));
        let join = Self::new(Method::POST, format!("{path}/player/me"), Some(session));
        let join = join.sets(Aspect::Joined, version).sets(Aspect::Through(platform), "yes");
        let joined_through = through.map_or(platform, |(platform, _)| platform);
        Self { body: Some(joining(platform, version)), ..join.sets(Aspect::Through(joined_through), "yes") }
    }

    /// Leaves a session, directly or through a platform session. A party ends with it.
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
        let patch = Self::new(Method::PATCH, path.clone(), Some(session)).sets(Aspect::Data, value);
        Self { body: Some(json!({ "custom_data": { "written": value } })), answers: Some(path), ..patch }
    }

    /// Links a platform session. The write is refused if another session has linked it.
    pub fn link(session: &str, platform: Platform, id: &str) -> Self {
        let path = platform_path(platform, id);
        let link = Self::new(Method::POST, format!("{path}/session/{session}"), Some(session));
        let link = link.sets(Aspect::Link(platform), id);
        Self { answers: Some(path), refusal: Some("platform_session_in_use"), ..link }
    }

    /// Unlinks a platform session.
    pub fn unlink(session: &str, platform: Platform, id: &str) -> Self {
        let path = format!("{}/session/{session}", platform_path(platform, id));
        let unlink = Self::new(Method::DELETE, path, Some(session));
        Self { sets: vec![(Aspect::Link(platform), None)], ..unlink }
    }

    /// Whether it changes the client's session list, or the time at which that changed: a new leader's list has a new
    /// time, too.
    pub fn changes_list(&self) -> bool {
        let is_listed = |aspect: &Aspect| matches!(aspect, Aspect::Joined | Aspect::Entry(0));
        self.ends || self.sets.iter().any(|(aspect, _)| is_listed(aspect))
    }

    /// Whether it is a join, after which the server knows the numeric id of the player.
    pub fn introduces(&self) -> bool {
        self.method == Method::POST && (self.session.is_none() || self.path.ends_with("/player/me"))
    }

    /// The value that the server chose, from its answer.
    pub fn choice(&self, answer: &Value) -> Option<String> {
        Some(answer[self.chosen?.1].as_str()?.to_owned())
    }

    /// The facts that it changes, given the facts before, each with its new value.
    pub fn changes(
        &self,
        session: &str,
        before: &Facts,
        choice: Option<String>,
    ) -> Vec<(Fact, Option<String>)> {
        let ended = before.keys().filter(|(of, _)| self.ends && of == session);
        let made = self.sets.iter().map(|(aspect, value)| ((session.to_owned(), *aspect), value.clone()));
        let chosen = self.chosen.map(|(aspect, _)| ((session.to_owned(), aspect), choice));
        ended.map(|fact| (fact.clone(), None)).chain(made).chain(chosen).collect()
    }

    /// The facts after it took effect, given the facts before. A created session is identified among the found facts
    /// by the unique version of its creator.
    pub fn happened(&self, before: &Facts, all_found: &Facts) -> Facts {
        let made = |((_, aspect), version): &(&Fact, &String)| {
            let joined = self.sets.iter().find(|(made, _)| *made == Aspect::Joined);
            *aspect == Aspect::Joined && joined.is_some_and(|(_, value)| value.as_ref() == Some(version))
        };
        let found = || all_found.iter().find(made).map(|((session, _), _)| session.clone());
        let mut after = before.clone();
        if let Some(session) = self.session.clone().or_else(found) {
            let chosen = self.chosen.map(|(aspect, _)| (session.clone(), aspect));
            let choice = chosen.and_then(|fact| all_found.get(&fact)).cloned();
            for (fact, value) in self.changes(&session, before, choice) {
                set(&mut after, fact, value);
            }
        }
        after
    }
}

/// Sets a fact, or removes it.
pub fn set(facts: &mut Facts, fact: Fact, value: Option<String>) {
    match value {
        Some(value) => drop(facts.insert(fact, value)),
        None => drop(facts.remove(&fact)),
    }
}
