//! The answer that the model expects from the server for each step.

use serde_json::{Value, json};

use super::invites::Invite;
use super::join_paths::Joiner;
use super::roster::ABSENT;
use super::setup::{MODERATOR, SERVICE, Setup};
use super::state::{Caller, Data, Link, Model, Refusal, Session};
use super::step::{GameClient, JoinBody, PathForm, Status, Step};
use super::views::set;

/// An expected success.
#[derive(Debug)]
pub enum Answer {
    /// 200 with this body.
    Body(Value, ExpectedEtag),
    /// 200 with these listings, and the model's number of the last one if more pages follow. The cursor in the body
    /// is a number of the server's own, 0 on the last page.
    Page(Vec<Value>, Option<u64>),
    /// 204 without a body.
    Empty(ExpectedEtag),
}

/// The expected ETag of a success.
#[derive(Debug)]
pub enum ExpectedEtag {
    /// No ETag.
    None,
    /// The ETag of the body.
    Body,
    /// The ETag of the session with this id, as the caller now reads it.
    Session(String),
}

/// An expected success or refusal.
pub type ExpectedAnswer = Result<Answer, Refusal>;

/// The caller with this number.
pub fn caller(number: usize) -> Caller {
    Caller { player: (number != SERVICE).then_some(number), any: number >= MODERATOR }
}

/// A step with the values that its numbers stand for.
pub struct ResolvedStep<'a> {
    pub caller: Caller,
    pub step: &'a Step,
    /// The sessions that the step names, by id or short code.
    pub session: &'a str,
    pub other: &'a str,
    /// The number of the last entry on the previous page.
    pub after: u64,
    /// The server's answer, for the values that the server chooses.
    pub reply: &'a Value,
}

impl Caller {
    /// The caller's player, for operations that need one.
    fn as_player(self) -> Result<usize, Refusal> {
        self.player.ok_or(Refusal(403, "player_required"))
    }

    /// The named player, for whom the caller must be allowed to act; by default the caller's own.
    fn as_player_or_for(self, player: Option<usize>) -> Result<usize, Refusal> {
        match player {
            None => self.as_player(),
            Some(player) if self.any || self.player == Some(player) => Ok(player),
            Some(_) => Err(Refusal(403, "permission_denied")),
        }
    }
}

/// The creator of a session as a joiner. Without a join body, the creator joins the first team with client data only.
fn creator_joiner(
    setup: &Setup,
    caller: Caller,
    player: usize,
    client: &GameClient,
    join_body: Option<&JoinBody>,
) -> Joiner {
    if let Some(join_body) = join_body {
        return Joiner::new(setup, caller, player, join_body);
    }
    let join_body = JoinBody { client: *client, team: 0, data: Data::new(), password: None, friend: None };
    Joiner { data: None, ..Joiner::new(setup, caller, player, &join_body) }
}

impl Model {
    /// Applies a step to the model; returns the expected answer.
    pub fn apply(&mut self, resolved: &ResolvedStep<'_>) -> ExpectedAnswer {
        let (caller, name) = (resolved.caller, resolved.session);
        let notes_platform = !matches!(
            resolved.step,
            Step::Create { .. }
                | Step::Join { .. }
                | Step::JoinQueue { .. }
                | Step::JoinThrough { .. }
                | Step::LeaveThrough { .. }
                | Step::MakeMatch { .. }
                | Step::ReportHealth { .. }
        );
        self.noted = caller.player.filter(|_| notes_platform);
        match resolved.step {
            Step::Wait { .. } => unreachable!("waiting is not a request"),
            Step::Create { .. } | Step::Join { .. } | Step::JoinThrough { .. } => self.join_step(resolved),
            Step::Leave { .. } | Step::LeaveThrough { .. } | Step::Kick { .. } | Step::KickSession { .. } => {
                self.leave_step(resolved)
            }
            Step::Invite { .. } | Step::InviteSession { .. } => self.invite_step(resolved),
            Step::Update { .. }
            | Step::SetData { .. }
            | Step::Promote { .. }
            | Step::Move { .. }
            | Step::Swap { .. }
            | Step::GiveRight { .. }
            | Step::RemoveRight { .. } => self.roster_step(caller, name, resolved.step),
            Step::Change { .. }
            | Step::ChangeTeam { .. }
            | Step::Link { .. }
            | Step::Unlink { .. }
            | Step::MakeShortCode { .. }
            | Step::List { .. }
            | Step::Relist { .. }
            | Step::Unlist { .. }
            | Step::End { .. } => self.session_step(caller, name, resolved.step, resolved.reply),
            Step::JoinQueue { queue, .. } => self.join_queue(caller, name, *queue, resolved.reply),
            Step::LeaveQueue { .. } => self.leave_queue(caller, name),
            Step::MakeMatch { match_id, by_tickets, parties, .. } => {
                self.make_match(caller, match_id, *by_tickets, parties, resolved.reply)
            }
            Step::RequestInstance { .. }
            | Step::UpdateInstance { .. }
            | Step::EndInstance { .. }
            | Step::ReportHealth { .. } => self.instance_step(resolved),
            Step::Read { .. }
            | Step::ReadPlayers { .. }
            | Step::ReadPlayer { .. }
            | Step::ReadRights { .. }
            | Step::ReadList { .. }
            | Step::ReadPlatform { .. }
            | Step::ReadAllocation { .. }
            | Step::Browse { .. } => self.read_step(resolved),
        }
    }

