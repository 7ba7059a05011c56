//! The scene with a match: two parties of two queue, and meet.

use serde_json::{Value, json};

use super::runner::{Expected, Runner};
use super::{DemoPlayer, client, creation};
use crate::config::Config;
use crate::domain::Platform;
use crate::runtime::server::Server;

/// A queue for matches of two against two.
pub const CONFIGURATION: &str = r#"
[queues.two_on_two]
match_making_template_group_id = "00000000-0000-4000-8000-0000000000a1"
[[match_making_template_groups.00000000-0000-4000-8000-0000000000a1.templates]]
profiles = ["two_on_two"]
[match_making_profiles.two_on_two]
max_players_per_side = 2
"#;

/// Lets parties queue.
pub fn allow_parties_to_queue(config: &mut Config) {
    if let Some(party) = config.templates.get_mut("party") {
        party.can_join_matchmaking = true;
    }
}

/// Shows the scene with a party that `leader` leads and `member` is in, and with two others.
pub fn show(
    runner: &mut Runner,
    server: &Server,
    party: &str,
    (leader, member): (&DemoPlayer, &DemoPlayer),
    (stranger, friend): (&DemoPlayer, &DemoPlayer),
) -> Result<(), String> {
    runner.section("A match of two parties")?;
    let other_party = show_other_party(runner, stranger, friend)?;
    let queue = json!({ "queue_id": "two_on_two" });
    let request = leader.request("Bob's party queues for a match", "POST", format!("{party}/queue"));
    let queued = runner.call(request.body(queue.clone()), &Expected::OK)?;
    runner.check("the party has a ticket", queued.body["ticket_id"].is_string());
    let list = "/v1/player/me/session";
    let before =
        runner.call(member.request("Alice reads her list of sessions", "GET", list), &Expected::OK)?;
    let wait = member.request("Alice waits for a change of her list", "GET", list);
    let request = stranger.request("the stranger's party queues", "POST", format!("{other_party}/queue"));
    let change = (request.body(queue), &Expected::OK);
    let after = runner.call_during_wait(server, (wait, &before.etag), change)?;
    let invites = after.body["sessions"]["game"]["pending_invites"].as_object();
    let Some(session_id) = invites.and_then(|invites| invites.keys().next()) else {
        runner.check("Alice is invited to a match", false);
        return Ok(());
    };
    let path = format!("/v1/session/{session_id}");
    let join = member.request("Alice joins the match", "POST", format!("{path}/player/me"));
    runner.call(join.body(client(Platform::XboxLive)), &Expected::OK)?;
    let get = member.request("Alice reads the match: her party is on one side", "GET", path.as_str());
    let read = runner.call(get, &Expected::OK)?;
    runner.check("the match was made by matchmaking", read.body["created_by_matchmaking"] == true);
    let sides = read.body["teams"].as_array().into_iter().flatten().map(players);
    let sides: Vec<Vec<String>> = sides.collect();
    runner.check("each side has two players", sides.iter().all(|side| side.len() == 2) && sides.len() == 2);
    let is_on = |player: &DemoPlayer, side: &[String]| side.contains(&player.uuid.to_string());
    let together = sides.iter().any(|side| is_on(leader, side) && is_on(member, side));
    runner.check("the players of a party are on one side", together);
    Ok(())
}

/// The stranger forms a party with a friend. Returns its path.
fn show_other_party(
    runner: &mut Runner,
    stranger: &DemoPlayer,
    friend: &DemoPlayer,
) -> Result<String, String> {
    let create = stranger.request("a stranger creates a party", "POST", "/v1/session").body(creation());
    let created = runner.call(create, &Expected::OK)?;
    let session_id = created.body["session_id"].as_str().unwrap_or_default();
    let invite = format!("/v2/session/{session_id}/player/{}:invite", friend.uuid);
    let invite = stranger.request("the stranger invites a friend", "POST", invite);
    runner.call(invite.body(json!({})), &Expected::OK)?;
    let path = format!("/v1/session/{session_id}");
    let accept = friend.request("the friend accepts the invite", "POST", format!("{path}/player/me"));
    runner.call(accept.body(client(Platform::Steam)), &Expected::OK)?;
    Ok(path)
}

/// The players of a team.
fn players(team: &Value) -> Vec<String> {
    let players = team["players"].as_array().into_iter().flatten();
    players.filter_map(|player| Some(player["player_uuid"].as_str()?.to_owned())).collect()
}
