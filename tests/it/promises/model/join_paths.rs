//! The rules to create, join and leave a session, and to kick players.

use serde_json::{Value, json};

use super::answer::{Answer, ExpectedAnswer, ExpectedEtag};
use super::instances::first_instance;
use super::setup::{Kind, PASSWORDS, REGIONS, Setup};
use super::state::{Caller, Data, Entry, Link, Listing, Model, Refusal, Session, Team};
use super::step::{GameClient, JoinBody, Right, Status};

use rallypoint::domain::client::VersionCheck;

/// A player who tries to join, with everything that the join rules depend on.
#[derive(Clone, Debug)]
pub struct Joiner {
    pub player: usize,
    pub player_id: Option<i64>,
    /// `None` for a join by the deprecated update.
    pub client: Option<GameClient>,
    pub team: Option<usize>,
    /// `None` keeps the data of an invite.
    pub data: Option<Data>,
    pub password: Option<&'static str>,
    /// Whether the caller may try a password.
    pub may_guess: bool,
    /// The caller, whose wrong passwords are counted.
    pub caller: Option<usize>,
    pub friend: Option<usize>,
    /// Platform and id of the platform session that the player joins through.
    pub through: Option<(usize, usize)>,
}

impl Joiner {
    /// A player who joins by a request of a caller. Token claims apply only to the caller's own player.
    pub fn new(setup: &Setup, caller: Caller, player: usize, join_body: &JoinBody) -> Self {
        let own = (caller.player == Some(player)).then(|| setup.players[player]);
        let platform = own.and_then(|own| own.platform).map_or(join_body.client.platform, |own| own.name());
        Self {
            player,
            player_id: own.and_then(|own| own.player_id),
            client: Some(GameClient { platform, ..join_body.client }),
            team: requested_team(join_body.team),
            data: Some(join_body.data.clone()),
            password: join_body.password,
            may_guess: true,
            caller: caller.player,
            friend: join_body.friend,
            through: None,
        }
    }
}

/// The team that a join requests: 0 requests none.
pub fn requested_team(team: usize) -> Option<usize> {
    Some(team).filter(|team| *team > 0)
}

pub fn accepts(wanted: &GameClient, other: &GameClient) -> bool {
    let Some((platform, input)) = wanted.crossplay else { return true };
    let platform_fits = match platform {
        "desired_platforms_xboxlike" => other.platform == "XboxLive",
        "desired_platforms_playstationlike" => other.platform == "PSN",
        _ => true,
    };
    platform_fits && (input == "desired_inputs_any" || input == format!("desired_inputs_{}", other.input))
}

pub fn same_version(check: VersionCheck, one: &str, other: &str) -> bool {
    match check {
        VersionCheck::Off => true,
        VersionCheck::Exact => one == other,
        VersionCheck::MajorMinor => one.split('.').take(2).eq(other.split('.').take(2)),
    }
}

/// The checks for players without an invite or a reservation.
fn check_uninvited(session: &Session, setup: &Setup, joiner: &Joiner) -> Result<(), Refusal> {
    session.require_not_kicked(setup, joiner.player)?;
    let friend = joiner.friend.is_some_and(|friend| session.is_active(friend));
    let by_friend = session.friends && setup.settings.trust_friends && friend;
    let by_platform = session.platform && joiner.through.is_some();
    if !session.open && !by_platform && !by_friend {
        return Err(Refusal(403, "session_not_joinable"));
    }
    if session.password.is_some() && joiner.password.is_some() && !joiner.may_guess {
        return Err(Refusal(403, "too_many_guesses"));
    }
    if session.password.is_some() && session.password != joiner.password {
        return Err(Refusal(403, "wrong_password"));
    }
    check_version(session, setup, joiner.client.as_ref())
}

/// Checks the version of a client. A client without a version fits only if versions are not checked.
pub fn check_version(session: &Session, setup: &Setup, mine: Option<&GameClient>) -> Result<(), Refusal> {
    let check = setup.settings.version_check;
    let fits = |other: &GameClient| match mine {
        Some(mine) => same_version(check, mine.version, other.version),
        None => check == VersionCheck::Off,
    };
    if fits_all(session, setup, fits) { Ok(()) } else { Err(Refusal(403, "version_mismatch")) }
}

/// Checks crossplay. A player without client data fits players who accept every platform and input.
fn check_crossplay(session: &Session, setup: &Setup, mine: Option<&GameClient>) -> Result<(), Refusal> {
    let fits = |other: &GameClient| match mine {
        Some(mine) => accepts(mine, other) && accepts(other, mine),
        None => matches!(other.crossplay, None | Some(("desired_platforms_any", "desired_inputs_any"))),
    };
    if fits_all(session, setup, fits) { Ok(()) } else { Err(Refusal(403, "crossplay_mismatch")) }
}

