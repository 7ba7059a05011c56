//! What is stored: sessions made by the rules, each with players and a linked platform session.

use std::path::Path;
use std::time::Duration;

use rallypoint::app::{Deadlines, index};
use rallypoint::config::Config;
use rallypoint::domain::client::{Client, Input, VersionCheck};
use rallypoint::domain::join::{Door, JoinRules, Joiner};
use rallypoint::domain::session::NewSession;
use rallypoint::domain::template::Template;
use rallypoint::domain::{Actor, Platform, PlatformSessionId, PlayerUuid, Session};
use rallypoint::env::Clock;
use rallypoint::store::{Backend, Batch, Embedded, Version, keys};
use uuid::Uuid;

use crate::support::Dice;

pub const PLATFORM: Platform = Platform::XboxLive;
const SESSION_TYPE: &str = "game";
const CREATED: &str = "2026-11-24T12:00:00.125Z";
/// Players of a session; one more comes and goes.
const PLAYERS: u64 = 4;
/// Bytes of custom data: of a session, and of each of its players.
const CUSTOM_DATA_BYTES: [usize; 2] = [120, 60];
/// Sessions stored with one commit.
const STORED_AT_ONCE: u64 = 500;

/// Sessions by number. The same number is the same session in every process.
pub struct Sessions {
    template: Template,
}

impl Sessions {
    pub fn new() -> Self {
        Self { template: Config::default().templates[SESSION_TYPE].clone() }
    }

    /// A session: four players on two teams, and the platform session that the first of them linked.
    pub fn session(&self, number: u64) -> Session {
        let rules = rules();
        let new = NewSession {
            id: uuid(number, 0).into(),
            session_type: SESSION_TYPE.into(),
            now: rules.now,
            region_id: None,
            password: None,
        };
        let mut session = Session::new(new, &self.template);
        session.custom_data = [("map".to_owned(), Dice(number).text(CUSTOM_DATA_BYTES[0]))].into();
        session.enter_first(&joiner(number, 1), rules.now).unwrap();
        for player in 2..=PLAYERS {
            session.join(&joiner(number, player), Door::Session, rules).unwrap();
        }
        let (linker, id) = (player(number), platform_session_id(number));
        let template = self.template.platform_templates.get(&PLATFORM);
        session.link(Actor::Player(linker), Some(linker), PLATFORM, &id, template).unwrap();
        session
    }

    /// The same session with the newcomer in it.
    fn joined(&self, number: u64) -> Session {
        let mut session = self.session(number);
        session.join(&newcomer(number), Door::Session, rules()).unwrap();
        session
    }

    /// Stores so many sessions in a data directory, as a server would have.
    pub async fn fill(&self, dir: &Path, count: u64) {
        let store = Embedded::open(dir).unwrap();
        let idle = Duration::from_secs(Config::default().sessions.idle_s);
        let deadline_ms = Deadlines::new(idle).from_now(Clock::System.now_ms());
        for start in (0..count).step_by(STORED_AT_ONCE as usize) {
            let mut all = Batch::default();
            for number in start..count.min(start + STORED_AT_ONCE) {
                let session = self.session(number);
                let one = index::plan(None, &session).unwrap();
                all.expect.extend(one.expect);
                all.put.extend(one.put);
                all = all
                    .put(keys::deadline_of(&session.id), deadline_ms.to_be_bytes().to_vec())
                    .put(keys::due(deadline_ms, &session.id), Vec::new());
            }
            store.commit(all).await.unwrap();
        }
        store.close().await.unwrap();
    }

    /// The commits of the newcomer's coming and going; whoever commits them puts in the session's true version.
    pub fn join_and_leave(&self, number: u64) -> [Batch; 2] {
        let (without, with) = (self.session(number), self.joined(number));
        let plan = |before, after| index::plan(Some((before, Version(0))), after).unwrap();
        [plan(&without, &with), plan(&with, &without)]
    }
}

fn rules() -> JoinRules {
    JoinRules { now: CREATED.parse().unwrap(), version_check: VersionCheck::Off, trust_friends: false }
}

/// A repeatable uuid: of a session (0), or of one of its players.
fn uuid(session: u64, player: u64) -> Uuid {
    let mut dice = Dice(session * (PLAYERS + 2) + player);
    let mut high = || u128::from(dice.roll()) << 32 | u128::from(dice.roll());
    uuid::Builder::from_random_bytes((high() << 64 | high()).to_be_bytes()).into_uuid()
}

/// The first player of a session, who is in its platform session.
pub fn player(session: u64) -> PlayerUuid {
    PlayerUuid(uuid(session, 1))
}

/// The player who comes and goes.
pub fn newcomer(session: u64) -> Joiner {
    joiner(session, PLAYERS + 1)
}

/// The id of a session's platform session: as long as those of consoles, in URL-safe base64.
pub fn platform_session_id(session: u64) -> PlatformSessionId {
    PlatformSessionId::parse(&Dice(session).text(48)).unwrap()
}

fn joiner(session: u64, player: u64) -> Joiner {
    Joiner {
        player: PlayerUuid(uuid(session, player)),
        player_id: None,
        client: Some(Client {
            version: "1.0.0".into(),
            platform: PLATFORM,
            input: Input::Gamepad,
            device_type: None,
            crossplay: None,
        }),
        team_id: Some((player % 2) as usize),
        custom_data: Some([("skin".to_owned(), Dice(player).text(CUSTOM_DATA_BYTES[1]))].into()),
        password: None,
        friend: None,
    }
}
