//! Random sequences of operations by several players over HTTP. After each step, the store and all views of it are
//! consistent.

mod launches;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use rallypoint::domain::launch::LaunchRules;
use rallypoint::domain::session::Status;
use rallypoint::domain::{Platform, Session, SessionId};
use rallypoint::records::StoredSession;
use rallypoint::records::keys;
use serde_json::{Value, json};

use self::steps::{ALLOCATIONS, ENDED, IDS, PLATFORMS, PLAYERS, Step, any_actor, any_step};
use crate::api::queue::with_queues;
use crate::harness::allocator::{Scripted, serving};
use crate::harness::{
    Client, Reply, Server, action_path, contents, creation, grant, keys_of_sessions, link_path,
    platform_path, player_path, player_permissions, right_path,
};

/// The numeric id of the first player. The other players have the next numbers.
const FIRST_ID: i64 = 100;

struct World {
    server: Server,
    allocator: Arc<Scripted>,
    players: Vec<Client>,
    /// A service with all permissions.
    admin: Client,
    /// Sessions that have not ended, oldest first.
    sessions: Vec<String>,
    /// The id of an ended session.
    ended_session: String,
    /// Sessions with an overfilled team.
    overfilled: BTreeSet<String>,
}

impl World {
    /// A game with a server, led by the first player, with two members, and an open party of the last player.
    async fn new() -> Self {
        let allocator = Arc::new(Scripted::default());
        let launches = |node| {
            let mut settings = serving(node, &allocator, &LaunchRules::default());
            // With two allocators, only the instances of a template that names one are launched.
            settings.allocators.insert("other".into(), settings.allocators["test"].clone());
            settings
        };
        let server = Server::with_launches(launches, |config| {
            with_queues(config);
            config.matchmaking.ticket_timeout_s = 60;
            config.templates.get_mut("game").unwrap().can_join_matchmaking = true;
            config.templates.get_mut("game").unwrap().allocator = Some("test".into());
            config.sessions.invite_expiry_s = 90;
            config.templates.get_mut("party").unwrap().auto_add_to_browser = true;
            config.templates.get_mut("game").unwrap().player_culling_timeout = Some(60);
        });
        let platforms = [Platform::XboxLive, Platform::XboxLive, Platform::PSN, Platform::Steam];
        let mut permissions = player_permissions();
        permissions.push("session:instance:health");
        let players = (0..PLAYERS).map(|index| {
            let player = server.app.entropy.uuid();
            let mut grant = grant(Some(player), Some(platforms[index]), &permissions);
            grant.player_id = i64::try_from(index).ok().map(|index| FIRST_ID + index);
            Client { player, ..server.bearer(server.token(&grant)) }
        });
        let players: Vec<_> = players.collect();
        let game = players[0].creates("game").await;
        let party = players[3].creates("party").await;
        players[3].opens(&party).await;
        for joiner in &players[1..3] {
            joiner.joins(&game).await.expect(200);
        }
        players[0].post(&format!("/v1/session/{game}/instance"), &json!({})).await.expect(200);
        let mut grant = grant(None, None, &["session:*"]);
        grant.ttl = Duration::from_secs(100_000);
        let admin = server.bearer(server.token(&grant));
        let (sessions, ended_session) = (vec![game, party], "none".into());
        Self { server, allocator, players, admin, sessions, ended_session, overfilled: BTreeSet::new() }
    }

    /// Lets the launches of every node go on as far as they can.
    async fn settles(&self) {
        for node in self.server.nodes() {
            node.settles().await;
        }
    }

    fn session(&self, index: usize) -> String {
        if index == ENDED || self.sessions.is_empty() {
            return self.ended_session.clone();
        }
        self.sessions[self.sessions.len() - 1 - index % self.sessions.len()].clone()
    }

    async fn run_step(&mut self, player: usize, step: &Step) -> u16 {
        if let Step::Wait { seconds } = step {
            self.server.advance(Duration::from_secs(*seconds)).await;
            self.settles().await;
            return 200;
        }
        if let Step::EndServer { server } = step {
            let servers = self.allocator.servers();
            if let Some(allocation) = servers.get(server % servers.len().max(1)) {
                self.allocator.ends(allocation);
                self.settles().await;
            }
            return 200;
        }
        let caller = self.players.get(player).unwrap_or(&self.admin);
        let reply = self.send(caller, step).await;
        let done = reply.status.is_success();
        match step {
            Step::Create { .. } => {
                if let Some(session) = reply.body["session_id"].as_str()
                    && !self.sessions.iter().any(|known| known == session)
                {
                    self.sessions.push(session.to_owned());
                }
            }
            Step::Invite { session, body, .. } | Step::InviteSession { session, body, .. }
                if done && body["overflow_action"] == json!("overfill") =>
            {
                self.overfilled.insert(self.session(*session));
            }
            _ => {}
        }
        reply.status.as_u16()
    }

