//! The waiting tickets of one profile at this node.

use std::collections::HashMap;

use uuid::Uuid;

use super::running::Running;
use super::values::values_of;
use crate::app::{App, Catalog, Failure};
use crate::domain::SessionId;
use crate::domain::matchmaking::matcher::{Limits, Matcher, Pass, Proposal, Rules, Ticket, TicketValues};
use crate::records::keys;
use crate::records::queued::QueuedTicket;
use crate::store::{Key, Store, next_key};

/// Most tickets that one step reads.
const READ_AT_ONCE: usize = 2_000;
/// How far before the newest ticket a node looks for newer ones, in milliseconds: more than the clocks of nodes differ.
const TAIL_MS: i64 = 1_000;

/// The waiting tickets of one profile.
pub struct Pool {
    profile_id: String,
    rules: Rules,
    matcher: Matcher,
    /// The sessions that have the tickets, and in which sweep each was last found in the store.
    tickets: HashMap<Uuid, Known>,
    /// Where the present sweep goes on; `None`: at the beginning.
    sweep_from: Option<Key>,
    /// The number of the present sweep. The first one reads all tickets before the first pass.
    sweep: u64,
    newest_ms: i64,
    /// When the newest tickets were last read.
    read_ms: i64,
    /// Whether a ticket has come, or waits again, since the last pass.
    is_dirty: bool,
    /// When a ticket next reaches an age at which something changes.
    next_ms: Option<i64>,
    /// The running matches that want its tickets.
    pub running: Running,
    #[cfg(test)]
    pub panics_next: bool,
}

struct Known {
    session_id: SessionId,
    sweep: u64,
}

impl Pool {
    /// An empty pool, which has to be [read](Self::read_all) before its first pass.
    pub fn new(profile_id: String, rules: Rules, now_ms: i64) -> Self {
        let running = Running::new(profile_id.clone());
        Self {
            profile_id,
            matcher: Matcher::new(rules.clone(), now_ms),
            rules,
            tickets: HashMap::new(),
            sweep_from: None,
            sweep: 0,
            newest_ms: i64::MIN,
            read_ms: now_ms,
            is_dirty: false,
            next_ms: None,
            running,
            #[cfg(test)]
            panics_next: false,
        }
    }

    /// Lets a ticket wait, unless it is there.
    pub fn add(&mut self, session_id: SessionId, values: &TicketValues) {
        self.newest_ms = self.newest_ms.max(values.enqueued_ms);
        let known = Known { session_id, sweep: self.sweep };
        if self.tickets.insert(values.id, known).is_none() {
            self.matcher.add(Ticket::new(values, &self.rules));
            self.is_dirty = true;
        }
    }

    /// Takes a ticket away.
    pub fn remove(&mut self, id: Uuid) {
        if self.tickets.remove(&id).is_some() {
            self.matcher.remove(id);
        }
    }

    /// Keeps a ticket out of passes.
    pub fn hold(&mut self, id: Uuid) {
        self.matcher.hold(id);
    }

    /// Lets a held ticket wait again.
    pub fn release(&mut self, id: Uuid) {
        self.is_dirty |= self.matcher.release(id);
    }

    /// The session that has a ticket.
    pub fn session_of(&self, id: Uuid) -> Option<&SessionId> {
        self.tickets.get(&id).map(|known| &known.session_id)
    }

    /// Whether a pass could find something.
    pub fn is_due(&self, now_ms: i64) -> bool {
        let has_untried = self.running.has_untried() && !self.matcher.is_empty();
        self.has_news(now_ms) || has_untried
    }

    /// Whether tickets have come or gone since the last pass, or have reached an age at which something changes.
    fn has_news(&self, now_ms: i64) -> bool {
        self.is_dirty || self.next_ms.is_some_and(|next_ms| next_ms <= now_ms)
    }

    /// When a pass could find something although no ticket comes.
    pub fn next_ms(&self) -> Option<i64> {
        self.next_ms
    }

