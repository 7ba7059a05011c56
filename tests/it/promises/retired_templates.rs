//! Templates that a configuration does not have any more: they are served as long as sessions use them.

use std::collections::BTreeMap;
use std::time::Duration;

use rallypoint::app::Catalog;
use rallypoint::config::Config;
use rallypoint::records::keys;
use rallypoint::store::{Memory, Store};
use serde_json::json;

use crate::harness::{Client, Server, creation};

/// How long a change of what is served may take on the test clock: a check, and a search of few sessions.
const CHECK: Duration = Duration::from_secs(61);

/// Reloads the configuration of a node, without the templates of these types.
fn reload_without(server: &Server, gone: &[&str]) {
    let mut templates = Config::default().templates;
    templates.retain(|session_type, _| !gone.contains(&session_type.as_str()));
    server.app.replace_catalog(Catalog::new(templates, BTreeMap::new(), BTreeMap::new()));
}

/// The session types that a node lists.
async fn listed(client: &Client) -> Vec<String> {
    let templates = client.get("/v1/template").await.expect(200).body["templates"].clone();
    templates.as_object().unwrap().keys().cloned().collect()
}

/// Whether the store has a template of this type.
async fn is_stored(server: &Server, session_type: &str) -> bool {
    server.app.sessions.store().get(&keys::template(session_type)).await.unwrap().is_some()
}

#[tokio::test]
async fn a_template_is_served_until_the_last_session_that_uses_it_ends() {
    let server = Server::over(Store::Memory(Memory::default()), |_| {});
    server.advance(Duration::ZERO).await;
    let (alice, bob) = (server.lasting_player(), server.lasting_player());
    let party = alice.creates("party").await;
    alice.opens(&party).await;
    let before = alice.get("/v1/template").await.expect(200).etag();

    reload_without(&server, &["party"]);
    for round in 0..4 {
        assert_eq!(listed(&alice).await, ["game", "party"], "round {round}");
        let template = alice.get("/v1/template/party").await.expect(200).body;
        // No new sessions, and nothing that the sessions have is gone.
        let creatable = ["can_be_created_by_players_directly", "attempt_auto_join", "joinable"];
        assert_eq!(creatable.map(|name| &template[name]), [&json!(false); 3]);
        assert_eq!(template["platform_templates"]["XboxLive"]["platform_session_type"], json!("party"));
        server.advance(CHECK).await;
    }
    assert_ne!(alice.get("/v1/template").await.expect(200).etag(), before);
    bob.post("/v1/session", &creation("party")).await.refused(400, "session_type_not_creatable");
    bob.joins(&party).await.expect(200);
    bob.links(&party).await.expect(200);
    bob.leaves(&party).await.expect(204);

    alice.leaves(&party).await.expect(204);
    server.advance(CHECK).await;
    assert_eq!(listed(&alice).await, ["game"]);
    alice.get("/v1/template/party").await.refused(404, "template_not_found");
    bob.post("/v1/session", &creation("party")).await.refused(404, "template_not_found");
    assert!(!is_stored(&server, "party").await && is_stored(&server, "game").await);
}

#[tokio::test]
async fn a_template_that_no_session_uses_is_gone_after_the_search() {
    let server = Server::over(Store::Memory(Memory::default()), |_| {});
    server.advance(Duration::ZERO).await;
    let alice = server.player();
    alice.creates("game").await;
    reload_without(&server, &["party"]);
    assert_eq!(listed(&alice).await, ["game", "party"], "the search has not begun");
    server.advance(Duration::ZERO).await;
    assert_eq!(listed(&alice).await, ["game"]);

    // The template comes back, as a new one.
    reload_without(&server, &[]);
    let party = alice.creates("party").await;
    server.advance(Duration::ZERO).await;
    reload_without(&server, &["party", "game"]);
    server.advance(CHECK).await;
    assert_eq!(listed(&alice).await, ["game", "party"]);
    alice.leaves(&party).await.expect(204);
    server.advance(CHECK).await;
    assert_eq!(listed(&alice).await, ["game"]);
}

#[tokio::test]
async fn a_node_that_starts_without_a_template_serves_it() {
    let memory = Memory::shared();
    let first = Server::over(Store::Memory(memory.clone()), |_| {});
    first.advance(Duration::ZERO).await;
    let party = first.player().creates("party").await;
    // A server starts with one round.
    let second = Server::over(Store::Memory(memory), |config| {
        config.templates.remove("party");
    });
    second.app.keep_used_templates().await.unwrap();
    let service = second.service(&["session:*"]);
    assert_eq!(listed(&service).await, ["game", "party"]);
    second.advance(CHECK).await;
    assert_eq!(listed(&service).await, ["game", "party"]);
    service.delete(&format!("/v1/session/{party}")).await.expect(204);
    second.advance(CHECK).await;
    assert_eq!(listed(&service).await, ["game"]);

    // The first node still has the template: it stores it again, and the second one serves it when it is used.
    assert!(!is_stored(&first, "party").await);
    first.advance(CHECK).await;
    assert!(is_stored(&first, "party").await);
    second.advance(CHECK).await;
    assert_eq!(listed(&service).await, ["game"]);
    assert!(is_stored(&first, "party").await, "it belongs to the first node");
    let party = first.player().creates("party").await;
    second.advance(CHECK).await;
    assert_eq!(listed(&service).await, ["game", "party"]);
    service.delete(&format!("/v1/session/{party}")).await.expect(204);
}

#[tokio::test]
async fn sessions_that_cannot_be_read_keep_the_templates() {
    let server = Server::over(Store::Memory(Memory::default()), |_| {});
    server.advance(Duration::ZERO).await;
    let unreadable = rallypoint::store::Batch::default().put(keys::all_sessions().0, vec![200]);
    server.app.sessions.store().commit(unreadable).await.unwrap();
    reload_without(&server, &["party"]);
    server.advance(CHECK).await;
    assert_eq!(listed(&server.player()).await, ["game", "party"]);
    assert_eq!(
        server.player().get("/v1/template/party").await.expect(200).body["session_type"],
        json!("party")
    );
}
