//! The inventory service: a session of a player's inventory, for games that wait for one after the login.

use std::sync::Arc;

use http::Method;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::app::App;
use crate::auth::{Caller, Policy};
use crate::domain::PlayerUuid;
use crate::http::error::Error;
use crate::http::input::params::params;
use crate::http::operation::{Input, Operation};
use crate::http::reply::{Accepted, Reply};
use crate::http::surface::{Group, Surface, Tag};

/// Prefix of every path.
pub const PREFIX: &str = "/inventory";

const TAG: Tag = Tag::new("Inventory", "Inventories of players. There are none.");

/// The inventory service.
pub fn surface() -> Surface {
    Surface::new(PREFIX, vec![Group::new(TAG, rows())])
        .with_introduction("One answer, for games that wait for an inventory session after the login.")
}

#[rustfmt::skip]
fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::POST, "create_inventory_session", "/v2/player/{player_uuid}/session", create, Policy::ANY_TOKEN, "Begin an inventory session")
            .about("The answer is a random id. The server has no inventories and remembers nothing."),
    ]
}

params! {
    /// Path of a player.
    PlayerPath in "path" {
        /// Player UUID.
        player_uuid: PlayerUuid,
    }
}

/// An inventory session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InventorySession")]
pub struct InventorySessionView {
    /// Id of the inventory session.
    session_id: Uuid,
}

async fn create(
    app: Arc<App>,
    _: Caller,
    _: Input<PlayerPath>,
) -> Result<Reply<Accepted<InventorySessionView>>, Error> {
    Ok(Reply::accepted(&InventorySessionView { session_id: app.entropy.uuid() }))
}
