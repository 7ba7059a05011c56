//! A server and its model: runs each step on both and compares them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use rallypoint::auth::DEFAULT_PLAYER_PERMISSIONS;
use rallypoint::domain::Platform;
use rallypoint::records::keys;
use rallypoint::store::Store;
use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::{Answer, ExpectedEtag, ResolvedStep, caller};
use super::queues;
use super::request::{Request, StepNames};
use super::session::expire_entries;
use super::setup::{ALLOCATIONS, ENDED, IDLE_S, MODERATOR, PLAYERS, SERVICE, Settings, Setup, TestPlayer};
use super::state::{Model, Refusal};
use super::step::{Overflow, PlayerChoice, RandomStep, Status, Step};
use super::views::{Membership, Memberships};
use crate::harness::{
    Client, Reply, Server, consistency, contents, grant, keys_of_sessions, without_deadlines,
};

pub struct World {
    server: Server,
    clients: Vec<Client>,
    model: Model,
    /// Every session so far, oldest first, with its short code.
    known: Vec<(String, Option<String>)>,
    /// Sessions with an overfilled team.
    overfilled: BTreeSet<String>,
    etags: Etags,
    list_times: ListTimes,
    /// The whole content of the store.
    stored: BTreeMap<Vec<u8>, Bytes>,
    /// The end of the last page of a session's players or a type's listings: the server's cursor and the model's
    /// number.
    pages: BTreeMap<String, (u64, u64)>,
}

/// The ETag of each body, and the body of each ETag.
#[derive(Default)]
struct Etags {
    by_body: HashMap<Vec<u8>, String>,
    by_etag: HashMap<String, Vec<u8>>,
}

impl Etags {
    /// Checks that equal bodies have equal ETags, and different bodies different ones.
    fn check(&mut self, reply: &Reply) -> Result<(), TestCaseError> {
        let (body, etag) = (reply.bytes.to_vec(), reply.etag());
        prop_assert_eq!(
            self.by_body.entry(body.clone()).or_insert_with(|| etag.clone()),
            &etag,
            "{}",
            reply.body
        );
        prop_assert_eq!(self.by_etag.entry(etag).or_insert_with(|| body.clone()), &body, "{}", reply.body);
        Ok(())
    }
}

/// The last memberships of each player with the time of the list, and all times so far.
#[derive(Default)]
struct ListTimes {
    last: HashMap<usize, (Memberships, Value)>,
    seen: HashSet<(usize, String)>,
}

impl ListTimes {
    /// Checks that the time of a player's list changes with the memberships, that it never returns, and that it stays
    /// otherwise. The time of an empty list may be forgotten.
    fn check(&mut self, player: usize, now: Memberships, list: &Value) -> Result<(), TestCaseError> {
        let time = &list["last_updated_timestamp"];
        let (before, time_before) = self.last.entry(player).or_default();
        let is_reserved = |membership: &Membership| membership.1 == Status::Reserved;
        // A reservation moves the time only when it ends: the template may hide it.
        let is_as_before = |(id, membership): (&String, &Membership)| match before.get(id) {
            Some(before) => before == membership || is_reserved(before) && is_reserved(membership),
            None => is_reserved(membership),
        };
        if now.iter().all(is_as_before) && before.keys().all(|id| now.contains_key(id)) {
            prop_assert!(
                time.is_null() && now.is_empty() || time == time_before,
                "{} became {}",
                time_before,
                time
            );
        } else {
            let text = time.as_str().unwrap_or_default().to_owned();
            prop_assert!(time.is_string() && self.seen.insert((player, text)), "{} again, or none", time);
        }
        (*before, *time_before) = (now, time.clone());
        Ok(())
    }
}