    async fn send(&self, player: &Client, step: &Step) -> Reply {
        match step {
            Step::Create { game } => {
                player.post("/v1/session", &creation(if *game { "game" } else { "party" })).await
            }
            Step::Join { session, team } => player.joins_team(&self.session(*session), *team as u64).await,
            Step::JoinThrough { platform, id } => {
                player.post(&through(*platform, *id), &crate::harness::joining()).await
            }
            Step::Leave { session } => player.leaves(&self.session(*session)).await,
            Step::LeaveThrough { platform, id } => player.delete(&through(*platform, *id)).await,
            Step::Link { session, platform, id } => {
                player.post(&self.link(*session, *platform, *id), &Value::Null).await
            }
            Step::Unlink { session, platform, id } => {
                player.delete(&self.link(*session, *platform, *id)).await
            }
            Step::Change { session, body } => player.patch(&self.path(*session, ""), body).await,
            Step::End { session } => player.delete(&self.path(*session, "")).await,
            step => self.send_roster(player, step).await,
        }
    }

    async fn send_roster(&self, player: &Client, step: &Step) -> Reply {
        let other = |index: &usize| &self.players[*index];
        match step {
            Step::Invite { session, other: invited, body } => {
                let path = action_path(&self.session(*session), other(invited).player, "invite");
                player.post(&path, body).await
            }
            Step::InviteSession { session, invited, body } => {
                let end = format!("/invited-session/{}:invite", self.session(*invited));
                player.post(&self.path(*session, &end), body).await
            }
            Step::Update { session, other: updated, body } => {
                player.updates(&self.session(*session), other(updated), body.clone()).await
            }
            Step::Promote { session, other: promoted } => {
                player.promotes(&self.session(*session), other(promoted)).await
            }
            Step::Move { session, other: moved, team } => {
                player.moves(&self.session(*session), other(moved), *team).await
            }
            Step::Swap { session, one, other: second } => {
                player.swaps(&self.session(*session), other(one), other(second)).await
            }
            Step::Kick { session, other: kicked } => {
                player.delete(&player_path(&self.session(*session), other(kicked).player)).await
            }
            Step::KickSession { session, kicked } => {
                let end = format!("/kicked-session/{}", self.session(*kicked));
                player.delete(&self.path(*session, &end)).await
            }
            Step::GiveRight { session, other: holder, right } => {
                player.gives_right(&self.session(*session), other(holder), right).await
            }
            Step::RemoveRight { session, other: holder, right } => {
                player.delete(&right_path(&self.session(*session), other(holder).player, right)).await
            }
            step => self.send_listing_or_instance(player, step).await,
        }
    }

    async fn send_listing_or_instance(&self, player: &Client, step: &Step) -> Reply {
        match step {
            Step::ShortCode { session } => {
                player.post(&self.path(*session, ":generate-short-code"), &Value::Null).await
            }
            Step::List { session } => player.post(&self.path(*session, "/browser"), &json!({})).await,
            Step::JoinQueue { session, queue } => {
                player.post(&self.path(*session, "/queue"), &json!({ "queue_id": queue })).await
            }
            Step::LeaveQueue { session } => player.delete(&self.path(*session, "/queue")).await,
            Step::Unlist { session } => player.delete(&self.path(*session, "/browser")).await,
            Step::RequestInstance { session, id, host } => {
                let mut body = json!({ "instance_id": id });
                if let Some(host) = host {
                    body["host_type"] = json!("player");
                    body["host_player_uuid"] = json!(self.players[*host].player);
                }
                player.post(&self.path(*session, "/instance"), &body).await
            }
            Step::Allocate { session, allocation } => {
                let body = match ALLOCATIONS.get(*allocation) {
                    Some(allocation) => json!({"allocation_id": allocation}),
                    None => self.as_its_server(*session, "joinable").await,
                };
                player.patch(&self.path(*session, "/instance"), &body).await
            }
            Step::Report { session, health } => {
                let body = json!({"instance_health": health, "instance_id": "i"});
                player.post(&self.path(*session, "/instance/health"), &body).await
            }
            Step::CloseInstance { session } => {
                let body = self.as_its_server(*session, "closed").await;
                player.patch(&self.path(*session, "/instance"), &body).await
            }
            Step::EndInstance { session } => player.delete(&self.path(*session, "/instance")).await,
            step => panic!("{step:?} is sent elsewhere"),
        }
    }

