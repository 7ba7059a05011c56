//! What is stored of a player's inbox: which messages it has, and each message. Both are JSON.

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::document::Document;
use crate::domain::inbox::{Inbox, Message};
use crate::store::StoreError;

/// The stored form of which messages an inbox has.
pub fn encode(inbox: &Inbox) -> Bytes {
    Document::render(inbox)
}

/// Decodes which messages an inbox has.
///
/// # Errors
/// [`StoreError::Corrupt`] if the bytes do not say it.
pub fn decode(value: &[u8]) -> Result<Inbox, StoreError> {
    from_json(value, "a player's inbox")
}

/// The stored form of a message.
pub fn encode_message(message: &Message) -> Bytes {
    Document::render(message)
}

/// Decodes a message.
///
/// # Errors
/// [`StoreError::Corrupt`] if the bytes are not one.
pub fn decode_message(value: &[u8]) -> Result<Message, StoreError> {
    from_json(value, "a message in a player's inbox")
}

fn from_json<T: DeserializeOwned>(value: &[u8], what: &str) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError::Corrupt(format!("{what}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::CustomData;
    use crate::domain::inbox::{MessageContent, MessageNumber};

    #[test]
    fn inboxes_and_messages_round_trip_and_other_bytes_are_corrupt() {
        let inbox =
            Inbox { last: MessageNumber(u64::MAX), numbers: vec![MessageNumber(1), MessageNumber(2)] };
        assert_eq!(decode(&encode(&inbox)), Ok(inbox));
        let least = MessageContent {
            message: String::new(),
            rh_url: None,
            etag: None,
            custom_data: CustomData::new(),
        };
        let most = MessageContent {
            message: "é \u{10ffff}".into(),
            rh_url: Some("/session".into()),
            etag: Some("\"x\"".into()),
            custom_data: CustomData::from_iter([("a".to_owned(), "b".to_owned())]),
        };
        for content in [least, most] {
            let message = Message { created_ms: -1, content };
            assert_eq!(decode_message(&encode_message(&message)), Ok(message));
        }
        for bytes in [&b""[..], b"{}", b"\xff"] {
            assert!(matches!(decode(bytes), Err(StoreError::Corrupt(_))));
            assert!(matches!(decode_message(bytes), Err(StoreError::Corrupt(_))));
        }
    }
}
