//! The operations, a module per noun of the API.

/// Reporting events of a session.
mod audit;
/// The events of each changing operation.
mod audit_of_changes;
/// What hosts of running matches say about the players whom they want.
pub mod backfill;
/// Listing sessions in the browser, and finding them page by page.
mod browser;
/// Filling matches that have begun.
pub mod fillings;
/// A request for each operation that changes something.
pub mod changes;
/// Reading regions, instance templates, and the caller's address.
mod config;
/// Values of another type than the schema names.
mod conversion;
/// CORS: which web pages of other origins may call.
mod cors;
/// Cross-site request forgery with the token in the cookie.
mod cross_site;
/// The team of a player who joins without asking for one.
mod default_team;
/// What an unmodified dedicated server needs from its session.
mod dedicated_server;
/// Deserter statuses of players, and how they keep parties out of queues.
mod deserter;
/// The deprecated operations that published clients still use.
mod deprecated;
/// Exact writes: `If-Match`.
mod exact;
/// What callers cannot find out about players whom they may not see.
mod hidden_players;
/// Repeating a write with `Idempotency-Key`.
mod idempotency;
/// Requesting, changing, allocating and ending an instance.
mod instance;
/// Health reports of hosts.
mod instance_health;
/// Inviting a player; accepting and declining the invite.
mod invite;
/// Sessions larger than the cache or close to the limit of the store.
mod large;
/// Kicked players, who need an invite to return.
mod kicked;
/// Each limit of a request: the largest accepted and the smallest refused value.
mod limits;
/// Matches of the server when something fails in the middle.
mod match_faults;
/// Changes in the moment in which a match is committed.
mod match_races;
/// Matches that a matcher of the studio makes.
pub mod match_made;
/// Matches that the server makes.
pub mod matches;
/// Joining and leaving matchmaking queues.
pub mod queue;
/// What ends the ticket of a party in a queue.
mod ticket;
/// Reading queues, matchmaking templates, profiles and deserter configurations.
mod match_making;
/// How often callers may guess the password of a session.
mod password;
/// Linking platform sessions; joining and leaving through them.
mod platform_link;
/// The operation Get Platform Session Info.
mod platform_session;
/// Joining and leaving; the list of a player's sessions.
mod player;
/// The time and the ETag of a player's list of sessions.
mod player_list;
/// Reading a session's players one by one and in pages.
mod player_page;
/// Answers in place of other services that published clients call.
mod quiet_set;
/// How many sessions and open invites a player may have.
mod quota;
/// Which requests keep a session alive.
mod refresh_ttl;
/// Rights that the leader gives to members.
mod rights;
/// Updating, promoting, moving, swapping and kicking players.
mod roster;
/// Creating, reading, changing and ending sessions.
mod session;
/// An ended session leaves nothing behind in the store.
mod session_end;
/// Inviting all players of a session to another, and kicking them.
mod session_to_session;
/// Making short codes, using them in paths, and the limit of wrong codes.
mod short_code;
/// Changing one team.
mod team;
/// Reading session templates.
mod template;
/// Which players and fields each caller sees.
mod visibility;
/// Waiting for a change of what a GET shows.
pub mod wait;
/// What waits check, keep alive and count.
mod wait_checks;
/// Waits and changes at the same moment.
mod wait_races;
/// Tokens for voice services.
mod voice;