    /// The update of an instance that its server sends.
    async fn as_its_server(&self, session: usize, join_status: &str) -> Value {
        let seen = self.admin.get(&self.path(session, "?refresh_ttl=false")).await;
        let mut body = json!({"join_status": join_status});
        if let Some(allocation) = seen.body["instance"]["allocation_id"].as_str() {
            body["allocation_id"] = json!(allocation);
        }
        body
    }

    fn path(&self, session: usize, end: &str) -> String {
        format!("/v1/session/{}{end}", self.session(session))
    }

    fn link(&self, session: usize, platform: usize, id: usize) -> String {
        link_path(PLATFORMS[platform].name(), IDS[id], &self.session(session))
    }

    async fn check(&mut self) -> Result<(), TestCaseError> {
        let stored = contents(&self.server).await;
        let is_stored = |id: &String| stored.contains_key(&keys::session(&SessionId::parse(id).unwrap()));
        let (sessions, ended): (Vec<_>, Vec<_>) = self.sessions.drain(..).partition(is_stored);
        self.sessions = sessions;
        self.ended_session = ended.into_iter().next_back().unwrap_or_else(|| self.ended_session.clone());
        let mut expected = self.keys_kept_beside_sessions(&stored);
        expected.extend(keys_of_sessions(&stored));
        expected.extend(launches::check(&stored)?);
        let mut listed = BTreeSet::new();
        let (from, to) = keys::all_sessions();
        for (key, value) in stored.range(from..to) {
            let session = StoredSession::decode(value).unwrap().session;
            prop_assert_eq!(key, &keys::session(&session.id));
            check_session(&session, self.overfilled.contains(session.id.as_str()))?;
            self.check_readers(&session).await?;
            if session.listing.is_some() {
                listed.insert(session.id.to_string());
            }
            let id = session.id.to_string();
            if session.match_made.is_some() && !self.sessions.contains(&id) {
                // The next steps can be in the match.
                self.sessions.push(id);
            }
        }
        // No index key is missing, and no index key names something that does not exist.
        prop_assert_eq!(stored.into_keys().collect::<BTreeSet<_>>(), expected);
        self.check_browser(listed).await
    }

    /// Keys that stay when sessions end: the last listing number, the player of each numeric id, and for some time the
    /// times of players' lists. And the nodes.
    fn keys_kept_beside_sessions(&self, stored: &BTreeMap<Vec<u8>, Bytes>) -> BTreeSet<Vec<u8>> {
        let ids = (FIRST_ID..).zip(&self.players);
        let ids = ids.map(|(id, client)| (keys::player_of_id(id), client.player.as_bytes().as_slice()));
        let mut expected: BTreeSet<_> = ids
            .filter(|(key, player)| stored.get(key).is_some_and(|named| named == player))
            .map(|(key, _)| key)
            .collect();
        expected.extend(stored.keys().filter(|key| keys::parse_list_changed(key).is_some()).cloned());
        let (from, to) = keys::all_nodes();
        expected.extend(stored.range(from..to).map(|(key, _)| key.clone()));
        let number = keys::next_listing_number();
        if stored.contains_key(&number) {
            expected.insert(number);
        }
        expected
    }

    /// The views of the API agree with the stored session.
    async fn check_readers(&self, session: &Session) -> Result<(), TestCaseError> {
        let admin = &self.admin;
        let id = session.id.as_str();
        let whole = admin.get(&format!("/v1/session/{id}?refresh_ttl=false")).await.expect(200);
        for linked in whole.body["platform_session"].as_array().unwrap() {
            let path = platform_path(
                linked["platform"].as_str().unwrap(),
                linked["platform_session_id_base64"].as_str().unwrap(),
            );
            prop_assert_eq!(&admin.get(&path).await.expect(200).body, linked);
        }
        let teams = whole.body["teams"].as_array().unwrap().iter();
        let shown: Vec<_> = teams.flat_map(|team| team["players"].as_array().unwrap()).collect();
        let distinct: BTreeSet<_> = shown.iter().map(|entry| entry["player_uuid"].as_str()).collect();
        prop_assert_eq!((shown.len(), distinct.len()), (session.players.len(), session.players.len()));
        for (player, entry) in &session.players {
            let list = admin.get(&format!("/v1/player/{player}/session")).await.expect(200);
            let of_type = &list.body["sessions"][&session.session_type];
            let named = |list: &str| of_type[list].as_array().unwrap().contains(&json!(id));
            let found = (
                named("session_ids"),
                of_type["pending_invites"][id].is_object(),
                named("reserved_sessions"),
            );
            let status = entry.status;
            prop_assert_eq!(
                found,
                (status.is_active(), status == Status::Invited, status == Status::Reserved)
            );
        }
        if let Some(code) = &session.short_code {
            let found = admin.get(&format!("/v1/session/{}?refresh_ttl=false", code.as_str())).await;
            prop_assert_eq!(found.expect(200).bytes, whole.bytes);
        }
        if let Some(allocation) = session.instance.as_ref().and_then(|found| found.allocation_id.as_ref()) {
            let found = admin.get(&format!("/v1/session/allocation/{allocation}")).await.expect(200);
            prop_assert_eq!(&found.body["session_id"], id);
        }
        Ok(())
    }

