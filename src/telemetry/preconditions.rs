//! The metric of requests with `If-Match`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What became of the precondition of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// It held, and the change was made.
    Held,
    /// It did not hold, and the change was refused.
    Failed,
    /// It did not hold, but what the change asks for was so already.
    AlreadySo,
}

impl Precondition {
    /// Every value, in the order of the enum.
    const ALL: [Self; 3] = [Self::Held, Self::Failed, Self::AlreadySo];

    /// Value of the label `result`.
    const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Failed => "failed",
            Self::AlreadySo => "already_so",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// How many preconditions held, and how many did not.
pub(super) struct Preconditions(Family<ResultLabels, Counter>);

impl Preconditions {
    /// Registers the metric, with every label value.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let family = Family::<ResultLabels, Counter>::default();
        for result in Precondition::ALL {
            drop(family.get_or_create(&ResultLabels { result: result.name() }));
        }
        registry.register("preconditions", "Changes with If-Match, by result", family.clone());
        Self(family)
    }

    /// Counts a precondition.
    pub(super) fn count(&self, result: Precondition) {
        self.0.get_or_create(&ResultLabels { result: result.name() }).inc();
    }
}
