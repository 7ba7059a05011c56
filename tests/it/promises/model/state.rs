//! The state of the model: plain structs, and the checks that many rules share.

use std::collections::{BTreeMap, BTreeSet};

use super::instances::Instance;
use super::setup::{Kind, Setup};
use super::step::{GameClient, Right, Standing};

/// A `custom_data` map.
pub type Data = BTreeMap<String, String>;

/// A refusal: HTTP status and error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct No(pub u16, pub &'static str);

/// The caller: a player, by index, and whether the caller has every permission.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub player: Option<usize>,
    pub any: bool,
}

/// A player's entry in a session.
#[derive(Clone, Debug)]
pub struct Seat {
    pub player: usize,
    /// Numbers the entries of a session in the order of their creation.
    pub number: u64,
    pub standing: Standing,
    pub team: usize,
    pub data: Data,
    pub client: Option<GameClient>,
    pub player_id: Option<i64>,
    pub inviter: Option<usize>,
    pub source: Option<String>,
    pub invited_s: Option<i64>,
    pub joined_s: Option<i64>,
    pub lent: BTreeSet<Right>,
    /// The time of the player's last heartbeat.
    pub asked_s: i64,
}

impl Seat {
    pub fn is_active(&self) -> bool {
        matches!(self.standing, Standing::Member | Standing::Leader)
    }

    pub fn rights(&self) -> BTreeSet<Right> {
        match self.standing {
            Standing::Leader => Right::ALL.into(),
            _ => self.lent.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Team {
    pub size: usize,
    pub data: Option<Data>,
}

/// A linked platform session.
#[derive(Clone, Debug)]
pub struct Link {
    pub platform: usize,
    pub id: usize,
    /// Players who linked it or joined through it.
    pub through: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
pub struct Listing {
    /// Numbers listings in the order of their creation.
    pub number: u64,
    pub listed_s: i64,
    pub data: Data,
}

#[derive(Clone, Debug)]
pub struct Session {
    pub id: String,
    pub kind: Kind,
    pub created_s: i64,
    pub region: Option<&'static str>,
    pub open: bool,
    pub friends: bool,
    pub platform: bool,
    pub password: Option<&'static str>,
    pub teams: Vec<Team>,
    pub seats: Vec<Seat>,
    pub last_number: u64,
    pub data: Data,
    pub links: Vec<Link>,
    pub code: Option<String>,
    pub listing: Option<Listing>,
    pub instance: Option<Instance>,
    /// When the session was last used. It ends at the idle time after that.
    pub asked_s: i64,
    pub ended: bool,
}

impl Session {
    pub fn seat(&self, player: usize) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.player == player)
    }

    pub fn seat_mut(&mut self, player: usize) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.player == player)
    }

    /// The entry of a player who must have one.
    pub fn found(&self, player: usize) -> Result<&Seat, No> {
        self.seat(player).ok_or(No(404, "player_not_found"))
    }

    pub fn is_active(&self, player: usize) -> bool {
        self.seat(player).is_some_and(Seat::is_active)
    }

    pub fn leads(&self, player: usize) -> bool {
        self.seat(player).is_some_and(|seat| seat.standing == Standing::Leader)
    }

    /// Active players, longest active first.
    pub fn active(&self, setup: &Setup) -> Vec<&Seat> {
        let mut active: Vec<_> = self.seats.iter().filter(|seat| seat.is_active()).collect();
        active.sort_by_key(|seat| (seat.joined_s, setup.players[seat.player].uuid));
        active
    }

    /// Slots of a team that are taken by other players than this one.
    pub fn taken_but_by(&self, team: usize, player: usize) -> usize {
        self.seats.iter().filter(|seat| seat.team == team && seat.player != player).count()
    }

    pub fn taken(&self, team: usize) -> usize {
        self.taken_but_by(team, usize::MAX)
    }

    /// Whether a team has a slot for a player. A player who is on the team has one.
    pub fn has_place_for(&self, team: usize, player: usize) -> bool {
        let sits_there = self.seat(player).is_some_and(|seat| seat.team == team);
        sits_there || self.taken(team) < self.teams[team].size
    }