    /// The browser shows the listed sessions and no others.
    async fn check_browser(&self, listed: BTreeSet<String>) -> Result<(), TestCaseError> {
        let admin = &self.admin;
        let mut shown = BTreeSet::new();
        for session_type in ["party", "game"] {
            let page = admin.get(&format!("/v1/browser?session_type={session_type}")).await.expect(200).body;
            for found in page["browser_sessions"].as_array().unwrap() {
                let id = found["session_id"].as_str().unwrap();
                let session =
                    admin.get(&format!("/v1/session/{id}?refresh_ttl=false")).await.expect(200).body;
                let teams = session["teams"].as_array().unwrap().iter();
                let players = teams.flat_map(|team| team["players"].as_array().unwrap());
                let active = players.filter(|player| player["joined"].is_string()).count();
                prop_assert_eq!(&found["player_count"], &json!(active));
                prop_assert!(shown.insert(id.to_owned()), "listed twice");
            }
        }
        prop_assert_eq!(shown, listed);
        Ok(())
    }
}

fn through(platform: usize, id: usize) -> String {
    format!("{}/player/me", platform_path(PLATFORMS[platform].name(), IDS[id]))
}

fn check_session(session: &Session, overfilled: bool) -> Result<(), TestCaseError> {
    let leaders = session.players.values().filter(|entry| entry.status == Status::Leader).count();
    let active: BTreeMap<_, _> = session.active_players().into_iter().collect();
    prop_assert_eq!(leaders, usize::from(!active.is_empty()), "a session with active players has one leader");
    let is_awaited =
        session.match_made.as_ref().is_some_and(|made| !made.was_entered) && !session.players.is_empty();
    prop_assert!(
        !active.is_empty() || session.made_by_service || is_awaited,
        "an empty session of players ends"
    );
    prop_assert!(!session.ended, "an ended session is not stored");
    if let Some(instance) = session.instance.as_ref().filter(|instance| instance.is_closed()) {
        prop_assert_eq!((&instance.allocation_id, instance.health), (&None, None), "of a closed instance");
    }
    for (team_id, team) in session.teams.iter().enumerate() {
        let taken = session.slots_taken(team_id);
        prop_assert!(overfilled || taken <= team.max_size, "only overfilling exceeds the size of a team");
    }
    prop_assert!(session.players.values().all(|entry| entry.team_id < session.teams.len()));
    for entry in session.players.values() {
        prop_assert_eq!(
            entry.joined.is_some(),
            entry.status.is_active(),
            "only active players have a join time"
        );
        prop_assert!(
            entry.status.is_active() || entry.given_rights.is_empty(),
            "only active players have rights"
        );
    }
    if let Some(ticket) = &session.matchmaking {
        prop_assert!(ticket.players.iter().eq(active.keys()), "a ticket has the active players of its party");
    }
    let sequences: BTreeSet<_> = session.players.values().map(|entry| entry.sequence).collect();
    prop_assert_eq!(sequences.len(), session.players.len(), "each entry has its own number");
    prop_assert!(sequences.last().is_none_or(|last| *last <= session.last_sequence));
    let host = session.instance.as_ref().and_then(|instance| instance.host_player);
    prop_assert!(host.is_none_or(|host| active.contains_key(&host)), "a host is an active player");
    for (platform, linked) in &session.platform_sessions {
        prop_assert!(linked.participants.iter().all(|player| active.contains_key(player)));
        let players = session.platform_players(*platform);
        prop_assert!(players.iter().all(|player| active.contains_key(&player.player)));
        prop_assert_eq!(
            players.iter().filter(|player| player.leader).count(),
            usize::from(!players.is_empty())
        );
    }
    Ok(())
}

/// Number of random sequences.
fn cases() -> u32 {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    cases.unwrap_or(48)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_consistent_after_every_operation(
        steps in prop::collection::vec((any_actor(), any_step()), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            world.settles().await;
            for (player, step) in &steps {
                let before = contents(&world.server).await;
                let status = world.run_step(*player, step).await;
                prop_assert!([200, 204, 400, 403, 404, 409, 422].contains(&status), "{status} {step:?}");
                if status >= 400 {
                    prop_assert_eq!(before, contents(&world.server).await, "a refusal changes nothing");
                }
                world.check().await?;
            }
            Ok(())
        })?;
    }
}