/// Whether the clients of all active players fit. Players without client data are ignored.
fn fits_all(session: &Session, setup: &Setup, fits: impl Fn(&GameClient) -> bool) -> bool {
    session.active(setup).into_iter().filter_map(|entry| entry.client.as_ref()).all(fits)
}

/// The team of a joiner: the requested one, else the one of their invite, else the first with a free slot.
fn team_for(session: &Session, joiner: &Joiner) -> Result<usize, Refusal> {
    let teams = 0..session.teams.len();
    let has_slot = |team: &usize| session.has_slot_for(*team, joiner.player);
    let Some(first) = teams.clone().find(has_slot) else {
        // An unknown team is reported before a full session.
        let exists = joiner.team.is_none_or(|team| team < session.teams.len());
        return Err(if exists { Refusal(403, "session_full") } else { Refusal(404, "team_not_found") });
    };
    let kept = session.entry(joiner.player).map(|entry| entry.team);
    // A player who has a place in a match keeps its team.
    let asked = joiner.team.filter(|_| session.made.is_none() || kept.is_none());
    let team = asked.or(kept).unwrap_or(first);
    if team >= session.teams.len() {
        return Err(Refusal(404, "team_not_found"));
    }
    if has_slot(&team) { Ok(team) } else { Err(Refusal(403, "team_full")) }
}

/// The entry of a player, created if there is none.
pub fn entry_for(session: &mut Session, player: usize, status: Status, now_s: i64) -> &mut Entry {
    if session.entry(player).is_none() {
        session.last_number += 1;
        session.entries.push(Entry {
            player,
            number: session.last_number,
            status,
            team: 0,
            data: Data::new(),
            client: None,
            player_id: None,
            inviter: None,
            source: None,
            invited_s: None,
            match_timeout_s: None,
            joined_s: None,
            given_rights: Default::default(),
            last_seen_s: now_s,
        });
    }
    session.entry_mut(player).expect("the player has an entry")
}

fn add_player(session: &mut Session, setup: &Setup, joiner: &Joiner, now_s: i64) -> Result<(), Refusal> {
    if !session.is_active(joiner.player) {
        if session.entry(joiner.player).is_none() {
            check_uninvited(session, setup, joiner)?;
        }
        check_crossplay(session, setup, joiner.client.as_ref())?;
        take_slot(session, joiner, now_s)?;
    }
    record_client(session, joiner);
    let is_it = |link: &&mut Link| Some((link.platform, link.id)) == joiner.through;
    if let Some(link) = session.links.iter_mut().find(is_it) {
        link.through.insert(joiner.player);
    }
    Ok(())
}

fn take_slot(session: &mut Session, joiner: &Joiner, now_s: i64) -> Result<(), Refusal> {
    let team = team_for(session, joiner)?;
    let has_leader = session.entries.iter().any(|entry| entry.status == Status::Leader);
    let status = if has_leader { Status::Member } else { Status::Leader };
    session.kicked.remove(&joiner.player);
    let entry = entry_for(session, joiner.player, status, now_s);
    (entry.status, entry.team, entry.joined_s, entry.last_seen_s) = (status, team, Some(now_s), now_s);
    entry.match_timeout_s = None;
    if let Some(data) = &joiner.data {
        entry.data = data.clone();
    }
    if let Some(made) = &mut session.made {
        made.was_entered = true;
    }
    Ok(())
}

/// Records the client data of a joiner. Missing values keep their old value.
fn record_client(session: &mut Session, joiner: &Joiner) {
    let entry = session.entry_mut(joiner.player).expect("the player has an entry");
    entry.client = joiner.client.or(entry.client);
    entry.player_id = joiner.player_id.or(entry.player_id);
}

/// Removes a player. If the leader leaves, the longest active player leads. A session that players made ends with its
/// last active player.
pub fn leave(session: &mut Session, setup: &Setup, player: usize) -> Result<(), Refusal> {
    let was_active = session.require_entry(player)?.is_active();
    session.entries.retain(|entry| entry.player != player);
    for link in &mut session.links {
        link.through.remove(&player);
    }
    session.remove_instance_hosted_by(player);
    let has_leader = session.entries.iter().any(|entry| entry.status == Status::Leader);
    let nobody_came =
        session.made.as_ref().is_some_and(|made| !made.was_entered) && session.entries.is_empty();
    if !was_active && nobody_came {
        session.ended = true;
    }
    if !was_active || has_leader {
        return Ok(());
    }
    let next = session.active(setup).first().map(|entry| entry.player);
    match next {
        Some(next) => session.entry_mut(next).expect("the player has an entry").status = Status::Leader,
        None => session.ended = !setup.settings.keep_alive && !session.by_service,
    }
    Ok(())
}

