//! Exact writes: `If-Match` on every write whose resource has an ETag, and what a caller gets whose ETag is old.

mod world;

use std::time::Duration;

use http::Method;
use rallypoint::domain::Platform;
use rallypoint::runtime::server::all_surfaces;
use serde_json::{Value, json};

use self::world::World;
use super::refresh_ttl::deadline_ms;
use crate::harness::{
    Client, Reply, Server, contents, creation, pairs_of_nodes, player_path, player_permissions,
};

/// Environment variable with the number of rounds in which two writes race.
const ROUNDS_VARIABLE: &str = "RALLYPOINT_TEST_EXACT_ROUNDS";
/// Rounds without the variable: a fiftieth of a thorough run.
const ROUNDS: usize = 200;

/// A write that is ready to be sent, in a world of its own.
struct Write {
    server: Server,
    /// The leader of the session.
    alice: Client,
    session: String,
    caller: Client,
    /// Somebody who sees the session in another view than the caller.
    other: Client,
    method: Method,
    path: String,
    body: Value,
    /// The paths of the resources whose ETags are right, in the order in which a 412 shows them.
    resources: Vec<String>,
}

/// The ids of the operations that take `If-Match`.
fn exact_ids() -> Vec<&'static str> {
    let operations = all_surfaces().into_iter().flat_map(|surface| surface.operations);
    operations.filter(|operation| operation.takes_if_match).map(|operation| operation.id).collect()
}

/// The write of this operation, in a world of its own.
async fn prepare(server: &Server, id: &str) -> Write {
    let world = World::of(server, id).await;
    let (caller, method, path, body) = world.call(id);
    let other = if caller.player == world.carol.player { &world.alice } else { &world.carol };
    let (caller, other, resources) = (caller.clone(), other.clone(), world.resources(id));
    let World { alice, session, .. } = world;
    Write { server: server.clone(), alice, session, caller, other, method, path, body, resources }
}

impl Write {
    async fn send(&self, headers: &[(&str, &str)]) -> Reply {
        self.send_as(&self.caller, headers).await
    }

    async fn send_as(&self, caller: &Client, headers: &[(&str, &str)]) -> Reply {
        caller.send(self.method.clone(), &self.path, headers, Some(self.body.to_string().into())).await
    }

    /// The ETag of the session as a caller reads it.
    async fn etag_for(&self, caller: &Client) -> String {
        caller.session(&self.session).await.expect(200).etag()
    }

    /// Sends the write, which must succeed with these tags, and whose answer must have the new ETag of the session; or,
    /// after linking, that of the platform session.
    async fn succeeds(self, id: &str, tags: &[&str]) {
        let headers: Vec<_> = tags.iter().map(|tag| ("if-match", *tag)).collect();
        let done = self.send(&headers).await;
        assert!(done.status.is_success(), "{id} {tags:?}: {} {}", done.status, done.body);
        let is_link = id == "add_platform_session_to_rally_here_session";
        let answered = if is_link { &self.resources[0] } else { &format!("/v1/session/{}", self.session) };
        let now = self.caller.get(answered).await;
        if now.status == 404 {
            assert!(done.headers.get("etag").is_none(), "{id}: the session has ended");
        } else {
            assert_eq!(done.etag(), now.etag(), "{id}");
        }
    }

    /// Sends the write, which must fail and change nothing. `current` is what the answer must show.
    async fn fails(
        &self,
        id: &str,
        caller: &Client,
        headers: &[(&str, &str)],
        current: Option<Reply>,
    ) -> Reply {
        let before = contents(&self.server).await;
        let failed = self.send_as(caller, headers).await.refused(412, "precondition_failed");
        assert!(contents(&self.server).await == before, "{id}: something was written");
        let shown = failed.headers.get("etag").map(|etag| etag.to_str().unwrap().to_owned());
        assert_eq!(shown, current.as_ref().map(Reply::etag), "{id}");
        let expected = current.map_or(Value::Null, |current| current.body);
        if failed.headers.get("preference-applied").is_none() {
            assert_eq!(failed.body["current"], expected, "{id}");
        }
        failed
    }

