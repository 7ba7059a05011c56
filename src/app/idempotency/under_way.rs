//! The requests with a key that have begun on this node and have not ended.

use std::collections::HashMap;
use std::collections::hash_map;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::records::keys::RequestHash;

/// The requests under way. Nothing is ever sent over the channels: a receiver waits for the end of its sender.
type Requests = HashMap<RequestHash, watch::Receiver<()>>;

/// The requests with a key that are under way on this node: at most one for each key.
#[derive(Default)]
pub struct UnderWay(Arc<Mutex<Requests>>);

/// What a request finds.
pub enum Entered {
    /// No equal request is under way. This one is, until the entry is dropped.
    First(Entry),
    /// An equal request is under way.
    Another(End),
}

/// A request that is under way, until this is dropped.
pub struct Entry {
    requests: Arc<Mutex<Requests>>,
    request: RequestHash,
    _end: watch::Sender<()>,
}

/// The end of a request that is under way.
pub struct End(watch::Receiver<()>);

impl UnderWay {
    /// Enters a request, unless an equal one is under way.
    pub fn enter(&self, request: RequestHash) -> Entered {
        match lock(&self.0).entry(request) {
            hash_map::Entry::Occupied(other) => Entered::Another(End(other.get().clone())),
            hash_map::Entry::Vacant(vacant) => {
                let (end, receiver) = watch::channel(());
                vacant.insert(receiver);
                Entered::First(Entry { requests: Arc::clone(&self.0), request, _end: end })
            }
        }
    }
}

impl End {
    /// Waits for the end.
    pub async fn reached(mut self) {
        let _ = self.0.changed().await;
    }
}

impl Drop for Entry {
    /// Those who wait go on afterwards, when the sender is dropped.
    fn drop(&mut self) {
        lock(&self.requests).remove(&self.request);
    }
}

fn lock(requests: &Mutex<Requests>) -> MutexGuard<'_, Requests> {
    requests.lock().unwrap_or_else(PoisonError::into_inner)
}
