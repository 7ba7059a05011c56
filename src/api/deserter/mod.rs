//! Deserters: the kinds of desertion that the configuration has, and the status of players.

mod config;
mod status;

use http::Method;

use crate::api::MISSING;
use crate::api::policies::*;
use crate::http::input::params::params;
use crate::http::operation::Operation;
use crate::http::surface::Tag;

/// The group of these operations in the API document.
pub const TAG: Tag = Tag::new("Deserter", "Players who leave matches, and may not queue for some time.");

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::GET, "get_all_deserter_configs", "/v1/deserter", config::all, READ_CONFIG, "Read all deserter configurations")
            .about("The kinds of desertion. A matchmaking profile names the one that keeps players from queueing for it."),
        Operation::new(M::GET, "get_specific_deserter_config", "/v1/deserter/{deserter_id}", config::one, READ_CONFIG, "Read a deserter configuration").may_fail(MISSING)
            .about("One kind of desertion."),
        Operation::new(M::GET, "get_player_deserter_self", "/v1/player/me/deserter/{deserter_id}", status::own, READ_ME, "Read the caller's deserter status").may_fail(MISSING)
            .about("Whether the caller is a deserter of this kind now, and until when. A player of whom nothing was reported is none."),
        Operation::new(M::GET, "get_player_deserter", "/v1/player/{player_uuid}/deserter/{deserter_id}", status::one, READ_PLAYER, "Read a player's deserter status").may_fail(MISSING)
            .about("Whether the player is a deserter of this kind now, and until when. For other players, the token needs a permission for all players."),
        Operation::new(M::PUT, "put_player_deserter", "/v1/player/{player_uuid}/deserter/{deserter_id}", status::put, WRITE_DESERTER, "Set a player's deserter status").may_fail(MISSING)
            .about("For game servers: the player has left a match, and may not queue until `deserter_expiration`. It replaces what was set before. A ticket that is in a queue already stays."),
        Operation::new(M::DELETE, "delete_player_deserter", "/v1/player/{player_uuid}/deserter/{deserter_id}", status::delete, WRITE_DESERTER, "Delete a player's deserter status").may_fail(MISSING)
            .about("The player is no deserter of this kind any more. It succeeds if there is no status as well."),
        Operation::new(M::GET, "get_all_player_deserters", "/v1/player/{player_uuid}/deserter", status::all, READ_PLAYER, "Read all deserter statuses of a player")
            .about("What was reported of the player, for each kind of desertion, without what was cleared. For other players, the token needs a permission for all players."),
        Operation::new(M::DELETE, "delete_all_player_deserter", "/v1/player/{player_uuid}/deserter", status::delete_all, WRITE_DESERTER, "Delete all deserter statuses of a player")
            .about("The player is no deserter of any kind any more."),
        Operation::new(M::POST, "clear_all_deserter", "/v1/deserter:clear", config::clear_all, CLEAR_DESERTERS, "Clear all deserter statuses")
            .about("No player is a deserter any more. What is reported afterwards counts."),
        Operation::new(M::POST, "clear_specific_deserter", "/v1/deserter/{deserter_id}:clear", config::clear, CLEAR_DESERTERS, "Clear all deserter statuses of a kind").may_fail(MISSING)
            .about("No player is a deserter of this kind any more. What is reported afterwards counts."),
    ]
}

params! {
    /// Path of a deserter configuration.
    DeserterPath in "path" {
        /// Id of the deserter configuration.
        deserter_id: String,
    }
}
