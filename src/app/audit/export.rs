//! Reads all events, for analysis elsewhere.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Audit;
use crate::records::keys;
use crate::store::{Key, StoreError, next_key};

/// Changes whose events one step reads. Most events have 300 bytes, and those of one change 64 KiB at most.
const READ_AT_ONCE: usize = 256;

/// A part of all events.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct EventsExport {
    /// The events: those of one session together, oldest first.
    pub events: Vec<Value>,
    /// Where the next part goes on; `None`: this is the last one.
    pub next: Option<String>,
}

impl Audit {
    /// The next part of all events from `from_ms` to `to_ms` (excluded), in milliseconds since the epoch. Events that cannot
    /// be read are logged and left out.
    ///
    /// # Errors
    /// Errors of the store; [`StoreError::Corrupt`] if `after` is not from an earlier part.
    pub async fn export(
        &self,
        from_ms: i64,
        to_ms: i64,
        after: Option<&str>,
    ) -> Result<EventsExport, StoreError> {
        let (start, end) = keys::all_events();
        let from = after.map_or(Ok(start), parse_place)?;
        let found = self.sessions.store().scan(&from, &end, READ_AT_ONCE).await?;
        let mut export = EventsExport::default();
        for (key, entry) in &found {
            let is_asked_for = |id: keys::EventsId| (from_ms..to_ms).contains(&id.at_ms);
            if keys::parse_events(key).is_some_and(is_asked_for) {
                export.events.extend(self.events_of(key, entry, None));
            }
        }
        let last = found.last().filter(|_| found.len() == READ_AT_ONCE);
        export.next = last.map(|(last, _)| place(&next_key(last)));
        Ok(export)
    }
}

/// A key as a text.
fn place(key: &Key) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_place(text: &str) -> Result<Key, StoreError> {
    let digits = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let key: Option<Key> = (0..text.len()).step_by(2).map(digits).collect();
    key.ok_or_else(|| StoreError::Corrupt("a place in the export of events".into()))
}
