//! Look-ups of players who have logged in.

mod ids;
mod links;
mod lookup;

use http::{Method, StatusCode};

use crate::http::operation::Operation;
use crate::http::surface::Tag;
use crate::users::policies::*;

/// The group of these operations in the API document.
pub const TAG: Tag = Tag::new("Players", "Look up players who have logged in at this server.");

/// Statuses of failures of look-ups of one player.
const MISSING: &[StatusCode] = &[StatusCode::NOT_FOUND];
const MISSING_OR_NO_PLAYER: &[StatusCode] = &[StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND];

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::GET, "get_player_links_for_self", "/v2/player/me/links", links::of_caller, READ_PLAYER, "Read the caller's own platform accounts").may_fail(MISSING_OR_NO_PLAYER)
            .about("The account with which the caller's player has logged in, and its display name."),
        Operation::new(M::GET, "get_player_links", "/v2/player/{player_uuid}/links", links::of_player, READ_PLAYER, "Read a player's platform accounts").may_fail(MISSING)
            .about("The account with which a player has logged in, and its display name. 404 if the player has never logged in here."),
        Operation::new(M::GET, "lookup_player_by_portal", "/v1/player", lookup::lookup, READ_PLAYER, "Look players up by name or platform account")
            .about("Players who have logged in here, by exact display name or by their ids on a platform: up to 20 values, and up to 50 players."),
        Operation::new(M::GET, "get_player_id_from_player_uuid_for_self", "/v2/player/me/id", ids::of_caller, READ_PLAYER, "Read the caller's own older id").may_fail(MISSING_OR_NO_PLAYER)
            .about("The older, numeric id that the token names. Tokens of this login name none, and then the answer is 404."),
        Operation::new(M::GET, "get_player_id_from_player_uuid", "/v2/player/{player_uuid}/id", ids::of_player, READ_PLAYER, "Read a player's older id").may_fail(MISSING)
            .about("The older, numeric id of the caller's own player, if the token names one. Those of other players are not known here."),
        Operation::new(M::GET, "get_player_uuid_from_player_id_v2", "/v2/player/{player_id}/uuid", ids::uuid, READ_PLAYER, "Find a player by older id").may_fail(MISSING)
            .about("The player with an older, numeric id, if the token of a player in a session has named it. Tokens of this login name none."),
    ]
}