/// Five players on three platforms (the token of one names no platform), and two callers with every permission: a
/// player and a service.
fn clients(server: &Server) -> (Vec<Client>, Vec<TestPlayer>) {
    let own: Vec<_> = DEFAULT_PLAYER_PERMISSIONS.iter().map(|permission| permission.name()).collect();
    let platforms = [
        Some(Platform::XboxLive),
        Some(Platform::XboxLive),
        Some(Platform::PSN),
        Some(Platform::Steam),
        None,
        Some(Platform::Steam),
        None,
    ];
    let player_ids = [Some(100), None, Some(102), None, None, Some(105), None];
    let mut clients = Vec::new();
    let mut players = Vec::new();
    for number in 0..=SERVICE {
        let uuid = Uuid::from_u128((number as u128 * 7919) % 97 + 1);
        let player = (number != SERVICE).then_some(uuid);
        let mut grant =
            grant(player, platforms[number], if number < PLAYERS { &own[..] } else { &["session:*"] });
        grant.player_id = player_ids[number];
        grant.ttl = Duration::from_secs(1 << 30);
        clients.push(Client { player: uuid, ..server.bearer(server.token(&grant)) });
        players.push(TestPlayer { uuid, platform: platforms[number], player_id: player_ids[number] });
    }
    players.truncate(MODERATOR + 1);
    (clients, players)
}

impl World {
    pub fn new(store: Store, settings: Settings) -> Self {
        let server = Server::over(store, |config| settings.apply_to(config));
        let (clients, players) = clients(&server);
        let model = Model::new(Setup { settings, players }, server.clock.now().as_second());
        Self {
            server,
            clients,
            model,
            known: Vec::new(),
            overfilled: BTreeSet::new(),
            etags: Etags::default(),
            list_times: ListTimes::default(),
            stored: BTreeMap::new(),
            pages: BTreeMap::new(),
        }
    }

    /// Ends every session and checks that nothing is left in the store.
    pub async fn close(mut self) -> Result<(), TestCaseError> {
        for session in &self.model.sessions {
            let path = format!("/v1/session/{}", session.id);
            prop_assert_eq!(self.clients[SERVICE].delete(&path).await.status.as_u16(), 204);
        }
        self.stored = contents(&self.server).await;
        self.model.sessions.clear();
        self.check_keys()?;
        prop_assert!(keys_of_sessions(&self.stored).is_empty());
        self.server.app.sessions.store().close().await.unwrap();
        Ok(())
    }

    /// The id or short code of the session with this number.
    fn session_name(&self, number: Option<usize>, by_code: bool) -> String {
        let Some(number) = number else { return String::new() };
        let lives = |known: &&(String, Option<String>)| self.model.session(&known.0).is_ok();
        let (live, ended): (Vec<_>, Vec<_>) = self.known.iter().rev().partition(lives);
        let known = if number == ENDED { ended.first() } else { live.get(number % live.len().max(1)) };
        let Some((id, code)) = known else { return "none".into() };
        let code = code.as_ref().filter(|_| by_code).map(|code| code.to_lowercase());
        code.unwrap_or_else(|| id.clone())
    }

    /// The player that a choice stands for, in this session.
    fn choose(&self, choice: PlayerChoice, session: &str) -> usize {
        let session = self.model.session(session).ok();
        let active = |player: usize| session.is_some_and(|session| session.is_active(player));
        let has_entry = |player: usize| session.is_some_and(|session| session.entry(player).is_some());
        let (wanted, number): (&dyn Fn(usize) -> bool, _) = match choice {
            PlayerChoice::Number(number) => return number,
            PlayerChoice::Active(number) => (&active, number),
            PlayerChoice::Waiting(number) => (&|player| has_entry(player) && !active(player), number),
            PlayerChoice::Outside(number) => (&|player| !has_entry(player), number),
        };
        let mut wanted: Vec<_> = (0..=MODERATOR).filter(|player| wanted(*player)).collect();
        wanted.sort_by_key(|player| !session.is_some_and(|session| session.leads(*player)));
        wanted.get(number % wanted.len().max(1)).copied().unwrap_or(number)
    }