    /// The first resource that the caller may read.
    async fn current(&self) -> Option<Reply> {
        for path in &self.resources {
            let read = self.caller.get(path).await;
            if read.status == 200 {
                return Some(read);
            }
        }
        None
    }
}

#[tokio::test]
async fn a_write_of_what_the_caller_has_read_is_made() {
    let server = Server::new();
    for id in exact_ids() {
        prepare(&server, id).await.succeeds(id, &["*"]).await;
        // A list in two fields.
        let write = prepare(&server, id).await;
        let tag = write.etag_for(&write.caller).await;
        write.succeeds(id, &["W/\"x\", \"y\"", &tag]).await;
        // Who knows the tag, but may not read.
        let write = prepare(&server, id).await;
        let tag = write.etag_for(&write.caller).await;
        let done = write.send_as(&write.caller.without_reading(), &[("if-match", &tag)]).await;
        assert!(done.status.is_success(), "{id}: {}", done.body);
        for other in 1..write.resources.len() {
            let write = prepare(&server, id).await;
            let read = write.caller.get(&write.resources[other]).await;
            if read.status == 200 {
                write.succeeds(id, &[&read.etag()]).await;
            }
        }
    }
}

#[tokio::test]
async fn a_write_of_something_else_fails_and_shows_what_is_so() {
    let server = Server::new();
    for id in exact_ids() {
        let write = prepare(&server, id).await;
        let other = write.etag_for(&write.other).await;
        let caller = &write.caller;
        let own = write.etag_for(caller).await;
        assert_ne!(other, own, "{id}");
        write.fails(id, caller, &[("if-match", &other)], write.current().await).await;

        let weak = format!("W/{own}");
        let failed = write.fails(id, caller, &[("if-match", &weak)], write.current().await).await;
        assert!(failed.body["desc"].as_str().unwrap().contains("W/"), "{id}: {}", failed.body);

        write
            .alice
            .patch(&format!("/v1/session/{}", write.session), &json!({"custom_data": {"era": "late"}}))
            .await
            .expect(200);
        let failed = write.fails(id, caller, &[("if-match", &own)], write.current().await).await;
        assert!(!failed.body["desc"].as_str().unwrap().contains("W/"), "{id}: {}", failed.body);
        let headers = [("if-match", own.as_str()), ("prefer", "return=minimal")];
        let minimal = write.fails(id, caller, &headers, write.current().await).await;
        assert_eq!(minimal.body.get("current"), None, "{id}");
        assert_eq!(minimal.headers["preference-applied"], "return=minimal", "{id}");

        // Who may not read gets nothing.
        write.fails(id, &write.caller.without_reading(), &[("if-match", &own)], None).await;
        for broken in ["", "\"x", "*, *"] {
            let expected = (json!(["header", "if-match"]), "value_error.entity_tags");
            write.send(&[("if-match", broken)]).await.invalid(&[expected]);
        }
        // With the ETag of the answer, the same write is made.
        let tag = failed.etag();
        write.succeeds(id, &[&tag]).await;
    }
}

