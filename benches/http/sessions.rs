//! The stored sessions: made with the domain rules, each with players and a linked platform session.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use rallypoint::app::sessions::deadlines::Deadlines;
use rallypoint::config::Config;
use rallypoint::domain::client::{Client, Input, VersionCheck};
use rallypoint::domain::session::NewSession;
use rallypoint::domain::session::join::{JoinPath, JoinRules, Joiner};
use rallypoint::domain::session::listing::Listing;
use rallypoint::domain::{Actor, CustomData, Platform, PlatformSessionId, PlayerUuid, Session, SessionId};
use rallypoint::env::Clock;
use rallypoint::records::index;
use rallypoint::records::keys::{self, KEY_UPGRADE};
use rallypoint::store::{Backend, Batch, Embedded};
use uuid::Uuid;

use crate::support::Rng;

pub const PLATFORM: Platform = Platform::XboxLive;
const CREATED: &str = "2026-11-24T12:00:00.125Z";
/// Type of most sessions, as configured by default.
pub const GAME: &str = "game";
/// Type of sessions that are not listed, as configured by default.
pub const PARTY: &str = "party";
/// Type of sessions that a hundred players join: as `GAME`, with more slots.
const EVENT: &str = "event";
const EVENT_PLAYERS_PER_TEAM: usize = 60;
/// A queue in which nobody finds a match: parties of four never fill a side of ten.
pub const LARGE_QUEUE: &str = "large";
/// A queue in which any two players fit.
pub const DUEL_QUEUE: &str = "duel";
const QUEUES: &str = r#"
    [queues.large]
    match_making_template_group_id = "00000000-0000-4000-8000-0000000000a1"
    [queues.duel]
    match_making_template_group_id = "00000000-0000-4000-8000-0000000000a2"
    [[match_making_template_groups.00000000-0000-4000-8000-0000000000a1.templates]]
    profiles = ["large"]
    [[match_making_template_groups.00000000-0000-4000-8000-0000000000a2.templates]]
    profiles = ["duel"]
    [match_making_profiles.large]
    max_players_per_side = 10
    [match_making_profiles.duel]
"#;
/// Custom data of a session, and of each of its players, in bytes.
const CUSTOM_DATA_BYTES: [usize; 2] = [120, 60];
/// Sessions for each commit while filling.
const STORED_AT_ONCE: u64 = 500;
/// Distance between the seeds of two sessions: more than a session has players.
const PLAYER_NUMBERS: u64 = 1 << 8;

/// A kind of sessions.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Kind {
    /// Four players; one more joins and leaves.
    Game,
    /// The same, listed in the browser.
    Listed,
    /// A hundred players.
    Crowd,
    /// One player; a hundred more join and leave.
    Meeting,
}

impl Kind {
    pub fn name(self) -> String {
        self.to_possible_value().unwrap().get_name().to_owned()
    }

    pub const fn players(self) -> u64 {
        match self {
            Self::Game | Self::Listed => 4,
            Self::Crowd => 100,
            Self::Meeting => 1,
        }
    }

    const fn session_type(self) -> &'static str {
        match self {
            Self::Game | Self::Listed => GAME,
            Self::Crowd | Self::Meeting => EVENT,
        }
    }
}

/// A session by its number among those of its kind. The same number is the same session in every process.
#[derive(Clone, Copy)]
pub struct Which {
    pub kind: Kind,
    pub number: u64,
}

impl Which {
    /// Seed of its random data.
    fn seed(self) -> u64 {
        ((self.kind as u64) << 32) + self.number * PLAYER_NUMBERS
    }

    /// A reproducible uuid: of the session (0), or of one of its players.
    fn uuid(self, player: u64) -> Uuid {
        let mut rng = Rng(self.seed() + player);
        let mut high = || u128::from(rng.next_u31()) << 32 | u128::from(rng.next_u31());
        uuid::Builder::from_random_bytes((high() << 64 | high()).to_be_bytes()).into_uuid()
    }

    pub fn id(self) -> SessionId {
        self.uuid(0).into()
    }

    /// A player. The first one is the leader and has linked the platform session.
    pub fn player(self, player: u64) -> PlayerUuid {
        PlayerUuid(self.uuid(player))
    }

    /// A player who joins.
    pub fn joiner(self, player: u64) -> Joiner {
        Joiner {
            player: self.player(player),
            player_id: None,
            client: Some(Client {
                version: "1.0.0".into(),
                platform: PLATFORM,
                input: Input::Gamepad,
                device_type: None,
                crossplay: None,
            }),
            team_id: Some((player % 2) as usize),
            custom_data: Some(player_data(player)),
            password: None,
            friend: None,
            claims: Default::default(),
        }
    }