    /// Runs a step on the server and in the model, and compares them.
    pub async fn run_step(&mut self, random_step: &RandomStep) -> Result<(), TestCaseError> {
        let mut step = random_step.step.clone();
        if let Step::Wait { seconds } = step {
            self.wait(seconds).await;
            return self.compare_all().await;
        }
        let (session, other) = step.sessions();
        let (session, other) =
            (self.session_name(session, random_step.by_code), self.session_name(other, false));
        let instance = self.model.session(&session).ok().and_then(|session| session.instance.as_ref());
        step.name_instance(instance.and_then(|instance| instance.id.as_deref()));
        if let Step::MakeMatch { parties, .. } = &mut step {
            *parties = self.model.parties([&session, &other]);
        }
        step.name_players(random_step.players.map(|choice| self.choose(choice, &session)));
        let links = self.model.links();
        if let Some(number) = random_step.link
            && !links.is_empty()
        {
            step.name_link(links[number % links.len()]);
        }
        if self.send_and_compare(self.choose(random_step.caller, &session), &step, &session, &other).await? {
            return self.compare_all().await;
        }
        // Reads and refusals change nothing, so it is enough to compare the store.
        let stored = contents(&self.server).await;
        let is_same = without_deadlines(&self.stored) == without_deadlines(&stored);
        prop_assert!(is_same, "{:?} changed what is stored", step);
        Ok(())
    }

    /// Sends the request of a step and compares the answers. Returns whether it was a successful change.
    async fn send_and_compare(
        &mut self,
        number: usize,
        step: &Step,
        session: &str,
        other: &str,
    ) -> Result<bool, TestCaseError> {
        let page = self.page(step, session);
        let (cursor, after) = page.as_ref().map_or((0, 0), |(_, start)| *start);
        let names = StepNames { setup: &self.model.setup, session, other, cursor };
        let request = names.request(step).expect("the step is a request");
        let reply = self.send(number, &request).await;
        let resolved =
            ResolvedStep { caller: caller(number), step, session, other, after, reply: &reply.body };
        let expected = self.model.apply(&resolved);
        let context = format!("{} {} {:?} by {number}", request.method, request.path, request.body);
        self.compare(number, &reply, &expected, &context).await?;
        if request.method == http::Method::GET && reply.status == 200 {
            let again = self.clients[number].get_if_none_match(&request.path, &reply.etag()).await;
            prop_assert_eq!(again.status.as_u16(), 304, "{}", context);
        }
        if let Some((page, _)) = page {
            self.note_page_end(page, &reply, &expected);
        }
        self.note_reply(step, session, &reply);
        self.adopt_instances().await;
        Ok(expected.is_ok() && request.method != http::Method::GET)
    }

    async fn send(&self, number: usize, request: &Request) -> Reply {
        let body = request.body.as_ref().map(|body| body.to_string().into());
        self.clients[number].send(request.method.clone(), &request.path, &[], body).await
    }

    /// The name of the list that a step reads a page of, and the start of the page.
    fn page(&self, step: &Step, session: &str) -> Option<(String, (u64, u64))> {
        let (name, next_page) = match step {
            Step::ReadPlayers { next_page, .. } => (session.to_owned(), *next_page),
            Step::Browse { kind, next_page, .. } => (kind.name().to_owned(), *next_page),
            _ => return None,
        };
        let start = self.pages.get(&name).copied().filter(|_| next_page).unwrap_or_default();
        Some((name, start))
    }

    /// Notes the end of a page.
    fn note_page_end(&mut self, page: String, reply: &Reply, expected: &Result<Answer, Refusal>) {
        let cursor = reply.body["cursor"].as_u64().unwrap_or(0);
        match expected {
            Ok(Answer::Page(_, last)) => drop(self.pages.insert(page, (cursor, last.unwrap_or(0)))),
            Ok(_) => drop(self.pages.insert(page, (cursor, cursor))),
            Err(_) => {}
        }
    }

