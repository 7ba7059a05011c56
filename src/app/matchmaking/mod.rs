//! Matches of parties in queues.
//!
//! - `matches`: makes a match, in one commit. `fillings`: sends parties into a running one, in one commit.
//! - [`Matchmaker`]: finds matches among the tickets that wait, and has them made. `pool` has the tickets of a profile,
//!   `running` the matches that want more of them, [`news`] brings what commits on this node change of both, `commits`
//!   makes the matches and fillings that a pass proposes, `nodes` says which node matches which profile.
//!
//! Nothing here has to be durable, and nothing is trusted: a ticket is an index entry of its session, pools are read from
//! those, and each match expects the very ticket in its commit. A pool that is wrong costs a conflict.

mod commits;
mod fillings;
pub mod matches;
pub mod news;
mod nodes;
mod pool;
mod running;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::commits::{Order, Unfilled, WhyUnfilled};
use self::news::{News, TicketNews};
use self::nodes::Nodes;
use self::pool::Pool;
use super::{App, Catalog, Failure};
use crate::domain::SessionId;
use crate::domain::matchmaking::Matchmaking;
use crate::domain::matchmaking::matcher::{Explanation, Proposal, Rules};
use crate::domain::matchmaking::profile::{MatcherKind, Profile};
use crate::env::Entropy;
use crate::telemetry::Metrics;

/// Settings of the matcher.
#[derive(Clone, Copy, Debug)]
pub struct MatcherSettings {
    /// Whether this server makes matches itself.
    pub is_enabled: bool,
    /// How long after a change a pass begins, so that it finds what comes in the meantime.
    pub pass_every: Duration,
    /// With several nodes: how often tickets are read that other nodes took in.
    pub poll: Duration,
    /// With several nodes: after how long a silent one counts as gone.
    pub node_timeout: Duration,
    /// How many passes run at once, each on a thread of its own.
    pub threads: usize,
}

/// Finds matches among the tickets that wait, and has them made.
pub struct Matchmaker {
    settings: MatcherSettings,
    news: Arc<TicketNews>,
    /// A round has it from its beginning to its end.
    round: tokio::sync::Mutex<()>,
    /// Not locked while matches are made, which can take long.
    state: tokio::sync::Mutex<State>,
    /// Not locked during a round: a node is there, however long its rounds take.
    nodes: tokio::sync::Mutex<Nodes>,
    /// When a pass could next find something although nothing happens, in milliseconds since 1970.
    next_ms: AtomicI64,
}

struct State {
    /// The configuration that the pools follow.
    matchmaking: Option<Arc<Matchmaking>>,
    pools: BTreeMap<String, Pool>,
    /// Held tickets of matches of which it is not known whether they were made, and their sessions.
    unsure: BTreeMap<Uuid, SessionId>,
    polled_up_ms: i64,
}

impl Matchmaker {
    /// A matcher that hears this news.
    pub fn new(settings: MatcherSettings, news: Arc<TicketNews>, entropy: &Entropy) -> Self {
        let timeout_ms = i64::try_from(settings.node_timeout.as_millis()).unwrap_or(i64::MAX);
        let nodes = Nodes::new(entropy.beside().uuid(), timeout_ms);
        let state = State {
            matchmaking: None,
            pools: BTreeMap::new(),
            unsure: BTreeMap::new(),
            polled_up_ms: i64::MIN,
        };
        Self {
            settings,
            news,
            round: ().into(),
            state: state.into(),
            nodes: nodes.into(),
            next_ms: AtomicI64::new(i64::MAX),
        }
    }

    /// Waits until this node should say again that it makes matches, if there are others.
    pub async fn wait_until_missed(&self, app: &App) {
        if !self.settings.is_enabled || app.sessions.store().sole_writer() {
            return std::future::pending().await;
        }
        tokio::time::sleep(Duration::from_millis(nodes::SAY_EVERY_MS.unsigned_abs())).await;
    }

