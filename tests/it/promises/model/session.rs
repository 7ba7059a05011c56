//! Changes of a session itself: joinability, teams, links, short code, listing and end.

use serde_json::{Value, json};

use super::answer::{Answer, ExpectedAnswer, ExpectedEtag, link};
use super::join_paths::{leave, removing};
use super::setup::{Kind, MAPPED, Setup};
use super::state::{Caller, Data, Entry, Link, Listing, Model, Refusal, Session, Team};
use super::step::{Change, Step, TeamChange};

/// A changed team. It may not shrink below its number of players; a team that exceeds its size may keep it.
fn reshaped(session: &Session, setup: &Setup, team: usize, change: &TeamChange) -> Result<Team, Refusal> {
    let (size, data, tickets) = match session.teams.get(team) {
        Some(team) => (team.size, team.data.clone(), team.tickets.clone()),
        None => (setup.settings.shape(session.kind).1, None, Vec::new()),
    };
    let wanted = change.size.unwrap_or(size);
    if wanted < size && wanted < session.slots_taken(team) {
        return Err(Refusal(403, "team_too_full"));
    }
    Ok(Team { size: wanted, data: change.data.clone().or(data), tickets })
}

fn reshape(session: &mut Session, setup: &Setup, wanted: &[TeamChange]) -> Result<(), Refusal> {
    if wanted.is_empty() || session.entries.iter().any(|entry| entry.team >= wanted.len()) {
        return Err(Refusal(403, "team_not_empty"));
    }
    let mut teams = Vec::new();
    for (team, change) in wanted.iter().enumerate() {
        teams.push(reshaped(session, setup, team, change)?);
    }
    session.teams = teams;
    Ok(())
}

/// Changes only the given fields. `joinability` replaces all three join paths.
fn apply(session: &mut Session, setup: &Setup, change: &Change) -> Result<(), Refusal> {
    if let Some(teams) = &change.teams {
        reshape(session, setup, teams)?;
    }
    if let Some([open, friends, platform]) = change.joinability {
        session.open = open.unwrap_or(false);
        session.friends = friends.unwrap_or(false);
        session.platform = platform.unwrap_or(true);
    } else if let Some(open) = change.joinable {
        session.open = open;
    }
    session.region = change.region.or(session.region);
    session.password = change.password.or(session.password);
    if let Some(data) = &change.data {
        session.data = data.clone();
    }
    Ok(())
}

impl Model {
    pub fn session_step(&mut self, caller: Caller, name: &str, step: &Step, reply: &Value) -> ExpectedAnswer {
        match step {
            Step::Change { change, .. } => {
                let region = self.check_region(change.region);
                self.change(name, |session, setup, _| {
                    session.require_leader(caller)?;
                    region?;
                    apply(session, setup, change)
                })?;
                Ok(Answer::Body(self.session_view(caller, self.session(name)?), ExpectedEtag::Body))
            }
            Step::ChangeTeam { team, change, .. } => self.change_team(caller, name, *team, change),
            Step::Link { platform, id, .. } => self.link(caller, name, *platform, *id),
            Step::Unlink { platform, id, .. } => self.change(name, |session, _, _| {
                let is_it = |link: &Link| (link.platform, link.id) == (*platform, *id);
                let at =
                    session.links.iter().position(is_it).ok_or(Refusal(404, "platform_session_not_found"))?;
                session.require_active(caller)?;
                session.links.remove(at);
                Ok(Answer::Empty(ExpectedEtag::None))
            }),
            Step::MakeShortCode { .. } => self.change(name, |session, _, _| {
                session.require_active(caller)?;
                if session.code.is_some() {
                    return Err(Refusal(409, "short_code_exists"));
                }
                // The server chooses the code.
                session.code = reply["short_code"].as_str().map(str::to_owned);
                Ok(Answer::Body(json!({ "short_code": session.code }), ExpectedEtag::None))
            }),
            Step::End { .. } => self.change(name, |session, _, _| {
                session.require_leader(caller)?;
                session.ended = true;
                Ok(Answer::Empty(ExpectedEtag::None))
            }),
            _ => self.change_listing(caller, name, step),
        }
    }

