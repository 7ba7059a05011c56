//! The format of invalidation messages.
//!
//! A message is base64. Its bytes: the format, 1 byte; the node that sends it, 8 bytes; a kind, 1 byte; and for topics
//! their list, each with a kind, 1 byte, and its name: 16 bytes for a UUID, otherwise a length, 2 bytes, and the text.
//!
//! Changes have format 2: a number, 4 bytes, and a list of topics in which two further kinds occur. `A` and a player: this
//! player has changed the sessions that follow. `d`, a player and a session: the session is no longer on the player's list.
//! Earlier builds know only format 1, and ignore the others: their sweep finds the changes. Greetings keep format 1, so that
//! nodes of all builds know of each other. What earlier builds send is understood.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use uuid::Uuid;

use crate::app::waits::{Changes, Topic};
use crate::domain::{PlayerUuid, SessionId};
use crate::store::MESSAGE_BYTES_MAX;

const FORMAT: u8 = 1;
/// The format of changes.
const CHANGES_FORMAT: u8 = 2;
/// Longest message before it is base64.
const BYTES_MAX: usize = MESSAGE_BYTES_MAX / 4 * 3;

/// Names a node in messages. Drawn at its start.
pub type NodeTag = [u8; 8];

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The node is there.
    Hello,
    /// These topics have changed. It is not said who made the changes: the message is of an earlier build, or had no room.
    Topics(Vec<Topic>),
    /// These changes were made.
    Changes {
        /// Rises by 1 with each message of a node but [`Message::Hello`], from 0 on. So a gap shows that one was lost.
        number: u32,
        /// The changes. If there are none, the message is a greeting with a number.
        changes: Changes,
    },
    /// Anything may have changed.
    Everything,
}

/// A message that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Message {
    /// The text of the message. Changes that are too many for one message become [`Message::Topics`], and topics
    /// [`Message::Everything`].
    pub fn encode(&self, node: NodeTag) -> String {
        let format = if matches!(self, Self::Changes { .. }) { CHANGES_FORMAT } else { FORMAT };
        let mut bytes = vec![format];
        bytes.extend(node);
        match self {
            Self::Hello => bytes.push(b'h'),
            Self::Everything => bytes.push(b'a'),
            Self::Topics(topics) => {
                bytes.push(b't');
                topics.iter().for_each(|topic| put(&mut bytes, topic));
            }
            Self::Changes { number, changes } => {
                bytes.push(b'c');
                bytes.extend(number.to_be_bytes());
                put_changes(&mut bytes, changes);
            }
        }
        if bytes.len() <= BYTES_MAX {
            return STANDARD_NO_PAD.encode(bytes);
        }
        match self {
            Self::Changes { changes, .. } => {
                Self::Topics(changes.topics.keys().cloned().collect()).encode(node)
            }
            _ => Self::Everything.encode(node),
        }
    }

    /// Whether it says only that the node is there.
    pub fn is_greeting(&self) -> bool {
        match self {
            Self::Hello => true,
            Self::Changes { changes, .. } => *changes == Changes::default(),
            Self::Topics(_) | Self::Everything => false,
        }
    }

    /// Reads a message, and which node has sent it.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(text: &str) -> Result<(NodeTag, Self), Malformed> {
        let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| Malformed)?;
        let rest = &mut &bytes[..];
        let [format] = take::<1>(rest)?;
        let node = take::<8>(rest)?;
        let message = match (format, take::<1>(rest)?) {
            (FORMAT, [b'h']) => Self::Hello,
            (FORMAT, [b'a']) => Self::Everything,
            (CHANGES_FORMAT, [b'c']) => {
                let number = u32::from_be_bytes(take(rest)?);
                Self::Changes { number, changes: take_changes(rest)? }
            }
            (FORMAT, [b't']) => {
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

fn put_changes(bytes: &mut Vec<u8>, changes: &Changes) {
    for (player, id) in &changes.departures {
        // No long poll tells of a session whose id is no UUID.
        let Some(id) = id.uuid() else { continue };
        bytes.push(b'd');
        bytes.extend(player.0.as_bytes());
        bytes.extend(id.as_bytes());
    }
    let mut by_actor = BTreeMap::<_, Vec<_>>::new();
    for (topic, actor) in &changes.topics {
        by_actor.entry(*actor).or_default().push(topic);
    }
    // `None` comes first.
    for (actor, topics) in by_actor {
        if let Some(actor) = actor {
            bytes.push(b'A');
            bytes.extend(actor.0.as_bytes());
        }
        topics.into_iter().for_each(|topic| put(bytes, topic));
    }
}

fn take_changes(rest: &mut &[u8]) -> Result<Changes, Malformed> {
    let (mut changes, mut actor) = (Changes::default(), None);
    while let Some(kind) = rest.first() {
        match kind {
            b'A' => {
                take::<1>(rest)?;
                actor = Some(take_player(rest)?);
            }
            b'd' => {
                take::<1>(rest)?;
                let player = take_player(rest)?;
                changes.departures.insert((player, Uuid::from_bytes(take(rest)?).into()));
            }
            _ => {
                changes.topics.insert(take_topic(rest)?, actor);
            }
        }
    }
    Ok(changes)
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

fn take_player(rest: &mut &[u8]) -> Result<PlayerUuid, Malformed> {
    Ok(PlayerUuid(Uuid::from_bytes(take(rest)?)))
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
        [b'p'] => Topic::List(take_player(rest)?),
        [b'i'] => Topic::Inbox(take_player(rest)?),
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

    /// Some of the sessions are changed by a player, and one has lost a player.
    fn changes(topics: Vec<Topic>) -> Changes {
        let player = |number| PlayerUuid(Uuid::from_u128(number));
        let with_actors = topics.into_iter().enumerate().map(|(index, topic)| {
            let is_session = matches!(topic, Topic::Session(_));
            (topic, (is_session && index % 3 > 0).then(|| player(index as u128 % 3)))
        });
        let departures = [(player(9), Uuid::from_u128(1).into())].into();
        Changes { topics: with_actors.collect(), departures }
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        let named = Topic::Session(SessionId::parse("a session").unwrap());
        let list = Topic::List(PlayerUuid(Uuid::from_u128(9)));
        let inbox = Topic::Inbox(PlayerUuid(Uuid::from_u128(9)));
        let topics = vec![session(1), named, list, inbox, Topic::Listings("game".into())];
        let changes = Message::Changes { number: 7, changes: changes(topics.clone()) };
        let greeting = Message::Changes { number: u32::MAX, changes: Changes::default() };
        for message in [Message::Hello, Message::Everything, Message::Topics(topics), changes, greeting] {
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
    fn changes_without_room_become_topics() {
        let message =
            |count| Message::Changes { number: 1, changes: changes((0..count).map(session).collect()) };
        let text = message(343).encode(NODE);
        assert!(text.len() <= MESSAGE_BYTES_MAX);
        assert_eq!(Message::decode(&text), Ok((NODE, message(343))));
        let Ok((_, Message::Topics(topics))) = Message::decode(&message(345).encode(NODE)) else { panic!() };
        assert_eq!(topics.len(), 345);
        assert_eq!(Message::decode(&message(348).encode(NODE)), Ok((NODE, Message::Everything)));
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
        for format in [0, 2, 3] {
            other_format[0] = format;
            assert_eq!(Message::decode(&STANDARD_NO_PAD.encode(&other_format)), Err(Malformed));
        }
        let long = Message::Hello.encode(NODE) + "AAAA";
        assert_eq!(Message::decode(&long), Err(Malformed));
    }
}
