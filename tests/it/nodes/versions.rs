//! Two builds on one database, as during a rolling upgrade: this one, and a newer one that stores more fields. They
//! change one session in turn, and no field is lost.
//!
//! The newer build is played by the test: it reads and writes stored sessions as MessagePack, without this build's
//! types.

use rallypoint::domain::SessionId;
use rallypoint::records::keys;
use rallypoint::store::{Batch, Store};
use rmpv::Value;
use serde_json::json;

use crate::harness::{Server, pairs_of_nodes};

/// The field that the newer build adds to a session, to each of its teams, and to each of its players.
const FIELD: &str = "added_by_a_newer_build";
/// The byte before a stored session.
const FORMAT_BYTES: usize = 1;

/// A node of a newer build.
struct NewerNode {
    store: Store,
    id: SessionId,
    /// How often it has changed the session; every field that it adds holds this number.
    changes: u64,
}

/// The maps in a stored session that the newer build adds its field to.
fn extended(session: &mut Value) -> Vec<&mut Vec<(Value, Value)>> {
    let mut maps = Vec::new();
    let Value::Map(fields) = session else { panic!("a session is a map") };
    // Taken apart by name, so that the maps inside and the one around them can be changed.
    for (key, value) in fields.iter_mut() {
        let inside: Vec<&mut Value> = match (key.as_str(), value) {
            (Some("teams"), Value::Array(teams)) => teams.iter_mut().collect(),
            (Some("players"), Value::Map(players)) => players.iter_mut().map(|(_, entry)| entry).collect(),
            _ => continue,
        };
        for value in inside {
            let Value::Map(fields) = value else { panic!("a team and a player are maps") };
            maps.push(fields);
        }
    }
    maps
}

impl NewerNode {
    /// Reads the session, checks that it finds what it wrote last, and changes it. `others_have_added`: how many
    /// players came by other builds meanwhile, and have no field yet.
    async fn change(&mut self, others_have_added: usize) {
        let key = keys::session(&self.id);
        let entry = self.store.get(&key).await.unwrap().expect("the session is stored");
        let (format, mut packed) = entry.value.split_at(FORMAT_BYTES);
        let mut session = rmpv::decode::read_value(&mut packed).unwrap();

        let expected = (self.changes > 0).then(|| Value::from(self.changes));
        let mut missing = 0;
        for map in extended(&mut session) {
            let found =
                map.iter().find(|(key, _)| key.as_str() == Some(FIELD)).map(|(_, value)| value.clone());
            match found {
                None => missing += 1,
                found => assert_eq!(found, expected),
            }
        }
        let Value::Map(fields) = &session else { panic!("a session is a map") };
        let own = fields.iter().find(|(key, _)| key.as_str() == Some(FIELD)).map(|(_, value)| value.clone());
        assert_eq!(own, expected, "the field of the session itself");
        if self.changes > 0 {
            assert_eq!(missing, others_have_added);
        }

        self.changes += 1;
        let field = (Value::from(FIELD), Value::from(self.changes));
        for map in extended(&mut session) {
            map.retain(|(key, _)| key.as_str() != Some(FIELD));
            map.push(field.clone());
        }
        let Value::Map(fields) = &mut session else { panic!("a session is a map") };
        fields.retain(|(key, _)| key.as_str() != Some(FIELD));
        fields.push(field);
        let mut value = format.to_vec();
        rmpv::encode::write_value(&mut value, &session).unwrap();
        let batch = Batch::default().expect_version(key.clone(), entry.version).put(key, value);
        self.store.commit(batch).await.unwrap();
    }
}

/// The known part of a session, as its leader sees it.
async fn seen(node: &Server, leader: &crate::harness::Client, session: &str) -> serde_json::Value {
    let there = crate::harness::Client { server: node.clone(), ..leader.clone() };
    there.session(session).await.expect(200).body
}

#[tokio::test]
async fn builds_that_change_a_session_in_turn_lose_no_field() {
    for [one, other] in pairs_of_nodes(|_| {}).await {
        let (alice, bob) = (one.player(), one.player());
        let session = alice.creates("party").await;
        let id = SessionId::parse(&session).unwrap();
        let mut newer = NewerNode { store: other.app.sessions.store().clone(), id, changes: 0 };
        newer.change(0).await;

        alice.opens(&session).await;
        newer.change(0).await;
        bob.joins(&session).await.expect(200);
        newer.change(1).await;
        alice.links(&session).await.expect(200);
        newer.change(0).await;
        let path = format!("/v1/session/{session}");
        alice.patch(&path, &json!({"custom_data": {"a": "b"}})).await.expect(200);
        newer.change(0).await;
        bob.delete(&format!("{path}/player/me")).await.expect(204);
        newer.change(0).await;

        // Both nodes of this build see what they know, and nothing else.
        let body = seen(&one, &alice, &session).await;
        assert_eq!(seen(&other, &alice, &session).await, body);
        assert_eq!(body["custom_data"], json!({"a": "b"}));
        assert!(!body.to_string().contains(FIELD));
        // An end takes all of it away.
        alice.delete(&path).await.expect(204);
        let key = keys::session(&newer.id);
        assert_eq!(newer.store.get(&key).await.unwrap(), None);
    }
}