    /// Says that this node makes matches, and for which profiles, and finds out which other nodes do. A node whose clock is
    /// wrong makes none, and says nothing.
    ///
    /// # Errors
    /// Errors of the store. The next call does it.
    pub async fn meet(&self, app: &App) -> Result<(), Failure> {
        if !self.settings.is_enabled || app.sessions.store().sole_writer() {
            return Ok(());
        }
        match app.sessions.require_right_clock().await.map_err(Failure::from) {
            Ok(_) => {}
            // Other jobs log it.
            Err(failure) if failure.is_clock_wrong() => return Ok(()),
            Err(failure) => return Err(failure),
        }
        let catalog = app.catalog();
        let profiles = catalog.matchmaking.profiles.iter().filter(|(_, profile)| is_ours(profile));
        self.nodes.lock().await.meet(app, profiles.map(|(id, _)| id.clone()).collect()).await
    }

    /// Waits until a pass may find something.
    pub async fn wait_until_due(&self, app: &App) {
        if !self.settings.is_enabled {
            return std::future::pending().await;
        }
        let next_ms = self.next_ms.load(Ordering::Relaxed);
        let until_next = u64::try_from(next_ms.saturating_sub(app.clock.now_ms())).unwrap_or(0);
        let is_alone = app.sessions.store().sole_writer();
        tokio::select! {
            () = self.news.wait() => tokio::time::sleep(self.settings.pass_every).await,
            () = tokio::time::sleep(Duration::from_millis(until_next).max(self.settings.pass_every)), if next_ms < i64::MAX => {}
            () = tokio::time::sleep(self.settings.poll), if !is_alone => {}
        }
    }

    /// Runs one round: takes the news, runs a pass for each profile in which something has changed, and makes the matches.
    /// It stops early once `stop` is cancelled. Returns whether another round can find more at once: not every pass that is
    /// due, since passes are `pass_every` apart.
    ///
    /// # Errors
    /// Errors of the store. The next round goes on.
    pub async fn round(&self, app: &App, stop: &CancellationToken) -> Result<bool, Failure> {
        if !self.settings.is_enabled {
            return Ok(false);
        }
        let _round = self.round.lock().await;
        let catalog = app.catalog();
        let orders = self.orders(app, &catalog, stop).await?;
        let made = commits::make_all(app, &catalog, orders, stop).await;
        let mut state = self.state.lock().await;
        let (now_ms, up_ms) = (app.clock.now_ms(), app.clock.up_ms());
        let noted = state.note(made, up_ms);
        state.measure(now_ms, &app.metrics);
        self.next_ms.store(state.next_ms(now_ms, up_ms), Ordering::Relaxed);
        Ok(noted? && !stop.is_cancelled())
    }

    /// Takes the news and runs the passes that are due. The tickets of the orders count as unsure until it is noted what
    /// has become of them: a panic must not hold them for ever.
    async fn orders(
        &self,
        app: &App,
        catalog: &Arc<Catalog>,
        stop: &CancellationToken,
    ) -> Result<Vec<Order>, Failure> {
        let mut state = self.state.lock().await;
        if !catalog.matchmaking.profiles.values().any(is_ours) {
            self.news.take();
            state.follow(catalog, &*self.nodes.lock().await, app.clock.now_ms(), &app.metrics);
            state.unsure.clear();
            return Ok(Vec::new());
        }
        let now_ms = app.sessions.require_right_clock().await?;
        self.meet(app).await?;
        // No failure from here until the pools have the news: it comes once.
        let news = self.news.take();
        if news.is_none() {
            tracing::warn!(
                "too many tickets came and went during a round; all waiting tickets are read again"
            );
            state.pools.clear();
        }
        state.follow(catalog, &*self.nodes.lock().await, now_ms, &app.metrics);
        state.take(news.unwrap_or_default());
        state.read(app, self.settings.poll, now_ms).await?;
        state.settle_unsure(app).await?;
        let due = state.prepare(app, catalog, now_ms).await;
        let orders = state.passes(&due, self.settings.threads, now_ms, app, stop).await;
        state.unsure.extend(orders.iter().flat_map(|order| order.sessions.iter().cloned()));
        Ok(orders)
    }

