//! The notification service.

/// Long polls.
mod long_poll;
/// Posting messages, and reading them.
mod messages;
/// Which messages an inbox keeps, and for how long.
mod inbox;
/// Random posts, reads and waits, on two nodes.
mod model;
/// Who may post and read.
mod permissions;
/// Answers with every documented status, against the published schema.
mod published;

use rallypoint::domain::CustomData;
use rallypoint::domain::inbox::MessageContent;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Client, Reply, Server};

/// The prefix of these operations.
pub const NOTIFICATION: &str = "/notification";
/// The messages of the caller's player.
pub const OWN: &str = "/v1/player/me/notification";

/// The messages of a player.
fn of(player: Uuid) -> String {
    format!("/v1/player/{player}/notification")
}

/// A new player, as a caller of the notification service.
fn player(server: &Server) -> Client {
    server.player().on(NOTIFICATION)
}

/// The body of a post of these texts.
pub fn texts(messages: &[&str]) -> Value {
    let messages: Vec<_> = messages.iter().map(|message| json!({ "message": message })).collect();
    json!({ "notifications": messages })
}

/// Posts messages for the caller's player, and returns the id of the last one.
async fn post(caller: &Client, messages: &[&str]) -> String {
    let reply = caller.post(OWN, &texts(messages)).await.expect(200);
    reply.body["notification_id"].as_str().unwrap().to_owned()
}

/// What a message with this text says.
fn content(text: &str) -> MessageContent {
    MessageContent { message: text.to_owned(), rh_url: None, etag: None, custom_data: CustomData::new() }
}

/// The texts on a page, and its cursor.
fn page(reply: &Reply) -> (Vec<&str>, &str) {
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.body);
    let messages = reply.body["notifications"].as_array().unwrap().iter();
    let messages = messages.map(|message| message["message"].as_str().unwrap()).collect();
    (messages, reply.body["cursor"].as_str().unwrap())
}
