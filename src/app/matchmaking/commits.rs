//! Has the matches made that the matcher proposes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::fillings::{self, Filling};
use super::matches::{self, Made, MatchOrder, Party, Teams};
use super::running::Fillable;
use crate::app::instances::InstanceOfMatch;
use crate::app::isolate::isolate;
use crate::app::sessions::{Many, UpdateMany};
use crate::app::{App, Catalog, Failure};
use crate::domain::audit::Cause;
use crate::domain::matchmaking::matcher::Proposal;
use crate::domain::matchmaking::ticket::TicketEnd;
use crate::domain::session::match_made::MatchScores;
use crate::domain::{CustomData, Refused, Session, SessionId};

/// Matches made at once: enough to share commits of the store.
const AT_ONCE: usize = 128;

/// A proposal that shall become a match.
pub struct Order {
    /// The profile.
    pub profile_id: String,
    /// The proposal.
    pub proposal: Proposal,
    /// Its tickets, and the sessions that have them.
    pub sessions: Vec<(Uuid, SessionId)>,
    /// The running match that they join. `None`: they are a new one.
    pub fills: Option<Fillable>,
}

/// What has become of the tickets of an order. Of those that it does not name, it is not known.
#[derive(Default)]
pub struct Outcome {
    /// They wait no longer.
    pub gone: Vec<Uuid>,
    /// They wait again.
    pub waits: Vec<Uuid>,
    /// What has failed, beyond a conflict.
    pub failure: Option<Failure>,
    /// A running match that did not get all of the tickets.
    pub unfilled: Option<Unfilled>,
}

/// A running match that did not get all tickets of an order.
pub struct Unfilled {
    /// The profile.
    pub profile_id: String,
    /// The session of the match.
    pub session_id: SessionId,
    /// Why it did not.
    pub why: WhyUnfilled,
}

/// Why a running match did not get all tickets of an order.
pub enum WhyUnfilled {
    /// It must not get these.
    Unfit(Vec<Uuid>),
    /// It was not as it had been seen.
    Changed,
    /// The commit has failed, or other changes of the match were always faster.
    Failed,
}

/// Makes these matches. No ticket is in two of them. Once `stop` is cancelled no further one is begun.
pub async fn make_all(
    app: &App,
    catalog: &Arc<Catalog>,
    orders: Vec<Order>,
    stop: &CancellationToken,
) -> Vec<Outcome> {
    let made = orders.into_iter().map(|order| {
        async move {
            if stop.is_cancelled() {
                let waits = order.sessions.iter().map(|(ticket, _)| *ticket).collect();
                return Outcome { waits, ..Outcome::default() };
            }
            match order.fills.clone() {
                Some(fills) => fill(app, catalog, order, fills).await,
                None => make(app, catalog, order).await,
            }
        }
        .boxed()
    });
    let made: Vec<_> = made.collect();
    stream::iter(made).buffer_unordered(AT_ONCE).collect().await
}

async fn make(app: &App, catalog: &Arc<Catalog>, order: Order) -> Outcome {
    let tickets = || order.sessions.iter().map(|(ticket, _)| *ticket);
    let Some((_, first)) = order.sessions.first() else { return Outcome::default() };
    let made = isolate(&app.metrics, first, async {
        matches::make(app, catalog, match_order(app, catalog, &order)?, None).await
    });
    match made.await {
        Ok(Made::Session(session)) => {
            note_match(&session.session, &order);
            app.metrics.matches.of_quality(order.proposal.quality.widest_spread());
            Outcome { gone: tickets().collect(), ..Outcome::default() }
        }
        Ok(Made::Lacks(parties)) => {
            app.metrics.matches.conflict();
            let lacking: BTreeSet<_> = parties.into_iter().filter_map(|party| party.ticket).collect();
            let (gone, waits) = tickets().partition(|ticket| lacking.contains(ticket));
            Outcome { gone, waits, ..Outcome::default() }
        }
        Err(Failure::Contended) => {
            app.metrics.matches.conflict();
            Outcome { waits: tickets().collect(), ..Outcome::default() }
        }
        Err(Failure::Refused(Refused::SessionTooLarge)) => {
            let profile = &order.profile_id;
            tracing::error!(
                profile,
                tickets = order.sessions.len(),
                "the session of a match would be larger than [sessions] session_bytes_max, so its tickets end: allow \
                 larger sessions, or make smaller matches"
            );
            match isolate(&app.metrics, first, drop_tickets(app, &order)).await {
                Ok(()) => Outcome { gone: tickets().collect(), ..Outcome::default() },
                Err(failure) => Outcome { failure: Some(failure), ..Outcome::default() },
            }
        }
        Err(failure) => Outcome { failure: Some(failure), ..Outcome::default() },
    }
}

