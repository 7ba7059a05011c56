//! Retired templates: session templates that the configuration does not have, or not any more, and that stored sessions
//! use. Clients cannot use a session whose template they cannot read. So these templates are served until the last
//! session of their type has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::Mutex;

use super::catalog::{Catalog, CurrentCatalog};
use super::{Failure, Sessions};
use crate::domain::template::Template;
use crate::env::Clock;
use crate::records::{keys, session, template};
use crate::store::{Batch, Key, Store, StoreError, next_key};

/// How often the stored templates are read, and the sessions searched for types that the configuration does not have.
const CHECK_EVERY_MS: i64 = 60_000;
/// Most stored templates that are read: those of several configurations of the largest size.
const TEMPLATES_MAX: usize = 2_048;
/// How much of the stored sessions one round searches, in bytes and in sessions. It is little, so that the search of a
/// large store disturbs nobody.
const SEARCHED_BYTES: usize = 1 << 20;
const SEARCHED_SESSIONS: usize = 1_024;

/// Finds the retired templates.
///
/// Every node stores the templates of its configuration. So a node knows a template that its configuration lacks: after
/// a reload, after a restart, and while nodes with different configurations share a store. As long as there are such
/// templates, the node searches the sessions for their types, a part in each round.
pub struct RetiredTemplates {
    sessions: Arc<Sessions>,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last check of the stored templates.
    check: Option<Check>,
    /// Stored templates that the configuration does not have, by session type.
    unconfigured: BTreeMap<String, Template>,
    /// The search of the sessions that is under way.
    search: Option<Search>,
}

/// A check of the stored templates.
struct Check {
    /// When it was, by the monotonic clock.
    up_ms: i64,
    /// The number of the configuration; see [`CurrentCatalog::snapshot`].
    reloads: u64,
}

/// A search of all sessions for types that the configuration does not have.
struct Search {
    /// Where the next round starts.
    from: Key,
    /// The types that were found.
    used: BTreeSet<String>,
}

impl RetiredTemplates {
    /// The service for these sessions.
    pub fn new(sessions: Arc<Sessions>, clock: Clock) -> Self {
        Self { sessions, clock, state: Mutex::default() }
    }

    /// One round. A new configuration, also the first one, is stored; then all templates that it lacks are served until
    /// a search has shown which of them are used. So a node that starts runs one round before it serves.
    ///
    /// # Errors
    /// Errors of the store. The next round tries again.
    pub async fn round(&self, current: &CurrentCatalog) -> Result<(), Failure> {
        let mut state = self.state.lock().await;
        let (reloads, catalog) = current.snapshot();
        let up_ms = self.clock.up_ms();
        let is_new = state.check.as_ref().is_none_or(|check| check.reloads != reloads);
        let is_due = |check: &Check| up_ms - check.up_ms >= CHECK_EVERY_MS;
        if is_new || state.check.as_ref().is_some_and(is_due) {
            let (unconfigured, unsaved) = self.compare_with_store(&catalog, is_new).await?;
            state.unconfigured = unconfigured;
            if is_new {
                state.search = None;
                current.set_retired(reloads, state.unconfigured.clone());
            }
            if !state.unconfigured.is_empty() {
                state.search.get_or_insert_with(Search::new);
            }
            // Comes after serving: a store that takes no commits must not hide the templates that it has.
            if !unsaved.is_empty() {
                self.store().commit(unsaved).await?;
            }
            state.check = Some(Check { up_ms, reloads });
        }
        self.search(&mut state, current, reloads).await
    }