    /// The player who joins and leaves.
    pub fn newcomer(self) -> Joiner {
        self.joiner(self.kind.players() + 1)
    }

    /// The player who is invited. It is not the newcomer, who may still be in the session after another case.
    pub fn invited(self) -> Joiner {
        self.joiner(self.kind.players() + 2)
    }

    /// The id of the platform session: as long as those of consoles, in URL-safe base64.
    pub fn platform_session_id(self) -> PlatformSessionId {
        PlatformSessionId::parse(&Rng(self.seed()).text(48)).unwrap()
    }

    /// The number of the listing, if the session is listed.
    pub fn sequence(self) -> u64 {
        self.number + 1
    }
}

/// The custom data of a player.
pub fn player_data(player: u64) -> CustomData {
    [("skin".to_owned(), Rng(player).text(CUSTOM_DATA_BYTES[1]))].into()
}

/// The configuration of the server, without its paths.
pub fn config() -> Config {
    let mut config = Config::default();
    let mut event = config.templates[GAME].clone();
    event.players_per_team = EVENT_PLAYERS_PER_TEAM;
    config.templates.insert(EVENT.into(), event);
    for name in [GAME, EVENT] {
        config.templates.get_mut(name).unwrap().can_join_matchmaking = true;
    }
    let queues = Config::parse(QUEUES, "the queues of the bench", &[]).unwrap();
    config.queues = queues.queues;
    config.match_making_template_groups = queues.match_making_template_groups;
    config.match_making_profiles = queues.match_making_profiles;
    config
}

/// Makes sessions.
pub struct Sessions {
    config: Config,
}

impl Sessions {
    pub fn new() -> Self {
        Self { config: config() }
    }

    /// A session with its players on two teams and its linked platform session.
    pub fn session(&self, which: Which) -> Session {
        let (kind, rules) = (which.kind, rules());
        let new = NewSession {
            id: which.id(),
            session_type: kind.session_type().into(),
            now: rules.now,
            region_id: None,
            password: None,
        };
        let template = &self.config.templates[kind.session_type()];
        let mut session = Session::new(new, template);
        session.custom_data = [("map".to_owned(), Rng(which.number).text(CUSTOM_DATA_BYTES[0]))].into();
        session.enter_first(&which.joiner(1), rules.now).unwrap();
        for player in 2..=kind.players() {
            session.join(&which.joiner(player), JoinPath::Session, rules).unwrap();
        }
        let (linker, id) = (which.player(1), which.platform_session_id());
        let platform_template = template.platform_templates.get(&PLATFORM);
        session.link(Actor::Player(linker), Some(linker), PLATFORM, &id, platform_template).unwrap();
        if kind == Kind::Listed {
            let custom_data = session.custom_data.clone();
            let listing = Listing { sequence: which.sequence(), created: rules.now, custom_data };
            session.list(Actor::Player(linker), listing, Some(template)).unwrap();
        }
        session
    }

    /// The deadline of a session that is used now.
    pub fn deadline_from_now_ms(&self) -> i64 {
        let idle = Duration::from_secs(self.config.sessions.idle_s);
        Deadlines::new(i64::try_from(idle.as_millis()).unwrap()).new_deadline_ms(Clock::System.now_ms())
    }

    /// The commit with which a server stores a session.
    pub fn batch(&self, which: Which, deadline_ms: i64) -> Batch {
        let session = self.session(which);
        let planned = index::plan(None, &session, usize::MAX).unwrap();
        planned
            .batch
            .put(keys::deadline_of(&session.id), deadline_ms.to_be_bytes().to_vec())
            .put(keys::due(deadline_ms, &session.id), Vec::new())
    }

    /// Stores `count` sessions of a kind in a data directory, as a server does.
    pub async fn fill(&self, dir: &Path, kind: Kind, count: u64) {
        let store = Embedded::open(dir, KEY_UPGRADE).unwrap();
        self.store(&store, kind, 0..count, self.deadline_from_now_ms()).await;
        store.close().await.unwrap();
    }

    /// Stores sessions of a kind, all with the same deadline.
    pub async fn store(&self, store: &Embedded, kind: Kind, numbers: Range<u64>, deadline_ms: i64) {
        for start in numbers.clone().step_by(STORED_AT_ONCE as usize) {
            let mut all = Batch::default();
            for number in start..numbers.end.min(start + STORED_AT_ONCE) {
                let one = self.batch(Which { kind, number }, deadline_ms);
                all.expect.extend(one.expect);
                all.put.extend(one.put);
            }
            store.commit(all).await.unwrap();
        }
    }
}

pub fn rules() -> JoinRules {
    JoinRules {
        now: CREATED.parse().unwrap(),
        version_check: VersionCheck::Off,
        trust_friends: false,
        kicked_need_invite: true,
    }
}