    fn change_team(
        &mut self,
        caller: Caller,
        name: &str,
        team: usize,
        change: &TeamChange,
    ) -> ExpectedAnswer {
        self.change(name, |session, setup, _| {
            session.require_leader(caller)?;
            if team >= session.teams.len() {
                return Err(Refusal(404, "team_not_found"));
            }
            session.teams[team] = reshaped(session, setup, team, change)?;
            Ok(())
        })?;
        let session = self.session(name)?;
        let is_wanted = |entry: &Entry| !self.suppresses(session) || caller.player == Some(entry.player);
        let view = self.team_view(caller, session, team, is_wanted);
        Ok(Answer::Body(view, ExpectedEtag::Session(session.id.clone())))
    }

    /// Links a platform session. A caller who is active in the session becomes a player of the platform session.
    fn link(&mut self, caller: Caller, name: &str, platform: usize, id: usize) -> ExpectedAnswer {
        let used_by = self.linked(platform, id).ok().map(|session| session.id.clone());
        self.change(name, |session, _, _| {
            session.require_active(caller)?;
            match session.links.iter().find(|link| link.platform == platform) {
                Some(link) if link.id != id => return Err(Refusal(403, "platform_already_linked")),
                Some(_) => {}
                None if platform >= MAPPED => return Err(Refusal(404, "platform_not_in_template")),
                None if used_by.is_some() => return Err(Refusal(403, "platform_session_in_use")),
                None => session.links.push(Link { platform, id, through: Default::default() }),
            }
            let linker = caller.player.filter(|player| session.is_active(*player));
            let linked = session.links.iter_mut().find(|link| link.platform == platform);
            linked.expect("it is linked").through.extend(linker);
            Ok(())
        })?;
        let session = self.session(name)?;
        Ok(Answer::Body(self.link_view(session, link(session, platform)), ExpectedEtag::Body))
    }

    fn change_listing(&mut self, caller: Caller, name: &str, step: &Step) -> ExpectedAnswer {
        let next = self.listings + 1;
        self.change(name, |session, _, now_s| {
            session.require_leader(caller)?;
            match step {
                Step::List { data, .. } => list(session, data, next, now_s),
                Step::Relist { data, .. } => {
                    session.listing.as_mut().ok_or(Refusal(404, "browser_info_not_found"))?.data =
                        data.clone();
                    Ok(())
                }
                Step::Unlist { .. } => {
                    session.listing.take().map(drop).ok_or(Refusal(404, "browser_info_not_found"))
                }
                other => unreachable!("{other:?} is not a change of a listing"),
            }
        })?;
        let session = self.session(name)?;
        if session.listing.as_ref().is_some_and(|listing| listing.number == next) {
            self.listings = next;
        }
        let view = self.listing_view(self.session(name)?);
        Ok(view.map_or(Answer::Empty(ExpectedEtag::None), |view| Answer::Body(view, ExpectedEtag::None)))
    }
}

/// Lists a session. A listed session gets the new data and keeps its position.
fn list(session: &mut Session, data: &Data, number: u64, now_s: i64) -> Result<(), Refusal> {
    if session.kind != Kind::Game {
        return Err(Refusal(403, "not_for_browser"));
    }
    match &mut session.listing {
        Some(listing) => listing.data = data.clone(),
        None => session.listing = Some(Listing { number, listed_s: now_s, data: data.clone() }),
    }
    Ok(())
}

/// Removes inactive players and expired invites.
pub fn expire_entries(session: &mut Session, setup: &Setup, now_s: i64) {
    let is_overdue = |entry: &super::state::Entry| match (
        entry.is_active(),
        setup.settings.culling_s,
        setup.settings.invite_expiry_s,
    ) {
        (true, Some(after_s), _) => after_s > 0 && now_s - entry.last_seen_s >= after_s as i64,
        (false, _, expiry_s) => {
            let after_s =
                expiry_s.map(|after_s| after_s as i64).into_iter().chain(entry.match_timeout_s).min();
            entry.invited_s.zip(after_s).is_some_and(|(at, after_s)| now_s - at >= after_s)
        }
        _ => false,
    };
    let overdue: Vec<_> =
        session.entries.iter().filter(|entry| is_overdue(entry)).map(|entry| entry.player).collect();
    // Cannot fail: the players have entries.
    let _ = removing(session, setup, |session| {
        overdue.into_iter().try_for_each(|player| leave(session, setup, player))
    });
}