    /// Why a ticket waits, for each profile that this node matches, and the time for which that holds, in milliseconds
    /// since 1970. Empty if the ticket waits in no such profile. What is stored counts: a ticket that has come a moment ago
    /// is explained, and one that has ended is not. Waits for passes that run.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn explain(
        &self,
        app: &App,
        ticket: Uuid,
    ) -> Result<(i64, BTreeMap<String, Explanation>), Failure> {
        let now_ms = app.clock.now_ms();
        if !self.settings.is_enabled {
            return Ok((now_ms, BTreeMap::new()));
        }
        let mut state = self.state.lock().await;
        state.follow(&app.catalog(), &*self.nodes.lock().await, now_ms, &app.metrics);
        for pool in state.pools.values_mut() {
            pool.read_all(app.sessions.store()).await?;
            pool.read_newest(app.sessions.store(), now_ms).await?;
        }
        let session = state.pools.values().find_map(|pool| pool.session_of(ticket));
        let Some(session) = session.cloned() else { return Ok((now_ms, BTreeMap::new())) };
        let session = app.sessions.find_latest(&session).await?;
        let queued = session.as_ref().and_then(|session| session.session.matchmaking.as_ref());
        if queued.is_none_or(|queued| queued.id != ticket) {
            return Ok((now_ms, BTreeMap::new()));
        }
        let pools = state.pools.iter_mut();
        let explained = pools.filter_map(|(id, pool)| Some((id.clone(), pool.explain(ticket, now_ms)?)));
        Ok((now_ms, explained.collect()))
    }

    /// Notes that the host of a match has confirmed that it wants players.
    pub fn backfill_confirmed(&self, session_id: &SessionId) {
        self.news.confirmed(session_id);
    }

    /// Says that this node makes no more matches, so that others do at once.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn leave(&self, app: &App) -> Result<(), Failure> {
        self.nodes.lock().await.leave(app).await
    }
}

/// Whether a server makes the matches of a profile.
fn is_ours(profile: &Profile) -> bool {
    profile.active && profile.matcher == MatcherKind::Builtin
}

/// The rules of a profile. A map of a template that the configuration does not have cannot be wished for.
fn rules_of(catalog: &Catalog, profile: &Profile) -> Rules {
    let template = profile.instance_request_template_id;
    let template = template.and_then(|id| catalog.instance_templates.get(&id));
    let maps = template.map(|template| template.maps.as_slice()).unwrap_or_default();
    Rules::new(profile, &catalog.regions, maps)
}

impl State {
    /// Keeps a pool for each profile that this node matches. After a reload all of them begin anew.
    fn follow(&mut self, catalog: &Arc<Catalog>, nodes: &Nodes, now_ms: i64, metrics: &Metrics) {
        let is_same = self.matchmaking.as_ref().is_some_and(|known| Arc::ptr_eq(known, &catalog.matchmaking));
        let is_here =
            |id: &String| catalog.matchmaking.profiles.get(id).is_some_and(is_ours) && nodes.prefer_this(id);
        self.pools.retain(|id, _| {
            let stays = is_here(id);
            if !stays {
                metrics.matches.forget_profile(id);
            }
            stays && is_same
        });
        for (id, profile) in &catalog.matchmaking.profiles {
            if !self.pools.contains_key(id) && is_here(id) {
                let rules = rules_of(catalog, profile);
                self.pools.insert(id.clone(), Pool::new(id.clone(), rules, now_ms));
            }
        }
        self.matchmaking = Some(Arc::clone(&catalog.matchmaking));
    }

    fn take(&mut self, news: Vec<News>) {
        for news in news {
            match news {
                News::Ended(id) => self.remove(id),
                News::Wants { profile_id, session_id, created_ms, wanted } => {
                    let Some(pool) = self.pools.get_mut(&profile_id) else { continue };
                    match wanted {
                        Some(wanted) => pool.running.note(session_id, created_ms, wanted),
                        None => pool.running.forget(&session_id),
                    }
                }
                News::WantsNobody(id) => self.pools.values_mut().for_each(|pool| pool.running.forget(&id)),
                News::Confirmed(id) => self.pools.values_mut().for_each(|pool| pool.running.confirmed(&id)),
                News::Waits(waiting) => {
                    for (profile, values) in &waiting.by_profile {
                        if let Some(pool) = self.pools.get_mut(profile) {
                            pool.add(waiting.session_id.clone(), values);
                        }
                    }
                }
            }
        }
    }

