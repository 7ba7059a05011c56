//! Invites and reservations, for one player or for all players of a session.

use serde_json::{Value, json};

use super::answer::{Answer, ExpectedAnswer, ExpectedEtag};
use super::join_paths::{check_version, entry_for};
use super::state::{Caller, Model, Refusal, Session};
use super::step::{InviteOptions, Overflow, Right, Status};

/// An invite: its body, and the values that depend on the caller.
#[derive(Clone, Debug)]
pub struct Invite {
    pub status: Status,
    pub options: InviteOptions,
    pub inviter: Option<usize>,
    pub source: Option<String>,
}

/// Invites players as far as the overflow action allows; returns the invited ones. Players may reuse the slots that
/// they hold.
fn invite_all(
    session: &mut Session,
    players: &[usize],
    invite: &Invite,
    now_s: i64,
) -> Result<Vec<usize>, Refusal> {
    let players: Vec<_> = players.iter().copied().filter(|player| !session.is_active(*player)).collect();
    let mut free: Vec<_> = (0..session.teams.len()).map(|team| slots_for(session, team, &players)).collect();
    let full = if free.iter().any(|free| *free > 0) { "team_full" } else { "session_full" };
    let wanted = match invite.options.team {
        Some(team) if team >= free.len() => return Err(Refusal(404, "team_not_found")),
        Some(team) => team,
        // The first team with a slot for every player.
        None => free.iter().position(|free| *free >= players.len()).unwrap_or(0),
    };
    let overflow = invite.options.overflow;
    // Players who hold a slot come first. Otherwise another player could get their slot, and both would use it.
    let holds = |player: &usize| session.entry(*player).map(|entry| entry.team);
    let on_team = players.iter().filter(|player| holds(player) == Some(wanted));
    let elsewhere = players.iter().filter(|player| holds(player).is_some_and(|team| team != wanted));
    let nowhere = players.iter().filter(|player| holds(player).is_none());
    let mut invited = Vec::new();
    for player in on_team.chain(elsewhere).chain(nowhere) {
        let other = || (0..free.len()).find(|team| free[*team] > 0);
        let team = match overflow {
            Overflow::Overfill => Some(wanted),
            _ if free[wanted] > 0 => Some(wanted),
            Overflow::Allow | Overflow::PartialWith => other(),
            Overflow::Fail | Overflow::PartialWithout => None,
        };
        if let Some(team) = team {
            free[team] = free[team].saturating_sub(1);
            invited.push((*player, team));
        }
    }
    let whole = matches!(overflow, Overflow::Fail | Overflow::Allow);
    if invited.len() < players.len() && (whole || invited.is_empty()) {
        return Err(Refusal(403, full));
    }
    invited.sort_by_key(|(player, _)| players.iter().position(|other| other == player));
    for (player, team) in &invited {
        let entry = entry_for(session, *player, invite.status, now_s);
        (entry.status, entry.team) = (invite.status, *team);
        (entry.data, entry.invited_s) = (invite.options.data.clone(), Some(now_s));
        entry.match_timeout_s = None;
        (entry.inviter, entry.source) = (invite.inviter, invite.source.clone());
    }
    Ok(invited.into_iter().map(|(player, _)| player).collect())
}

/// The slots of a team for these players: the free ones, and at least those that they hold.
fn slots_for(session: &Session, team: usize, players: &[usize]) -> usize {
    let on_team = session.entries.iter().filter(|entry| entry.team == team);
    let (held, others): (Vec<_>, Vec<_>) = on_team.partition(|entry| players.contains(&entry.player));
    session.teams[team].size.saturating_sub(others.len()).max(held.len())
}

impl Model {
    /// Checks the invite quotas of each player. Their error comes after all other errors.
    fn check_invites(&self, invited: &[usize], id: &str, inviter: Option<usize>) -> Result<(), Refusal> {
        let settings = &self.setup.settings;
        let from_inviter =
            |player| inviter.map_or(0, |inviter| self.count_other_invites_from(inviter, player, id));
        let at_limit = |player: &usize| {
            // An invite that is there counts no more than before, also if a match has given more of them than are allowed.
            let session = self.session(id).ok();
            let known = session.and_then(|session| session.entry(*player)).filter(|entry| !entry.is_active());
            known.is_none() && self.count_other_sessions(*player, id, false) >= settings.invites_max
                || known.is_none_or(|known| known.inviter != inviter)
                    && from_inviter(*player) >= settings.invites_per_inviter_max
        };
        if invited.iter().any(at_limit) { Err(Refusal(403, "too_many_invites")) } else { Ok(()) }
    }

    /// Invites one player; returns the id of the session.
    pub fn invite(
        &mut self,
        caller: Caller,
        name: &str,
        player: usize,
        invite: &Invite,
    ) -> Result<String, Refusal> {
        let within = self.check_invites(&[player], &self.session(name)?.id, invite.inviter);
        self.change(name, |session, _, now_s| {
            session.require_right(caller, Right::Invite)?;
            if session.is_active(player) {
                return Err(Refusal(403, "already_in_session"));
            }
            invite_all(session, &[player], invite, now_s)?;
            within?;
            Ok(session.id.clone())
        })
    }

    /// Invites the active players of one session to another.
    pub fn invite_session(
        &mut self,
        caller: Caller,
        name: &str,
        invited: &str,
        options: &InviteOptions,
    ) -> ExpectedAnswer {
        let source = self.session(invited)?.clone();
        source.require_active(caller)?;
        let party: Vec<_> = source.active(&self.setup).into_iter().cloned().collect();
        let players: Vec<_> = party.iter().map(|entry| entry.player).collect();
        let invite = Invite {
            status: Status::Invited,
            options: options.clone(),
            inviter: caller.player,
            source: Some(source.id.clone()),
        };
        let mut invited = self.session(name)?.clone();
        if let Err(no) = invited.require_right(caller, Right::Invite) {
            // Without the right to invite, players may be invited to a session that they could join.
            if !invited.open || invited.password.is_some() || options.overflow == Overflow::Overfill {
                return Err(no);
            }
            for entry in party.iter().filter(|entry| !invited.is_active(entry.player)) {
                invited.require_not_kicked(&self.setup, entry.player)?;
                check_version(&invited, &self.setup, entry.client.as_ref())?;
            }
        }
        let invited_players = invite_all(&mut invited, &players, &invite, self.now_s)?;
        self.check_invites(&invited_players, &invited.id, invite.inviter)?;
        self.note_platform(&mut invited);
        invited.used_s = self.now_s;
        self.put(invited);
        let session = self.session(name)?;
        // The answer names the players whom the caller sees in one of the two sessions.
        let sees = |session: &Session, player: usize| {
            session.entry(player).is_some_and(|entry| self.shows(caller, session, entry))
        };
        let (seen, hidden): (Vec<_>, Vec<_>) =
            invited_players.into_iter().partition(|player| sees(&source, *player));
        let named = seen.into_iter().chain(hidden.into_iter().filter(|player| sees(session, *player)));
        let views: Result<Vec<Value>, Refusal> =
            named.map(|player| self.changed_player_view(session, player)).collect();
        Ok(Answer::Body(json!({ "players": views? }), ExpectedEtag::Session(session.id.clone())))
    }
}
