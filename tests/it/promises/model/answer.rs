//! The answer that the model expects from the server for each step.

use serde_json::{Value, json};

use super::doors::Joiner;
use super::invites::Invite;
use super::setup::{MODERATOR, SERVICE, Setup};
use super::state::{Caller, Data, Link, Model, No, Session};
use super::step::{Ask, GameClient, Spelling, Standing, Step};

/// An expected success.
#[derive(Debug)]
pub enum Answer {
    /// 200 with this body.
    Body(Value, Tag),
    /// 200 with these listings, and the model's number of the last one if more pages follow. The cursor in the body is a
    /// number of the server's own, 0 on the last page.
    Page(Vec<Value>, Option<u64>),
    /// 204 without a body.
    Empty(Tag),
}

/// The expected ETag of a success.
#[derive(Debug)]
pub enum Tag {
    /// No ETag.
    None,
    /// The ETag of the body.
    Body,
    /// The ETag of the session with this id, as the caller now reads it.
    Session(String),
}

/// An expected success or refusal.
pub type Answered = Result<Answer, No>;

/// The caller with this number.
pub fn caller(number: usize) -> Caller {
    Caller { player: (number != SERVICE).then_some(number), any: number >= MODERATOR }
}

/// A step with the values that its numbers stand for.
pub struct Act<'a> {
    pub caller: Caller,
    pub step: &'a Step,
    /// The sessions that the step names, by id or short code.
    pub session: &'a str,
    pub other: &'a str,
    /// The number of the last entry on the previous page.
    pub after: u64,
    /// The server's answer, for the values that the server chooses.
    pub taken: &'a Value,
}

impl Caller {
    /// The caller's player, for operations that need one.
    fn as_player(self) -> Result<usize, No> {
        self.player.ok_or(No(403, "player_required"))
    }

    /// The named player, for whom the caller must be allowed to act; by default the caller's own.
    fn as_player_or_for(self, player: Option<usize>) -> Result<usize, No> {
        match player {
            None => self.as_player(),
            Some(player) if self.any || self.player == Some(player) => Ok(player),
            Some(_) => Err(No(403, "permission_denied")),
        }
    }
}

/// The creator of a session as a joiner. Without a join body, the creator joins the first team with client data only.
fn founder(setup: &Setup, caller: Caller, player: usize, client: &GameClient, ask: Option<&Ask>) -> Joiner {
    if let Some(ask) = ask {
        return Joiner::new(setup, caller, player, ask);
    }
    let ask = Ask { client: *client, team: 0, data: Data::new(), password: None, friend: None };
    Joiner { data: None, ..Joiner::new(setup, caller, player, &ask) }
}

impl Model {
    /// Applies a step to the model; returns the expected answer.
    pub fn act(&mut self, act: &Act<'_>) -> Answered {
        let (caller, name) = (act.caller, act.session);
        match act.step {
            Step::Wait { .. } => unreachable!("waiting is not a request"),
            Step::Create { .. } | Step::Join { .. } | Step::JoinThrough { .. } => self.come(act),
            Step::Leave { .. } | Step::LeaveThrough { .. } | Step::Kick { .. } | Step::KickSession { .. } => {
                self.go(act)
            }
            Step::Invite { .. } | Step::InviteSession { .. } => self.call(act),
            Step::Update { .. }
            | Step::SetData { .. }
            | Step::Promote { .. }
            | Step::Move { .. }
            | Step::Swap { .. }
            | Step::Lend { .. }
            | Step::TakeBack { .. } => self.arrange(caller, name, act.step),
            Step::Change { .. }
            | Step::ChangeTeam { .. }
            | Step::Link { .. }
            | Step::Unlink { .. }
            | Step::MakeCode { .. }
            | Step::List { .. }
            | Step::Relist { .. }
            | Step::Unlist { .. }
            | Step::End { .. } => self.change_session(caller, name, act.step, act.taken),
            Step::Host { .. }
            | Step::UpdateInstance { .. }
            | Step::EndInstance { .. }
            | Step::Report { .. } => self.host(act),
            Step::Read { .. }
            | Step::ReadPlayers { .. }
            | Step::ReadPlayer { .. }
            | Step::ReadRights { .. }
            | Step::ReadList { .. }
            | Step::ReadPlatform { .. }
            | Step::ReadAllocation { .. }
            | Step::Browse { .. } => self.read(act),
        }
    }

    fn come(&mut self, act: &Act<'_>) -> Answered {
        let caller = act.caller;
        match act.step {
            Step::Create { kind, client, ask, password, region } => {
                let player = caller.as_player()?;
                let joiner = founder(&self.setup, caller, player, client, ask.as_ref());
                self.create((*kind, *password, *region), joiner, act.taken)
            }
            Step::Join { ask, .. } => {
                let player = caller.as_player()?;
                let joiner = Joiner::new(&self.setup, caller, player, ask);
                let id = self.join(act.session, &joiner)?;
                self.place(&id, player)
            }
            Step::JoinThrough { platform, id, player, ask } => {
                let player = caller.as_player_or_for(*player)?;
                let through = Some((*platform, *id));
                let joiner = Joiner { through, ..Joiner::new(&self.setup, caller, player, ask) };
                let parent = self.linked(*platform, *id)?.id.clone();
                self.join(&parent, &joiner)?;
                let session = self.session(&parent)?;
                Ok(Answer::Body(self.session_view(caller, session), Tag::Body))
            }
            other => unreachable!("{other:?} is not a join"),
        }
    }

