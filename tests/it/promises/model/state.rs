//! The state of the model: plain structs, and the checks that many rules share.

use std::collections::{BTreeMap, BTreeSet};

use rallypoint::app::rate_limit::WRONG_MAX;

use super::instances::Instance;
use super::matches::Made;
use super::queues::{self, Ticket};
use super::setup::{Kind, Setup};
use super::step::{GameClient, Right, Status};

/// A `custom_data` map.
pub type Data = BTreeMap<String, String>;

/// A refusal: HTTP status and error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(pub u16, pub &'static str);

/// The caller: a player, by index, and whether the caller has every permission.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub player: Option<usize>,
    pub any: bool,
}

/// A player's entry in a session.
#[derive(Clone, Debug)]
pub struct Entry {
    pub player: usize,
    /// Numbers the entries of a session in the order of their creation.
    pub number: u64,
    pub status: Status,
    pub team: usize,
    pub data: Data,
    pub client: Option<GameClient>,
    pub player_id: Option<i64>,
    pub inviter: Option<usize>,
    pub source: Option<String>,
    pub invited_s: Option<i64>,
    /// After how long the invite ends, if a match sent it.
    pub match_timeout_s: Option<i64>,
    pub joined_s: Option<i64>,
    pub given_rights: BTreeSet<Right>,
    /// The time of the player's last heartbeat.
    pub last_seen_s: i64,
}

impl Entry {
    pub fn is_active(&self) -> bool {
        matches!(self.status, Status::Member | Status::Leader)
    }

    pub fn rights(&self) -> BTreeSet<Right> {
        match self.status {
            Status::Leader => Right::ALL.into(),
            _ => self.given_rights.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Team {
    pub size: usize,
    pub data: Option<Data>,
    /// The tickets of its players, if a match was made of them.
    pub tickets: Vec<String>,
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
    pub entries: Vec<Entry>,
    pub last_number: u64,
    /// Players who were kicked and have not returned by an invite.
    pub kicked: BTreeSet<usize>,
    pub data: Data,
    pub links: Vec<Link>,
    pub code: Option<String>,
    pub listing: Option<Listing>,
    pub instance: Option<Instance>,
    pub ticket: Option<Ticket>,
    /// The match that it was made for.
    pub made: Option<Made>,
    /// Whether a service made it. Then it ends with its instance, and not with its last player.
    pub by_service: bool,
    /// When the session was last used. It ends at the idle time after that.
    pub used_s: i64,
    pub ended: bool,
}

impl Session {
    pub fn entry(&self, player: usize) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.player == player)
    }

    pub fn entry_mut(&mut self, player: usize) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.player == player)
    }

    /// The entry of a player who must have one.
    pub fn require_entry(&self, player: usize) -> Result<&Entry, Refusal> {
        self.entry(player).ok_or(Refusal(404, "player_not_found"))
    }

    pub fn is_active(&self, player: usize) -> bool {
        self.entry(player).is_some_and(Entry::is_active)
    }

    pub fn leads(&self, player: usize) -> bool {
        self.entry(player).is_some_and(|entry| entry.status == Status::Leader)
    }

    /// Active players, longest active first.
    pub fn active(&self, setup: &Setup) -> Vec<&Entry> {
        let mut active: Vec<_> = self.entries.iter().filter(|entry| entry.is_active()).collect();
        active.sort_by_key(|entry| (entry.joined_s, setup.players[entry.player].uuid));
        active
    }

    /// Slots of a team that are taken by other players than this one.
    pub fn slots_taken_except(&self, team: usize, player: usize) -> usize {
        self.entries.iter().filter(|entry| entry.team == team && entry.player != player).count()
    }

    pub fn slots_taken(&self, team: usize) -> usize {
        self.slots_taken_except(team, usize::MAX)
    }

    /// Whether a team has a slot for a player. A player who is on the team has one.
    pub fn has_slot_for(&self, team: usize, player: usize) -> bool {
        let sits_there = self.entry(player).is_some_and(|entry| entry.team == team);
        sits_there || self.slots_taken(team) < self.teams[team].size
    }

    /// Refuses a player who was kicked and has no invite.
    pub fn require_not_kicked(&self, setup: &Setup, player: usize) -> Result<(), Refusal> {
        let needs_invite = setup.settings.kicked_need_invite && self.kicked.contains(&player);
        if needs_invite && self.entry(player).is_none() {
            return Err(Refusal(403, "player_kicked"));
        }
        Ok(())
    }

    pub fn require_active(&self, caller: Caller) -> Result<(), Refusal> {
        if caller.any || caller.player.is_some_and(|player| self.is_active(player)) {
            return Ok(());
        }
        Err(Refusal(403, "not_active_in_session"))
    }

    pub fn require_leader(&self, caller: Caller) -> Result<(), Refusal> {
        self.require_active(caller)?;
        if caller.any || caller.player.is_some_and(|player| self.leads(player)) {
            return Ok(());
        }
        Err(Refusal(403, "not_session_leader"))
    }

    pub fn holds(&self, caller: Caller, right: Right) -> bool {
        let entry = caller.player.and_then(|player| self.entry(player));
        caller.any || entry.is_some_and(|entry| entry.is_active() && entry.rights().contains(&right))
    }

    pub fn require_right(&self, caller: Caller, right: Right) -> Result<(), Refusal> {
        self.require_active(caller)?;
        if self.holds(caller, right) { Ok(()) } else { Err(Refusal(403, "session_right_missing")) }
    }
}