    /// Reads the tickets of new pools, and, at intervals, those that other nodes took in.
    async fn read(&mut self, app: &App, poll: Duration, now_ms: i64) -> Result<(), Failure> {
        let store = app.sessions.store();
        let up_ms = app.clock.up_ms();
        let poll_ms = i64::try_from(poll.as_millis()).unwrap_or(i64::MAX);
        let polls = !store.sole_writer() && up_ms.saturating_sub(self.polled_up_ms) >= poll_ms;
        for pool in self.pools.values_mut() {
            pool.read_all(store).await?;
            if polls {
                pool.read_newest(store, now_ms).await?;
                pool.read_on(store).await?;
                pool.running.read_on(store).await?;
            }
            pool.running.try_those_set_aside(up_ms, polls);
        }
        if polls {
            self.polled_up_ms = up_ms;
        }
        Ok(())
    }

    /// Finds out whether matches were made whose commits have given no answer. A ticket whose session cannot be read leaves
    /// the pools, so that it stops no other one.
    ///
    /// # Errors
    /// If the store is away.
    async fn settle_unsure(&mut self, app: &App) -> Result<(), Failure> {
        for (ticket, id) in self.unsure.clone() {
            let waits = match app.sessions.find_latest(&id).await.map_err(Failure::from) {
                Ok(session) => {
                    let queued = session.as_ref().and_then(|session| session.session.matchmaking.as_ref());
                    queued.is_some_and(|queued| queued.id == ticket)
                }
                Err(failure) if failure.is_of_one_session() => {
                    tracing::error!(session_id = %id, %failure, "a party cannot be read, so its ticket is not matched");
                    false
                }
                Err(failure) => return Err(failure),
            };
            self.unsure.remove(&ticket);
            if waits { self.release(ticket) } else { self.remove(ticket) }
        }
        Ok(())
    }

    /// Finds the running matches that the passes may fill. Returns the profiles whose passes are due: not those whose
    /// running matches could not be read, which have their passes later.
    async fn prepare(&mut self, app: &App, catalog: &Catalog, now_ms: i64) -> Vec<String> {
        let mut due = Vec::new();
        for (id, pool) in self.pools.iter_mut().filter(|(_, pool)| pool.is_due(now_ms)) {
            match pool.prepare(app, catalog, now_ms).await {
                Ok(()) => due.push(id.clone()),
                Err(failure) => {
                    tracing::error!(profile = id, %failure, "running matches cannot be read, so no tickets are matched");
                }
            }
        }
        due
    }

    /// Runs a pass in the pools of these profiles, until `stop` is cancelled. No two orders have a ticket in common.
    async fn passes(
        &mut self,
        due: &[String],
        threads: usize,
        now_ms: i64,
        app: &App,
        stop: &CancellationToken,
    ) -> Vec<Order> {
        let (mut orders, mut taken) = (Vec::new(), BTreeSet::new());
        for ids in due.chunks(threads.max(1)).take_while(|_| !stop.is_cancelled()) {
            let pools: Vec<_> = ids.iter().filter_map(|id| self.pools.remove_entry(id)).collect();
            let passes = pools.into_iter().map(|(id, mut pool)| {
                // On a thread of its own: a pass can take a second.
                tokio::task::spawn_blocking(move || {
                    let began = tokio::time::Instant::now();
                    let proposals = pool.pass(now_ms);
                    (id, pool, proposals, began.elapsed())
                })
            });
            for passed in join_all(passes).await {
                // A pool whose pass has panicked is made anew by the next round.
                let Ok((id, pool, proposals, took)) = passed else {
                    app.metrics.panicked();
                    tracing::error!("a pass of the matcher panicked; its tickets are read again");
                    continue;
                };
                app.metrics.matches.passed(took, proposals.len());
                self.pools.insert(id.clone(), pool);
                orders.extend(
                    proposals.into_iter().filter_map(|proposal| self.order(&id, proposal, &mut taken)),
                );
            }
        }
        orders
    }

