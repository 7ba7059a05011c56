//! Arrivals that a server has recorded: events of its audit, one JSON object a line.
//!
//! Of each line with the `event_name` `queue.joined` this reads: `event_datetime` (RFC 3339, with a zone), `session_id`,
//! `ticket_id`, `queue_id` or `queue_ids`, the players (`players`, or one `player_uuid`), `region_id`,
//! `additional_params`, `map_preferences`, and in `custom_data` the number of `players` and the skill in a profile
//! (`skill.PROFILE`). Only the time, the session and a queue are required. Lines that name the same ticket are about one
//! party: it joins the queues of all of them, with the players of all of them; without any player or number of players, it
//! has one. An event with a `requesting_user_uuid` was caused by a player, others by a service.
//!
//! A line with the `event_name` `queue.left`, a `ticket_id`, and the `reason` `left_queue` or `party_changed` lets the party
//! leave at its time. Other events and other fields are ignored: matches and timeouts are what is simulated.

use std::collections::BTreeMap;
use std::fmt;
use std::io::BufRead;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Arrival, PARTIES_MAX};
use crate::domain::matchmaking::profile::MATCH_PLAYERS_MAX;
use crate::domain::matchmaking::ticket::{JoinParams, TicketEnd};
use crate::domain::{CustomData, PlayerUuid};

/// The name of the events that are read.
const JOINED: &str = "queue.joined";
/// The name of the events that say that a ticket has ended, and the reasons that the party itself caused.
const LEFT: &str = "queue.left";
const LEFT_BY_ITSELF: [&str; 2] = [TicketEnd::LeftQueue.name(), TicketEnd::PartyChanged.name()];
/// Names in the custom data of an event: the number of players, and what stands before a profile with the skill in it.
const PLAYERS: &str = "players";
const SKILL: &str = "skill.";
/// Longest line, in bytes.
const LINE_BYTES_MAX: usize = 1 << 20;

/// What was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// The parties, in the order in which they joined.
    pub arrivals: Vec<Arrival>,
    /// Number of events of other names.
    pub others: usize,
}

