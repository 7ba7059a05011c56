//! Random sequences of operations by several players over HTTP; after each step, everything in the store agrees.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use rallypoint::app::index;
use rallypoint::domain::session::Status;
use rallypoint::domain::{Platform, Session};
use rallypoint::store::keys;
use serde_json::{Value, json};

use crate::harness::{Client, Server, contents, creation, joining, link_path, platform_path};

const PLATFORMS: [Platform; 3] = [Platform::XboxLive, Platform::PSN, Platform::Steam];
const IDS: [&str; 3] = ["YQ==", "Yg==", "Yw=="];

/// What a player does; numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Create { game: bool },
    Join { session: usize, team: usize },
    JoinThrough { platform: usize, id: usize },
    Leave { session: usize },
    LeaveThrough { platform: usize, id: usize },
    Link { session: usize, platform: usize, id: usize },
    Unlink { session: usize, platform: usize, id: usize },
    Open { session: usize, open: bool },
    Reshape { session: usize, sizes: Vec<u8> },
    End { session: usize },
}

fn any_step() -> impl Strategy<Value = Step> {
    let (session, platform, id) = (0..4_usize, 0..PLATFORMS.len(), 0..IDS.len());
    prop_oneof![
        3 => any::<bool>().prop_map(|game| Step::Create { game }),
        5 => (session.clone(), 0..3_usize).prop_map(|(session, team)| Step::Join { session, team }),
        4 => (platform.clone(), id.clone()).prop_map(|(platform, id)| Step::JoinThrough { platform, id }),
        3 => session.clone().prop_map(|session| Step::Leave { session }),
        2 => (platform.clone(), id.clone()).prop_map(|(platform, id)| Step::LeaveThrough { platform, id }),
        5 => (session.clone(), platform.clone(), id.clone())
            .prop_map(|(session, platform, id)| Step::Link { session, platform, id }),
        3 => (session.clone(), platform, id).prop_map(|(session, platform, id)| Step::Unlink { session, platform, id }),
        2 => (session.clone(), any::<bool>()).prop_map(|(session, open)| Step::Open { session, open }),
        1 => (session.clone(), prop::collection::vec(1..5_u8, 0..4))
            .prop_map(|(session, sizes)| Step::Reshape { session, sizes }),
        1 => session.prop_map(|session| Step::End { session }),
    ]
}

struct World {
    server: Server,
    players: Vec<Client>,
    sessions: Vec<String>,
}

impl World {
    fn new() -> Self {
        let server = Server::new();
        let platforms = [Platform::XboxLive, Platform::XboxLive, Platform::PSN, Platform::Steam];
        let players = platforms.map(|platform| server.player_on(platform)).to_vec();
        Self { server, players, sessions: Vec::new() }
    }

    fn session(&self, index: usize) -> String {
        // Counted from the newest, so that steps meet.
        self.sessions.iter().rev().nth(index).cloned().unwrap_or_else(|| "none".into())
    }

    async fn take(&mut self, player: usize, step: &Step) -> u16 {
        let player = &self.players[player];
        let path = |session: &usize| format!("/v1/session/{}", self.session(*session));
        let through = |platform: &usize, id: &usize| platform_path(PLATFORMS[*platform].name(), IDS[*id]);
        let linked = |session: &usize, platform: &usize, id: &usize| {
            link_path(PLATFORMS[*platform].name(), IDS[*id], &self.session(*session))
        };
        let reply = match step {
            Step::Create { game } => {
                let created =
                    player.post("/v1/session", &creation(if *game { "game" } else { "party" })).await;
                if let Some(session) = created.body["session_id"].as_str()
                    && !self.sessions.iter().any(|known| known == session)
                {
                    self.sessions.push(session.to_owned());
                }
                created
            }
            Step::Join { session, team } => {
                let mut body = joining();
                body["team_id"] = json!(team);
                player.post(&format!("{}/player/me", path(session)), &body).await
            }
            Step::JoinThrough { platform, id } => {
                player.post(&format!("{}/player/me", through(platform, id)), &joining()).await
            }
            Step::Leave { session } => player.delete(&format!("{}/player/me", path(session))).await,
            Step::LeaveThrough { platform, id } => {
                player.delete(&format!("{}/player/me", through(platform, id))).await
            }
            Step::Link { session, platform, id } => {
                player.post(&linked(session, platform, id), &Value::Null).await
            }
            Step::Unlink { session, platform, id } => player.delete(&linked(session, platform, id)).await,
            Step::Open { session, open } => player.patch(&path(session), &json!({"joinable": open})).await,
            Step::Reshape { session, sizes } => {
                let teams: Vec<_> = sizes.iter().map(|size| json!({"max_size": size})).collect();
                player.patch(&path(session), &json!({ "teams": teams })).await
            }
            Step::End { session } => player.delete(&path(session)).await,
        };
        reply.status.as_u16()
    }

