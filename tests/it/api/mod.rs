//! The operations, a module per noun of the API.

/// Listing sessions in the browser, and finding them page by page.
mod browser;
/// Reading regions, instance templates, and the caller's address.
mod config;
/// Which web pages of other origins may call.
mod cors;
/// The deprecated operations that published clients still use.
mod deprecated;
/// Asking for an instance, changing it, its allocation and its end.
mod instance;
/// Health reports of hosts.
mod instance_health;
/// Inviting a player, and what the player can do with the invite.
mod invite;
/// Sessions that are larger than the cache or close to the store's limit.
mod large;
/// Each limit of a request: the largest that fits and the smallest that does not.
mod limits;
/// Linking platform sessions; joining and leaving through them.
mod platform_link;
/// Get Platform Session Info, rule by rule.
mod platform_session;
/// Joining and leaving, and the list of a player's sessions.
mod player;
/// Reading a session's players one by one and in pages.
mod player_page;
/// How many sessions and open invites a player may have.
mod quota;
/// Which requests keep a session alive.
mod refresh_ttl;
/// Rights that the leader lends to players.
mod rights;
/// Updating, promoting, moving, swapping and kicking players.
mod roster;
/// Creating, reading, changing and ending sessions.
mod session;
/// An ended session leaves nothing behind in the store.
mod session_end;
/// Inviting all players of a session to another, and kicking them.
mod session_to_session;
/// Making short codes, using them in paths, and the limit on guesses.
mod short_code;
/// Changing one team.
mod team;
/// Reading session templates.
mod template;
/// Which players and fields each caller sees.
mod visibility;