    /// The order for a proposal, whose tickets other profiles must not propose meanwhile. `None` if one of them is taken
    /// already.
    fn order(&mut self, profile: &str, proposal: Proposal, taken: &mut BTreeSet<Uuid>) -> Option<Order> {
        let pool = self.pools.get_mut(profile)?;
        let session = |id: &Uuid| Some((*id, pool.session_of(*id)?.clone()));
        let sessions: Option<Vec<_>> = proposal.tickets.iter().map(session).collect();
        let is_free = proposal.tickets.iter().all(|id| !taken.contains(id) && !self.unsure.contains_key(id));
        let Some(sessions) = sessions.filter(|_| is_free) else {
            for id in proposal.tickets.iter().filter(|id| !taken.contains(id)) {
                pool.release(*id);
            }
            return None;
        };
        let fills = proposal.backfill.and_then(|id| pool.running.of_pass(id).cloned());
        for id in &proposal.tickets {
            taken.insert(*id);
            for pool in self.pools.values_mut() {
                pool.hold(*id);
            }
        }
        Some(Order { profile_id: profile.to_owned(), proposal, sessions, fills })
    }

    /// Notes what has become of orders. A failure of one match is logged, and does not end the round. Returns whether
    /// tickets wait again, so that a pass can find another match for them.
    fn note(&mut self, made: Vec<commits::Outcome>, up_ms: i64) -> Result<bool, Failure> {
        let (mut worst, mut has_released) = (Ok(()), false);
        for outcome in made {
            has_released |= !outcome.waits.is_empty();
            for id in outcome.gone {
                self.unsure.remove(&id);
                self.remove(id);
            }
            for id in outcome.waits {
                self.unsure.remove(&id);
                self.release(id);
            }
            if let Some(Unfilled { profile_id, session_id, why }) = outcome.unfilled
                && let Some(pool) = self.pools.get_mut(&profile_id)
            {
                match why {
                    WhyUnfilled::Unfit(tickets) => pool.running.exclude(&session_id, &tickets),
                    WhyUnfilled::Changed => pool.running.forget_seen(&session_id),
                    WhyUnfilled::Failed => pool.running.set_aside(&session_id, up_ms),
                }
            }
            match outcome.failure {
                Some(failure) if failure.is_of_one_session() => {
                    tracing::error!(%failure, "a match could not be made; its tickets wait again");
                }
                failure => worst = Failure::worse(worst, failure.map_or(Ok(()), Err)),
            }
        }
        worst.map(|()| has_released)
    }

    /// When a pass could next find something although nothing happens, in milliseconds since 1970.
    fn next_ms(&self, now_ms: i64, up_ms: i64) -> i64 {
        // Matches of which it is not known whether they were made are looked at soon.
        if !self.unsure.is_empty() || self.pools.values().any(|pool| pool.is_due(now_ms)) {
            return now_ms;
        }
        let aside = self.pools.values().filter_map(|pool| pool.running.next_up_ms());
        let aside = aside.map(|next_up_ms| now_ms + (next_up_ms - up_ms).max(0));
        self.pools.values().filter_map(Pool::next_ms).chain(aside).min().unwrap_or(i64::MAX)
    }

    fn remove(&mut self, id: Uuid) {
        for pool in self.pools.values_mut() {
            pool.remove(id);
        }
    }

    fn release(&mut self, id: Uuid) {
        for pool in self.pools.values_mut() {
            pool.release(id);
        }
    }

    fn measure(&self, now_ms: i64, metrics: &Metrics) {
        for (id, pool) in &self.pools {
            let (tickets, oldest_ms) = pool.size(now_ms);
            metrics.matches.set_waiting(id, tickets, oldest_ms);
        }
    }
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
