//! The keys of the store: for each kind its layout, its value and its owner. The store sorts keys by their bytes, so
//! keys with a common prefix are a list, and keys with big-endian deadlines are a queue.
//!
//! ```text
//! s <session id>                              the session                        the session itself
//! t <session id>                              its deadline, i64 big-endian ms    moves without changing the session
//! d <deadline ms, i64 big-endian> <session id> (empty)                           the queue of deadlines
//! p <platform> 00 <platform session id>       session id                         index entry of the session
//! p <platform> 01 <SHA-256 of the id>         session id                         the same, for a long id
//! m <player uuid, 16 bytes> <session id>      the player's entry, JSON           index entry of the session
//! r <player uuid, 16 bytes>                   its list's last change, i64 big-endian µs  deleted once the list was empty for long
//! c <short code>                              session id                         index entry of the session
//! a <allocation id>                           session id                         index entry of the session
//! b <type> 00 <listing number, u64 big-endian> the listing, JSON                 index entry of the session
//! w <session id>                              (empty)                            index entry: something can time out
//! h <session id>                              presence record, JSON              written by all nodes; deleted with the session
//! T                                           last step of the clock, i64 ms     written after a step; never deleted
//! n                                           next listing number, u64           reserved by nodes in blocks
//! i <player id, i64 big-endian>               player uuid, 16 bytes              from tokens of players; never deleted
//! S <type>                                    the template, JSON                 of the nodes' configurations
//! o <type> 00 <created ms, i64 big-endian> <session id> (empty)                  index entry: open sessions, oldest first
//! q <profile id> 00 <enqueued ms, i64 big-endian> <session id> the ticket, JSON  index entry of a session in a queue, for each of its profiles
//! f <profile id> 00 <created ms, i64 big-endian> <session id> the wanted players, JSON  index entry of a match whose host wants players
//! x <player uuid, 16 bytes>                   session id                         index entry of a session in a queue, for each of its players
//! g <match id>                                session id                         index entry of the session of a match
//! l 00 <launch id, 16 bytes>                  the launch, JSON                   in the commit of its instance; outlives the session
//! l 01 <player uuid, 16 bytes> <allocator> 00 <launch id, 16 bytes> (empty)      a launch that the player asked for; until its server is released
//! L <due ms, i64 big-endian> <launch id, 16 bytes> (empty)                       the queue of launches; with the launch
//! e <node id, 16 bytes>                       the node, JSON                     written by the node while it runs
//! o <type> 00 00 <number, u8>                 (empty)                            a gate of creations by several nodes; never deleted
//! R 00 <SHA-256 of a refresh token>           the refresh token, JSON            of a login; deleted when it ends
//! R 01 <player uuid, 16 bytes> <created ms, i64 big-endian> <SHA-256 of the token> (empty)  a player's refresh tokens, oldest first
//! U <player uuid, 16 bytes>                   who has logged in, JSON            written at a login; the oldest go
//! V 00 <last login ms, i64 big-endian> <player uuid, 16 bytes> (empty)           the same players, by last login
//! V 01 <display name> 00 <player uuid, 16 bytes> (empty)                         the same players, by name
//! y <player uuid, 16 bytes> <number, u64 big-endian> the message, JSON           in the player's inbox; the oldest go
//! Y <player uuid, 16 bytes>                   which messages the inbox has, JSON  each post expects its version; deleted when the last message is too old
//! u <session id> 00 <ms, i64 big-endian> <number, u64 big-endian> audit events, JSON  of one change, in its commit; deleted after a time
//! v <player uuid, 16 bytes> <ms, i64 big-endian> <session id> 00 <number, u64 big-endian> (empty) the same events, by player
//! z <session id>                              how many events callers have posted, u32 big-endian  deleted with the last of them
//! j <player uuid, 16 bytes> <deserter uuid, 16 bytes> the status, JSON           a player's, for a kind of desertion; deleted long after its end
//! J <deserter uuid, 16 bytes>                 the clears of the kind, JSON       each status expects its version; never deleted
//! k <request, 20 bytes of SHA-256>            the answer, MessagePack            in the commit of the request's effect; deleted after a time
//! ```
//!
//! In these keys an i64 has its sign bit flipped, so that the keys sort by number.
//!
//! A part of variable length comes last or ends with 00, a byte that no platform, no session type, no profile and no display name
//! contains. Deadlines are not part of sessions, because a read moves the deadline and must not change the ETag. A
//! platform session id can be longer than a key may be, so the digest stands for a long id. No list of platform
//! sessions needs the id.