/// The whole state.
#[derive(Clone)]
pub struct Model {
    pub setup: Setup,
    pub now_s: i64,
    /// Sessions that have not ended, oldest first.
    pub sessions: Vec<Session>,
    /// The numeric ids that tokens of joiners have named.
    pub player_ids: BTreeMap<i64, usize>,
    /// The number of the last listing.
    pub listings: u64,
    /// The caller of the step, if the step notes the platform in the caller's token.
    pub noted: Option<usize>,
    /// The wrong passwords of each caller, and when the first of them was tried. A sequence is too short to reach the
    /// limit of a session.
    wrong_passwords: BTreeMap<Option<usize>, (i64, u32)>,
}

impl Model {
    pub fn new(setup: Setup, now_s: i64) -> Self {
        Self {
            setup,
            now_s,
            sessions: Vec::new(),
            player_ids: BTreeMap::new(),
            listings: 0,
            noted: None,
            wrong_passwords: BTreeMap::new(),
        }
    }

    /// Whether the caller may try another password.
    pub fn may_guess(&self, caller: Option<usize>) -> bool {
        self.wrong_passwords_of(caller).1 < WRONG_MAX
    }

    pub fn note_wrong_password(&mut self, caller: Option<usize>) {
        let (since_s, count) = self.wrong_passwords_of(caller);
        self.wrong_passwords.insert(caller, (since_s, count + 1));
    }

    fn wrong_passwords_of(&self, caller: Option<usize>) -> (i64, u32) {
        let known = self.wrong_passwords.get(&caller).copied();
        known.filter(|(since_s, _)| self.now_s - since_s < 60).unwrap_or((self.now_s, 0))
    }

    /// A session by its id, or by its short code in any case.
    pub fn session(&self, name: &str) -> Result<&Session, Refusal> {
        let is_named = |session: &&Session| {
            session.id == name || session.code.as_ref().is_some_and(|code| code.eq_ignore_ascii_case(name))
        };
        self.sessions.iter().find(is_named).ok_or(Refusal(404, "session_not_found"))
    }

    /// The session that a platform session is linked to.
    pub fn linked(&self, platform: usize, id: usize) -> Result<&Session, Refusal> {
        let is_it = |link: &Link| (link.platform, link.id) == (platform, id);
        let found = self.sessions.iter().find(|session| session.links.iter().any(is_it));
        found.ok_or(Refusal(404, "platform_session_not_found"))
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
        rule: impl FnOnce(&mut Session, &Setup, i64) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut changed = self.session(name)?.clone();
        let answer = rule(&mut changed, &self.setup, self.now_s)?;
        self.note_platform(&mut changed);
        changed.used_s = self.now_s;
        self.put(changed);
        Ok(answer)
    }

    /// An active player who changes a session plays on the platform in the token from now on.
    pub fn note_platform(&self, changed: &mut Session) {
        let Some(player) = self.noted else { return };
        let platform = self.setup.players[player].platform;
        let entry = changed.entry_mut(player).filter(|entry| entry.is_active());
        let client = entry.and_then(|entry| entry.client.as_mut());
        if let (Some(client), Some(platform)) = (client, platform) {
            client.platform = platform.name();
        }
    }

    /// Stores the new state of a session. An ended session is removed.
    pub fn put(&mut self, mut changed: Session) {
        let index = self.sessions.iter().position(|session| session.id == changed.id);
        let index = index.expect("the session lives");
        queues::settle(&self.sessions[index], &mut changed);
        if changed.ended {
            self.sessions.remove(index);
        } else {
            self.sessions[index] = changed;
        }
    }

    /// Notes that a caller has read a session. Reads by outsiders do not keep it alive.
    pub fn note_read(&mut self, caller: Caller, id: &str, refresh: bool) {
        let now_s = self.now_s;
        let Some(session) = self.sessions.iter_mut().find(|session| session.id == id) else { return };
        let entry = caller.player.and_then(|player| session.entry_mut(player));
        let belongs = entry.is_some();
        if let Some(entry) = entry {
            entry.last_seen_s = now_s;
        }
        if refresh && (caller.any || belongs) {
            session.used_s = now_s;
        }
    }

    /// Notes that a caller has read a player's list. Their own list is a heartbeat in each session in which they are
    /// active, and keeps no session alive.
    pub fn note_read_of_list(&mut self, caller: Caller, player: usize) {
        let now_s = self.now_s;
        if caller.player != Some(player) {
            return;
        }
        let entries = self.sessions.iter_mut().filter_map(|session| session.entry_mut(player));
        for entry in entries.filter(|entry| entry.is_active()) {
            entry.last_seen_s = now_s;
        }
    }

    /// The number of other sessions in which a player has an invite or reservation from an inviter.
    pub fn count_other_invites_from(&self, inviter: usize, player: usize, id: &str) -> usize {
        let other_sessions = self.sessions.iter().filter(|session| session.id != id);
        let entries = other_sessions.filter_map(|session| session.entry(player));
        entries.filter(|entry| !entry.is_active() && entry.inviter == Some(inviter)).count()
    }

    /// The number of other sessions in which a player is active, or has an invite or reservation.
    pub fn count_other_sessions(&self, player: usize, id: &str, active: bool) -> usize {
        let other_sessions = self.sessions.iter().filter(|session| session.id != id);
        let entries = other_sessions.filter_map(|session| session.entry(player));
        entries.filter(|entry| entry.is_active() == active).count()
    }
}
