//! The metrics of requests with an idempotency key.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What happened to a request with an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdempotencyOutcome {
    /// Its answer was stored.
    Stored,
    /// It got the answer to an equal request.
    Replayed,
    /// It was refused, because its key was used for another request.
    Reused,
    /// It was refused, because an equal request was under way for long.
    InUse,
    /// It was refused, because the answer to an equal request cannot be read.
    Unreadable,
}

impl IdempotencyOutcome {
    /// Every outcome, in the order of the discriminants.
    const ALL: [Self; 5] = [Self::Stored, Self::Replayed, Self::Reused, Self::InUse, Self::Unreadable];

    /// Value of the label `outcome`.
    const fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Replayed => "replayed",
            Self::Reused => "reused",
            Self::InUse => "in_use",
            Self::Unreadable => "unreadable",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// Counts requests with an idempotency key.
pub struct IdempotencyMetrics([Counter; IdempotencyOutcome::ALL.len()]);

impl IdempotencyMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let outcomes = Family::<OutcomeLabels, Counter>::default();
        registry.register("idempotency", "Requests with an idempotency key, by outcome", outcomes.clone());
        Self(
            IdempotencyOutcome::ALL
                .map(|outcome| outcomes.get_or_create(&OutcomeLabels { outcome: outcome.name() }).clone()),
        )
    }

    /// Counts a request.
    pub fn count(&self, outcome: IdempotencyOutcome) {
        self.0[outcome as usize].inc();
    }
}
