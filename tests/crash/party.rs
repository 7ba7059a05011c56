//! Random writes in a party that only the players of one client use. Each write is chosen so that the client knows
//! which facts it makes true.

use http::Method;
use rallypoint::domain::Platform;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::model::{Aspect, Facts, SIZES, Write, joining, session_path};

/// Number of players of a client: itself, and the players that join and leave its parties.
pub const PLAYERS: usize = 3;
/// Rights that are given to players.
pub const RIGHTS: [&str; 3] = ["invite", "kick", "move"];
/// Number of allocation ids. All clients compete for them.
const ALLOCATIONS: usize = 16;

/// A party with the facts of its client.
pub struct Party<'a> {
    pub id: &'a str,
    pub facts: &'a Facts,
    pub players: &'a [Uuid],
    pub platform: Platform,
}

/// The status and team in an `Aspect::Entry` value.
fn parse_entry(entry: &str) -> (&str, usize) {
    let (status, team) = entry.split_once(' ').expect("a status and a team");
    (status, team.parse().expect("a team's index"))
}

/// Whether the player is invited or reserved.
pub fn is_waiting(entry: &str) -> bool {
    matches!(parse_entry(entry).0, "invited" | "reserved")
}

/// All aspects of a player of a party.
pub fn all_of(player: usize) -> impl Iterator<Item = Aspect> {
    let given = RIGHTS.into_iter().map(move |right| Aspect::GivenRight(player, right));
    [Aspect::Entry(player), Aspect::CustomData(player)].into_iter().chain(given)
}

