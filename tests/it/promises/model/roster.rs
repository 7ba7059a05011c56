//! Changes of players: promote, move, swap, data, rights, and the deprecated update.

use serde_json::Value;

use super::answer::{Answer, Answered, Tag, places};
use super::doors::Joiner;
use super::invites::Invite;
use super::setup::Setup;
use super::state::{Caller, Data, Model, No, Seat, Session};
use super::step::{Right, Spelling, Standing, Step, Terms};

/// The entry of a player who must be active.
fn active_seat(session: &mut Session, player: usize) -> Result<&mut Seat, No> {
    let seat = session.seat_mut(player).ok_or(No(404, "player_not_found"))?;
    if seat.is_active() { Ok(seat) } else { Err(No(403, "player_not_active")) }
}

fn promote(session: &mut Session, caller: Caller, player: usize) -> Result<(), No> {
    session.require_leader(caller)?;
    active_seat(session, player)?;
    for seat in session.seats.iter_mut().filter(|seat| seat.standing == Standing::Leader) {
        seat.standing = Standing::Member;
    }
    active_seat(session, player)?.standing = Standing::Leader;
    Ok(())
}

fn move_to(
    session: &mut Session,
    setup: &Setup,
    caller: Caller,
    player: usize,
    team: Option<usize>,
) -> Result<(), No> {
    session.require_active(caller)?;
    if !(setup.settings.own_team && caller.player == Some(player)) {
        session.require_right(caller, Right::Move)?;
    }
    let team = team.unwrap_or(session.found(player)?.team);
    if team >= session.teams.len() {
        return Err(No(404, "team_not_found"));
    }
    if !session.has_place_for(team, player) {
        return Err(No(403, "team_full"));
    }
    session.seat_mut(player).expect("the player sits here").team = team;
    Ok(())
}

fn set_data(session: &mut Session, caller: Caller, player: usize, data: &Data) -> Result<(), No> {
    if caller.player != Some(player) {
        session.require_leader(caller)?;
    }
    session.found(player)?;
    session.seat_mut(player).expect("the player sits here").data = data.clone();
    Ok(())
}

fn swap(session: &mut Session, caller: Caller, [one, other]: [usize; 2]) -> Result<(), No> {
    session.require_leader(caller)?;
    let (first, second) = (active_seat(session, one)?.team, active_seat(session, other)?.team);
    if session.leads(one) || session.leads(other) {
        return Err(No(403, "leader_not_swappable"));
    }
    if first == second {
        return Err(No(403, "same_team"));
    }
    active_seat(session, one)?.team = second;
    active_seat(session, other)?.team = first;
    Ok(())
}

impl Model {
    pub fn arrange(&mut self, caller: Caller, name: &str, step: &Step) -> Answered {
        let (id, player) = match step {
            Step::Update { player, spelling, status, terms, .. } => {
                self.session(name)?;
                let player = self.named(caller, *player, *spelling)?;
                let id = self.update(caller, name, player, *status, terms)?;
                if *spelling == Spelling::ById {
                    let place = self.place_view(self.session(&id)?, player)?;
                    return Ok(Answer::Body(place, Tag::None));
                }
                (id, player)
            }
            Step::SetData { player, data, .. } => {
                (self.by_rule(name, |session, _| set_data(session, caller, *player, data))?, *player)
            }
            Step::Promote { player, .. } => {
                (self.by_rule(name, |session, _| promote(session, caller, *player))?, *player)
            }
            Step::Move { player, team, .. } => {
                let id =
                    self.by_rule(name, |session, setup| move_to(session, setup, caller, *player, *team))?;
                (id, *player)
            }
            Step::Swap { players, .. } => {
                let id = self.by_rule(name, |session, _| swap(session, caller, *players))?;
                return places(self, &id, players);
            }
            _ => return self.arrange_rights(caller, name, step),
        };
        self.place(&id, player)
    }

    fn arrange_rights(&mut self, caller: Caller, name: &str, step: &Step) -> Answered {
        match step {
            Step::Lend { player, right, .. } => {
                let id = self.by_rule(name, |session, _| {
                    session.require_leader(caller)?;
                    active_seat(session, *player)?.lent.insert(*right);
                    Ok(())
                })?;
                let rights: Value = self.rights_view(self.session(&id)?, *player)?;
                Ok(Answer::Body(rights, Tag::Session(id)))
            }
            Step::TakeBack { player, right, .. } => {
                let id = self.by_rule(name, |session, _| {
                    session.require_active(caller)?;
                    if caller.player != Some(*player) {
                        session.require_leader(caller)?;
                    }
                    active_seat(session, *player)?.lent.remove(right);
                    Ok(())
                })?;
                Ok(Answer::Empty(Tag::Session(id)))
            }
            other => unreachable!("{other:?} is not a change of rights"),
        }
    }

    /// Changes a session by a rule; returns its id.
    fn by_rule(
        &mut self,
        name: &str,
        rule: impl FnOnce(&mut Session, &Setup) -> Result<(), No>,
    ) -> Result<String, No> {
        self.change(name, |session, setup, _| {
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
        status: Option<Standing>,
        terms: &Terms,
    ) -> Result<String, No> {
        if let Some(standing @ (Standing::Invited | Standing::Reserved)) = status {
            let invite = Invite { standing, terms: terms.clone(), inviter: caller.player, source: None };
            return self.invite(caller, name, player, &invite);
        }
        let session = self.session(name)?;
        if status == Some(Standing::Member) && !session.is_active(player) {
            if !caller.any && caller.player != Some(player) {
                return Err(No(403, "join_for_others"));
            }
            let own = (caller.player == Some(player)).then(|| self.setup.players[player]);
            return self.join(
                name,
                &Joiner {
                    player,
                    player_id: own.and_then(|own| own.player_id),
                    client: None,
                    team: terms.team,
                    data: Some(terms.data.clone()).filter(|data| !data.is_empty()),
                    password: None,
                    friend: None,
                    through: None,
                },
            );
        }
        self.by_rule(name, |session, setup| {
            if status == Some(Standing::Leader) {
                session.require_leader(caller)?;
            }
            let current = session.found(player)?.team;
            if let Some(team) = terms.team.filter(|team| *team != current) {
                move_to(session, setup, caller, player, Some(team))?;
            }
            if terms.data.is_empty() {
                session.require_active(caller)?;
            } else {
                set_data(session, caller, player, &terms.data)?;
            }
            if status == Some(Standing::Leader) { promote(session, caller, player) } else { Ok(()) }
        })
    }
}
