//! Changes by other nodes that share the store: how the waits of this node learn of them.
//!
//! - `exchange`: nodes send each other what has changed (invalidation messages, `message`). A message wakes waits, and lets
//!   the next read of a session ask the store. For long polls it is noted as a change of this node would be: who made it,
//!   and which players have left. It is believed for nothing more: a wrong one costs a read, or a notification of a
//!   session that the player is not in. A gap in the numbers of messages shows that one was lost. Then the notes count as
//!   incomplete.
//! - `sweep`: looks at intervals whether what is waited for has changed in the store. So a lost message only delays an
//!   answer. Without messages it looks more often.

mod exchange;
mod message;
mod sweep;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use self::message::NodeTag;
use self::sweep::Sweep;
use super::sessions::Sessions;
use super::waits::{Changes, Lookback, Topic, Waits};
use crate::env::{Clock, Entropy};
use crate::telemetry::Metrics;

/// Finds changes by other nodes.
pub struct Invalidations {
    sessions: Arc<Sessions>,
    waits: Arc<Waits>,
    lookback: Arc<Lookback>,
    /// Names this node in messages.
    node: NodeTag,
    /// Whether messages of other nodes arrive.
    is_connected: AtomicBool,
    /// Whether the next sweep looks at everything at once.
    must_sweep_all: AtomicBool,
    sweep: tokio::sync::Mutex<Sweep>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Invalidations {
    /// The service for these waits.
    pub fn new(
        sessions: &Arc<Sessions>,
        (waits, lookback): (&Arc<Waits>, &Arc<Lookback>),
        (clock, entropy): (&Clock, &Entropy),
        metrics: &Arc<Metrics>,
    ) -> Self {
        Self {
            sessions: Arc::clone(sessions),
            waits: Arc::clone(waits),
            lookback: Arc::clone(lookback),
            node: entropy.bytes(),
            is_connected: AtomicBool::new(false),
            must_sweep_all: AtomicBool::new(false),
            sweep: tokio::sync::Mutex::default(),
            clock: clock.clone(),
            metrics: Arc::clone(metrics),
        }
    }

    /// Whether messages of other nodes arrive.
    pub fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Acquire)
    }

    /// Another node has made these changes. They are noted first: a long poll that a change wakes then knows who made it.
    fn apply(&self, changes: Changes) {
        let Changes { topics, departures } = changes;
        let sessions = topics.iter().filter_map(|(topic, actor)| match topic {
            Topic::Session(id) => Some((id, *actor)),
            _ => None,
        });
        self.lookback.note(sessions, departures.iter().map(|(player, id)| (*player, id)));
        self.invalidate(topics.into_keys().collect());
    }

    /// Another node has changed these.
    fn invalidate(&self, topics: Vec<Topic>) {
        for topic in &topics {
            if let Topic::Session(id) = topic {
                self.sessions.doubt(id);
            }
        }
        self.waits.wake(topics);
    }

    /// Anything may have changed.
    fn invalidate_all(&self) {
        self.must_sweep_all.store(true, Ordering::Release);
        self.lookback.interrupt();
    }
}