    pub fn require_active(&self, caller: Caller) -> Result<(), No> {
        if caller.any || caller.player.is_some_and(|player| self.is_active(player)) {
            return Ok(());
        }
        Err(No(403, "not_active_in_session"))
    }

    pub fn require_leader(&self, caller: Caller) -> Result<(), No> {
        self.require_active(caller)?;
        if caller.any || caller.player.is_some_and(|player| self.leads(player)) {
            return Ok(());
        }
        Err(No(403, "not_session_leader"))
    }

    pub fn holds(&self, caller: Caller, right: Right) -> bool {
        let seat = caller.player.and_then(|player| self.seat(player));
        caller.any || seat.is_some_and(|seat| seat.is_active() && seat.rights().contains(&right))
    }

    pub fn require_right(&self, caller: Caller, right: Right) -> Result<(), No> {
        self.require_active(caller)?;
        if self.holds(caller, right) { Ok(()) } else { Err(No(403, "session_right_missing")) }
    }
}

/// The whole state.
pub struct Model {
    pub setup: Setup,
    pub now_s: i64,
    /// Sessions that have not ended, oldest first.
    pub sessions: Vec<Session>,
    /// The numeric ids that tokens of joiners have named.
    pub player_ids: BTreeMap<i64, usize>,
    /// The number of the last listing.
    pub listings: u64,
}

impl Model {
    pub fn new(setup: Setup, now_s: i64) -> Self {
        Self { setup, now_s, sessions: Vec::new(), player_ids: BTreeMap::new(), listings: 0 }
    }

    /// A session by its id, or by its short code in any case.
    pub fn session(&self, name: &str) -> Result<&Session, No> {
        let is_named = |session: &&Session| {
            session.id == name || session.code.as_ref().is_some_and(|code| code.eq_ignore_ascii_case(name))
        };
        self.sessions.iter().find(is_named).ok_or(No(404, "session_not_found"))
    }

    /// The session that a platform session is linked to.
    pub fn linked(&self, platform: usize, id: usize) -> Result<&Session, No> {
        let is_it = |link: &Link| (link.platform, link.id) == (platform, id);
        let found = self.sessions.iter().find(|session| session.links.iter().any(is_it));
        found.ok_or(No(404, "platform_session_not_found"))
    }

    /// Every linked platform session: its platform and id.
    pub fn links(&self) -> Vec<(usize, usize)> {
        let links = self.sessions.iter().flat_map(|session| &session.links);
        links.map(|link| (link.platform, link.id)).collect()
    }

    /// Changes a session by a rule, completely or not at all. A change keeps the session alive.
    pub fn change<T>(
        &mut self,
        name: &str,
        rule: impl FnOnce(&mut Session, &Setup, i64) -> Result<T, No>,
    ) -> Result<T, No> {
        let mut changed = self.session(name)?.clone();
        let answer = rule(&mut changed, &self.setup, self.now_s)?;
        changed.asked_s = self.now_s;
        self.put(changed);
        Ok(answer)
    }

    /// Stores the new state of a session. An ended session is removed.
    pub fn put(&mut self, changed: Session) {
        let index = self.sessions.iter().position(|session| session.id == changed.id);
        let index = index.expect("the session lives");
        if changed.ended {
            self.sessions.remove(index);
        } else {
            self.sessions[index] = changed;
        }
    }

    /// Notes that a caller has read a session. Reads by outsiders do not keep it alive.
    pub fn ask(&mut self, caller: Caller, id: &str, refresh: bool) {
        let now_s = self.now_s;
        let Some(session) = self.sessions.iter_mut().find(|session| session.id == id) else { return };
        let seat = caller.player.and_then(|player| session.seat_mut(player));
        let belongs = seat.is_some();
        if let Some(seat) = seat {
            seat.asked_s = now_s;
        }
        if refresh && (caller.any || belongs) {
            session.asked_s = now_s;
        }
    }

    /// The number of other sessions in which a player is active, or has an invite or reservation.
    pub fn others(&self, player: usize, id: &str, active: bool) -> usize {
        let others = self.sessions.iter().filter(|session| session.id != id);
        let seats = others.filter_map(|session| session.seat(player));
        seats.filter(|seat| seat.is_active() == active).count()
    }
}