    /// Copies ids and short codes that the server chose, and notes overfilled sessions.
    fn note_reply(&mut self, step: &Step, session: &str, reply: &Reply) {
        if reply.status != 200 {
            return;
        }
        let id = self.model.session(session).map(|session| session.id.clone());
        match step {
            Step::Create { .. } | Step::MakeMatch { .. } => {
                let id = reply.body["session_id"].as_str().unwrap();
                if !self.known.iter().any(|(known, _)| known == id) {
                    self.known.push((id.to_owned(), None));
                }
            }
            Step::MakeShortCode { .. } => {
                let code = reply.body["short_code"].as_str().unwrap().to_owned();
                let known = self.known.iter_mut().find(|(known, _)| Ok(known) == id.as_ref());
                known.unwrap().1 = Some(code);
            }
            Step::Invite { options, .. }
            | Step::InviteSession { options, .. }
            | Step::Update { options, .. }
                if options.overflow == Overflow::Overfill =>
            {
                self.overfilled.extend(id);
            }
            _ => {}
        }
    }

    /// Copies what the server chose for the instance of a new session, and what it shows of a match. The answer to the
    /// creation does not name it.
    async fn adopt_instances(&mut self) {
        for session in &mut self.model.sessions {
            if let Some(made) = session.made.as_mut().filter(|made| made.shown.is_none()) {
                let path = format!("/v1/session/{}?refresh_ttl=false", session.id);
                made.adopt(&self.clients[SERVICE].get(&path).await.body["matchmaking_results"]);
            }
            if let Some(instance) = session.instance.as_mut().filter(|instance| instance.id.is_none()) {
                let path = format!("/v1/session/{}?refresh_ttl=false", session.id);
                instance.adopt(&self.clients[SERVICE].get(&path).await.body["instance"]);
            }
        }
    }

    async fn compare(
        &mut self,
        number: usize,
        reply: &Reply,
        expected: &Result<Answer, Refusal>,
        context: &str,
    ) -> Result<(), TestCaseError> {
        let status = reply.status.as_u16();
        match expected {
            Err(Refusal(refusal, code)) => {
                let answered = (status, &reply.body["error_code"], &reply.body["auth_success"]);
                prop_assert_eq!(
                    answered,
                    (*refusal, &json!(code), &json!(true)),
                    "{}: {}",
                    context,
                    reply.body
                );
            }
            Ok(Answer::Body(body, etag)) => {
                prop_assert_eq!((status, &reply.body), (200, body), "{}", context);
                self.compare_etag(number, reply, etag, context).await?;
            }
            Ok(Answer::Page(sessions, last)) => {
                let found = (status, &reply.body["browser_sessions"]);
                prop_assert_eq!(found, (200, &json!(sessions)), "{}", context);
                prop_assert_eq!(reply.body["cursor"] != json!(0), last.is_some(), "{}", context);
                self.etags.check(reply)?;
            }
            Ok(Answer::Empty(etag)) => {
                prop_assert_eq!((status, reply.bytes.len()), (204, 0), "{}: {}", context, reply.body);
                self.compare_etag(number, reply, etag, context).await?;
            }
        }
        Ok(())
    }

    /// Checks that the ETag of a change is the ETag of a GET by the same caller.
    async fn compare_etag(
        &mut self,
        number: usize,
        reply: &Reply,
        etag: &ExpectedEtag,
        context: &str,
    ) -> Result<(), TestCaseError> {
        match etag {
            ExpectedEtag::None => prop_assert!(!reply.headers.contains_key("etag"), "{}", context),
            ExpectedEtag::Body => self.etags.check(reply)?,
            ExpectedEtag::Session(id) => {
                let etag = reply.etag();
                let seen = self.clients[number].get(&format!("/v1/session/{id}?refresh_ttl=false")).await;
                // A session that the change ended cannot be read again.
                if self.model.session(id).is_ok() {
                    prop_assert_eq!(seen.status.as_u16(), 200, "{}", context);
                    prop_assert_eq!(etag, seen.etag(), "{}", context);
                    self.model.note_read(caller(number), id, false);
                    self.etags.check(&seen)?;
                }
            }
        }
        Ok(())
    }

