//! Filling a running match: parties lose their tickets and get places in its session, in one commit.

use std::sync::Arc;

use uuid::Uuid;

use super::commits::Order;
use super::running::Fillable;
use super::values::backfill_of;
use crate::app::sessions::{Many, UpdateMany};
use crate::app::{App, Catalog, Failure};
use crate::domain::audit::Cause;
use crate::domain::matchmaking::ticket::TicketEnd;
use crate::domain::session::match_made::waited_s;

/// What has become of the tickets of a filling. A party that changes, or that leaves its queue, stops no other one: a
/// filling needs no number of players.
#[derive(Default)]
pub struct Filling {
    /// Their players were invited.
    pub sent: Vec<Uuid>,
    /// They were gone.
    pub lacking: Vec<Uuid>,
    /// The match must not get them: one of their players is in it, or was kicked from it.
    pub unfit: Vec<Uuid>,
}

/// Sends the parties of an order into the match, to the teams of the proposal. `None`: the match is not as it was seen when
/// the parties were chosen, and nothing was done.
///
/// # Errors
/// [`Failure::Contended`] after 8 lost races; refusals of the catalog, if the profile is gone; errors of the store.
pub async fn fill(
    app: &App,
    catalog: &Arc<Catalog>,
    order: &Order,
    fills: Fillable,
) -> Result<Option<Filling>, Failure> {
    let profile = catalog.matchmaking.profile(&order.profile_id)?.clone();
    let (now, check) = (app.clock.now(), app.settings.version_check);
    let sides = order.proposal.sides.iter().enumerate();
    let sides = sides.flat_map(|(team_id, tickets)| tickets.iter().map(move |ticket| (team_id, *ticket)));
    let sides: Vec<(usize, Uuid)> = sides.collect();
    // The session of the match can be queued itself. It cannot join itself.
    let parties = order.sessions.iter().filter(|(_, id)| *id != fills.session_id);
    let ids = [&fills.session_id].into_iter().chain(parties.map(|(_, id)| id)).cloned().collect();
    let update = UpdateMany { ids, new_id: None, hook: None, cause: Cause::Server };
    let catalog = Arc::clone(catalog);
    let rule = move |many: &mut Many| {
        let Some((Some(game), parties)) = many.sessions.split_first_mut() else { return Ok(None) };
        if backfill_of(game, &catalog, check).as_ref() != Some(&*fills.seen) {
            return Ok(None);
        }
        many.match_id = game.match_made.as_ref().map(|made| made.results.match_id.clone());
        let (mut filling, mut waits_s) = (Filling::default(), Vec::new());
        for (team_id, wanted) in &sides {
            if game.matchmaking.as_ref().is_some_and(|ticket| ticket.id == *wanted) {
                filling.unfit.push(*wanted);
                continue;
            }
            let queued = parties.iter_mut().flatten().find_map(|party| {
                let ticket = party.matchmaking.clone().filter(|ticket| ticket.id == *wanted)?;
                Some((party, ticket))
            });
            let Some((party, ticket)) = queued else {
                filling.lacking.push(*wanted);
                continue;
            };
            if !game.may_be_sent(&ticket.players) {
                filling.unfit.push(*wanted);
                continue;
            }
            game.fill_with(*team_id, party, &ticket, &profile, now);
            party.end_ticket(TicketEnd::Backfilled);
            waits_s.push(waited_s(ticket.enqueued, now));
            filling.sent.push(*wanted);
        }
        Ok(Some((filling, waits_s)))
    };
    let Some((filling, waits_s)) = app.sessions.update_many(update, rule).await?.result else {
        return Ok(None);
    };
    if !filling.sent.is_empty() {
        app.metrics.matches.filled(waits_s.into_iter());
    }
    Ok(Some(filling))
}
