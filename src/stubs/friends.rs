//! The friends service: nobody has friends, and nobody is blocked.

use std::sync::Arc;

use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::app::App;
use crate::auth::{Caller, Policy};
use crate::document::Document;
use crate::domain::PlayerUuid;
use crate::http::error::Error;
use crate::http::input::param_types::{Cursor, parse_between};
use crate::http::input::params::{Param, params};
use crate::http::input::violation::ViolationKind;
use crate::http::operation::{Input, Operation};
use crate::http::reply::{Reply, Versioned};
use crate::http::surface::{Group, Surface, Tag};

/// Prefix of every path.
pub const PREFIX: &str = "/friends";

const TAG: Tag = Tag::new("Friends", "Lists of friends and of blocked players. They are always empty.");

/// The friends service.
pub fn surface() -> Surface {
    Surface::new(PREFIX, vec![Group::new(TAG, rows())]).with_introduction(
        "Empty lists of friends and of blocked players, for clients that read them every two minutes.",
    )
}

#[rustfmt::skip]
fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::GET, "get_friends_list_for_player_v2", "/v2/player/{player_uuid}/friend", friends, Policy::ANY_TOKEN, "Read a player's friends")
            .about("The list is always empty."),
        Operation::new(M::GET, "get_blocked_list_for_player_v2", "/v2/player/{player_uuid}/block", blocked, Policy::ANY_TOKEN, "Read the players whom a player has blocked")
            .about("The list is always empty."),
    ]
}

params! {
    /// Path of a player.
    PlayerPath in "path" {
        /// Player UUID.
        player_uuid: PlayerUuid,
    }
}

/// Largest number of entries on a page: 1 to 10,000. The default is 50.
pub struct Limit(i64);

impl Param for Limit {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        parse_between(text, 1, 10_000).map(Self)
    }

    fn absent() -> Option<Self> {
        Some(Self(50))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": 10_000, "default": 50 })
    }
}

params! {
    /// Query of a page.
    PageQuery in "query" {
        /// Page to read, from 0.
        page: Cursor,
        /// Largest number of entries on the page.
        limit: Limit,
    }
}

/// The page that was read.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PageMeta")]
pub struct PageView {
    /// Number of the page, from 0.
    page: u64,
    /// Largest number of entries on the page.
    limit: i64,
    /// Number of entries on all pages.
    total: u64,
}

impl From<PageQuery> for PageView {
    fn from(query: PageQuery) -> Self {
        Self { page: query.page.0, limit: query.limit.0, total: 0 }
    }
}

/// A page of a player's friends.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FriendsList")]
pub struct FriendsView {
    /// Player UUID.
    player_uuid: PlayerUuid,
    /// Friends of the player: none.
    friends: [String; 0],
    /// The page that was read.
    page: PageView,
}

/// A page of the players whom a player has blocked.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BlockedList")]
pub struct BlockedView {
    /// Player UUID.
    player_uuid: PlayerUuid,
    /// Players whom the player has blocked: none.
    blocked: [String; 0],
    /// The page that was read.
    page: PageView,
}

async fn friends(
    _: Arc<App>,
    _: Caller,
    Input { path, query, .. }: Input<PlayerPath, PageQuery>,
) -> Result<Reply<Versioned<FriendsView>>, Error> {
    let view = FriendsView { player_uuid: path.player_uuid, friends: [], page: query.into() };
    Ok(Reply::document(&Document::of(&view)))
}

async fn blocked(
    _: Arc<App>,
    _: Caller,
    Input { path, query, .. }: Input<PlayerPath, PageQuery>,
) -> Result<Reply<Versioned<BlockedView>>, Error> {
    let view = BlockedView { player_uuid: path.player_uuid, blocked: [], page: query.into() };
    Ok(Reply::document(&Document::of(&view)))
}