    fn join_step(&mut self, resolved: &ResolvedStep<'_>) -> ExpectedAnswer {
        let caller = resolved.caller;
        match resolved.step {
            Step::Create { kind, client, join_body, password, region } => {
                if caller.player.is_none() && join_body.is_none() {
                    return self.create_for_service((*kind, *password, *region), resolved.reply);
                }
                let player = caller.as_player()?;
                let joiner = creator_joiner(&self.setup, caller, player, client, join_body.as_ref());
                self.create((*kind, *password, *region), joiner, resolved.reply)
            }
            Step::Join { join_body, .. } => {
                let player = caller.as_player()?;
                let joiner = Joiner::new(&self.setup, caller, player, join_body);
                let id = self.join(resolved.session, &joiner)?;
                self.player_answer(&id, player)
            }
            Step::JoinThrough { platform, id, player, join_body } => {
                let player = caller.as_player_or_for(*player)?;
                let through = Some((*platform, *id));
                let joiner = Joiner { through, ..Joiner::new(&self.setup, caller, player, join_body) };
                let parent = self.linked(*platform, *id)?.id.clone();
                self.join(&parent, &joiner)?;
                let session = self.session(&parent)?;
                Ok(Answer::Body(self.session_view(caller, session), ExpectedEtag::Body))
            }
            other => unreachable!("{other:?} is not a join"),
        }
    }

    fn leave_step(&mut self, resolved: &ResolvedStep<'_>) -> ExpectedAnswer {
        let caller = resolved.caller;
        match resolved.step {
            Step::Leave { .. } => {
                let player = caller.as_player()?;
                self.leave(resolved.session, player)
            }
            Step::LeaveThrough { platform, id, player } => {
                let player = caller.as_player_or_for(*player)?;
                let parent = self.linked(*platform, *id)?.id.clone();
                self.leave(&parent, player)
            }
            Step::Kick { player, path_form, .. } => {
                self.session(resolved.session)?;
                // An unknown player is refused like one who is not in the session.
                let player = self.resolve_player(caller, *player, *path_form).unwrap_or(ABSENT);
                let id = self.kick(caller, resolved.session, player)?;
                Ok(Answer::Empty(if *path_form == PathForm::ById {
                    ExpectedEtag::None
                } else {
                    ExpectedEtag::Session(id)
                }))
            }
            Step::KickSession { .. } => self.kick_session(caller, resolved.session, resolved.other),
            other => unreachable!("{other:?} is not a leave or kick"),
        }
    }

    fn invite_step(&mut self, resolved: &ResolvedStep<'_>) -> ExpectedAnswer {
        let (caller, status) = (resolved.caller, Status::Invited);
        match resolved.step {
            Step::Invite { player, options, .. } => {
                let invite =
                    Invite { status, options: options.clone(), inviter: caller.player, source: None };
                let id = self.invite(caller, resolved.session, *player, &invite)?;
                self.player_answer(&id, *player)
            }
            Step::InviteSession { options, .. } => {
                self.invite_session(caller, resolved.session, resolved.other, options)
            }
            other => unreachable!("{other:?} is not an invite"),
        }
    }

