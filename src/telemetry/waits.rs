//! The metrics of requests that wait.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// What a request waits on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitKind {
    /// A session, or a part of it.
    Session,
    /// A player's list of sessions.
    List,
    /// The messages of a player.
    Inbox,
    /// A page of the browser.
    Browser,
    /// Templates.
    Catalog,
    /// What a player is told of: a long poll.
    LongPoll,
}

impl WaitKind {
    /// Every kind, in the order of the enum.
    const ALL: [Self; 6] =
        [Self::Session, Self::List, Self::Inbox, Self::Browser, Self::Catalog, Self::LongPoll];

    /// Value of the label `kind`.
    const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::List => "list",
            Self::Inbox => "inbox",
            Self::Browser => "browser",
            Self::Catalog => "catalog",
            Self::LongPoll => "long_poll",
        }
    }
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitEnd {
    /// The answer has changed.
    Changed,
    /// The caller is refused now, or what it waited on is gone.
    Refused,
    /// The time was over, without a change.
    Unchanged,
    /// The token has ended.
    TokenEnded,
    /// The server stops.
    Stopped,
    /// The client has gone.
    ClientGone,
    /// The store could not be asked at the end of the wait.
    StoreAway,
}

impl WaitEnd {
    /// Every reason, in the order of the enum.
    const ALL: [Self; 7] = [
        Self::Changed,
        Self::Refused,
        Self::Unchanged,
        Self::TokenEnded,
        Self::Stopped,
        Self::ClientGone,
        Self::StoreAway,
    ];

    /// Value of the label `reason`.
    const fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Refused => "refused",
            Self::Unchanged => "unchanged",
            Self::TokenEnded => "token_ended",
            Self::Stopped => "stopped",
            Self::ClientGone => "client_gone",
            Self::StoreAway => "store_away",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EventLabels {
    event: &'static str,
}

/// What happens to invalidation messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidationEvent {
    /// This node has sent one.
    Sent,
    /// Another node names what it has changed.
    Received,
    /// Another node has changed too much to name it.
    All,
    /// A message cannot be read.
    Malformed,
}

impl InvalidationEvent {
    /// Every event, in the order of the enum.
    const ALL: [Self; 4] = [Self::Sent, Self::Received, Self::All, Self::Malformed];

    /// Value of the label `event`.
    const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
            Self::All => "all",
            Self::Malformed => "malformed",
        }
    }
}

/// The metrics of waits.
pub struct WaitMetrics {
    /// By [`WaitKind`], so that counting needs no look-up.
    waiters: [Gauge; WaitKind::ALL.len()],
    /// By [`WaitEnd`].
    ends: [Counter; WaitEnd::ALL.len()],
    wake: Histogram,
    unchanged: Counter,
    /// By [`InvalidationEvent`].
    invalidations: [Counter; InvalidationEvent::ALL.len()],
    connected: Gauge,
    found_by_sweep: Counter,
    delivered: Counter,
}

impl WaitMetrics {
    /// Registers the metrics, all zero.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let kinds = Family::<KindLabels, Gauge>::default();
        let waiters = WaitKind::ALL.map(|kind| kinds.get_or_create_owned(&KindLabels { kind: kind.name() }));
        registry.register("waiters", "Requests that wait for a change", kinds);
        let reasons = Family::<ReasonLabels, Counter>::default();
        let ends = WaitEnd::ALL.map(|end| reasons.get_or_create_owned(&ReasonLabels { reason: end.name() }));
        registry.register("wait_ends", "Waits that have ended, by reason", reasons);
        // 16 buckets from 50 µs to 1.6 s, each twice the one before.
        let wake = Histogram::new(exponential_buckets(50e-6, 2.0, 16));
        let help = "Time from a wake-up to the changed answer";
        registry.register_with_unit("wake", help, Unit::Seconds, wake.clone());
        let unchanged = Counter::default();
        let help = "Wake-ups after which the caller's answer was as before";
        registry.register("wakes_unchanged", help, unchanged.clone());
        let events = Family::<EventLabels, Counter>::default();
        let invalidations = InvalidationEvent::ALL
            .map(|event| events.get_or_create_owned(&EventLabels { event: event.name() }));
        registry.register("invalidations", "Invalidation messages between servers", events);
        let connected = Gauge::default();
        let help = "1 if messages of other servers arrive";
        registry.register("invalidations_up", help, connected.clone());
        let found_by_sweep = Counter::default();
        let help = "Changes that the sweep has found before a message told of them";
        registry.register("sweep_found", help, found_by_sweep.clone());
        let delivered = Counter::default();
        let help = "Notifications in the answers to long polls";
        registry.register("notifications_delivered", help, delivered.clone());
        Self { waiters, ends, wake, unchanged, invalidations, connected, found_by_sweep, delivered }
    }

    /// Counts an invalidation message.
    pub fn invalidation(&self, event: InvalidationEvent) {
        self.invalidations[event as usize].inc();
    }

    /// Notes whether messages of other servers arrive.
    pub fn set_connected(&self, is_connected: bool) {
        self.connected.set(is_connected.into());
    }

    /// Counts a change that the sweep has found.
    pub fn found_by_sweep(&self) {
        self.found_by_sweep.inc();
    }

    /// Counts the notifications in an answer to a long poll.
    pub fn delivered(&self, notifications: usize) {
        self.delivered.inc_by(notifications as u64);
    }

    /// Counts a wait that begins.
    pub fn began(&self, kind: WaitKind) {
        self.waiters[kind as usize].inc();
    }

    /// Counts a wait that ends.
    pub fn ended(&self, kind: WaitKind, end: WaitEnd) {
        self.waiters[kind as usize].dec();
        self.ends[end as usize].inc();
    }

    /// Counts a wake-up that has led to a changed answer after this time.
    pub fn woken(&self, took: Duration) {
        self.wake.observe(took.as_secs_f64());
    }

    /// Counts a wake-up after which the answer was as before.
    pub fn woken_for_nothing(&self) {
        self.unchanged.inc();
    }
}
