//! The cases: which requests callers send, and which changes of the store these make.

use std::path::Path;

use clap::ValueEnum;
use rallypoint::domain::session::invite::{Invite, Overflow};
use rallypoint::domain::session::join::{JoinPath, Joiner};
use rallypoint::domain::{Actor, Session};
use rallypoint::records::UnknownFields;
use rallypoint::records::index::{self, Before};
use rallypoint::store::{Batch, Version};

use crate::load::Pace;
use crate::requests::{self, BROWSER_PAGE_SIZE, Request, token};
use crate::sessions::{Kind, Sessions, Which, rules};

/// Number of callers: connections to a server, or tasks on the bare store.
pub const CALLERS: u64 = 64;
/// Sessions that each caller requests in turn: 1,024 in all, each with a player and a token of its own.
pub const SESSIONS_EACH: u64 = 16;
/// Players who join one session at the same moment.
const JOIN_AT_ONCE: u64 = 100;
/// Sessions of a hundred players. Each is requested on one connection, by several of its players.
const CROWDS: u64 = CALLERS;

/// A case. Cases with the same stored sessions are next to each other.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Case {
    /// Get Platform Session Info by a member.
    Get,
    /// The same, answered 304.
    #[value(name = "304")]
    NotModified,
    /// Get Session by a member, of a session of four players.
    Session,
    /// The same, answered 304.
    #[value(name = "session-304")]
    SessionNotModified,
    /// Get Session by the members of sessions of a hundred players.
    Crowd,
    /// The same, answered 304.
    #[value(name = "crowd-304")]
    CrowdNotModified,
    /// The list of a player's sessions, which has one entry.
    List,
    /// Players join and leave. Each response follows an fsync.
    Join,
    /// Leaders invite a player, and revoke the invite.
    Invite,
    /// Leaders move a player to the other team and back.
    Move,
    /// A hundred players join one session at the same moment, and then leave it at the same moment.
    JoinAtOnce,
    /// Pages of the session browser, at positions spread over all listings.
    Browser,
}

impl Case {
    /// Fills a data directory with `stored` sessions of a kind, and with the few that other cases need.
    pub async fn fill(dir: &Path, kind: Kind, stored: u64) {
        let sessions = Sessions::new();
        for (kind, count) in [(kind, stored), (Kind::Crowd, CROWDS), (Kind::Meeting, 1)] {
            sessions.fill(dir, kind, count).await;
        }
    }

    pub fn name(self) -> String {
        self.to_possible_value().unwrap().get_name().to_owned()
    }

    /// The kind of most sessions that are stored for the case.
    pub const fn stored(self) -> Kind {
        if matches!(self, Self::Browser) { Kind::Listed } else { Kind::Game }
    }

    /// Whether the requests have an `If-None-Match` header.
    pub const fn is_conditional(self) -> bool {
        matches!(self, Self::NotModified | Self::SessionNotModified | Self::CrowdNotModified)
    }

    /// Whether the fast path answers the requests.
    pub const fn is_fast(self) -> bool {
        matches!(self, Self::Get | Self::NotModified | Self::Session | Self::SessionNotModified)
    }

    /// Whether the requests change sessions.
    pub const fn is_change(self) -> bool {
        matches!(self, Self::Join | Self::Invite | Self::Move | Self::JoinAtOnce)
    }

    /// Number of requests after which a session is unchanged.
    pub const fn steps(self) -> usize {
        if self.is_change() { 2 } else { 1 }
    }

    /// Whether all callers send at the same moment, and again once all have their response.
    pub const fn is_at_once(self) -> bool {
        matches!(self, Self::JoinAtOnce)
    }

    /// When the callers send the next request.
    pub const fn pace(self) -> Pace {
        if self.is_at_once() { Pace::AtOnce } else { Pace::Freely }
    }

    /// The sessions that each caller requests in turn, spread evenly over the `stored` ones. Of crowds and meetings
    /// there are few, which several callers share. Callers of different sets get different sessions.
    pub fn sessions_of_callers(self, stored: u64, set: u64) -> Vec<Vec<Which>> {
        let stride = stored / (CALLERS * SESSIONS_EACH);
        assert!(set == 0 || set < stride, "{stored} sessions are too few for so many callers");
        let spread = |kind, caller| {
            let numbers = (0..SESSIONS_EACH).map(|turn| (caller * SESSIONS_EACH + turn) * stride + set);
            numbers.map(|number| Which { kind, number }).collect()
        };
        match self {
            Self::Crowd | Self::CrowdNotModified => (0..CROWDS)
                .map(|number| vec![Which { kind: Kind::Crowd, number }; SESSIONS_EACH as usize])
                .collect(),
            Self::JoinAtOnce => {
                (0..JOIN_AT_ONCE).map(|_| vec![Which { kind: Kind::Meeting, number: 0 }]).collect()
            }
            Self::Browser => (0..CALLERS).map(|caller| spread(Kind::Listed, caller)).collect(),
            _ => (0..CALLERS).map(|caller| spread(Kind::Game, caller)).collect(),
        }
    }