    fn go(&mut self, act: &Act<'_>) -> Answered {
        let caller = act.caller;
        match act.step {
            Step::Leave { .. } => {
                let player = caller.as_player()?;
                self.leave(act.session, player)
            }
            Step::LeaveThrough { platform, id, player } => {
                let player = caller.as_player_or_for(*player)?;
                let parent = self.linked(*platform, *id)?.id.clone();
                self.leave(&parent, player)
            }
            Step::Kick { player, spelling, .. } => {
                self.session(act.session)?;
                let player = self.named(caller, *player, *spelling)?;
                let id = self.kick(caller, act.session, player)?;
                Ok(Answer::Empty(if *spelling == Spelling::ById { Tag::None } else { Tag::Session(id) }))
            }
            Step::KickSession { .. } => self.kick_session(caller, act.session, act.other),
            other => unreachable!("{other:?} is not a leave or kick"),
        }
    }

    fn call(&mut self, act: &Act<'_>) -> Answered {
        let (caller, standing) = (act.caller, Standing::Invited);
        match act.step {
            Step::Invite { player, terms, .. } => {
                let invite = Invite { standing, terms: terms.clone(), inviter: caller.player, source: None };
                let id = self.invite(caller, act.session, *player, &invite)?;
                self.place(&id, *player)
            }
            Step::InviteSession { terms, .. } => self.invite_session(caller, act.session, act.other, terms),
            other => unreachable!("{other:?} is not an invite"),
        }
    }

    fn read(&mut self, act: &Act<'_>) -> Answered {
        let caller = act.caller;
        match act.step {
            Step::ReadList { player } => {
                let player = caller.as_player_or_for(*player)?;
                return Ok(Answer::Body(self.list_view(player), Tag::Body));
            }
            Step::ReadPlatform { platform, id } => {
                let session = self.linked(*platform, *id)?;
                session.require_active(caller)?;
                // A heartbeat of the player that does not keep the session alive.
                let parent = session.id.clone();
                self.ask(caller, &parent, false);
                let session = self.session(&parent)?;
                return Ok(Answer::Body(self.link_view(session, link(session, *platform)), Tag::Body));
            }
            Step::Browse { kind, region, page_size, .. } => {
                let (sessions, last) = self.browser_view(*kind, *region, act.after, *page_size);
                return Ok(Answer::Page(sessions, last));
            }
            Step::ReadAllocation { allocation } => return self.read_allocation(caller, *allocation),
            Step::ReadRights { .. } => self.session(act.session)?.require_active(caller)?,
            _ => {}
        }
        let id = self.session(act.session)?.id.clone();
        let refresh = !matches!(act.step, Step::Read { refresh: false, .. });
        self.ask(caller, &id, refresh);
        let session = self.session(&id)?;
        let body = match act.step {
            Step::Read { .. } => self.session_view(caller, session),
            Step::ReadPlayers { page_size, .. } => {
                self.players_view(caller, session, act.after, *page_size).0
            }
            Step::ReadPlayer { player, .. } => {
                let seat = session.found(*player)?;
                if !self.shows(caller, session, seat) {
                    return Err(No(404, "player_not_found"));
                }
                self.seat_view(caller, session, seat)
            }
            Step::ReadRights { player, .. } => {
                if !self.shows(caller, session, session.found(*player)?) {
                    return Err(No(404, "player_not_found"));
                }
                self.rights_view(session, *player)?
            }
            other => unreachable!("{other:?} is not a read"),
        };
        Ok(Answer::Body(body, Tag::Body))
    }

    /// The answer to a change of a player.
    pub fn place(&self, id: &str, player: usize) -> Answered {
        Ok(Answer::Body(self.place_view(self.session(id)?, player)?, Tag::Session(id.to_owned())))
    }

    /// The player that a path names. A numeric id is known once the token of a joiner has named it. A caller's own
    /// numeric id is always known.
    pub fn named(&self, caller: Caller, player: usize, spelling: Spelling) -> Result<usize, No> {
        let id = self.setup.players[player].player_id;
        let own = |caller: usize| id.is_some() && self.setup.players[caller].player_id == id;
        if spelling != Spelling::ById {
            return Ok(player);
        }
        if let Some(caller) = caller.player.filter(|caller| own(*caller)) {
            return Ok(caller);
        }
        let known = id.and_then(|id| self.player_ids.get(&id));
        known.copied().ok_or(No(404, "player_not_found"))
    }
}

/// The platform session of a session on a platform.
pub fn link(session: &Session, platform: usize) -> &Link {
    session.links.iter().find(|link| link.platform == platform).expect("it is linked")
}

/// The answer to a change of several players.
pub fn places(model: &Model, id: &str, players: &[usize]) -> Answered {
    let session = model.session(id)?;
    let places: Result<Vec<_>, No> =
        players.iter().map(|player| model.place_view(session, *player)).collect();
    Ok(Answer::Body(json!({ "players": places? }), Tag::Session(id.to_owned())))
}
