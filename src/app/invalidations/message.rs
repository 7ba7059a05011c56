//! The format of invalidation messages.
//!
//! A message is base64. Its bytes: the format, 1 byte; the node that sends it, 8 bytes; a kind, 1 byte; and for topics
//! their list, each with a kind, 1 byte, and its name: 16 bytes for a UUID, otherwise a length, 2 bytes, and the text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use uuid::Uuid;

use crate::app::waits::Topic;
use crate::domain::{PlayerUuid, SessionId};
use crate::store::MESSAGE_BYTES_MAX;

const FORMAT: u8 = 1;
/// Longest message before it is base64.
const BYTES_MAX: usize = MESSAGE_BYTES_MAX / 4 * 3;

/// Names a node in messages. Drawn at its start.
pub type NodeTag = [u8; 8];

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The node is there.
    Hello,
    /// These topics have changed.
    Topics(Vec<Topic>),
    /// Anything may have changed.
    Everything,
}

/// A message that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Message {
    /// The text of the message. Topics that are too many for one message become [`Message::Everything`].
    pub fn encode(&self, node: NodeTag) -> String {
        let mut bytes = vec![FORMAT];
        bytes.extend(node);
        match self {
            Self::Hello => bytes.push(b'h'),
            Self::Everything => bytes.push(b'a'),
            Self::Topics(topics) => {
                bytes.push(b't');
                topics.iter().for_each(|topic| put(&mut bytes, topic));
            }
        }
        match bytes.len() > BYTES_MAX {
            true => Self::Everything.encode(node),
            false => STANDARD_NO_PAD.encode(bytes),
        }
    }

    /// Reads a message, and which node has sent it.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(text: &str) -> Result<(NodeTag, Self), Malformed> {
        let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| Malformed)?;
        let rest = &mut &bytes[..];
        if take::<1>(rest)? != [FORMAT] {
            return Err(Malformed);
        }
        let node = take::<8>(rest)?;
        let message = match take::<1>(rest)? {
            [b'h'] => Self::Hello,
            [b'a'] => Self::Everything,
            [b't'] => {
                let mut topics = Vec::new();
                while !rest.is_empty() {
                    topics.push(take_topic(rest)?);
                }
                Self::Topics(topics)
            }
            _ => return Err(Malformed),
        };
        if rest.is_empty() { Ok((node, message)) } else { Err(Malformed) }
    }
}

fn put(bytes: &mut Vec<u8>, topic: &Topic) {
    let mut put_text = |kind: u8, text: &str| {
        bytes.push(kind);
        // Longer ones do not exist; a cut one would only wake nobody.
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        bytes.extend(length.to_be_bytes());
        bytes.extend(text.bytes().take(length.into()));
    };
    match topic {
        Topic::Session(id) => match Uuid::parse_str(id.as_str()) {
            Ok(uuid) if SessionId::from(uuid) == *id => {
                bytes.push(b's');
                bytes.extend(uuid.as_bytes());
            }
            _ => put_text(b'S', id.as_str()),
        },
        Topic::List(player) => {
            bytes.push(b'p');
            bytes.extend(player.0.as_bytes());
        }
        Topic::Inbox(player) => {
            bytes.push(b'i');
            bytes.extend(player.0.as_bytes());
        }
        Topic::Listings(session_type) => put_text(b'b', session_type),
        Topic::Catalog => {}
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (taken, left) = rest.split_first_chunk::<N>().ok_or(Malformed)?;
    *rest = left;
    Ok(*taken)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, Malformed> {
    let length = usize::from(u16::from_be_bytes(take::<2>(rest)?));
    let (taken, left) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = left;
    std::str::from_utf8(taken).map_err(|_| Malformed)
}

fn take_topic(rest: &mut &[u8]) -> Result<Topic, Malformed> {
    Ok(match take::<1>(rest)? {
        [b's'] => Topic::Session(Uuid::from_bytes(take::<16>(rest)?).into()),
        [b'S'] => Topic::Session(SessionId::parse(take_text(rest)?).map_err(|_| Malformed)?),
        [b'p'] => Topic::List(PlayerUuid(Uuid::from_bytes(take::<16>(rest)?))),
        [b'i'] => Topic::Inbox(PlayerUuid(Uuid::from_bytes(take::<16>(rest)?))),
        [b'b'] => Topic::Listings(take_text(rest)?.into()),
        _ => return Err(Malformed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeTag = [7; 8];

    fn session(number: u128) -> Topic {
        Topic::Session(Uuid::from_u128(number).into())
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        let named = Topic::Session(SessionId::parse("a session").unwrap());
        let list = Topic::List(PlayerUuid(Uuid::from_u128(9)));
        let inbox = Topic::Inbox(PlayerUuid(Uuid::from_u128(9)));
        let topics = vec![session(1), named, list, inbox, Topic::Listings("game".into())];
        for message in [Message::Hello, Message::Everything, Message::Topics(topics)] {
            let text = message.encode(NODE);
            assert_eq!(Message::decode(&text), Ok((NODE, message)));
        }
    }

    #[test]
    fn too_many_topics_become_one_mark() {
        let most = Message::Topics((0..347).map(session).collect());
        let text = most.encode(NODE);
        assert!(text.len() <= MESSAGE_BYTES_MAX);
        assert_eq!(Message::decode(&text), Ok((NODE, most)));
        let more = Message::Topics((0..348).map(session).collect());
        assert_eq!(Message::decode(&more.encode(NODE)), Ok((NODE, Message::Everything)));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let text = Message::Topics(vec![session(1), Topic::Listings("game".into())]).encode(NODE);
        let whole = STANDARD_NO_PAD.decode(&text).unwrap();
        for cut in 0..whole.len() {
            // After the first topic, the list may end.
            let is_whole = cut == 10 || cut == 27;
            assert_eq!(Message::decode(&STANDARD_NO_PAD.encode(&whole[..cut])).is_ok(), is_whole, "{cut}");
        }
        for text in ["", "hello", "====", "AQ", "Ag"] {
            assert_eq!(Message::decode(text), Err(Malformed), "{text:?}");
        }
        let mut other_format = whole.clone();
        other_format[0] = 2;
        assert_eq!(Message::decode(&STANDARD_NO_PAD.encode(other_format)), Err(Malformed));
        let long = Message::Hello.encode(NODE) + "AAAA";
        assert_eq!(Message::decode(&long), Err(Malformed));
    }
}
