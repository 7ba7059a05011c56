//! Invariants of all sessions, checked over HTTP: sessions, player lists, platform sessions and browser agree.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Client, Reply, platform_path};

/// A player's entry, as a session shows it.
struct PlayerEntry<'a> {
    player: &'a str,
    status: &'a str,
}

impl PlayerEntry<'_> {
    fn is_active(&self) -> bool {
        matches!(self.status, "leader" | "member")
    }
}

/// Replies to a caller with permission to read everything.
pub struct Readings {
    /// Sessions that have not ended, by id.
    pub sessions: BTreeMap<String, Reply>,
    /// The session list of each player.
    pub lists: BTreeMap<Uuid, Reply>,
}

/// Reads and checks the given sessions (some may have ended) and the session lists of the given players. Teams of
/// `overfilled` sessions may exceed their size.
pub async fn check(
    reader: &Client,
    sessions: &[String],
    players: &[Uuid],
    overfilled: &BTreeSet<String>,
) -> Readings {
    let mut seen = Readings { sessions: BTreeMap::new(), lists: BTreeMap::new() };
    let mut platform_sessions = BTreeSet::new();
    let mut short_codes = BTreeSet::new();
    for id in sessions {
        let reply = reader.get(&format!("/v1/session/{id}?refresh_ttl=false")).await;
        if reply.status == 404 {
            continue;
        }
        let session = &reply.body;
        check_teams(session, overfilled.contains(id));
        check_platform_sessions(reader, session, &mut platform_sessions).await;
        if let Some(code) = session["short_code"].as_str() {
            assert!(short_codes.insert(code.to_owned()), "two sessions have the short code {code}");
            let by_code = reader.get(&format!("/v1/session/{code}?refresh_ttl=false")).await.expect(200);
            assert_eq!(&by_code.body, session);
        }
        seen.sessions.insert(id.clone(), reply.expect(200));
    }
    for player in players {
        let list = reader.get(&format!("/v1/player/{player}/session")).await.expect(200);
        check_list(*player, &list.body, &seen.sessions);
        seen.lists.insert(*player, list);
    }
    check_browser(reader, &seen.sessions).await;
    seen
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

fn entries(session: &Value) -> Vec<PlayerEntry<'_>> {
    let teams = session["teams"].as_array().unwrap().iter();
    let players = teams.flat_map(|team| team["players"].as_array().unwrap());
    players
        .map(|player| PlayerEntry { player: text(player, "player_uuid"), status: text(player, "status") })
        .collect()
}

/// A session with active players has one leader, each player has one entry, and no team exceeds its size.
fn check_teams(session: &Value, overfilled: bool) {
    assert_eq!(session["joinable"], session["joinability"]["open"]);
    if session["teams_suppressed"] == true {
        return;
    }
    let entries = entries(session);
    let leaders = entries.iter().filter(|entry| entry.status == "leader").count();
    let active = entries.iter().filter(|entry| entry.is_active()).count();
    assert_eq!(leaders, usize::from(active > 0), "a session with active players has one leader: {session}");
    let distinct: BTreeSet<_> = entries.iter().map(|entry| entry.player).collect();
    assert_eq!(distinct.len(), entries.len(), "a player has two entries: {session}");
    for (index, team) in session["teams"].as_array().unwrap().iter().enumerate() {
        assert_eq!(team["team_id"], json!(index));
        let player_count = team["players"].as_array().unwrap().len() as u64;
        assert!(
            overfilled || player_count <= team["max_size"].as_u64().unwrap(),
            "a team exceeds its size: {session}"
        );
    }
}

/// Each linked platform session can be read, has the same content when read alone, and has only active players of
/// its session.
async fn check_platform_sessions(reader: &Client, session: &Value, known: &mut BTreeSet<String>) {
    for linked in session["platform_session"].as_array().unwrap() {
        let path = platform_path(text(linked, "platform"), text(linked, "platform_session_id_base64"));
        assert_eq!(&reader.get(&path).await.expect(200).body, linked);
        assert!(known.insert(path), "two sessions are linked to the same platform session: {session}");
        let players = linked["players"].as_array().unwrap();
        let leaders = players.iter().filter(|player| player["leader"] == true).count();
        assert_eq!(leaders, usize::from(!players.is_empty()), "{session}");
        if session["teams_suppressed"] == true {
            continue;
        }
        let active: BTreeSet<_> = entries(session)
            .iter()
            .filter(|entry| entry.is_active())
            .map(|entry| entry.player.to_owned())
            .collect();
        for player in players {
            assert!(active.contains(player["player_uuid"].as_str().unwrap()), "{session}");
        }
    }
}

/// A player's list names exactly the sessions in which the player has an entry.
fn check_list(player: Uuid, list: &Value, live: &BTreeMap<String, Reply>) {
    let mut listed = BTreeMap::new();
    for of_type in list["sessions"].as_object().unwrap().values() {
        let ids = |name: &str| of_type[name].as_array().unwrap().iter().map(|id| id.as_str().unwrap());
        listed.extend(ids("session_ids").map(|id| (id, "active")));
        listed.extend(ids("reserved_sessions").map(|id| (id, "reserved")));
        let invites = of_type["pending_invites"].as_object().unwrap();
        listed.extend(invites.keys().map(|id| (id.as_str(), "invited")));
    }
    for (id, status) in &listed {
        let Some(session) = live.get(*id) else { panic!("the list of {player} names {id}, which has ended") };
        let session = &session.body;
        if session["teams_suppressed"] == true {
            continue;
        }
        let entry = entries(session).into_iter().find(|entry| entry.player == player.to_string());
        let entry = entry.unwrap_or_else(|| {
            panic!("the list of {player} names a session in which they have no entry: {session}")
        });
        assert_eq!(if entry.is_active() { "active" } else { entry.status }, *status, "{session}");
    }
    for (id, session) in live {
        let entry = entries(&session.body).into_iter().find(|entry| entry.player == player.to_string());
        // Some templates hide reservations from the player.
        if entry.is_some_and(|entry| entry.status != "reserved") {
            assert!(listed.contains_key(id.as_str()), "{player} is in {id}, and their list does not name it");
        }
    }
}

/// The browser shows each listed session once, with the number of its active players.
async fn check_browser(reader: &Client, live: &BTreeMap<String, Reply>) {
    let mut expected: BTreeSet<_> = live
        .iter()
        .filter(|(_, session)| session.body["browser"].is_object())
        .map(|(id, _)| id.clone())
        .collect();
    let types: BTreeSet<_> = live.values().map(|session| session.body["type"].as_str().unwrap()).collect();
    for session_type in types {
        let mut cursor = 0;
        loop {
            let path = format!("/v1/browser?session_type={session_type}&cursor={cursor}");
            let page = reader.get(&path).await.expect(200).body;
            for listed in page["browser_sessions"].as_array().unwrap() {
                let id = listed["session_id"].as_str().unwrap();
                assert!(
                    expected.remove(id),
                    "the browser shows {id} twice, or the session itself is not listed"
                );
                let session = &live[id].body;
                let active = entries(session).iter().filter(|entry| entry.is_active()).count();
                assert!(session["teams_suppressed"] == true || listed["player_count"] == json!(active));
            }
            cursor = page["cursor"].as_u64().unwrap();
            if cursor == 0 {
                break;
            }
        }
    }
    assert!(expected.is_empty(), "listed sessions that the browser does not show: {expected:?}");
}