    async fn check(&self) -> Result<(), TestCaseError> {
        let stored = contents(&self.server).await;
        let mut expected = BTreeSet::new();
        let (from, to) = keys::all_sessions();
        for (key, value) in stored.range(from..to) {
            let session = index::decode(value).unwrap();
            prop_assert_eq!(key, &keys::session(&session.id));
            check_session(&session)?;
            expected.insert(key.clone());
            expected.extend(session.players.keys().map(|player| keys::membership(*player, &session.id)));
            let platform_sessions = session.platform_sessions.iter();
            expected.extend(
                platform_sessions.map(|(platform, linked)| keys::platform_session(*platform, &linked.id)),
            );
            if session.takes_strangers() {
                expected.insert(keys::open(
                    &session.session_type,
                    session.created.as_millisecond(),
                    &session.id,
                ));
            }
            let deadline = keys::deadline_of(&session.id);
            let due_ms = i64::from_be_bytes(stored[&deadline].as_ref().try_into().unwrap());
            expected.insert(keys::due(due_ms, &session.id));
            expected.insert(deadline);
            self.check_readers(&session).await?;
        }
        // Nothing is missing, and nothing names what is not there.
        prop_assert_eq!(stored.into_keys().collect::<BTreeSet<_>>(), expected);
        Ok(())
    }

    /// What players read agrees with what is stored.
    async fn check_readers(&self, session: &Session) -> Result<(), TestCaseError> {
        let admin = self.server.service(&["session:*"]);
        let whole = admin.session(session.id.as_str()).await.expect(200);
        for linked in whole.body["platform_session"].as_array().unwrap() {
            let path = platform_path(
                linked["platform"].as_str().unwrap(),
                linked["platform_session_id_base64"].as_str().unwrap(),
            );
            prop_assert_eq!(&admin.get(&path).await.expect(200).body, linked);
        }
        for player in session.players.keys() {
            let list = admin.get(&format!("/v1/player/{player}/session")).await.expect(200);
            let of_type = &list.body["sessions"][&session.session_type]["session_ids"];
            prop_assert!(of_type.as_array().unwrap().contains(&json!(session.id.as_str())));
        }
        Ok(())
    }
}

fn check_session(session: &Session) -> Result<(), TestCaseError> {
    let leaders = session.players.values().filter(|entry| entry.status == Status::Leader).count();
    let active: BTreeMap<_, _> = session.active_players().into_iter().collect();
    prop_assert_eq!(leaders, usize::from(!active.is_empty()), "one leader while anyone is active");
    prop_assert!(!active.is_empty() && !session.ended, "an empty session ends");
    for (team_id, team) in session.teams.iter().enumerate() {
        prop_assert!(session.places_taken(team_id, None) <= team.max_size, "no team is over its size");
    }
    prop_assert!(session.players.values().all(|entry| entry.team_id < session.teams.len()));
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_players_do_the_store_agrees_with_itself(
        steps in prop::collection::vec((0..4_usize, any_step()), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for (player, step) in &steps {
                let before = contents(&world.server).await;
                let status = world.take(*player, step).await;
                prop_assert!([200, 204, 400, 403, 404, 422].contains(&status), "{status}");
                if status >= 400 {
                    prop_assert_eq!(before, contents(&world.server).await, "a refusal changes nothing");
                }
                world.check().await?;
            }
            Ok(())
        })?;
    }
}