    /// The requests that each caller sends in turn.
    pub fn requests(self, stored: u64, set: u64) -> Vec<Vec<Request>> {
        let callers = self.sessions_of_callers(stored, set).into_iter().zip(0..);
        let of_caller = |(its, caller): (Vec<_>, u64)| {
            let requests = |(which, turn)| self.request(which, caller, turn);
            its.into_iter().zip(0..).flat_map(requests).collect()
        };
        callers.map(of_caller).collect()
    }

    /// Asserts that a response has the expected number of players, or of listed sessions.
    pub fn check(self, body: &str) {
        let (shown, count) = match self {
            Self::Session => ("\"joined\":", Kind::Game.players() as usize),
            Self::Crowd => ("\"joined\":", Kind::Crowd.players() as usize),
            Self::Browser => ("\"player_count\":", BROWSER_PAGE_SIZE),
            _ => return,
        };
        assert_eq!(body.matches(shown).count(), count, "{body}");
    }

    fn request(self, which: Which, caller: u64, turn: u64) -> Vec<Request> {
        let leader_token = || token(which.player(1));
        match self {
            Self::Get | Self::NotModified => vec![requests::platform_session(which, &leader_token())],
            Self::Session | Self::SessionNotModified => vec![requests::session(which, &leader_token())],
            Self::Crowd | Self::CrowdNotModified => {
                vec![requests::session(which, &token(which.player(1 + turn)))]
            }
            Self::List => vec![requests::own_sessions(&leader_token())],
            Self::Browser => vec![requests::browser(which, &leader_token())],
            Self::Join => requests::join_and_leave(which, which.newcomer()).into(),
            Self::Invite => requests::invite_and_revoke(which).into(),
            Self::Move => requests::move_there_and_back(which).into(),
            Self::JoinAtOnce => requests::join_and_leave(which, guest(which, caller)).into(),
        }
    }

    /// The commits that the requests make to a session, which is unchanged after the last one. The caller must set the
    /// session's version in each.
    pub fn batches(self, sessions: &Sessions, which: Which) -> Vec<Batch> {
        let mut session = sessions.session(which);
        let start = session.clone();
        let mut batches = Vec::new();
        let mut step = |change: &dyn Fn(&mut Session)| {
            let before = session.clone();
            change(&mut session);
            let unknown = UnknownFields::default();
            let before = Before { session: &before, unknown: &unknown, version: Version(0) };
            batches.push(index::plan(Some(before), &session, usize::MAX).unwrap().batch);
        };
        let leader = Actor::Player(which.player(1));
        match self {
            Self::Join => {
                let newcomer = which.newcomer();
                step(&|session| session.join(&newcomer, JoinPath::Session, rules()).unwrap());
                step(&|session| session.leave(newcomer.player, rules().now).unwrap());
            }
            Self::Invite => {
                let player = which.invited().player;
                step(&|session| session.invite(leader, player, &invite(which)).unwrap());
                step(&|session| session.kick(leader, player, rules().now).unwrap());
            }
            Self::Move => {
                let (player, here) = (which.player(2), which.joiner(2).team_id.unwrap());
                for team_id in [1 - here, here] {
                    step(&|session| session.move_to(leader, player, Some(team_id), true).unwrap());
                }
            }
            Self::JoinAtOnce => {
                let guests = || (0..JOIN_AT_ONCE).map(|caller| guest(which, caller));
                guests().for_each(|guest| {
                    step(&|session| session.join(&guest, JoinPath::Session, rules()).unwrap());
                });
                guests().for_each(|guest| step(&|session| session.leave(guest.player, rules().now).unwrap()));
            }
            _ => panic!("{} makes no changes", self.name()),
        }
        assert_eq!(session.players, start.players);
        batches
    }
}

/// The player of a caller who joins a meeting.
fn guest(which: Which, caller: u64) -> Joiner {
    which.joiner(which.kind.players() + 1 + caller)
}

/// The invite that a leader sends.
fn invite(which: Which) -> Invite {
    let invited = which.invited();
    Invite {
        reserve: false,
        team_id: invited.team_id,
        overflow: Overflow::Fail,
        custom_data: invited.custom_data.unwrap(),
        inviting_player: Some(which.player(1)),
        source_session: None,
        now: rules().now,
    }
}