mod audit;
mod backfills;
mod deserters;
mod login;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

pub use self::audit::*;
pub use self::backfills::*;
pub use self::deserters::*;
pub use self::login::*;
use crate::domain::inbox::MessageNumber;
use crate::domain::{Platform, PlatformSessionId, PlayerUuid, SessionId, ShortCode};
use crate::store::{Key, KeyUpgrade, next_key};

const SESSION: u8 = b's';
const DEADLINE_OF: u8 = b't';
const DUE: u8 = b'd';
const PLATFORM_SESSION: u8 = b'p';
const MEMBERSHIP: u8 = b'm';
const LIST_CHANGED: u8 = b'r';
const OPEN: u8 = b'o';
const PLAYER_OF_ID: u8 = b'i';
const SHORT_CODE: u8 = b'c';
const ALLOCATION: u8 = b'a';
const LISTING: u8 = b'b';
const CLOCK_STEP: u8 = b'T';
const WATCHED: u8 = b'w';
const LAST_SEEN: u8 = b'h';
const NEXT_LISTING_NUMBER: u8 = b'n';
const TEMPLATE: u8 = b'S';
const REFRESH_TOKEN: u8 = b'R';
const KNOWN_PLAYER: u8 = b'U';
const KNOWN_PLAYERS_BY: u8 = b'V';
const MESSAGE: u8 = b'y';
const INBOX: u8 = b'Y';
const LAUNCH: u8 = b'l';
const LAUNCH_DUE: u8 = b'L';
const NODE: u8 = b'e';
const ANSWER: u8 = b'k';
const BACKFILL: u8 = b'f';
const DESERTER: u8 = b'j';
const DESERTERS_CLEARED: u8 = b'J';
const QUEUED: u8 = b'q';
const QUEUED_PLAYER: u8 = b'x';
const MATCH: u8 = b'g';
/// After [`LAUNCH`]: the launch itself.
const LAUNCH_ITSELF: u8 = 0;
/// After [`LAUNCH`]: an entry of the player who asked for it.
const LAUNCH_OF_PLAYER: u8 = 1;

/// Longest platform session id that is part of a key, in bytes. For longer ids the key has the digest.
const PLAIN_ID_BYTES_MAX: usize = 1_024;