    fn read_step(&mut self, resolved: &ResolvedStep<'_>) -> ExpectedAnswer {
        let caller = resolved.caller;
        match resolved.step {
            Step::ReadList { player } => {
                let player = caller.as_player_or_for(*player)?;
                self.note_read_of_list(caller, player);
                let mut list = self.list_view(player);
                // The server chooses the time of the last change. `ListTimes` checks it.
                set(
                    &mut list,
                    "last_updated_timestamp",
                    resolved.reply.get("last_updated_timestamp").cloned(),
                );
                return Ok(Answer::Body(list, ExpectedEtag::Body));
            }
            Step::ReadPlatform { platform, id } => {
                let session = self.linked(*platform, *id)?;
                session.require_active(caller)?;
                // A heartbeat of the player that does not keep the session alive.
                let parent = session.id.clone();
                self.note_read(caller, &parent, false);
                let session = self.session(&parent)?;
                return Ok(Answer::Body(
                    self.link_view(session, link(session, *platform)),
                    ExpectedEtag::Body,
                ));
            }
            Step::Browse { kind, region, page_size, .. } => {
                let (sessions, last) = self.browser_view(*kind, *region, resolved.after, *page_size);
                return Ok(Answer::Page(sessions, last));
            }
            Step::ReadAllocation { allocation } => return self.read_allocation(caller, *allocation),
            Step::ReadRights { .. } => self.session(resolved.session)?.require_active(caller)?,
            _ => {}
        }
        let id = self.session(resolved.session)?.id.clone();
        let refresh = !matches!(resolved.step, Step::Read { refresh: false, .. });
        self.note_read(caller, &id, refresh);
        let session = self.session(&id)?;
        let body = match resolved.step {
            Step::Read { .. } => self.session_view(caller, session),
            Step::ReadPlayers { page_size, .. } => {
                self.players_view(caller, session, resolved.after, *page_size).0
            }
            Step::ReadPlayer { player, .. } => {
                let entry = session.require_entry(*player)?;
                if !self.shows(caller, session, entry) {
                    return Err(Refusal(404, "player_not_found"));
                }
                self.entry_view(caller, session, entry)
            }
            Step::ReadRights { player, .. } => {
                if !self.shows(caller, session, session.require_entry(*player)?) {
                    return Err(Refusal(404, "player_not_found"));
                }
                self.rights_view(session, *player)?
            }
            other => unreachable!("{other:?} is not a read"),
        };
        Ok(Answer::Body(body, ExpectedEtag::Body))
    }

    /// The answer to a change of a player.
    pub fn player_answer(&self, id: &str, player: usize) -> ExpectedAnswer {
        Ok(Answer::Body(
            self.changed_player_view(self.session(id)?, player)?,
            ExpectedEtag::Session(id.to_owned()),
        ))
    }

    /// The player that a path names. A numeric id is known once the token of a joiner has named it. A caller's own
    /// numeric id is always known.
    pub fn resolve_player(
        &self,
        caller: Caller,
        player: usize,
        path_form: PathForm,
    ) -> Result<usize, Refusal> {
        let id = self.setup.players[player].player_id;
        let own = |caller: usize| id.is_some() && self.setup.players[caller].player_id == id;
        if path_form != PathForm::ById {
            return Ok(player);
        }
        if let Some(caller) = caller.player.filter(|caller| own(*caller)) {
            return Ok(caller);
        }
        let known = id.and_then(|id| self.player_ids.get(&id));
        known.copied().ok_or(Refusal(404, "player_not_found"))
    }
}

/// The platform session of a session on a platform.
pub fn link(session: &Session, platform: usize) -> &Link {
    session.links.iter().find(|link| link.platform == platform).expect("it is linked")
}

/// The answer to a change of several players.
pub fn players_answer(model: &Model, id: &str, players: &[usize]) -> ExpectedAnswer {
    let session = model.session(id)?;
    let views: Result<Vec<_>, Refusal> =
        players.iter().map(|player| model.changed_player_view(session, *player)).collect();
    Ok(Answer::Body(json!({ "players": views? }), ExpectedEtag::Session(id.to_owned())))
}
