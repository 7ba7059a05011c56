//! The random steps: operations of players, in any order, on any session that exists or has ended.

use proptest::prelude::*;
use rallypoint::domain::Platform;
use serde_json::{Value, json};

pub const PLAYERS: usize = 4;
pub const ENDED: usize = 6;
pub const PLATFORMS: [Platform; 3] = [Platform::XboxLive, Platform::PSN, Platform::Steam];
pub const IDS: [&str; 3] = ["YQ==", "Yg==", "Yw=="];
pub const ALLOCATIONS: [&str; 2] = ["a0", "a1"];
const OVERFLOWS: [&str; 5] =
    ["fail", "allow_overflow", "partial_with_overflow", "partial_without_overflow", "overfill"];
const STATUSES: [&str; 4] = ["leader", "member", "invited", "reserved"];
const RIGHTS: [&str; 3] = ["invite", "kick", "move"];
const HEALTHS: [&str; 4] = ["healthy", "unhealthy", "degraded", "unknown"];

/// One operation. Numbers are indexes into the known sessions, players and ids.
#[derive(Clone, Debug)]
pub enum Step {
    Create { game: bool },
    Join { session: usize, team: usize },
    JoinThrough { platform: usize, id: usize },
    Leave { session: usize },
    LeaveThrough { platform: usize, id: usize },
    Link { session: usize, platform: usize, id: usize },
    Unlink { session: usize, platform: usize, id: usize },
    Change { session: usize, body: Value },
    End { session: usize },
    Invite { session: usize, other: usize, body: Value },
    InviteSession { session: usize, invited: usize, body: Value },
    Update { session: usize, other: usize, body: Value },
    Promote { session: usize, other: usize },
    Move { session: usize, other: usize, team: u64 },
    Swap { session: usize, one: usize, other: usize },
    Kick { session: usize, other: usize },
    KickSession { session: usize, kicked: usize },
    GiveRight { session: usize, other: usize, right: &'static str },
    RemoveRight { session: usize, other: usize, right: &'static str },
    ShortCode { session: usize },
    List { session: usize },
    Unlist { session: usize },
    JoinQueue { session: usize, queue: &'static str },
    LeaveQueue { session: usize },
    RequestInstance { session: usize, id: &'static str, host: Option<usize> },
    Allocate { session: usize, allocation: usize },
    Report { session: usize, health: &'static str },
    CloseInstance { session: usize },
    EndInstance { session: usize },
    EndServer { server: usize },
    Wait { seconds: u64 },
}

/// The index of a session, counted from the newest; [`ENDED`] is a session that has ended or never existed.
fn session() -> impl Strategy<Value = usize> + Clone {
    0..=ENDED
}

fn player() -> impl Strategy<Value = usize> + Clone {
    0..PLAYERS
}

/// The index of a team. A party has only the first team, a game the first two.
fn team() -> impl Strategy<Value = usize> + Clone {
    0..3_usize
}

/// The caller: often the first player, who leads more sessions than others and is refused less often; seldom the service,
/// whose number follows those of the players.
pub fn any_actor() -> impl Strategy<Value = usize> {
    prop_oneof![5 => Just(0), 5 => player(), 2 => Just(PLAYERS)]
}

pub fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        25 => session_step(), 20 => roster_step(), 6 => listing_or_queue_step(), 9 => instance_step(),
    ]
}

/// Create, join, leave, link, change and end.
fn session_step() -> impl Strategy<Value = Step> {
    let (platform, id) = (0..PLATFORMS.len(), 0..IDS.len());
    let link = (session(), platform.clone(), id.clone());
    prop_oneof![
        2 => any::<bool>().prop_map(|game| Step::Create { game }),
        5 => (session(), team()).prop_map(|(session, team)| Step::Join { session, team }),
        4 => (platform.clone(), id.clone()).prop_map(|(platform, id)| Step::JoinThrough { platform, id }),
        2 => session().prop_map(|session| Step::Leave { session }),
        2 => (platform, id).prop_map(|(platform, id)| Step::LeaveThrough { platform, id }),
        5 => link.clone().prop_map(|(session, platform, id)| Step::Link { session, platform, id }),
        3 => link.prop_map(|(session, platform, id)| Step::Unlink { session, platform, id }),
        2 => (session(), any::<bool>())
            .prop_map(|(session, open)| Step::Change { session, body: json!({"joinable": open}) }),
        1 => (session(), prop::collection::vec(1..5_u8, 0..4)).prop_map(|(session, sizes)| {
            let teams: Vec<_> = sizes.iter().map(|size| json!({"max_size": size})).collect();
            Step::Change { session, body: json!({ "teams": teams }) }
        }),
        1 => session().prop_map(|session| Step::End { session }),
    ]
}

/// The body of an invite.
fn invite_body() -> impl Strategy<Value = Value> {
    (prop::option::of(team()), prop::sample::select(&OVERFLOWS)).prop_map(|(team, overflow)| match team {
        Some(team) => json!({"team_id": team, "overflow_action": overflow}),
        None => json!({"overflow_action": overflow}),
    })
}

/// The body of the deprecated update, with or without each of its parts.
fn any_update() -> impl Strategy<Value = Value> {
    let parts = (prop::option::of(prop::sample::select(&STATUSES)), prop::option::of(team()), any::<bool>());
    parts.prop_map(|(status, team, data)| {
        let mut body = json!({});
        if let Some(status) = status {
            body["status"] = json!(status);
        }
        if let Some(team) = team {
            body["team_id"] = json!(team);
        }
        if data {
            body["custom_data"] = json!({"a": "b"});
        }
        body
    })
}

/// Operations on other players.
fn roster_step() -> impl Strategy<Value = Step> {
    let right = (session(), player(), prop::sample::select(&RIGHTS));
    prop_oneof![
        4 => (session(), player(), invite_body())
            .prop_map(|(session, other, body)| Step::Invite { session, other, body }),
        2 => (session(), session(), invite_body())
            .prop_map(|(session, invited, body)| Step::InviteSession { session, invited, body }),
        4 => (session(), player(), any_update())
            .prop_map(|(session, other, body)| Step::Update { session, other, body }),
        2 => (session(), player()).prop_map(|(session, other)| Step::Promote { session, other }),
        3 => (session(), player(), team())
            .prop_map(|(session, other, team)| Step::Move { session, other, team: team as u64 }),
        2 => (session(), player(), player())
            .prop_map(|(session, one, other)| Step::Swap { session, one, other }),
        2 => (session(), player()).prop_map(|(session, other)| Step::Kick { session, other }),
        1 => (session(), session()).prop_map(|(session, kicked)| Step::KickSession { session, kicked }),
        2 => right.clone().prop_map(|(session, other, right)| Step::GiveRight { session, other, right }),
        1 => right.prop_map(|(session, other, right)| Step::RemoveRight { session, other, right }),
    ]
}

/// Short codes, listings, queues.
fn listing_or_queue_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => session().prop_map(|session| Step::ShortCode { session }),
        3 => session().prop_map(|session| Step::List { session }),
        1 => session().prop_map(|session| Step::Unlist { session }),
        6 => (session(), prop::sample::select(&["casual", "casual", "duel"]))
            .prop_map(|(session, queue)| Step::JoinQueue { session, queue }),
        1 => session().prop_map(|session| Step::LeaveQueue { session }),
    ]
}

/// Instances; and time that passes.
fn instance_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (session(), prop::sample::select(&["i", "j"]), prop::option::of(player()))
            .prop_map(|(session, id, host)| Step::RequestInstance { session, id, host }),
        // The last one is that of the instance.
        4 => (session(), 0..=ALLOCATIONS.len())
            .prop_map(|(session, allocation)| Step::Allocate { session, allocation }),
        2 => (session(), prop::sample::select(&HEALTHS))
            .prop_map(|(session, health)| Step::Report { session, health }),
        2 => session().prop_map(|session| Step::CloseInstance { session }),
        1 => session().prop_map(|session| Step::EndInstance { session }),
        1 => (0..4_usize).prop_map(|server| Step::EndServer { server }),
        4 => (1..40_u64).prop_map(|seconds| Step::Wait { seconds }),
    ]
}