async fn fill(app: &App, catalog: &Arc<Catalog>, order: Order, fills: Fillable) -> Outcome {
    let tickets = || order.sessions.iter().map(|(ticket, _)| *ticket);
    let id = fills.session_id.clone();
    let unfilled = |why| Unfilled { profile_id: order.profile_id.clone(), session_id: id.clone(), why };
    match isolate(&app.metrics, &id, fillings::fill(app, catalog, &order, fills)).await {
        Ok(Some(filling)) => {
            let Filling { sent, lacking, unfit } = filling;
            let profile = &order.profile_id;
            tracing::debug!(session_id = %id, profile, tickets = sent.len(), "parties joined a running match");
            if sent.is_empty() {
                app.metrics.matches.conflict();
            }
            let gone = sent.into_iter().chain(lacking).collect();
            let unfilled = (!unfit.is_empty()).then(|| unfilled(WhyUnfilled::Unfit(unfit.clone())));
            Outcome { gone, waits: unfit, unfilled, ..Outcome::default() }
        }
        Ok(None) => {
            app.metrics.matches.conflict();
            let unfilled = Some(unfilled(WhyUnfilled::Changed));
            Outcome { waits: tickets().collect(), unfilled, ..Outcome::default() }
        }
        Err(Failure::Contended) => {
            app.metrics.matches.conflict();
            let unfilled = Some(unfilled(WhyUnfilled::Failed));
            Outcome { waits: tickets().collect(), unfilled, ..Outcome::default() }
        }
        Err(failure) => {
            let unfilled = Some(unfilled(WhyUnfilled::Failed));
            Outcome { failure: Some(failure), unfilled, ..Outcome::default() }
        }
    }
}

/// Writes a line into the log about a match. It names no player, and has no data of theirs.
fn note_match(session: &Session, order: &Order) {
    let Some(made) = &session.match_made else { return };
    let results = &made.results;
    let quality = &order.proposal.quality;
    tracing::info!(
        session_id = %session.id,
        match_id = %results.match_id,
        profile = order.profile_id,
        region = order.proposal.region,
        tickets = order.sessions.len(),
        players = order.proposal.players,
        longest_wait_s = results.tickets.iter().map(|ticket| ticket.wait_s).max(),
        widest_spread = quality.widest_spread(),
        side_skill_difference = quality.side_skill_difference,
        "a match was made"
    );
}

fn match_order(app: &App, catalog: &Catalog, order: &Order) -> Result<MatchOrder, Failure> {
    let profile = catalog.matchmaking.profile(&order.profile_id)?;
    let instance = match profile.instance_request_template_id {
        Some(id) => {
            let template = (id, catalog.instance_template(id)?);
            Some(InstanceOfMatch::new(app, template, &order.proposal.maps))
        }
        None => None,
    };
    let party = |(ticket, id): &(Uuid, SessionId)| Party { id: id.clone(), ticket: Some(*ticket) };
    Ok(MatchOrder {
        match_id: app.entropy.uuid().to_string(),
        profile_id: order.profile_id.clone(),
        region_id: order.proposal.region.clone(),
        custom_data: CustomData::new(),
        scores: MatchScores { evaluation_score: None, rank_quality: order.proposal.quality.widest_spread() },
        requested: None,
        backfill_id: None,
        parties: order.sessions.iter().map(party).collect(),
        teams: Teams::OfTickets(order.proposal.sides.clone()),
        instance,
        host_player: None,
        added: BTreeMap::new(),
        cause: Cause::Server,
    })
}

/// Ends tickets of which no match can be made.
async fn drop_tickets(app: &App, order: &Order) -> Result<(), Failure> {
    let ids = order.sessions.iter().map(|(_, id)| id.clone()).collect();
    let tickets: Vec<_> = order.sessions.iter().map(|(ticket, _)| *ticket).collect();
    let rule = move |many: &mut Many| {
        for (session, wanted) in many.sessions.iter_mut().zip(&tickets) {
            let session = session.as_mut();
            let queued = session
                .filter(|session| session.matchmaking.as_ref().is_some_and(|ticket| ticket.id == *wanted));
            if let Some(session) = queued {
                session.end_ticket(TicketEnd::Timeout);
            }
        }
        Ok(())
    };
    let update = UpdateMany { ids, new_id: None, hook: None, cause: Cause::Server };
    app.sessions.update_many(update, rule).await.map(drop)
}
