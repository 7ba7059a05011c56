//! Callers of the bare store. They commit what the server commits for the same requests.

use std::collections::HashMap;
use std::sync::Arc;

use rallypoint::records::keys;
use rallypoint::store::{Batch, Store, Version};
use tokio::sync::Mutex;

use crate::cases::Case;
use crate::load::Caller;
use crate::sessions::Sessions;

/// The commits to one session, in order. After the last one the session is unchanged.
struct Chain {
    version: Version,
    batches: Vec<Batch>,
    next: usize,
}

impl Chain {
    async fn step(&mut self, store: &Store) {
        let mut batch = self.batches[self.next].clone();
        self.next = (self.next + 1) % self.batches.len();
        batch.expect[0].1 = Some(self.version);
        self.version = store.commit(batch).await.unwrap();
    }
}

/// A caller of the bare store.
pub struct Committer {
    store: Store,
    /// One for each session. Callers that share a session wait for each other, as in the server.
    chains: Vec<Arc<Mutex<Chain>>>,
    /// Commits to a session before the caller goes on to the next one.
    steps: usize,
    next: usize,
}

impl Committer {
    /// The callers of a case, on a store with `stored` sessions.
    pub async fn open_all(case: Case, store: &Store, stored: u64, set: u64) -> Vec<Self> {
        let sessions = Sessions::new();
        let mut chains: HashMap<_, Arc<Mutex<Chain>>> = HashMap::new();
        let mut committers = Vec::new();
        for its in case.sessions_of_callers(stored, set) {
            let mut committer =
                Self { store: store.clone(), chains: Vec::new(), steps: case.steps(), next: 0 };
            for which in its {
                let id = which.id();
                if !chains.contains_key(&id) {
                    let version = store.get(&keys::session(&id)).await.unwrap().unwrap().version;
                    let batches = case.batches(&sessions, which);
                    let chain = Chain { version, batches, next: 0 };
                    chains.insert(id.clone(), Arc::new(Mutex::new(chain)));
                }
                committer.chains.push(Arc::clone(&chains[&id]));
            }
            committers.push(committer);
        }
        committers
    }
}

impl Caller for Committer {
    async fn call(&mut self) {
        let chain = &self.chains[self.next / self.steps];
        self.next = (self.next + 1) % self.calls_per_cycle();
        chain.lock().await.step(&self.store).await;
    }

    fn calls_per_cycle(&self) -> usize {
        self.steps * self.chains.len()
    }

    fn is_between(&self) -> bool {
        !self.next.is_multiple_of(self.steps)
    }
}
