//! The tickets in queues, as their index entries hold them: all that a matcher needs of a party, so that it reads no
//! session.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::client::{CrossplayPreferences, Input};
use crate::domain::matchmaking::ticket::Ticket;
use crate::domain::{Platform, Session};
use crate::store::StoreError;

/// A ticket that waits for a profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueuedTicket<'a> {
    /// Its id.
    pub ticket_id: Uuid,
    /// When the party joined the queue, in milliseconds since the epoch.
    pub enqueued_ms: i64,
    /// Time that the party is taken to have waited before, in seconds.
    #[serde(default)]
    pub passed_s: u64,
    /// The skill of the party in the rank of the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skill: Option<f64>,
    /// The preferred region of the party.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region_id: Option<Cow<'a, str>>,
    /// The players of the party: at least one. `None`: a player whose client is not known.
    pub clients: Vec<Option<QueuedClient>>,
    /// Only parties with the same version group can be in one match.
    #[serde(default)]
    pub version_group: Cow<'a, str>,
    /// Ids or names of maps, most wanted first.
    #[serde(default)]
    pub maps: Cow<'a, [String]>,
    /// Numbers of the ticket.
    #[serde(default)]
    pub double_args: Cow<'a, BTreeMap<String, f64>>,
    /// Texts of the ticket.
    #[serde(default)]
    pub string_args: Cow<'a, BTreeMap<String, String>>,
    /// Tags of the ticket.
    #[serde(default)]
    pub tags: Cow<'a, [String]>,
}

/// What a player of a ticket plays with, and accepts in others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedClient {
    /// The platform.
    pub platform: Platform,
    /// The input device.
    pub input: Input,
    /// Which other players the player accepts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crossplay: Option<CrossplayPreferences>,
}

impl<'a> QueuedTicket<'a> {
    /// The ticket of a session, for one of its profiles.
    pub fn of(session: &'a Session, ticket: &'a Ticket, profile_id: &str) -> Self {
        let client = |player| {
            let client = session.players.get(player)?.client.as_ref()?;
            let (platform, input, crossplay) = (client.platform, client.input, client.crossplay);
            Some(QueuedClient { platform, input, crossplay })
        };
        Self {
            ticket_id: ticket.id,
            enqueued_ms: ticket.enqueued.as_millisecond(),
            passed_s: ticket.passed_s,
            skill: ticket.skills.get(profile_id).copied(),
            region_id: session.region_id.as_deref().map(Cow::Borrowed),
            clients: ticket.players.iter().map(client).collect(),
            version_group: Cow::Borrowed(ticket.version_group.as_str()),
            maps: Cow::Borrowed(ticket.map_preferences.as_slice()),
            double_args: Cow::Borrowed(&ticket.params.double_args),
            string_args: Cow::Borrowed(&ticket.params.string_args),
            tags: Cow::Borrowed(ticket.params.tags.as_slice()),
        }
    }

    /// Decodes a stored entry.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the bytes are no such entry.
    pub fn decode(value: &[u8]) -> Result<QueuedTicket<'static>, StoreError> {
        serde_json::from_slice(value)
            .map_err(|error| StoreError::Corrupt(format!("a queued ticket: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use crate::domain::fixtures::{client, session, set_client, ticket};

    #[test]
    fn queued_tickets_round_trip() {
        let mut party = session("L1 M2");
        set_client(&mut party, 2, client(Platform::PSN));
        let mut ticket = ticket(&[1, 2], 5);
        ticket.params.double_args = [("a".to_owned(), 1.5)].into();
        ticket.params.tags = vec!["t".into()];
        ticket.skills = [("p".to_owned(), 25.0)].into();
        for profile in ["p", "other"] {
            let queued = QueuedTicket::of(&party, &ticket, profile);
            assert_eq!(queued.skill, (profile == "p").then_some(25.0));
            assert_eq!(queued.clients.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
            assert_eq!(QueuedTicket::decode(&Document::render(&queued)), Ok(queued));
        }
        for bytes in [&b""[..], b"{}", b"[1]"] {
            assert!(matches!(QueuedTicket::decode(bytes), Err(StoreError::Corrupt(_))));
        }
    }
}