/// Removes players in one change. If the player who hosts the instance is among them, a session that a service made may
/// end: after the last of them, because only then it shows whether anybody is left.
pub fn removing(
    session: &mut Session,
    setup: &Setup,
    remove: impl FnOnce(&mut Session) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let had_instance = session.instance.is_some();
    remove(session)?;
    if had_instance && session.instance.is_none() {
        session.end_after_instance(setup);
    }
    Ok(())
}

/// Removes a player at the request of another one. A player who was active needs an invite to return.
fn remove(session: &mut Session, setup: &Setup, player: usize) -> Result<(), Refusal> {
    let was_active = session.is_active(player);
    leave(session, setup, player)?;
    if was_active {
        session.kicked.insert(player);
    }
    Ok(())
}

/// Whether a join has compared a wrong password.
fn is_wrong_guess(joined: &Result<String, Refusal>, joiner: &Joiner) -> bool {
    joiner.password.is_some() && *joined == Err(Refusal(403, "wrong_password"))
}

impl Model {
    /// Adds a player to a session; returns the id of the session.
    pub fn join(&mut self, name: &str, joiner: &Joiner) -> Result<String, Refusal> {
        let joiner = Joiner { may_guess: self.may_guess(joiner.caller), ..joiner.clone() };
        let joined = self.join_uncounted(name, &joiner);
        if is_wrong_guess(&joined, &joiner) {
            self.note_wrong_password(joiner.caller);
        }
        joined
    }

    /// The same, without counting a wrong password.
    fn join_uncounted(&mut self, name: &str, joiner: &Joiner) -> Result<String, Refusal> {
        let session = self.session(name)?;
        let id = session.id.clone();
        let is_newcomer = !session.is_active(joiner.player);
        let at_limit = is_newcomer
            && self.count_other_sessions(joiner.player, &id, true) >= self.setup.settings.sessions_max;
        self.change(&id, |session, setup, now_s| {
            add_player(session, setup, joiner, now_s)?;
            if at_limit { Err(Refusal(403, "too_many_sessions")) } else { Ok(()) }
        })?;
        if let Some(player_id) = joiner.player_id {
            self.player_ids.insert(player_id, joiner.player);
        }
        Ok(id)
    }