/// A key: the byte of its kind, then its parts.
fn key(kind: u8, parts: &[&[u8]]) -> Key {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(kind);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

/// Bytes that sort like the number: big-endian, with the sign bit flipped.
fn sortable(ms: i64) -> [u8; 8] {
    (ms.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// The number of [`sortable`] bytes; `None` if there are not 8 of them.
fn from_sortable(bytes: &[u8]) -> Option<i64> {
    let bytes: [u8; 8] = bytes.try_into().ok()?;
    Some((u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed())
}

/// The session id in the last part of a key.
fn session_id(bytes: &[u8]) -> Option<SessionId> {
    SessionId::parse(std::str::from_utf8(bytes).ok()?).ok()
}

/// The key of a session.
pub fn session(id: &SessionId) -> Key {
    key(SESSION, &[id.as_str().as_bytes()])
}

/// The range of all sessions: start, and end (excluded).
pub fn all_sessions() -> (Key, Key) {
    (vec![SESSION], vec![SESSION + 1])
}

/// The key of a session's deadline.
pub fn deadline_of(id: &SessionId) -> Key {
    key(DEADLINE_OF, &[id.as_str().as_bytes()])
}

/// The entry of a session in the queue of deadlines. The deadline is in milliseconds since the epoch.
pub fn due(deadline_ms: i64, id: &SessionId) -> Key {
    key(DUE, &[&sortable(deadline_ms), id.as_str().as_bytes()])
}

/// The range of the queue with all deadlines up to `now_ms`: start, and end (excluded).
pub fn due_until(now_ms: i64) -> (Key, Key) {
    (vec![DUE], key(DUE, &[&sortable(now_ms.saturating_add(1))]))
}

/// The range of the queue with all deadlines after `ms`: start, and end (excluded).
pub fn due_after(ms: i64) -> (Key, Key) {
    (due_until(ms).1, vec![DUE + 1])
}

/// The deadline, in milliseconds since the epoch, and the session of an entry in the queue.
pub fn parse_due(key: &[u8]) -> Option<(i64, SessionId)> {
    let rest = key.strip_prefix(&[DUE])?;
    let (deadline, id) = rest.split_at_checked(8)?;
    Some((from_sortable(deadline)?, session_id(id)?))
}

/// The index entry of a linked platform session.
pub fn platform_session(platform: Platform, id: &PlatformSessionId) -> Key {
    let (platform, id) = (platform.name().as_bytes(), id.as_str().as_bytes());
    if id.len() > PLAIN_ID_BYTES_MAX {
        return key(PLATFORM_SESSION, &[platform, &[1], &Sha256::digest(id)]);
    }
    key(PLATFORM_SESSION, &[platform, &[0], id])
}

/// The prefix of the keys of all platform sessions.
pub const ALL_PLATFORM_SESSIONS: &[u8] = &[PLATFORM_SESSION];

/// The key with the digest, for a key of an older store that has a long platform session id; `None` for every other
/// key.
pub fn shortened_platform_session(key: &[u8]) -> Option<Key> {
    let rest = key.strip_prefix(ALL_PLATFORM_SESSIONS)?;
    let (platform, id) = rest.split_at(rest.iter().position(|byte| *byte == 0)?);
    let platform = std::str::from_utf8(platform).ok()?.parse().ok()?;
    let id = PlatformSessionId::parse(std::str::from_utf8(&id[1..]).ok()?).ok()?;
    let shortened = platform_session(platform, &id);
    (shortened != key).then_some(shortened)
}

/// The upgrade of an embedded store from format 1, whose keys have long platform session ids instead of digests.
pub const KEY_UPGRADE: KeyUpgrade =
    KeyUpgrade { prefix: ALL_PLATFORM_SESSIONS, renamed: shortened_platform_session };

/// The index entry of a player in a session.
pub fn membership(player: PlayerUuid, id: &SessionId) -> Key {
    key(MEMBERSHIP, &[player.0.as_bytes(), id.as_str().as_bytes()])
}

/// The prefix of all index entries of a player: the player's list.
pub fn memberships_of(player: PlayerUuid) -> Key {
    key(MEMBERSHIP, &[player.0.as_bytes()])
}

/// The player and the session of such an entry.
pub fn parse_membership(key: &[u8]) -> Option<(PlayerUuid, SessionId)> {
    let (player, id) = key.strip_prefix(&[MEMBERSHIP])?.split_first_chunk()?;
    Some((PlayerUuid(Uuid::from_bytes(*player)), session_id(id)?))
}

/// The key of the time at which a player's list changed last.
pub fn list_changed(player: PlayerUuid) -> Key {
    key(LIST_CHANGED, &[player.0.as_bytes()])
}

/// The range of all such keys: start, and end (excluded).
pub fn all_lists_changed() -> (Key, Key) {
    (vec![LIST_CHANGED], vec![LIST_CHANGED + 1])
}

/// The player of such a key.
pub fn parse_list_changed(key: &[u8]) -> Option<PlayerUuid> {
    Uuid::from_slice(key.strip_prefix(&[LIST_CHANGED])?).ok().map(PlayerUuid)
}

/// The kinds of index entries that only one session can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unique {
    /// A platform session.
    PlatformSession,
    /// A short code.
    ShortCode,
    /// An allocation.
    Allocation,
    /// A player in a queue.
    QueuedPlayer,
    /// A match.
    Match,
}

/// The kind of a unique index entry; `None` for other keys.
pub fn unique(key: &[u8]) -> Option<Unique> {
    match *key.first()? {
        PLATFORM_SESSION => Some(Unique::PlatformSession),
        SHORT_CODE => Some(Unique::ShortCode),
        ALLOCATION => Some(Unique::Allocation),
        QUEUED_PLAYER => Some(Unique::QueuedPlayer),
        MATCH => Some(Unique::Match),
        _ => None,
    }
}

/// The index entry of a short code.
pub fn short_code(code: &ShortCode) -> Key {
    key(SHORT_CODE, &[code.as_str().as_bytes()])
}

/// The index entry of an allocation.
pub fn allocation(allocation_id: &str) -> Key {
    key(ALLOCATION, &[allocation_id.as_bytes()])
}

/// The index entry of a session in a queue, for a profile that its ticket waits for. The time is in milliseconds since the
/// epoch.
pub fn queued(profile_id: &str, enqueued_ms: i64, id: &SessionId) -> Key {
    key(QUEUED, &[profile_id.as_bytes(), &[0], &sortable(enqueued_ms), id.as_str().as_bytes()])
}

/// The range of a profile's entries from a time on: start, and end (excluded).
pub fn queued_since(profile_id: &str, enqueued_ms: i64) -> (Key, Key) {
    let start = key(QUEUED, &[profile_id.as_bytes(), &[0], &sortable(enqueued_ms)]);
    (start, key(QUEUED, &[profile_id.as_bytes(), &[1]]))
}

/// The time, in milliseconds since the epoch, and the session of an entry of this profile.
pub fn parse_queued(profile_id: &str, key: &[u8]) -> Option<(i64, SessionId)> {
    let rest = key.strip_prefix(&[QUEUED])?.strip_prefix(profile_id.as_bytes())?.strip_prefix(&[0])?;
    let (enqueued, id) = rest.split_at_checked(8)?;
    Some((from_sortable(enqueued)?, session_id(id)?))
}

/// The index entry of a player in a queue.
pub fn queued_player(player: PlayerUuid) -> Key {
    key(QUEUED_PLAYER, &[player.0.as_bytes()])
}

/// The index entry of the session of a match.
pub fn match_of(match_id: &str) -> Key {
    key(MATCH, &[match_id.as_bytes()])
}

/// The key of a listing in the session browser.
pub fn listing(session_type: &str, number: u64) -> Key {
    key(LISTING, &[session_type.as_bytes(), &[0], &number.to_be_bytes()])
}

/// The number of a listing.
pub fn parse_listing(key: &[u8]) -> Option<u64> {
    let number = key.strip_prefix(&[LISTING])?.last_chunk()?;
    Some(u64::from_be_bytes(*number))
}

/// The range of the listings of a type with greater numbers: start, and end (excluded).
pub fn listings_after(session_type: &str, number: u64) -> (Key, Key) {
    let end = key(LISTING, &[session_type.as_bytes(), &[1]]);
    (listing(session_type, number.saturating_add(1)), end)
}

/// The index entry of a session in which something can time out.
pub fn watched(id: &SessionId) -> Key {
    key(WATCHED, &[id.as_str().as_bytes()])
}

/// The range of all such entries: start, and end (excluded).
pub fn all_watched() -> (Key, Key) {
    (vec![WATCHED], vec![WATCHED + 1])
}

/// The session of such an entry.
pub fn parse_watched(key: &[u8]) -> Option<SessionId> {
    session_id(key.strip_prefix(&[WATCHED])?)
}

/// The key of a session's presence record.
pub fn last_seen(id: &SessionId) -> Key {
    key(LAST_SEEN, &[id.as_str().as_bytes()])
}

/// The key of the last step of the wall clock.
pub fn clock_step() -> Key {
    vec![CLOCK_STEP]
}

/// The key of the next free listing number.
pub fn next_listing_number() -> Key {
    vec![NEXT_LISTING_NUMBER]
}

/// The key of the player with an older, numeric id.
pub fn player_of_id(player_id: i64) -> Key {
    key(PLAYER_OF_ID, &[&sortable(player_id)])
}

/// The key of the template of a session type.
pub fn template(session_type: &str) -> Key {
    key(TEMPLATE, &[session_type.as_bytes()])
}

/// The range of all templates: start, and end (excluded).
pub fn all_templates() -> (Key, Key) {
    (vec![TEMPLATE], vec![TEMPLATE + 1])
}

/// The session type of such a key.
pub fn parse_template(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.strip_prefix(&[TEMPLATE])?).ok()
}

/// The key of a launch.
pub fn launch(id: Uuid) -> Key {
    key(LAUNCH, &[&[LAUNCH_ITSELF], id.as_bytes()])
}

/// The launch of such a key.
pub fn parse_launch(key: &[u8]) -> Option<Uuid> {
    Uuid::from_slice(key.strip_prefix(&[LAUNCH, LAUNCH_ITSELF])?).ok()
}

/// The range of all launches: start, and end (excluded).
pub fn all_launches() -> (Key, Key) {
    (vec![LAUNCH, LAUNCH_ITSELF], vec![LAUNCH, LAUNCH_ITSELF + 1])
}

/// The entry of a launch that a player asked for.
pub fn launch_of_player(player: PlayerUuid, allocator: &str, id: Uuid) -> Key {
    let mut entry = launches_of_player(player, allocator);
    entry.extend(id.as_bytes());
    entry
}

/// The prefix of the entries of all launches of an allocator that a player asked for.
pub fn launches_of_player(player: PlayerUuid, allocator: &str) -> Key {
    key(LAUNCH, &[&[LAUNCH_OF_PLAYER], player.0.as_bytes(), allocator.as_bytes(), &[0]])
}

/// The entry of a launch in the queue of launches. The time is in milliseconds since the epoch.
pub fn launch_due(due_ms: i64, id: Uuid) -> Key {
    key(LAUNCH_DUE, &[&sortable(due_ms), id.as_bytes()])
}

/// The range of that queue with all times up to `now_ms`: start, and end (excluded).
pub fn launches_due_until(now_ms: i64) -> (Key, Key) {
    (vec![LAUNCH_DUE], key(LAUNCH_DUE, &[&sortable(now_ms.saturating_add(1))]))
}

/// The time, in milliseconds since the epoch, and the launch of an entry in that queue.
pub fn parse_launch_due(key: &[u8]) -> Option<(i64, Uuid)> {
    let (due, id) = key.strip_prefix(&[LAUNCH_DUE])?.split_at_checked(8)?;
    Some((from_sortable(due)?, Uuid::from_slice(id).ok()?))
}

/// The key of a node.
pub fn node(id: Uuid) -> Key {
    key(NODE, &[id.as_bytes()])
}

/// The node of such a key.
pub fn parse_node(key: &[u8]) -> Option<Uuid> {
    Uuid::from_slice(key.strip_prefix(&[NODE])?).ok()
}

/// The range of all nodes: start, and end (excluded).
pub fn all_nodes() -> (Key, Key) {
    (vec![NODE], vec![NODE + 1])
}

/// The index entry of an open session of a type.
pub fn open(session_type: &str, created_ms: i64, id: &SessionId) -> Key {
    key(OPEN, &[session_type.as_bytes(), &[0], &sortable(created_ms), id.as_str().as_bytes()])
}

/// The prefix of all open sessions of a type.
pub fn open_of(session_type: &str) -> Key {
    key(OPEN, &[session_type.as_bytes(), &[0]])
}

/// The session of such an entry of this type.
pub fn parse_open(session_type: &str, key: &[u8]) -> Option<SessionId> {
    session_id(key.strip_prefix(open_of(session_type).as_slice())?.get(8..)?)
}

/// A gate of a session type. Creations write gates to come one after the other; see `app/sessions/gates.rs`. Gates come
/// before the open sessions of the type, so that one scan reads both.
pub fn gate(session_type: &str, number: u8) -> Key {
    key(OPEN, &[session_type.as_bytes(), &[0, 0, number]])
}

/// The number of such a gate of this type.
pub fn parse_gate(session_type: &str, key: &[u8]) -> Option<u8> {
    match key.strip_prefix(open_of(session_type).as_slice())? {
        [0, number] => Some(*number),
        _ => None,
    }
}

/// A request with an idempotency key: the start of the SHA-256 of its caller, method, path and key.
pub type RequestHash = [u8; 20];

/// The key of the answer to such a request.
pub fn answer(request: &RequestHash) -> Key {
    key(ANSWER, &[request])
}

/// Whether this is the key of such an answer.
pub fn is_answer(key: &[u8]) -> bool {
    key.first() == Some(&ANSWER)
}

/// The range of all such answers: start, and end (excluded).
pub fn all_answers() -> (Key, Key) {
    (vec![ANSWER], vec![ANSWER + 1])
}

/// The key of a message in a player's inbox.
pub fn message(player: PlayerUuid, number: MessageNumber) -> Key {
    key(MESSAGE, &[player.0.as_bytes(), &number.0.to_be_bytes()])
}

/// The number of such a key.
pub fn parse_message(key: &[u8]) -> Option<MessageNumber> {
    let number = key.strip_prefix(&[MESSAGE])?.get(16..)?.try_into().ok()?;
    Some(MessageNumber(u64::from_be_bytes(number)))
}

/// The range of a player's messages from one number to another, both included: start, and end (excluded).
pub fn messages_between(player: PlayerUuid, first: MessageNumber, last: MessageNumber) -> (Key, Key) {
    (message(player, first), next_key(&message(player, last)))
}

/// The key of which messages a player's inbox has.
pub fn inbox(player: PlayerUuid) -> Key {
    key(INBOX, &[player.0.as_bytes()])
}

/// The player of such a key.
pub fn parse_inbox(key: &[u8]) -> Option<PlayerUuid> {
    Uuid::from_slice(key.strip_prefix(&[INBOX])?).ok().map(PlayerUuid)
}

/// The range of all such keys: start, and end (excluded).
pub fn all_inboxes() -> (Key, Key) {
    (vec![INBOX], vec![INBOX + 1])
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