#[tokio::test]
async fn existence_and_standing_come_before_the_tag_and_rules_after_it() {
    let server = Server::new();
    let (alice, bob, carol) = (server.player(), server.player(), server.player());
    let session = alice.creates("game").await;
    bob.joins(&session).await.expect(200);
    let patch = async |caller: &Client, session: &str, body: Value| {
        let path = format!("/v1/session/{session}");
        caller.send(Method::PATCH, &path, &[("if-match", "\"old\"")], Some(body.to_string().into())).await
    };
    let data = json!({"custom_data": {"a": "b"}});
    patch(&alice, "none", data.clone()).await.refused(404, "session_not_found");
    patch(&bob, &session, data.clone()).await.refused(403, "not_session_leader");
    patch(&carol, &session, data).await.refused(403, "not_active_in_session");
    patch(&alice, &session, json!({"region_id": "none"})).await.refused(412, "precondition_failed");
    let of_carol = player_path(&session, carol.player);
    let join_carol = Some(json!({"status": "member"}).to_string().into());
    let joined = bob.send(Method::POST, &of_carol, &[("if-match", "\"old\"")], join_carol).await;
    joined.refused(403, "join_for_others");
    let kick = alice.send(Method::DELETE, &of_carol, &[("if-match", "\"old\"")], None).await;
    kick.refused(412, "precondition_failed");
    let any = alice.send(Method::DELETE, &of_carol, &[("if-match", "*")], None).await;
    any.refused(404, "player_not_found");
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_can_be_repeated() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("game").await;
    let tag = alice.session(&session).await.expect(200).etag();
    let patch = async |value: &str| {
        let body = json!({"custom_data": {"map": value}}).to_string();
        let path = format!("/v1/session/{session}");
        alice.send(Method::PATCH, &path, &[("if-match", &tag)], Some(body.into())).await
    };
    let first = patch("harbor").await.expect(200);
    let once = contents(&server).await;
    let again = patch("harbor").await.expect(200);
    assert_eq!((first.bytes.clone(), first.etag()), (again.bytes.clone(), again.etag()));
    patch("hills").await.refused(412, "precondition_failed");
    assert_eq!(contents(&server).await, once, "written once");
}

#[tokio::test]
async fn a_failed_write_keeps_nothing_alive_and_notes_no_platform() {
    let server = Server::new();
    for id in exact_ids() {
        let write = prepare(&server, id).await;
        let elsewhere = write.caller.with_token(Platform::PSN, &player_permissions());
        let entry = write.alice.sees(&write.session, &write.caller).await;
        let deadline = deadline_ms(&server, &write.session).await;
        server.clock.advance(Duration::from_secs(1800));
        let failed = write.send_as(&elsewhere, &[("if-match", "\"old\"")]).await;
        failed.refused(412, "precondition_failed");
        assert_eq!(deadline_ms(&server, &write.session).await, deadline, "{id}");
        assert_eq!(write.alice.sees(&write.session, &write.caller).await, entry, "{id}");
    }
    // A write that is made does both.
    let write = prepare(&server, "update_session_by_id").await;
    let elsewhere = write.caller.with_token(Platform::PSN, &player_permissions());
    let deadline = deadline_ms(&server, &write.session).await;
    server.clock.advance(Duration::from_secs(1800));
    write.send_as(&elsewhere, &[("if-match", "*")]).await.expect(200);
    assert!(deadline_ms(&server, &write.session).await > deadline);
    let entry = write.alice.sees(&write.session, &write.caller).await;
    assert_eq!(entry["client_settings"]["platform"], json!("PSN"));
}

#[tokio::test]
async fn a_health_report_with_the_header_reports_nothing() {
    let server = Server::new();
    let (alice, host) = (server.player(), server.service(&["session:instance:health"]));
    let session = alice.creates("game").await;
    let instance = format!("/v1/session/{session}/instance");
    alice.post(&instance, &json!({"host_type": "player", "instance_id": "one"})).await.expect(200);
    let report = async |headers: &[(&str, &str)]| {
        let body = json!({"instance_id": "one", "instance_health": "unhealthy"}).to_string();
        host.send(Method::POST, &format!("{instance}/health"), headers, Some(body.into())).await
    };
    let tag = alice.session(&session).await.expect(200).etag();
    let before = (contents(&server).await, deadline_ms(&server, &session).await);
    server.clock.advance(Duration::from_secs(1800));
    for tag in [&*tag, "*", "\"old\"", "\"broken"] {
        report(&[("if-match", tag)]).await.refused(400, "precondition_not_supported");
    }
    assert!(before == (contents(&server).await, deadline_ms(&server, &session).await), "nothing has changed");
    report(&[]).await.expect(200);
    let seen = alice.session(&session).await.expect(200).body;
    assert_eq!(seen["instance"]["instance_health"], json!("unhealthy"));
}