    /// Returns the stored templates that are not configured, and the writes of those that are not stored. The templates
    /// of a new catalog replace stored ones of the same type.
    async fn compare_with_store(
        &self,
        catalog: &Catalog,
        is_new: bool,
    ) -> Result<(BTreeMap<String, Template>, Batch), Failure> {
        let mut stored = stored_templates(self.store()).await?;
        let mut batch = Batch::default();
        // The templates that a reload has just retired may not have been stored yet.
        let retired = catalog.retired.iter().filter(|_| is_new);
        for (session_type, template) in retired {
            if !stored.contains_key(session_type) {
                batch = batch.put(keys::template(session_type), template::encode(template));
                stored.insert(session_type.clone(), template.clone());
            }
        }
        for (session_type, template) in &catalog.templates {
            let in_store = stored.remove(session_type);
            if in_store.is_none() || (is_new && in_store.as_ref() != Some(template)) {
                batch = batch.put(keys::template(session_type), template::encode(template));
            }
        }
        Ok((stored, batch))
    }

    /// Searches the next sessions. Types that are found are served from now on. At the end of the search, types that
    /// were not found are no longer served, and their records are deleted.
    async fn search(&self, state: &mut State, current: &CurrentCatalog, reloads: u64) -> Result<(), Failure> {
        let State { unconfigured, search: Some(search), .. } = state else { return Ok(()) };
        let (reloads_now, catalog) = current.snapshot();
        if reloads_now != reloads {
            return Ok(()); // The next round begins with the new configuration.
        }
        let is_over = search.go_on(self.store(), unconfigured).await?;
        let is_served = |session_type: &String| {
            search.used.contains(session_type) || (!is_over && catalog.retired.contains_key(session_type))
        };
        let served: BTreeMap<_, _> =
            unconfigured.iter().filter(|(session_type, _)| is_served(session_type)).collect();
        if is_over {
            // Only those that this node served: another node may have one of the others in its configuration.
            let unused = catalog.retired.keys().filter(|session_type| !served.contains_key(session_type));
            let batch = unused.fold(Batch::default(), |batch, unused| batch.delete(keys::template(unused)));
            if !batch.is_empty() {
                self.store().commit(batch).await?;
            }
        }
        let served = served.into_iter().map(|(name, template)| (name.clone(), template.clone())).collect();
        current.set_retired(reloads, served);
        if is_over {
            state.search = None;
        }
        Ok(())
    }

    fn store(&self) -> &Store {
        self.sessions.store()
    }
}

impl Search {
    fn new() -> Self {
        Self { from: keys::all_sessions().0, used: BTreeSet::new() }
    }

    /// Searches the next sessions. Returns whether the search is over.
    async fn go_on(
        &mut self,
        store: &Store,
        unconfigured: &BTreeMap<String, Template>,
    ) -> Result<bool, StoreError> {
        let (_, end) = keys::all_sessions();
        let page = store.page(&self.from, SEARCHED_SESSIONS, SEARCHED_BYTES).await?;
        let mut is_last = true;
        for (key, entry) in &page {
            is_last = *key >= end;
            if is_last {
                break;
            }
            match session::type_of(&entry.value) {
                Ok(session_type) if unconfigured.contains_key(&session_type) => {
                    self.used.insert(session_type);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "a session cannot be read; templates that it may use stay");
                    self.used.extend(unconfigured.keys().cloned());
                }
            }
        }
        if let Some((last, _)) = page.last() {
            self.from = next_key(last);
        }
        Ok(is_last || self.used.len() == unconfigured.len())
    }
}

/// The stored templates by session type. One that this build cannot read is logged and left out.
async fn stored_templates(store: &Store) -> Result<BTreeMap<String, Template>, StoreError> {
    let (from, to) = keys::all_templates();
    let mut templates = BTreeMap::new();
    for (key, entry) in store.scan(&from, &to, TEMPLATES_MAX).await? {
        let Some(session_type) = keys::parse_template(&key) else { continue };
        match template::decode(&entry.value) {
            Ok(template) => drop(templates.insert(session_type.to_owned(), template)),
            Err(error) => tracing::warn!(session_type, %error, "a stored template cannot be read"),
        }
    }
    Ok(templates)
}
