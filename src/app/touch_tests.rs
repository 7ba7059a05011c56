//! Which reads keep a session alive, and which count as heartbeats.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::app::Update;
use crate::app::launches::LaunchSettings;
use crate::auth::{DevelopmentKey, Grant, KeyRing, Policy};
use crate::config::Config;
use crate::domain::PlayerUuid;
use crate::domain::fixtures::{self, player};
use crate::env::{Clock, Entropy};
use crate::runtime::server;
use crate::store::{Memory, Store};

const READ: Policy = Policy::any(&[Permission::ReadAny]).or_own(&[Permission::ReadSelf]);

/// An application with one session: player 1 leads it, player 2 is a member, player 3 is invited. Active players time
/// out after a minute.
struct Case {
    app: App,
    key: DevelopmentKey,
    cached: Arc<CachedSession>,
}

impl Case {
    async fn new() -> Self {
        let entropy = Entropy::seeded(1);
        let dir = tempfile::tempdir().unwrap();
        let key = DevelopmentKey::load_or_create(dir.path(), &entropy).unwrap();
        let ring = Arc::new(KeyRing::new(key.key_set()));
        let (store, clock) = (Store::Memory(Memory::default()), Clock::manual(fixtures::created()));
        let app = server::new_app(
            &Config::default(),
            store,
            ring,
            LaunchSettings::default(),
            (clock, entropy),
            Arc::default(),
        );
        let mut session = fixtures::session("L1 M2 I3");
        session.culling_timeout_s = Some(60);
        let cached = app.sessions.create(session).await.unwrap();
        Self { app, key, cached }
    }

    fn caller(&self, player: Option<PlayerUuid>, permission: &str) -> Caller {
        let (permissions, ttl) = (vec![permission.to_owned()], Duration::from_secs(100_000));
        let grant = Grant { player, permissions, platform: None, player_id: None, ttl };
        let token = self.key.sign(&grant, self.app.clock.now());
        READ.admit(self.app.verifier.verify(&token).unwrap()).unwrap()
    }
}

#[tokio::test]
async fn reads_by_players_with_an_entry_and_by_services_keep_a_session_alive() {
    for (reader, permission, keeps_alive, expected) in [
        (Some(1), "session:read:self", true, true),
        (Some(1), "session:read:self", false, false),
        (Some(3), "session:read:self", true, true),
        (Some(9), "session:read:self", true, false),
        (Some(9), "session:read:any", true, true),
        (None, "session:read:any", true, true),
    ] {
        let case = Case::new().await;
        let before_ms = case.cached.deadline_ms();
        case.app.clock.advance(Duration::from_secs(1_800));
        let caller = case.caller(reader.map(player), permission);
        touch(&case.app, &caller, Arc::clone(&case.cached), keeps_alive).await.unwrap();
        let is_later = case.cached.deadline_ms() > before_ms;
        assert_eq!(is_later, expected, "{reader:?} {permission} {keeps_alive}");
    }
}

#[tokio::test]
async fn a_read_while_the_clock_was_ahead_lengthens_no_life() {
    const AHEAD_MS: i64 = 1_800_000;
    let case = Case::new().await;
    let life_ms = case.cached.deadline_ms() - case.app.clock.now_ms();
    let caller = case.caller(Some(player(1)), "session:read:self");
    case.app.clock.step(AHEAD_MS);
    touch(&case.app, &caller, Arc::clone(&case.cached), true).await.unwrap();
    assert_eq!(case.cached.deadline_ms(), case.app.clock.now_ms() + life_ms, "to be written later");
    case.app.clock.step(-AHEAD_MS);
    case.app.sessions.flush_deadlines().await;
    assert_eq!(case.cached.deadline_ms(), case.app.clock.now_ms() + life_ms);
    let life = Duration::from_millis(u64::try_from(life_ms).unwrap());
    // The first round sees the step; the timeouts start again.
    case.app.sessions.expire_due(|| false).await.unwrap();
    case.app.clock.advance(life);
    assert_eq!(case.app.sessions.expire_due(|| false).await.unwrap().ended, 1);
}

#[tokio::test]
async fn reads_by_active_players_are_heartbeats() {
    let case = Case::new().await;
    case.app.clock.advance(Duration::from_secs(50));
    for reader in [1, 3, 9] {
        let caller = case.caller(Some(player(reader)), "session:read:self");
        touch(&case.app, &caller, Arc::clone(&case.cached), false).await.unwrap();
    }
    case.app.clock.advance(Duration::from_secs(50));
    case.app.presence.expire_inactive().await.unwrap();
    let session = case.app.sessions.get(&case.cached.session.id).await.unwrap();
    let players: Vec<_> = session.session.players.keys().copied().collect();
    assert_eq!(players, [player(1), player(3)], "player 2 was inactive for 100 s");
}

/// A read finds the session, and waits for the session's lock to store a new deadline. A change has the lock.
#[tokio::test]
async fn a_read_shows_what_has_changed_while_it_waited() {
    let case = Case::new().await;
    let life_ms = case.cached.deadline_ms() - case.app.clock.now_ms();
    case.app.clock.advance(Duration::from_millis(u64::try_from(life_ms - 1_000).unwrap()));
    let change = |session: &mut crate::domain::Session| {
        session.region_id = Some("us".into());
        Ok(())
    };
    let caller = case.caller(Some(player(1)), "session:read:self");
    let id = &case.cached.session.id;
    let changed = case.app.sessions.update(id, Update::by_server(false), change);
    let read = touch(&case.app, &caller, Arc::clone(&case.cached), true);
    let (changed, read) = tokio::join!(changed, read);
    changed.unwrap();
    assert!(case.cached.is_stale());
    assert_eq!(read.unwrap().session.region_id.as_deref(), Some("us"));
}