/// Why events cannot be read.
#[derive(Debug)]
pub struct ReadError {
    /// The line, from 1 on.
    line: usize,
    what: String,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for ReadError {}

/// An event. Fields of other types than expected are errors, and named.
#[derive(Deserialize)]
struct Event {
    event_datetime: Timestamp,
    session_id: String,
    ticket_id: Option<String>,
    queue_id: Option<String>,
    #[serde(default)]
    queue_ids: Vec<String>,
    #[serde(default)]
    players: Vec<PlayerUuid>,
    player_uuid: Option<PlayerUuid>,
    region_id: Option<String>,
    additional_params: Option<JoinParams>,
    #[serde(default)]
    map_preferences: Vec<String>,
    #[serde(default)]
    custom_data: CustomData,
    requesting_user_uuid: Option<PlayerUuid>,
}

/// The end of a ticket.
#[derive(Deserialize)]
struct Left {
    event_datetime: Timestamp,
    session_id: String,
    ticket_id: String,
    reason: String,
}

/// Reads events. The arrivals are sorted by time; at equal times, in the order of the lines.
///
/// # Errors
/// If the input cannot be read, a line is no JSON object, an event of a join is not as described, or there are more than
/// [`PARTIES_MAX`] parties.
pub fn read(mut input: impl BufRead) -> Result<Recorded, ReadError> {
    let (mut found, mut others): (BTreeMap<(String, String), Arrival>, usize) = (BTreeMap::new(), 0);
    let (mut order, mut text, mut leaves) = (Vec::new(), String::new(), BTreeMap::new());
    for line in 1.. {
        let error = |what: String| ReadError { line, what };
        text.clear();
        let mut limited = std::io::Read::take(&mut input, LINE_BYTES_MAX as u64);
        if limited.read_line(&mut text).map_err(|failed| error(failed.to_string()))? == 0 {
            break;
        }
        if text.len() >= LINE_BYTES_MAX {
            return Err(error(format!("the line is longer than {LINE_BYTES_MAX} bytes")));
        }
        if text.trim().is_empty() {
            continue;
        }
        let event: Value = serde_json::from_str(&text).map_err(|failed| {
            error(format!("this is no JSON ({failed}); the file has one event, as JSON, on each line"))
        })?;
        if event.get("event_name").and_then(Value::as_str) != Some(JOINED) {
            if event.get("event_name").is_none() {
                return Err(error("there is no event_name; each line is an event of the audit".into()));
            }
            others += 1;
            let left = event.get("event_name").is_some_and(|name| name == LEFT);
            let left = left.then(|| Left::deserialize(&event).ok()).flatten();
            // It may stand before the event of the join.
            if let Some(left) = left.filter(|left| LEFT_BY_ITSELF.contains(&&*left.reason)) {
                leaves.insert((left.session_id, left.ticket_id), left.event_datetime.as_millisecond());
            }
            continue;
        }
        let event: Event = serde_json::from_value(event)
            .map_err(|failed| error(format!("the event {JOINED} cannot be read: {failed}")))?;
        // Without a ticket, each event is a party of its own.
        let ticket = event.ticket_id.clone().unwrap_or_else(|| format!("line {line}"));
        let key = (event.session_id.clone(), ticket);
        if !found.contains_key(&key) {
            order.push(key.clone());
        }
        merge(found.entry(key).or_default(), event, line).map_err(error)?;
        if found.len() > PARTIES_MAX {
            return Err(error(format!("there are more than {PARTIES_MAX} parties")));
        }
    }
    let arrival = |key: &(String, String)| {
        let arrival = found.remove(key)?;
        Some(Arrival { leaves_ms: leaves.get(key).copied(), ..arrival })
    };
    let mut arrivals: Vec<Arrival> = order.iter().filter_map(arrival).collect();
    for arrival in &mut arrivals {
        if arrival.players.is_empty() {
            arrival.players.push(PlayerUuid(arrival.ticket_id));
        }
    }
    arrivals.sort_by_key(|arrival| arrival.at_ms);
    Ok(Recorded { arrivals, others })
}

/// Adds what an event says to its party.
fn merge(arrival: &mut Arrival, event: Event, line: usize) -> Result<(), String> {
    let queues: Vec<String> = event.queue_id.into_iter().chain(event.queue_ids).collect();
    if queues.is_empty() {
        return Err(format!("the event {JOINED} has neither queue_id nor queue_ids"));
    }
    if arrival.queue_ids.is_empty() {
        arrival.at_ms = event.event_datetime.as_millisecond();
        // Tickets of one age are ordered by id: by the line, as nothing else is known to be unique.
        arrival.ticket_id = Uuid::from_u128(line as u128);
        arrival.region = event.region_id;
        arrival.params = event.additional_params.unwrap_or_default();
        arrival.is_of_service = event.requesting_user_uuid.is_none();
        arrival.maps = event.map_preferences;
        let count = event.custom_data.get(PLAYERS).map_or(Ok(0), |count| count.parse::<usize>());
        let count = count.ok().filter(|count| *count <= MATCH_PLAYERS_MAX);
        let count = count.ok_or_else(|| {
            format!("{PLAYERS} in the custom_data of {JOINED} is no number from 1 to {MATCH_PLAYERS_MAX}")
        })?;
        // Nobody knows who they are.
        let player = |at: usize| PlayerUuid(Uuid::from_u128((line as u128) << 32 | (at as u128 + 1)));
        if event.players.is_empty() && event.player_uuid.is_none() {
            arrival.players = (0..count).map(player).collect();
        }
        arrival.profile_skills = profile_skills(&event.custom_data)?;
    }
    for queue in queues {
        if !arrival.queue_ids.contains(&queue) {
            arrival.queue_ids.push(queue);
        }
    }
    for player in event.players.into_iter().chain(event.player_uuid) {
        if !arrival.players.contains(&player) {
            arrival.players.push(player);
        }
    }
    Ok(())
}

/// The skills of a party by profile.
fn profile_skills(custom_data: &CustomData) -> Result<BTreeMap<String, f64>, String> {
    let named = custom_data.iter().filter_map(|(name, skill)| Some((name.strip_prefix(SKILL)?, skill)));
    let skill = |(profile, skill): (&str, &String)| {
        let number = skill.parse::<f64>().ok().filter(|number| number.is_finite());
        let number =
            number.ok_or_else(|| format!("{SKILL}{profile} in the custom_data of {JOINED} is no number"))?;
        Ok((profile.to_owned(), number))
    };
    named.map(skill).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Recorded, String> {
        read(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn events_of_joins_become_parties() {
        let player = |digit: u8| {
            format!("{digit}{digit}{digit}{digit}{digit}{digit}{digit}{digit}-0000-4000-8000-000000000000")
        };
        let text = format!(
            "{{\"event_name\":\"session.created\",\"session_id\":\"s\"}}\n\n\
             {{\"event_name\":\"queue.joined\",\"session_id\":\"s\",\"ticket_id\":\"t\",\"queue_id\":\"a\",\
             \"event_datetime\":\"2026-01-01T00:00:02.500Z\",\"region_id\":\"eu\",\"player_uuid\":\"{one}\",\
             \"additional_params\":{{\"double_args\":{{\"level\":3}},\"tags\":[\"x\"]}},\"map_preferences\":[\"m\"],\
             \"requesting_user_uuid\":\"{one}\"}}\n\
             {{\"event_name\":\"queue.joined\",\"session_id\":\"s\",\"ticket_id\":\"t\",\"queue_id\":\"b\",\
             \"event_datetime\":\"2026-01-01T00:00:02.500Z\",\"player_uuid\":\"{two}\"}}\n\
             {{\"event_name\":\"queue.joined\",\"session_id\":\"r\",\"queue_ids\":[\"a\"],\
             \"event_datetime\":\"2026-01-01T01:00:01+01:00\",\"players\":[\"{one}\",\"{two}\"],\"unknown\":[1]}}\n\
             {{\"event_name\":\"queue.joined\",\"session_id\":\"r\",\"queue_id\":\"a\",\
             \"event_datetime\":\"2026-01-01T00:00:09Z\",\"custom_data\":{{\"players\":\"3\",\"skill.p\":\"27.5\"}}}}",
            one = player(1),
            two = player(2),
        );
        let Recorded { arrivals, others } = read_text(&text).unwrap();
        assert_eq!((arrivals.len(), others), (3, 1));
        let second = &arrivals[1];
        assert_eq!(second.at_ms - arrivals[0].at_ms, 1_500);
        assert_eq!((second.queue_ids.join(","), second.players.len()), ("a,b".into(), 2));
        assert_eq!((second.region.as_deref(), second.is_of_service), (Some("eu"), false));
        assert_eq!((second.params.double_args["level"], second.maps.join(",")), (3.0, "m".into()));
        assert_eq!((arrivals[0].players.len(), arrivals[0].is_of_service), (2, true));
        assert_eq!((arrivals[2].players.len(), arrivals[2].profile_skills["p"]), (3, 27.5));
        assert_eq!(read_text("").unwrap(), Recorded::default());
        let left = |reason: &str| {
            format!(
                "{text}\n{{\"event_name\":\"queue.left\",\"session_id\":\"s\",\"ticket_id\":\"t\",\"queue_id\":\"a\",\
                 \"event_datetime\":\"2026-01-01T00:00:05Z\",\"reason\":\"{reason}\"}}\n"
            )
        };
        for reason in ["left_queue", "party_changed", "timeout", "assigned"] {
            let arrivals = read_text(&left(reason)).unwrap().arrivals;
            let stays_ms = arrivals[1].leaves_ms.map(|leaves_ms| leaves_ms - arrivals[1].at_ms);
            let expected = ["left_queue", "party_changed"].contains(&reason).then_some(2_500);
            assert_eq!(stays_ms, expected, "{reason}");
            assert_eq!(arrivals[0].leaves_ms, None);
        }
    }

    #[test]
    fn bad_lines_are_named() {
        let joined =
            |fields: &str| format!("\n{{\"event_name\":\"queue.joined\",\"session_id\":\"s\"{fields}}}");
        for (text, expected) in [
            ("{".to_owned(), "line 1: this is no JSON"),
            ("[1]".to_owned(), "line 1: there is no event_name"),
            (joined(""), "line 2: the event queue.joined cannot be read: missing field `event_datetime`"),
            (joined(",\"event_datetime\":\"yesterday\""), "line 2: the event queue.joined cannot be read"),
            (joined(",\"event_datetime\":\"2026-01-01T00:00:00Z\""), "has neither queue_id nor queue_ids"),
            (
                joined(",\"event_datetime\":\"2026-01-01T00:00:00Z\",\"queue_id\":\"a\",\"players\":[\"x\"]"),
                "line 2: the event queue.joined cannot be read",
            ),
            (
                joined(
                    ",\"event_datetime\":\"2026-01-01T00:00:00Z\",\"queue_id\":\"a\",\"custom_data\":{\"players\":\"-1\"}",
                ),
                "players in the custom_data of queue.joined is no number from 1 to 200",
            ),
            (
                joined(
                    ",\"event_datetime\":\"2026-01-01T00:00:00Z\",\"queue_id\":\"a\",\"custom_data\":{\"skill.p\":\"x\"}",
                ),
                "skill.p in the custom_data of queue.joined is no number",
            ),
            (format!("{{\"a\":\"{}\"}}", "x".repeat(LINE_BYTES_MAX)), "line 1: the line is longer than"),
        ] {
            let message = read_text(&text).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        let message = read(&b"\xff\n"[..]).unwrap_err().to_string();
        assert!(message.starts_with("line 1: "), "{message}");
    }
}
