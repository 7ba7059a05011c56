//! The search for an open session that takes a player, oldest first.

use std::collections::VecDeque;
use std::sync::Arc;

use super::places::Place;
use super::{CreateOrJoin, takes};
use crate::app::join::join_rules;
use crate::app::sessions::Gates;
use crate::app::{App, CachedSession, Failure};
use crate::domain::SessionId;
use crate::domain::session::join::JoinRules;
use crate::store::Key;

/// How many open sessions are listed at once.
const PAGE: usize = 64;
/// How many such pages are read at most.
const PAGES_MAX: usize = 32;
/// The number of sessions that are read together: one at first, since the oldest one usually suits, and this many times
/// more with each further read, up to a page.
const GROWTH: usize = 8;

/// A search that is under way.
pub(super) struct Search<'a> {
    app: &'a App,
    request: &'a CreateOrJoin,
    rules: JoinRules,
    pages_left: usize,
    /// Where the next page starts; `None`: at the beginning.
    after: Option<Key>,
    /// Listed sessions that have not been read yet.
    ids: VecDeque<SessionId>,
    /// Sessions that have been read.
    found: VecDeque<Arc<CachedSession>>,
    read_next: usize,
    /// The gates of the session type, from the moment of the first page.
    pub gates: Gates,
}

impl<'a> Search<'a> {
    pub(super) fn new(app: &'a App, request: &'a CreateOrJoin) -> Self {
        Self {
            app,
            request,
            rules: join_rules(app),
            pages_left: PAGES_MAX,
            after: None,
            ids: VecDeque::new(),
            found: VecDeque::new(),
            read_next: 1,
            gates: Gates::default(),
        }
    }

    /// The next session that takes the player, with a place in it. Sessions whose free slots other joins on this node
    /// are about to take are passed over.
    pub(super) async fn next(&mut self) -> Result<Option<(SessionId, Place<'a>)>, Failure> {
        loop {
            while let Some(cached) = self.found.pop_front() {
                let session = &cached.session;
                if takes(self.app, session, self.request, self.rules)
                    && let Some(place) =
                        self.app.auto_join.places.reserve(session, self.request.joiner.player)
                {
                    return Ok(Some((session.id.clone(), place)));
                }
            }
            if self.ids.is_empty() && !self.read_page().await? {
                return Ok(None);
            }
            let group: Vec<_> = self.ids.drain(..self.read_next.min(self.ids.len())).collect();
            self.read_next = (self.read_next * GROWTH).min(PAGE);
            self.found = self.app.sessions.find_all_latest(&group).await?.into_iter().flatten().collect();
        }
    }

    /// Lists further open sessions. Returns `false` if there are none, or if enough have been listed.
    async fn read_page(&mut self) -> Result<bool, Failure> {
        let is_first = self.pages_left == PAGES_MAX;
        if self.pages_left == 0 || (self.after.is_none() && !is_first) {
            return Ok(false);
        }
        self.pages_left -= 1;
        let page = self.app.sessions.open(&self.request.session_type, self.after.as_ref(), PAGE).await?;
        if is_first {
            self.gates = page.gates;
        }
        (self.ids, self.after) = (page.ids.into(), page.last);
        Ok(!self.ids.is_empty())
    }
}