#[tokio::test]
async fn a_write_without_a_resource_refuses_the_header_before_it_does_anything() {
    let server = Server::with_every_surface();
    let alice = server.player();
    let before = contents(&server).await;
    let header = [("if-match", "*")];
    let created =
        alice.send(Method::POST, "/v1/session", &header, Some(creation("game").to_string().into())).await;
    created.refused(400, "precondition_not_supported");
    let mut refused = Vec::new();
    for surface in all_surfaces() {
        for operation in surface.operations.iter().filter(|operation| !operation.takes_if_match) {
            if operation.method == Method::GET || operation.policy.is_for_this_machine() {
                continue;
            }
            let path = operation.path.replace("{session_id}", "none").replace("{match_id}", "none");
            let path = path.replace("{player_uuid}", &alice.player.to_string());
            let caller = alice.on(surface.prefix);
            let reply = caller.send(operation.method.clone(), &path, &header, Some("{}".into())).await;
            let code = reply.body["error_code"].as_str().unwrap_or_default().to_owned();
            match code.as_str() {
                "precondition_not_supported" => refused.push(operation.id),
                _ => assert_eq!(reply.status, 403, "{}: {}", operation.id, reply.body),
            }
        }
    }
    let known = [
        "create_or_join_session",
        "instance_health_check",
        "create_session_audit",
        "player_create_notification_self",
    ];
    for id in known {
        assert!(refused.contains(&id), "{id} is not in {refused:?}");
    }
    assert_eq!(contents(&server).await, before);
}

#[tokio::test]
async fn reads_ignore_the_header() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("game").await;
    let plain = alice.session(&session).await.expect(200);
    let path = format!("/v1/session/{session}");
    for tags in ["\"other\"", "", "*"] {
        let read = alice.send(Method::GET, &path, &[("if-match", tags)], None).await.expect(200);
        assert_eq!((read.bytes, read.headers), (plain.bytes.clone(), plain.headers.clone()));
    }
}

/// Two players write different things on the basis of the same version, again and again.
async fn one_of_two_is_first(one: &Server, other: &Server) {
    let rounds = std::env::var(ROUNDS_VARIABLE).map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let alice = one.player();
    let session = alice.creates("game").await;
    let elsewhere = Client { server: other.clone(), ..alice.clone() };
    let path = format!("/v1/session/{session}");
    let mut tag = alice.session(&session).await.expect(200).etag();
    for round in 0..rounds {
        let write = |caller: &Client, by: &str| {
            let (caller, path, tag) = (caller.clone(), path.clone(), tag.clone());
            let body = json!({"custom_data": {by: round.to_string()}}).to_string();
            tokio::spawn(async move {
                caller.send(Method::PATCH, &path, &[("if-match", &tag)], Some(body.into())).await
            })
        };
        let (first, second) = tokio::join!(write(&alice, "one"), write(&elsewhere, "other"));
        let (first, second) = (first.unwrap(), second.unwrap());
        let mut statuses = [first.status.as_u16(), second.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412], "round {round}: {} {}", first.body, second.body);
        let (won, lost) = if first.status == 200 { (first, second) } else { (second, first) };
        let now = alice.session(&session).await.expect(200);
        assert_eq!((won.etag(), &won.body), (now.etag(), &now.body), "round {round}: no write is lost");
        assert_eq!((lost.etag(), &lost.body["current"]), (now.etag(), &now.body), "round {round}");
        tag = now.etag();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writes_with_one_tag_one_is_made() {
    let server = Server::new();
    one_of_two_is_first(&server, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writes_with_one_tag_on_two_nodes_one_is_made() {
    for [one, other] in pairs_of_nodes(|_| ()).await {
        one_of_two_is_first(&one, &other).await;
    }
}
