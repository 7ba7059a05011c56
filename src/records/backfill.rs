//! Live backfills, as their index entries hold them: what a matcher needs to know before it reads the session.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::Session;
use crate::domain::session::backfill::Backfill;
use crate::store::StoreError;

/// A backfill that wants players.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedPlayers<'a> {
    /// The id of the backfill.
    pub backfill_id: Cow<'a, str>,
    /// By team: the number of players that the host wants.
    pub wanted: Vec<usize>,
    /// Whether players may be sent now, if the host has confirmed the backfill lately.
    #[serde(default)]
    pub can_be_filled: bool,
}

impl<'a> WantedPlayers<'a> {
    /// What the host of a session wants; `None`: nobody.
    pub fn of(session: &Session, backfill: &'a Backfill) -> Option<Self> {
        let (wanted, can_be_filled) = (session.wanted_places(), session.can_be_filled());
        let is_wanted = wanted.iter().any(|wanted| *wanted > 0);
        is_wanted.then(|| Self { backfill_id: Cow::Borrowed(&backfill.id), wanted, can_be_filled })
    }

    /// The same, without a reference to the session.
    pub fn into_owned(self) -> WantedPlayers<'static> {
        let Self { backfill_id, wanted, can_be_filled } = self;
        WantedPlayers { backfill_id: Cow::Owned(backfill_id.into_owned()), wanted, can_be_filled }
    }

    /// Decodes a stored entry.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the bytes are no such entry.
    pub fn decode(value: &[u8]) -> Result<WantedPlayers<'static>, StoreError> {
        serde_json::from_slice(value).map_err(|error| StoreError::Corrupt(format!("a backfill: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use crate::domain::fixtures::{at_s, session};

    #[test]
    fn wanted_players_round_trip_and_other_bytes_are_corrupt() {
        let mut game = session("L1 M2");
        game.start_backfill("b".into(), "p".into(), at_s(0));
        for (size, is_wanted) in [(2, false), (3, true)] {
            game.teams[0].max_size = size;
            let backfill = game.backfill.clone().unwrap();
            let wanted = WantedPlayers::of(&game, &backfill);
            assert_eq!(wanted.is_some(), is_wanted);
            if let Some(wanted) = wanted {
                assert_eq!(WantedPlayers::decode(&Document::render(&wanted)), Ok(wanted));
            }
        }
        for bytes in [&b""[..], b"{}", b"[1]"] {
            assert!(matches!(WantedPlayers::decode(bytes), Err(StoreError::Corrupt(_))));
        }
    }
}
