//! Changes of players: promote, move, swap, data, rights, and the deprecated update.

use serde_json::Value;

use super::answer::{Answer, ExpectedAnswer, ExpectedEtag, players_answer};
use super::invites::Invite;
use super::join_paths::{Joiner, requested_team};
use super::setup::Setup;
use super::state::{Caller, Data, Entry, Model, Refusal, Session};
use super::step::{InviteOptions, PathForm, Right, Status, Step};
use super::views::as_seen;

/// The number of a player who is in no session.
pub const ABSENT: usize = usize::MAX;

/// The entry of a player who must be active.
fn active_entry(session: &mut Session, player: usize) -> Result<&mut Entry, Refusal> {
    let entry = session.entry_mut(player).ok_or(Refusal(404, "player_not_found"))?;
    if entry.is_active() { Ok(entry) } else { Err(Refusal(403, "player_not_active")) }
}

fn promote(session: &mut Session, caller: Caller, player: usize) -> Result<(), Refusal> {
    session.require_leader(caller)?;
    active_entry(session, player)?;
    for entry in session.entries.iter_mut().filter(|entry| entry.status == Status::Leader) {
        entry.status = Status::Member;
    }
    active_entry(session, player)?.status = Status::Leader;
    Ok(())
}

fn move_to(
    session: &mut Session,
    setup: &Setup,
    caller: Caller,
    player: usize,
    team: Option<usize>,
) -> Result<(), Refusal> {
    session.require_active(caller)?;
    if !(setup.settings.own_team && caller.player == Some(player)) {
        session.require_right(caller, Right::Move)?;
    }
    let team = team.unwrap_or(session.require_entry(player)?.team);
    if team >= session.teams.len() {
        return Err(Refusal(404, "team_not_found"));
    }
    if !session.has_slot_for(team, player) {
        return Err(Refusal(403, "team_full"));
    }
    session.entry_mut(player).expect("the player has an entry").team = team;
    Ok(())
}

fn set_data(session: &mut Session, caller: Caller, player: usize, data: &Data) -> Result<(), Refusal> {
    if caller.player != Some(player) {
        session.require_leader(caller)?;
    }
    session.require_entry(player)?;
    session.entry_mut(player).expect("the player has an entry").data = data.clone();
    Ok(())
}

fn swap(session: &mut Session, caller: Caller, [one, other]: [usize; 2]) -> Result<(), Refusal> {
    session.require_leader(caller)?;
    let (first, second) = (active_entry(session, one)?.team, active_entry(session, other)?.team);
    if session.leads(one) || session.leads(other) {
        return Err(Refusal(403, "leader_not_swappable"));
    }
    if first == second {
        return Err(Refusal(403, "same_team"));
    }
    active_entry(session, one)?.team = second;
    active_entry(session, other)?.team = first;
    Ok(())
}

impl Model {
    pub fn roster_step(&mut self, caller: Caller, name: &str, step: &Step) -> ExpectedAnswer {
        let (id, player) = match step {
            Step::Update { player, path_form, status, options, .. } => {
                self.session(name)?;
                let player = match self.resolve_player(caller, *player, *path_form) {
                    Ok(player) => player,
                    Err(unknown) => {
                        // Refused like a player who is not in the session.
                        self.clone().update(caller, name, ABSENT, *status, options)?;
                        return Err(unknown);
                    }
                };
                let id = self.update(caller, name, player, *status, options)?;
                if *path_form == PathForm::ById {
                    let view = self.changed_player_view(self.session(&id)?, player)?;
                    return Ok(Answer::Body(view, ExpectedEtag::None));
                }
                (id, player)
            }
            Step::SetData { player, data, .. } => (
                self.by_rule(caller, &[*player], name, |session, _| {
                    set_data(session, caller, *player, data)
                })?,
                *player,
            ),
            Step::Promote { player, .. } => (
                self.by_rule(caller, &[*player], name, |session, _| promote(session, caller, *player))?,
                *player,
            ),
            Step::Move { player, team, .. } => {
                let id = self.by_rule(caller, &[*player], name, |session, setup| {
                    move_to(session, setup, caller, *player, *team)
                })?;
                (id, *player)
            }
            Step::Swap { players, .. } => {
                let id = self.by_rule(caller, players, name, |session, _| swap(session, caller, *players))?;
                return players_answer(self, &id, players);
            }
            _ => return self.rights_step(caller, name, step),
        };
        self.player_answer(&id, player)
    }