impl Party<'_> {
    pub fn fact(&self, aspect: Aspect) -> Option<&str> {
        self.facts.get(&(self.id.to_owned(), aspect)).map(String::as_str)
    }

    fn entry(&self, player: usize) -> Option<(&str, usize)> {
        self.fact(Aspect::Entry(player)).map(parse_entry)
    }

    fn is_active(&self, player: usize) -> bool {
        matches!(self.entry(player), Some(("leader" | "member", _)))
    }

    fn active(&self) -> Vec<usize> {
        (0..PLAYERS).filter(|player| self.is_active(*player)).collect()
    }

    /// The leader of the party.
    pub fn leader(&self) -> usize {
        let leads = |player: &usize| matches!(self.entry(*player), Some(("leader", _)));
        (0..PLAYERS).find(leads).expect("somebody leads a party")
    }

    /// Whether the client's own player is the only active one.
    pub fn is_alone(&self) -> bool {
        self.active() == [0]
    }

    fn has_given_rights(&self, player: usize) -> bool {
        RIGHTS.iter().any(|right| self.fact(Aspect::GivenRight(player, right)).is_some())
    }

    fn path(&self, end: &str) -> String {
        session_path(self.id) + end
    }

    fn player_path(&self, player: usize, end: &str) -> String {
        self.path(&format!("/player/{}{end}", self.players[player]))
    }

    fn action_path(&self, player: usize, action: &str) -> String {
        format!("/v2/session/{}/player/{}{action}", self.id, self.players[player])
    }

    fn post(&self, path: String, body: Value) -> Write {
        Write::to(Method::POST, path, self.id).with(body)
    }

    fn patch(&self, body: Value) -> Write {
        Write::to(Method::PATCH, self.path(""), self.id).with(body)
    }

    fn delete(&self, path: String) -> Write {
        Write::to(Method::DELETE, path, self.id)
    }

    fn set_entry(&self, write: Write, player: usize, status: &str, team: usize) -> Write {
        write.sets(Aspect::Entry(player), format!("{status} {team}"))
    }

    /// A random write about or by one of the other players. `text` is unique.
    pub fn with_player(&self, pick: impl Fn(usize) -> usize, text: &str) -> Option<Write> {
        let (player, leader) = (1 + pick(PLAYERS - 1), self.leader());
        let Some((status, team)) = self.entry(player) else {
            return Some(self.invite(player, pick(4), text));
        };
        if is_waiting(&format!("{status} {team}")) {
            return Some(self.answer(player, team, pick(7), text));
        }
        let write = match pick(10) {
            0 | 1 => {
                let body = json!({"custom_data": {"written": text}});
                self.post(self.action_path(player, ""), body)
                    .by(player)
                    .sets(Aspect::CustomData(player), text)
            }
            2 | 3 => {
                let move_to = self.post(self.action_path(player, ":move"), json!({"team_id": 1 - team}));
                let by = [leader, player][pick(2)];
                self.set_entry(move_to, player, status, 1 - team).by(by)
            }
            4 if player != leader => self.promote(player)?,
            4 => self.promote(0)?,
            5 | 6 if player != leader => self.give_right(player, RIGHTS[pick(RIGHTS.len())]),
            7 if player != leader => self.swap()?,
            8 => self.leave(player)?,
            _ if player != leader => {
                self.delete(self.player_path(player, "")).by(leader).clears(all_of(player))
            }
            _ => return None,
        };
        Some(write)
    }

    fn invite(&self, player: usize, how: usize, text: &str) -> Write {
        let team = how % 2;
        let mut body = json!({"team_id": team, "custom_data": {"written": text}});
        let (status, path) = match how {
            0 | 1 => ("invited", self.action_path(player, ":invite")),
            2 => ("invited", self.path(&format!("/player/uuid/{}", self.players[player]))),
            _ => ("reserved", self.player_path(player, "")),
        };
        if how > 1 {
            body["status"] = status.into();
        }
        let invite = self.post(path, body).by(self.leader()).sets(Aspect::CustomData(player), text);
        self.set_entry(invite, player, status, team)
    }

    /// A random answer to an invite: replaced, declined, withdrawn or accepted.
    fn answer(&self, player: usize, team: usize, how: usize, text: &str) -> Write {
        match how {
            0 => self.invite(player, 3, text),
            1 => {
                let decline = self.delete(self.path("/player/me")).without_etag();
                decline.by(player).clears(all_of(player)).waits(player, "player_not_found")
            }
            2 => {
                let kick = self.delete(self.player_path(player, "")).by(self.leader());
                kick.clears(all_of(player)).waits(player, "player_not_found")
            }
            _ => {
                let mut body = joining(self.platform, "1.0.0");
                body["team_id"] = team.into();
                let join = self.post(self.path("/player/me"), body).by(player);
                let join = self.set_entry(join, player, "member", team).clears([Aspect::CustomData(player)]);
                join.waits(player, "session_not_joinable")
            }
        }
    }

    /// Promotes an active player without given rights. The given rights of a leader cannot be read.
    fn promote(&self, player: usize) -> Option<Write> {
        let (_, team) = self.entry(player).filter(|_| !self.has_given_rights(player))?;
        let leader = self.leader();
        let (_, of_leader) = self.entry(leader)?;
        let promote = self.post(self.action_path(player, ":promote"), json!({})).by(leader);
        let promote = self.set_entry(promote, leader, "member", of_leader);
        Some(self.set_entry(promote, player, "leader", team))
    }

    /// Gives a right, or removes it.
    fn give_right(&self, player: usize, right: &'static str) -> Write {
        let path = self.player_path(player, &format!("/permission/{right}"));
        let given = Aspect::GivenRight(player, right);
        if self.fact(given).is_some() {
            return self.delete(path).by(self.leader()).clears([given]);
        }
        Write::to(Method::PATCH, path, self.id).by(self.leader()).sets(given, "yes")
    }

    fn swap(&self) -> Option<Write> {
        let leader = self.leader();
        let others: Vec<_> = self.active().into_iter().filter(|player| *player != leader).collect();
        let [one, other] = others[..] else { return None };
        let ((_, team), (_, second)) = (self.entry(one)?, self.entry(other)?);
        let body = json!({"players": [self.players[one], self.players[other]]});
        let swap = self.post(self.path("/player:swap"), body).by(leader);
        let swap = self.set_entry(swap, one, "member", second);
        (team != second).then(|| self.set_entry(swap, other, "member", team))
    }

    /// A player leaves. The leader leaves only if the next leader is certain.
    fn leave(&self, player: usize) -> Option<Write> {
        let leave = self.delete(self.path("/player/me")).without_etag().by(player).clears(all_of(player));
        if player != self.leader() {
            return Some(leave);
        }
        let others: Vec<_> = self.active().into_iter().filter(|other| *other != player).collect();
        let [next] = others[..] else { return None };
        let (_, team) = self.entry(next).filter(|_| !self.has_given_rights(next))?;
        Some(self.set_entry(leave, next, "leader", team))
    }

    /// A random write about short code, listing, team sizes, joinability or instance.
    pub fn session_write(&self, pick: impl Fn(usize) -> usize, text: &str) -> Option<Write> {
        let leader = self.leader();
        let listing = json!({"custom_data": {"written": text}});
        let write = match pick(10) {
            0 if self.fact(Aspect::Code).is_none() => {
                let make = Write::to(Method::POST, self.path(":generate-short-code"), self.id).without_etag();
                make.by(leader).chooses(Aspect::Code, "short_code")
            }
            1 => self.post(self.path("/browser"), listing).without_etag().sets(Aspect::Listed, text),
            2 if self.fact(Aspect::Listed).is_some() => {
                let relist = Write::to(Method::PATCH, self.path("/browser"), self.id).without_etag();
                relist.with(listing).sets(Aspect::Listed, text)
            }
            3 if self.fact(Aspect::Listed).is_some() => {
                self.delete(self.path("/browser")).without_etag().clears([Aspect::Listed])
            }
            4 => {
                let (team, size) = (pick(2), SIZES.start + pick(SIZES.len()));
                let change = Write::to(Method::PATCH, self.path(&format!("/team/{team}")), self.id);
                change.with(json!({"max_size": size})).sets(Aspect::Size(team), size.to_string())
            }
            5 if self.fact(Aspect::Open).is_some() => {
                self.patch(json!({"joinable": false})).clears([Aspect::Open])
            }
            5 => self.patch(json!({"joinable": true})).sets(Aspect::Open, "yes"),
            6.. => return self.instance_write(pick, text),
            _ => return None,
        };
        Some(write.by(leader))
    }

    /// Requests an instance, or writes to it as its host: the player who requested it, while they are active.
    fn instance_write(&self, pick: impl Fn(usize) -> usize, text: &str) -> Option<Write> {
        let leader = self.leader();
        let path = self.path("/instance");
        let Some(instance) = self.fact(Aspect::Instance) else {
            // One that nobody launches, and that does not end with the player who hosts it.
            let instance = format!("{text}-{leader}");
            let body = json!({"instance_id": instance, "host_type": "preallocated"});
            let request = self.post(path, body).without_etag().by(leader);
            return Some(request.sets(Aspect::Instance, instance));
        };
        let host = instance.rsplit('-').next()?.parse().ok().filter(|host| self.is_active(*host));
        match pick(4) {
            0 | 1 => {
                let healths = ["healthy", "degraded", "unhealthy"];
                let body = json!({"instance_id": instance, "instance_health": healths[pick(healths.len())]});
                let report = self.post(path + "/health", body).without_etag();
                Some(report.by(host?).chooses(Aspect::Health, "updated_instance_health"))
            }
            2 if self.fact(Aspect::Allocation).is_none() => {
                let allocation = format!("allocation-{}", pick(ALLOCATIONS));
                let update = Write::to(Method::PATCH, path, self.id).without_etag().by(host?);
                let update = update.with(json!({ "allocation_id": allocation }));
                let update = update.sets(Aspect::Allocation, allocation);
                Some(update.unless("allocation_in_use"))
            }
            _ => {
                let of_it = [Aspect::Instance, Aspect::Allocation, Aspect::Health];
                Some(self.delete(path).by(host?).clears(of_it))
            }
        }
    }

    /// Invites the active players of another party, or kicks them. The leader, who asks for it, stays.
    pub fn with_party(&self, other: &Self, pick: impl Fn(usize) -> usize, text: &str) -> Option<Write> {
        let leader = self.leader();
        if pick(4) == 0 {
            let mut kick = self.delete(self.path(&format!("/kicked-session/{}", other.id))).by(leader);
            let is_kicked = |player: &usize| *player != leader && self.entry(*player).is_some();
            // The client's own player, who makes many of the other writes, stays in its parties.
            if other.is_active(0) && is_kicked(&0) {
                return None;
            }
            for player in other.active().into_iter().filter(is_kicked) {
                kick = kick.clears(all_of(player));
            }
            return Some(kick);
        }
        let path = self.path(&format!("/invited-session/{}:invite", other.id));
        let mut invite = self.post(path, json!({"team_id": 0, "custom_data": {"written": text}})).by(leader);
        for player in other.active().into_iter().filter(|player| !self.is_active(*player)) {
            invite = self.set_entry(invite, player, "invited", 0).sets(Aspect::CustomData(player), text);
        }
        other.is_active(leader).then_some(invite)
    }
}