    pub fn create(
        &mut self,
        (kind, password, region): (Kind, bool, Option<&'static str>),
        mut joiner: Joiner,
        reply: &Value,
    ) -> ExpectedAnswer {
        if kind == Kind::Raid {
            return Err(Refusal(404, "template_not_found"));
        }
        self.check_region(region)?;
        let password = password.then_some(PASSWORDS[0]);
        joiner.password = joiner.password.or(password);
        if matches!(kind, Kind::Game | Kind::Event) {
            // All sessions together are one guess.
            joiner.may_guess = self.may_guess(joiner.caller);
            let mut is_counted = false;
            for id in self.open(kind, region) {
                let joined = self.join_uncounted(&id, &joiner);
                if is_wrong_guess(&joined, &joiner) && !std::mem::replace(&mut is_counted, true) {
                    self.note_wrong_password(joiner.caller);
                }
                if joined.is_ok() {
                    return Ok(Answer::Body(json!({ "session_id": id }), ExpectedEtag::None));
                }
            }
        }
        if kind == Kind::Event {
            return Err(Refusal(400, "session_type_not_creatable"));
        }
        let session = self.new_session(kind, password, region, reply);
        self.start_session(session, &joiner)
    }

    /// A caller without a player always creates a session, without players and without an instance.
    pub fn create_for_service(
        &mut self,
        (kind, password, region): (Kind, bool, Option<&'static str>),
        reply: &Value,
    ) -> ExpectedAnswer {
        if kind == Kind::Raid {
            return Err(Refusal(404, "template_not_found"));
        }
        self.check_region(region)?;
        let password = password.then_some(PASSWORDS[0]);
        let session = Session { by_service: true, ..self.new_session(kind, password, region, reply) };
        Ok(self.store(session))
    }

    /// Open sessions with a free slot, oldest first.
    fn open(&self, kind: Kind, region: Option<&str>) -> Vec<String> {
        let has_free_slot = |session: &Session| {
            (0..session.teams.len()).any(|team| session.slots_taken(team) < session.teams[team].size)
        };
        let fits = |session: &&Session| {
            session.kind == kind
                && session.open
                && has_free_slot(session)
                && (region.is_none() || session.region == region)
        };
        let mut open: Vec<_> = self.sessions.iter().filter(fits).collect();
        open.sort_by_key(|session| (session.created_s, &session.id));
        open.into_iter().map(|session| session.id.clone()).collect()
    }

    /// A session without players. The server has chosen its id.
    pub fn new_session(
        &self,
        kind: Kind,
        password: Option<&'static str>,
        region: Option<&'static str>,
        reply: &Value,
    ) -> Session {
        let (teams, size) = self.setup.settings.shape(kind);
        Session {
            id: reply["session_id"].as_str().unwrap_or_default().to_owned(),
            kind,
            created_s: self.now_s,
            region,
            open: kind == Kind::Game,
            friends: false,
            platform: true,
            password,
            teams: vec![Team { size, data: None, tickets: Vec::new() }; teams],
            entries: Vec::new(),
            last_number: 0,
            kicked: Default::default(),
            data: Data::new(),
            links: Vec::new(),
            code: None,
            listing: None,
            instance: None,
            ticket: None,
            made: None,
            by_service: false,
            used_s: self.now_s,
            ended: false,
        }
    }

    fn start_session(&mut self, mut session: Session, creator: &Joiner) -> ExpectedAnswer {
        take_slot(&mut session, creator, self.now_s)?;
        if self.count_other_sessions(creator.player, "", true) >= self.setup.settings.sessions_max {
            return Err(Refusal(403, "too_many_sessions"));
        }
        record_client(&mut session, creator);
        if let Some(player_id) = creator.player_id {
            self.player_ids.insert(player_id, creator.player);
        }
        let caller = Caller { player: Some(creator.player), any: false };
        session.instance = first_instance(&self.setup, caller, self.now_s);
        Ok(self.store(session))
    }

    /// Stores a new session; returns the answer to its creator.
    pub fn store(&mut self, mut session: Session) -> Answer {
        if self.setup.settings.auto_list {
            self.listings += 1;
            let data = Data::from([("by".into(), "itself".into())]);
            session.listing = Some(Listing { number: self.listings, listed_s: self.now_s, data });
        }
        let answer = Answer::Body(json!({ "session_id": session.id }), ExpectedEtag::None);
        self.sessions.push(session);
        answer
    }

    pub fn check_region(&self, region: Option<&str>) -> Result<(), Refusal> {
        let is_known = region.is_none_or(|region| !self.setup.settings.regions || region == REGIONS[0]);
        if is_known { Ok(()) } else { Err(Refusal(404, "region_not_found")) }
    }

    pub fn leave(&mut self, name: &str, player: usize) -> ExpectedAnswer {
        self.change(name, |session, setup, _| {
            removing(session, setup, |session| leave(session, setup, player))
        })?;
        Ok(Answer::Empty(ExpectedEtag::None))
    }

    /// Kicks a player. A player who kicks themselves leaves.
    pub fn kick(&mut self, caller: Caller, name: &str, player: usize) -> Result<String, Refusal> {
        self.change(name, |session, setup, _| {
            if caller.player == Some(player) {
                removing(session, setup, |session| leave(session, setup, player))?;
            } else {
                session.require_right(caller, Right::Kick)?;
                if !caller.any && session.require_entry(player)?.status == Status::Leader {
                    return Err(Refusal(403, "leader_not_kickable"));
                }
                removing(session, setup, |session| remove(session, setup, player))?;
            }
            Ok(session.id.clone())
        })
    }

    /// Kicks the active players of another session, except the caller.
    pub fn kick_session(&mut self, caller: Caller, name: &str, kicked: &str) -> ExpectedAnswer {
        self.session(name)?.require_leader(caller)?;
        let kicked = self.session(kicked)?.active(&self.setup);
        let players: Vec<_> = kicked.into_iter().map(|entry| entry.player).collect();
        self.change(name, |session, setup, _| {
            session.require_leader(caller)?;
            removing(session, setup, |session| {
                for player in players {
                    if session.entry(player).is_some() && caller.player != Some(player) {
                        remove(session, setup, player)?;
                    }
                }
                Ok(())
            })?;
            Ok(Answer::Empty(ExpectedEtag::Session(session.id.clone())))
        })
    }
}
