//! The documents that the model expects callers to read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rallypoint::domain::template::Visibility;
use serde_json::{Map, Value, json};

use super::setup::{IDS, Kind, PLATFORMS, Setup};
use super::state::{Caller, Entry, Link, Listing, Model, Refusal, Session, Team};
use super::step::Status;

/// What the time of a player's list depends on: the number of the entry, the status, the inviter and the time of the
/// invite.
pub type Membership = (u64, Status, Option<usize>, Option<i64>);
/// The memberships of a player, by session.
pub type Memberships = BTreeMap<String, Membership>;

pub fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap().to_string()
}

pub fn set(body: &mut Value, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        body[name] = value;
    }
}

fn visibility(setup: &Setup, caller: Caller, session: &Session) -> Visibility {
    let leads = caller.player.is_some_and(|player| session.leads(player));
    if leads { setup.settings.leader_visibility } else { setup.settings.visibility }
}

/// Whether there are players whom the caller does not see.
pub fn hides_players(setup: &Setup, caller: Caller, session: &Session) -> bool {
    !caller.any && visibility(setup, caller, session) != Visibility::All
}

/// Whether the caller sees the entry. Everyone sees their own.
pub fn shows(setup: &Setup, caller: Caller, session: &Session, entry: &Entry) -> bool {
    if caller.any || caller.player == Some(entry.player) {
        return true;
    }
    let own = caller.player.and_then(|player| session.entry(player));
    match visibility(setup, caller, session) {
        Visibility::All => true,
        Visibility::Team => own.is_some_and(|own| own.team == entry.team),
        Visibility::Oneself | Visibility::None => false,
    }
}

/// The session as it seems to a caller: without those of these players whom the caller does not see. A change of a
/// hidden player is answered as if the player were not there.
pub fn as_seen(setup: &Setup, caller: Caller, session: &Session, players: &[usize]) -> Session {
    let mut seen = session.clone();
    seen.entries.retain(|entry| !players.contains(&entry.player) || shows(setup, caller, session, entry));
    seen
}

impl Model {
    pub fn uuid(&self, player: usize) -> String {
        self.setup.players[player].uuid.to_string()
    }

    /// Whether the caller sees the whole session.
    fn sees_all(&self, caller: Caller, session: &Session) -> bool {
        caller.any || caller.player.is_some_and(|player| session.is_active(player))
    }

    /// Whether the caller sees the entry.
    pub fn shows(&self, caller: Caller, session: &Session, entry: &Entry) -> bool {
        shows(&self.setup, caller, session, entry)
    }

    pub fn entry_view(&self, caller: Caller, session: &Session, entry: &Entry) -> Value {
        let mut view = json!({ "player_uuid": self.uuid(entry.player), "status": entry.status.name() });
        if !self.sees_all(caller, session) && caller.player != Some(entry.player) {
            return view;
        }
        let rights: Vec<_> = entry.rights().into_iter().map(|right| right.name()).collect();
        view["session_permissions"] = json!(rights);
        view["custom_data"] = json!(entry.data);
        set(&mut view, "player_id", entry.player_id.map(Value::from));
        set(&mut view, "inviting_player_uuid", entry.inviter.map(|inviter| self.uuid(inviter).into()));
        set(&mut view, "source_session_id", entry.source.clone().map(Value::from));
        set(&mut view, "invited", entry.invited_s.map(|at| time(at).into()));
        set(&mut view, "joined", entry.joined_s.map(|at| time(at).into()));
        if let Some(client) = &entry.client {
            view["version"] = client.version.into();
            view["client_settings"] = json!({ "platform": client.platform, "input": client.input });
            let preferences = client
                .crossplay
                .map(|(platform, input)| json!({ "permitted_platform": platform, "permitted_input": input }));
            set(&mut view, "crossplay_preferences", preferences);
        }
        view
    }