    /// Advances the clock. An unused session ends between the idle time and an eighth later. In that range the model
    /// follows the server.
    async fn wait(&mut self, seconds: i64) {
        self.server.advance(Duration::from_secs(seconds.unsigned_abs())).await;
        self.model.now_s += seconds;
        let health = self.model.setup.settings.health.clone();
        for mut session in self.model.sessions.clone() {
            let idle_s = self.model.now_s - session.used_s;
            let path = format!("/v1/session/{}?refresh_ttl=false", session.id);
            let seen = self.clients[SERVICE].get(&path).await;
            session.ended = if idle_s < IDLE_S {
                false
            } else if idle_s >= IDLE_S + IDLE_S / 8 {
                true
            } else {
                seen.status == 404
            };
            if let Some(instance) = &mut session.instance {
                let possible_healths = instance.possible_healths(&health, self.model.now_s);
                let shown = possible_healths
                    .iter()
                    .find(|health| seen.body["instance"]["instance_health"] == ***health);
                instance.health = shown.or(possible_healths.first()).copied();
            }
            if !session.ended {
                expire_entries(&mut session, &self.model.setup, self.model.now_s);
                queues::expire(&mut session, self.model.now_s);
            }
            self.model.put(session);
        }
    }

    /// Checks that the store has exactly the keys that its sessions need.
    fn check_keys(&self) -> Result<(), TestCaseError> {
        let mut expected = keys_of_sessions(&self.stored);
        // Numeric ids of players stay known after their sessions end.
        expected.extend(self.model.player_ids.keys().map(|id| keys::player_of_id(*id)));
        if self.model.listings > 0 {
            expected.insert(keys::next_listing_number());
        }
        // The time of a list stays for some time after the player's last session.
        expected.extend(self.stored.keys().filter(|key| keys::parse_list_changed(key).is_some()).cloned());
        let stored: BTreeSet<_> = self.stored.keys().cloned().collect();
        prop_assert_eq!(stored, expected);
        Ok(())
    }

    /// Compares everything that the service reads with the model, and checks that it is consistent.
    async fn compare_all(&mut self) -> Result<(), TestCaseError> {
        let service = &self.clients[SERVICE];
        let known: Vec<_> = self.known.iter().map(|(id, _)| id.clone()).collect();
        let players: Vec<_> = self.model.setup.players.iter().map(|test_player| test_player.uuid).collect();
        let mut seen = consistency::check(service, &known, &players, &self.overfilled).await;
        for session in &self.model.sessions {
            let found = seen.sessions.remove(&session.id);
            prop_assert!(found.is_some(), "session {} has ended on the server only", session.id);
            let found = found.unwrap();
            prop_assert_eq!(&found.body, &self.model.session_view(caller(SERVICE), session));
            self.etags.check(&found)?;
        }
        prop_assert!(
            seen.sessions.is_empty(),
            "these sessions have ended in the model only: {:?}",
            seen.sessions.keys()
        );
        for (player, test_player) in self.model.setup.players.iter().enumerate() {
            let list = &seen.lists[&test_player.uuid];
            prop_assert_eq!(&list.body["sessions"], &self.model.list_view(player)["sessions"]);
            self.list_times.check(player, self.model.memberships(player), &list.body)?;
            self.etags.check(list)?;
        }
        for allocation in 0..ALLOCATIONS.len() {
            let names = StepNames { setup: &self.model.setup, session: "", other: "", cursor: 0 };
            let request = names.request(&Step::ReadAllocation { allocation }).expect("it is a request");
            let (found, expected) =
                (self.send(SERVICE, &request).await, self.model.read_allocation(caller(SERVICE), allocation));
            self.compare(SERVICE, &found, &expected, &request.path).await?;
        }
        self.stored = contents(&self.server).await;
        self.check_keys()
    }
}
