//! From stored tickets to what the matcher takes.

use crate::domain::client::Client;
use crate::domain::matchmaking::matcher::{Crossplay, TicketValues};
use crate::records::queued::{QueuedClient, QueuedTicket};

/// What the matcher needs to know of a ticket.
pub fn values_of(queued: &QueuedTicket<'_>) -> TicketValues {
    let one = |client: &Option<QueuedClient>| {
        let Some(client) = client else { return Crossplay::UNKNOWN };
        let QueuedClient { platform, input, crossplay } = *client;
        Crossplay::of([&Client { version: String::new(), platform, input, device_type: None, crossplay }])
    };
    TicketValues {
        id: queued.ticket_id,
        players: queued.clients.len(),
        enqueued_ms: queued.enqueued_ms,
        passed_s: queued.passed_s,
        skill: queued.skill,
        region: queued.region_id.as_deref().map(str::to_owned),
        crossplay: queued.clients.iter().map(one).fold(Crossplay::NOBODY, Crossplay::with),
        version_group: queued.version_group.clone().into_owned(),
        maps: queued.maps.clone().into_owned(),
        double_args: queued.double_args.clone().into_owned(),
        string_args: queued.string_args.clone().into_owned(),
        tags: queued.tags.clone().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Platform;
    use crate::domain::client::{CrossplayInput, CrossplayPlatform, CrossplayPreferences};
    use crate::domain::fixtures::{client, session, set_client, ticket};

    /// The crossplay of a ticket of two players: one with these preferences, or without; and one whose client is not known.
    fn with_unknown(crossplay: Option<CrossplayPreferences>) -> TicketValues {
        let mut party = session("L1 M2");
        set_client(&mut party, 1, Client { crossplay, ..client(Platform::XboxLive) });
        values_of(&QueuedTicket::of(&party, &ticket(&[1, 2], 5), "p"))
    }

    #[test]
    fn a_player_whose_client_is_unknown_fits_those_who_accept_everybody() {
        let prefers = |permitted_platform, permitted_input| {
            Some(CrossplayPreferences { permitted_platform, permitted_input })
        };
        for (crossplay, agrees) in [
            (None, true),
            (prefers(CrossplayPlatform::Any, CrossplayInput::Any), true),
            (prefers(CrossplayPlatform::XboxLike, CrossplayInput::Any), false),
            (prefers(CrossplayPlatform::Any, CrossplayInput::Gamepad), false),
        ] {
            let values = with_unknown(crossplay);
            assert_eq!((values.players, values.crossplay.agrees()), (2, agrees), "{crossplay:?}");
        }
    }
}