    /// A team with its wanted players: active players first, longest active first, then invited and reserved players.
    pub fn team_view(
        &self,
        caller: Caller,
        session: &Session,
        team: usize,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Value {
        let is_shown = |entry: &Entry| wanted(entry) && self.shows(caller, session, entry);
        let on_team = session.entries.iter().filter(|entry| entry.team == team && is_shown(entry));
        let mut entries: Vec<_> = on_team.collect();
        entries.sort_by_key(|entry| {
            (entry.joined_s.is_none(), entry.joined_s, entry.invited_s, self.uuid(entry.player))
        });
        let players: Vec<_> =
            entries.into_iter().map(|entry| self.entry_view(caller, session, entry)).collect();
        let Team { size, data, tickets } = &session.teams[team];
        let mut view = json!({ "players": players, "max_size": size, "team_id": team });
        set(&mut view, "ticket_ids", session.made.as_ref().map(|_| json!(tickets)));
        set(&mut view, "custom_data", data.as_ref().map(|data| json!(data)));
        view
    }

    /// Whether the session has too many players to show them.
    pub fn suppresses(&self, session: &Session) -> bool {
        session.entries.len() > self.setup.settings.shown_max
    }

    pub fn session_view(&self, caller: Caller, session: &Session) -> Value {
        let suppressed = self.suppresses(session);
        let is_wanted = |entry: &Entry| !suppressed || caller.player == Some(entry.player);
        let teams = (0..session.teams.len()).map(|team| self.team_view(caller, session, team, is_wanted));
        let mut view = json!({
            "type": session.kind.name(), "session_id": session.id, "joinable": session.open,
            "joinability": {"open": session.open, "friends": session.friends, "platform": session.platform},
            "teams": teams.collect::<Vec<_>>(), "teams_suppressed": suppressed, "custom_data": session.data,
            "created": time(session.created_s), "created_by_matchmaking": session.made.is_some(),
        });
        set(&mut view, "region_id", session.region.map(Value::from));
        set(&mut view, "browser", self.listing_view(session));
        set(&mut view, "instance", self.instance_view(session, self.sees_all(caller, session)));
        if self.sees_all(caller, session) {
            let mut links: Vec<_> = session.links.iter().collect();
            links.sort_by_key(|link| PLATFORMS[link.platform]);
            let links: Vec<_> = links.into_iter().map(|link| self.link_view(session, link)).collect();
            view["platform_session"] = links.into();
            view["platform_scouts"] = self.scouts(session);
            set(&mut view, "matchmaking", self.ticket_view(session));
            set(&mut view, "matchmaking_results", self.match_view(caller, session));
            set(&mut view, "short_code", session.code.clone().map(Value::from));
        }
        view
    }

    /// The longest active player on each platform.
    fn scouts(&self, session: &Session) -> Value {
        let mut scouts = Map::new();
        for entry in session.active(&self.setup) {
            if let Some(client) = &entry.client {
                let scout = || json!({ "player_uuid": self.uuid(entry.player), "platform": client.platform });
                scouts.entry(client.platform).or_insert_with(scout);
            }
        }
        scouts.into()
    }

    pub fn listing_view(&self, session: &Session) -> Option<Value> {
        let listing = session.listing.as_ref()?;
        Some(json!({ "custom_data": listing.data, "created_timestamp": time(listing.listed_s) }))
    }

    pub fn link_view(&self, session: &Session, link: &Link) -> Value {
        let platform = PLATFORMS[link.platform].name();
        let active = session.active(&self.setup);
        let plays = |entry: &&&Entry| {
            link.through.contains(&entry.player)
                || entry.client.as_ref().is_some_and(|client| client.platform == platform)
        };
        let players: Vec<_> = active.iter().filter(plays).collect();
        // If all active players are in the platform session, the session's leader leads it; otherwise the longest
        // active of its players.
        let leads = |entry: &Entry, index: usize| {
            if players.len() == active.len() { entry.status == Status::Leader } else { index == 0 }
        };
        let player = |(index, entry): (usize, &&&Entry)| {
            let mut view = json!({ "player_uuid": self.uuid(entry.player), "leader": leads(entry, index) });
            set(&mut view, "player_id", entry.player_id.map(Value::from));
            view
        };
        json!({
            "platform": platform, "platform_session_type": session.kind.name(),
            "platform_session_id_base64": IDS[link.id], "custom_data": {"scid": "0000"},
            "players": players.iter().enumerate().map(player).collect::<Vec<_>>(),
        })
    }

    /// A player as a change returns them.
    pub fn changed_player_view(&self, session: &Session, player: usize) -> Result<Value, Refusal> {
        let entry = session.require_entry(player)?;
        Ok(json!({
            "player_uuid": self.uuid(player), "status": entry.status.name(), "team_id": entry.team,
            "custom_data": entry.data,
        }))
    }

    pub fn rights_view(&self, session: &Session, player: usize) -> Result<Value, Refusal> {
        let rights: Vec<_> =
            session.require_entry(player)?.rights().into_iter().map(|right| right.name()).collect();
        Ok(json!({ "player_uuid": self.uuid(player), "permissions": rights }))
    }

    /// The memberships of a player.
    pub fn memberships(&self, player: usize) -> Memberships {
        let entries = self.sessions.iter().filter_map(|session| Some((session, session.entry(player)?)));
        let membership = |(session, entry): (&Session, &Entry)| {
            (session.id.clone(), (entry.number, entry.status, entry.inviter, entry.invited_s))
        };
        entries.map(membership).collect()
    }

    /// A player's sessions, invites and reservations, by type.
    pub fn list_view(&self, player: usize) -> Value {
        let mut by_type = json!({});
        let mut sessions: Vec<_> = self.sessions.iter().collect();
        sessions.sort_by_key(|session| &session.id);
        for session in sessions {
            let Some(entry) = session.entry(player) else { continue };
            if entry.status == Status::Reserved && !self.setup.settings.notify {
                continue;
            }
            let kind = session.kind.name();
            if by_type.get(kind).is_none() {
                by_type[kind] = json!({
                    "type": kind, "session_ids": [], "pending_invites": {}, "reserved_sessions": [],
                });
            }
            let of_type = &mut by_type[kind];
            match entry.status {
                Status::Leader | Status::Member => push(&mut of_type["session_ids"], &session.id),
                Status::Reserved => push(&mut of_type["reserved_sessions"], &session.id),
                Status::Invited => {
                    let mut invite = json!({ "session_id": session.id });
                    let inviter = entry.inviter.map(|inviter| self.uuid(inviter).into());
                    set(&mut invite, "inviting_player_uuid", inviter);
                    of_type["pending_invites"][&session.id] = invite;
                }
            }
        }
        json!({ "sessions": by_type })
    }

    /// The page of a session's entries after a number, in the order of their creation, and its cursor.
    pub fn players_view(
        &self,
        caller: Caller,
        session: &Session,
        after: u64,
        page_size: usize,
    ) -> (Value, u64) {
        let behind = session.entries.iter().filter(|entry| entry.number > after);
        let mut entries: Vec<_> = behind.filter(|entry| self.shows(caller, session, entry)).collect();
        entries.sort_by_key(|entry| entry.number);
        let more = entries.len() > page_size;
        entries.truncate(page_size);
        let on_page = |entry: &Entry| entries.iter().any(|other| other.number == entry.number);
        let teams = 0..session.teams.len();
        let teams = teams.filter(|team| entries.iter().any(|entry| entry.team == *team));
        let teams: Vec<_> = teams.map(|team| self.team_view(caller, session, team, on_page)).collect();
        let cursor = entries.last().filter(|_| more).map_or(0, |entry| entry.number);
        (json!({ "teams": teams, "cursor": cursor }), cursor)
    }

    /// The page of a type's listings after a number, and the number of its last listing if more follow.
    pub fn browser_view(
        &self,
        kind: Kind,
        region: Option<&str>,
        after: u64,
        page_size: usize,
    ) -> (Vec<Value>, Option<u64>) {
        let mut listed: Vec<_> = self
            .sessions
            .iter()
            .filter(|session| session.kind == kind && (region.is_none() || session.region == region))
            .filter_map(|session| Some((session.listing.as_ref()?, session)))
            .filter(|(listing, _)| listing.number > after)
            .collect();
        listed.sort_by_key(|(listing, _)| listing.number);
        let more = listed.len() > page_size;
        listed.truncate(page_size);
        let last = listed.last().filter(|_| more).map(|(listing, _)| listing.number);
        let view = |(listing, session): (&Listing, &Session)| {
            let mut view = json!({
                "session_id": session.id, "player_count": session.active(&self.setup).len(),
                "max_player_count": session.teams.iter().map(|team| team.size).sum::<usize>(),
                "custom_data": listing.data,
            });
            let health = session.instance.as_ref().and_then(|instance| instance.health);
            set(&mut view, "instance_health", health.map(Value::from));
            view
        };
        (listed.into_iter().map(view).collect(), last)
    }
}

fn push(list: &mut Value, id: &str) {
    list.as_array_mut().unwrap().push(id.into());
}