    fn rights_step(&mut self, caller: Caller, name: &str, step: &Step) -> ExpectedAnswer {
        match step {
            Step::GiveRight { player, right, .. } => {
                let id = self.by_rule(caller, &[*player], name, |session, _| {
                    session.require_leader(caller)?;
                    active_entry(session, *player)?.given_rights.insert(*right);
                    Ok(())
                })?;
                let rights: Value = self.rights_view(self.session(&id)?, *player)?;
                Ok(Answer::Body(rights, ExpectedEtag::Session(id)))
            }
            Step::RemoveRight { player, right, .. } => {
                let id = self.by_rule(caller, &[*player], name, |session, _| {
                    session.require_active(caller)?;
                    if caller.player != Some(*player) {
                        session.require_leader(caller)?;
                    }
                    active_entry(session, *player)?.given_rights.remove(right);
                    Ok(())
                })?;
                Ok(Answer::Empty(ExpectedEtag::Session(id)))
            }
            other => unreachable!("{other:?} is not a change of rights"),
        }
    }

    /// Changes these players of a session by a rule; returns the session's id. Refuses as if the players whom the
    /// caller does not see were not in the session.
    fn by_rule(
        &mut self,
        caller: Caller,
        players: &[usize],
        name: &str,
        rule: impl Fn(&mut Session, &Setup) -> Result<(), Refusal>,
    ) -> Result<String, Refusal> {
        self.change(name, |session, setup, _| {
            rule(&mut as_seen(setup, caller, session, players), setup)?;
            rule(session, setup)?;
            Ok(session.id.clone())
        })
    }

    /// The deprecated update: its body decides which changes it makes.
    fn update(
        &mut self,
        caller: Caller,
        name: &str,
        player: usize,
        status: Option<Status>,
        options: &InviteOptions,
    ) -> Result<String, Refusal> {
        if let Some(status @ (Status::Invited | Status::Reserved)) = status {
            let invite = Invite { status, options: options.clone(), inviter: caller.player, source: None };
            return self.invite(caller, name, player, &invite);
        }
        let is_for_others = !caller.any && caller.player != Some(player);
        let session = as_seen(&self.setup, caller, self.session(name)?, &[player]);
        if is_for_others {
            session.require_active(caller)?;
        }
        if status == Some(Status::Member) && !session.is_active(player) {
            if is_for_others {
                return Err(Refusal(403, "join_for_others"));
            }
            let own = (caller.player == Some(player)).then(|| self.setup.players[player]);
            return self.join(
                name,
                &Joiner {
                    player,
                    player_id: own.and_then(|own| own.player_id),
                    client: None,
                    team: options.team.and_then(requested_team),
                    data: Some(options.data.clone()).filter(|data| !data.is_empty()),
                    password: None,
                    may_guess: true,
                    caller: caller.player,
                    friend: None,
                    through: None,
                },
            );
        }
        self.by_rule(caller, &[player], name, |session, setup| {
            if status == Some(Status::Leader) {
                session.require_leader(caller)?;
            }
            let current = session.require_entry(player)?.team;
            let team = match status {
                Some(Status::Member) => options.team.and_then(requested_team),
                _ => options.team,
            };
            if let Some(team) = team.filter(|team| *team != current) {
                move_to(session, setup, caller, player, Some(team))?;
            }
            if options.data.is_empty() {
                session.require_active(caller)?;
            } else {
                set_data(session, caller, player, &options.data)?;
            }
            if status == Some(Status::Leader) { promote(session, caller, player) } else { Ok(()) }
        })
    }
}