    /// Finds the running matches that the next pass may fill.
    ///
    /// # Errors
    /// If the store is away.
    pub async fn prepare(&mut self, app: &App, catalog: &Catalog, now_ms: i64) -> Result<(), Failure> {
        if self.has_news(now_ms) {
            self.running.try_all();
        }
        // Without tickets nobody can be sent, so nothing is read.
        if self.matcher.is_empty() { Ok(()) } else { self.running.prepare(app, catalog).await }
    }

    /// Finds matches, and tickets for running ones. The tickets of the proposals are held.
    pub fn pass(&mut self, now_ms: i64) -> Vec<Proposal> {
        self.is_dirty = false;
        #[cfg(test)]
        assert!(!self.panics_next, "a test lets this pass panic");
        let ready = self.running.ready(|ticket| self.tickets.contains_key(ticket));
        let Pass { proposals, next_ms, .. } = self.matcher.pass(now_ms, &ready, &Limits::default());
        self.next_ms = next_ms;
        proposals
    }

    /// Number of tickets, and the age of the oldest in milliseconds.
    pub fn size(&self, now_ms: i64) -> (usize, i64) {
        (self.matcher.len(), self.matcher.oldest_age_ms(now_ms).unwrap_or(0))
    }

    /// Why a ticket waits.
    pub fn explain(
        &mut self,
        id: Uuid,
        now_ms: i64,
    ) -> Option<crate::domain::matchmaking::matcher::Explanation> {
        self.matcher.explain(id, now_ms, &self.running.open())
    }

    /// Reads all tickets of the profile, and all running matches that want them.
    ///
    /// # Errors
    /// Errors of the store. The next call goes on.
    pub async fn read_all(&mut self, store: &Store) -> Result<(), Failure> {
        self.running.read_all(store).await?;
        while self.sweep == 0 {
            self.read_on(store).await?;
        }
        Ok(())
    }

    /// Reads a step of the tickets of the profile, those that other nodes took in and those that are there already. At the
    /// end of the range those are taken away that are not in the store any more.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn read_on(&mut self, store: &Store) -> Result<(), Failure> {
        let (first, end) = keys::queued_since(&self.profile_id, i64::MIN);
        let from = self.sweep_from.clone().unwrap_or(first);
        let last = self.read(store, &from, &end).await?;
        self.sweep_from = last.map(|last| next_key(&last));
        if self.sweep_from.is_none() {
            let gone = self.tickets.iter().filter(|(_, known)| known.sweep < self.sweep);
            let gone: Vec<Uuid> = gone.map(|(id, _)| *id).collect();
            for id in gone {
                self.remove(id);
            }
            self.sweep += 1;
        }
        Ok(())
    }

    /// Reads the newest tickets of the profile, however many have come since. A ticket of a node whose clock is ahead hides none
    /// that come after it.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn read_newest(&mut self, store: &Store, now_ms: i64) -> Result<(), Failure> {
        let since_ms = self.newest_ms.min(self.read_ms).saturating_sub(TAIL_MS);
        let (mut from, end) = keys::queued_since(&self.profile_id, since_ms);
        while let Some(last) = self.read(store, &from, &end).await? {
            from = next_key(&last);
        }
        self.read_ms = now_ms;
        Ok(())
    }

    /// Reads tickets of a range. Returns the last key, if there may be more.
    async fn read(&mut self, store: &Store, from: &Key, end: &Key) -> Result<Option<Key>, Failure> {
        let found = store.scan(from, end, READ_AT_ONCE).await?;
        for (key, entry) in &found {
            let Some((_, session_id)) = keys::parse_queued(&self.profile_id, key) else { continue };
            match QueuedTicket::decode(&entry.value) {
                Ok(queued) => self.add(session_id, &values_of(&queued)),
                Err(damage) => {
                    let profile = &self.profile_id;
                    tracing::error!(%session_id, profile, %damage, "a ticket cannot be read, and is not matched");
                }
            }
        }
        let is_full = found.len() == READ_AT_ONCE;
        Ok(found.into_iter().next_back().map(|(key, _)| key).filter(|_| is_full))
    }
}
