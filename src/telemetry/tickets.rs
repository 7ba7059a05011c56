//! Tickets of parties in matchmaking queues.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::domain::matchmaking::ticket::TicketEnd;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TicketLabels {
    reason: &'static str,
}

/// Counts tickets.
pub(super) struct Tickets {
    ended: Family<TicketLabels, Counter>,
}

impl Tickets {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let ended = Family::<TicketLabels, Counter>::default();
        // Every label value exists from the start.
        for end in TicketEnd::ALL {
            drop(ended.get_or_create(&TicketLabels { reason: end.name() }));
        }
        let help = "Tickets of parties in queues that have ended, by reason";
        registry.register("tickets_ended", help, ended.clone());
        Self { ended }
    }

    pub(super) fn count_end(&self, end: TicketEnd) {
        self.ended.get_or_create(&TicketLabels { reason: end.name() }).inc();
    }
}
