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
    /// A page of the browser.
    Browser,
    /// Templates.
    Catalog,
}

impl WaitKind {
    /// Every kind, in the order of the enum.
    const ALL: [Self; 4] = [Self::Session, Self::List, Self::Browser, Self::Catalog];

    /// Value of the label `kind`.
    const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::List => "list",
            Self::Browser => "browser",
            Self::Catalog => "catalog",
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

/// The metrics of waits.
pub struct WaitMetrics {
    /// By [`WaitKind`], so that counting needs no look-up.
    waiters: [Gauge; WaitKind::ALL.len()],
    /// By [`WaitEnd`].
    ends: [Counter; WaitEnd::ALL.len()],
    wake: Histogram,
    unchanged: Counter,
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
        Self { waiters, ends, wake, unchanged }
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
