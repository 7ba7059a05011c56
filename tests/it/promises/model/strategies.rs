//! Strategies that generate random steps. Steps that can succeed are more frequent.

use proptest::prelude::*;

use super::setup::{
    ALLOCATIONS, ENDED, IDS, INSTANCES, Kind, MODERATOR, PASSWORDS, PLATFORMS, PLAYERS, REGIONS, SERVICE,
};
use super::state::Data;
use super::step::{
    Change, GameClient, InstanceChange, InstanceRequest, InviteOptions, JoinBody, Overflow, PathForm,
    PlayerChoice, RandomStep, Right, Status, Step, TeamChange,
};

/// The number of a session that has not ended, counted from the newest; or [`ENDED`]. Few sessions are likely, so
/// that steps of different players affect the same one.
fn session() -> impl Strategy<Value = usize> {
    prop_oneof![16 => Just(0_usize), 10 => Just(1), 6 => Just(2), 1 => Just(ENDED)]
}

/// A placeholder: the player is chosen when the step runs.
fn player() -> Just<usize> {
    Just(0)
}

/// A choice by status, with these weights.
fn player_choice(active: u32, waiting: u32, outside: u32) -> impl Strategy<Value = PlayerChoice> {
    prop_oneof![
        active => (0..PLAYERS).prop_map(PlayerChoice::Active),
        waiting => (0..PLAYERS).prop_map(PlayerChoice::Waiting),
        outside => (0..PLAYERS).prop_map(PlayerChoice::Outside),
        1 => (0..=MODERATOR).prop_map(PlayerChoice::Number),
    ]
}

fn team() -> impl Strategy<Value = usize> {
    prop_oneof![5 => Just(0_usize), 4 => Just(1), 1 => Just(2)]
}

fn data() -> impl Strategy<Value = Data> {
    let one = |value: &str| Data::from([("color".to_owned(), value.to_owned())]);
    prop_oneof![2 => Just(Data::new()), 1 => Just(one("red")), 1 => Just(one("blue"))]
}

fn client() -> impl Strategy<Value = GameClient> {
    let version = prop_oneof![6 => Just("1.0.0"), 1 => Just("1.0.7-beta"), 1 => Just("2.0.0")];
    let input = prop_oneof![6 => Just("gamepad"), 1 => Just("touch")];
    let (any_platform, any_input) = ("desired_platforms_any", "desired_inputs_any");
    let crossplay = prop_oneof![
        20 => Just(None),
        2 => Just(Some((any_platform, any_input))),
        1 => Just(Some(("desired_platforms_xboxlike", any_input))),
        1 => Just(Some(("desired_platforms_playstationlike", any_input))),
        1 => Just(Some((any_platform, "desired_inputs_gamepad"))),
        1 => Just(Some((any_platform, "desired_inputs_touch"))),
        1 => Just(Some((any_platform, "desired_inputs_keyboardandmouse"))),
    ];
    // A platform in the token overrides this one.
    (version, input, crossplay).prop_map(|(version, input, crossplay)| GameClient {
        version,
        input,
        crossplay,
        platform: "PSN",
    })
}

fn join_body() -> BoxedStrategy<JoinBody> {
    let password = prop_oneof![4 => Just(None), 2 => Just(Some(PASSWORDS[0])), 1 => Just(Some(PASSWORDS[1]))];
    let friend = prop::option::weighted(0.3, player());
    (client(), team(), data(), password, friend)
        .prop_map(|(client, team, data, password, friend)| JoinBody { client, team, data, password, friend })
        .boxed()
}

fn options() -> BoxedStrategy<InviteOptions> {
    use Overflow as O;
    let overflow = prop_oneof![
        4 => Just(O::Fail), 1 => Just(O::Allow), 1 => Just(O::PartialWith), 1 => Just(O::PartialWithout),
        1 => Just(O::Overfill),
    ];
    (prop::option::of(team()), overflow, data())
        .prop_map(|(team, overflow, data)| InviteOptions { team, overflow, data })
        .boxed()
}

fn path_form() -> impl Strategy<Value = PathForm> {
    prop_oneof![2 => Just(PathForm::Plain), 1 => Just(PathForm::ByUuid), 1 => Just(PathForm::ById)]
}

fn region() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![4 => Just(None), 2 => Just(Some(REGIONS[0])), 1 => Just(Some(REGIONS[1]))]
}

fn kind() -> impl Strategy<Value = Kind> {
    use Kind as K;
    prop_oneof![8 => Just(K::Game), 6 => Just(K::Party), 1 => Just(K::Event), 1 => Just(K::Raid)]
}

fn team_change() -> impl Strategy<Value = TeamChange> {
    (prop::option::of(1..4_usize), prop::option::weighted(0.3, data()))
        .prop_map(|(size, data)| TeamChange { size, data })
}

fn change() -> BoxedStrategy<Change> {
    let joinability = prop::array::uniform3(prop::option::of(any::<bool>()));
    let join_paths = (prop::option::weighted(0.3, any::<bool>()), prop::option::weighted(0.4, joinability));
    let teams = prop::option::weighted(0.3, prop::collection::vec(team_change(), 0..4));
    let password = prop::option::weighted(0.1, Just(PASSWORDS[0]));
    (region(), prop::option::weighted(0.3, data()), join_paths, teams, password)
        .prop_map(|(region, data, (joinable, joinability), teams, password)| Change {
            region,
            data,
            joinable,
            joinability,
            teams,
            password,
        })
        .boxed()
}

fn read_step() -> BoxedStrategy<Step> {
    let platform_session = || (0..PLATFORMS.len() - 1, 0..IDS.len());
    prop_oneof![
        4 => (session(), any::<bool>()).prop_map(|(session, refresh)| Step::Read { session, refresh }),
        3 => (session(), 1..4_usize, any::<bool>())
            .prop_map(|(session, page_size, next_page)| Step::ReadPlayers { session, page_size, next_page }),
        2 => (session(), player()).prop_map(|(session, player)| Step::ReadPlayer { session, player }),
        1 => (session(), player()).prop_map(|(session, player)| Step::ReadRights { session, player }),
        2 => prop::option::of(player()).prop_map(|player| Step::ReadList { player }),
        3 => platform_session().prop_map(|(platform, id)| Step::ReadPlatform { platform, id }),
        3 => (kind(), region(), 1..3_usize, any::<bool>())
            .prop_map(|(kind, region, page_size, next_page)| Step::Browse { kind, region, page_size, next_page }),
    ]
    .boxed()
}

fn join_step() -> BoxedStrategy<Step> {
    let platform_session = || (0..PLATFORMS.len() - 1, 0..IDS.len());
    let other = || prop::option::weighted(0.2, player());
    let create = (kind(), client(), prop::option::of(join_body()), prop::bool::weighted(0.1), region());
    prop_oneof![
        4 => create.prop_map(|(kind, client, join_body, password, region)| Step::Create {
            kind, client, join_body, password, region
        }),
        8 => (session(), join_body()).prop_map(|(session, join_body)| Step::Join { session, join_body }),
        6 => (platform_session(), other(), join_body())
            .prop_map(|((platform, id), player, join_body)| Step::JoinThrough {
            platform, id, player, join_body
        }),
    ]
    .boxed()
}

/// A service makes a session, perhaps for a player, which is refused.
fn create_for_service() -> impl Strategy<Value = Step> {
    let create = (kind(), client(), prop::option::weighted(0.1, join_body()), any::<bool>(), region());
    create.prop_map(|(kind, client, join_body, password, region)| Step::Create {
        kind,
        client,
        join_body,
        password,
        region,
    })
}

fn leave_step() -> BoxedStrategy<Step> {
    let platform_session = || (0..PLATFORMS.len() - 1, 0..IDS.len());
    let other = || prop::option::weighted(0.2, player());
    prop_oneof![
        3 => session().prop_map(|session| Step::Leave { session }),
        3 => (platform_session(), other())
            .prop_map(|((platform, id), player)| Step::LeaveThrough { platform, id, player }),
        5 => (session(), player(), path_form())
            .prop_map(|(session, player, path_form)| Step::Kick { session, player, path_form }),
        1 => session().prop_map(|session| Step::End { session }),
        1 => (session(), session()).prop_map(|(session, kicked)| Step::KickSession { session, kicked }),
    ]
    .boxed()
}

fn invite_step() -> BoxedStrategy<Step> {
    use Status as S;
    let status = prop_oneof![Just(Some(S::Invited)), Just(Some(S::Reserved))];
    prop_oneof![
        3 => (session(), player(), options())
            .prop_map(|(session, player, options)| Step::Invite { session, player, options }),
        2 => (session(), player(), path_form(), status, options()).prop_map(
            |(session, player, path_form, status, options)| Step::Update { session, player, path_form, status, options }
        ),
        3 => (session(), session(), options())
            .prop_map(|(session, invited, options)| Step::InviteSession { session, invited, options }),
    ]
    .boxed()
}

fn roster_step() -> BoxedStrategy<Step> {
    use Status as S;
    let status = prop_oneof![
        2 => Just(None), 2 => Just(Some(S::Leader)), 2 => Just(Some(S::Member)),
    ];
    let right = || prop::sample::select(Right::ALL.to_vec());
    prop_oneof![
        6 => (session(), player(), path_form(), status, options()).prop_map(
            |(session, player, path_form, status, options)| Step::Update { session, player, path_form, status, options }
        ),
        1 => (session(), player(), data())
            .prop_map(|(session, player, data)| Step::SetData { session, player, data }),
        2 => (session(), player()).prop_map(|(session, player)| Step::Promote { session, player }),
        3 => (session(), player(), prop::option::weighted(0.9, team()))
            .prop_map(|(session, player, team)| Step::Move { session, player, team }),
        2 => (session(), [player(), player()]).prop_map(|(session, players)| Step::Swap { session, players }),
        3 => (session(), player(), right())
            .prop_map(|(session, player, right)| Step::GiveRight { session, player, right }),
        2 => (session(), player(), right())
            .prop_map(|(session, player, right)| Step::RemoveRight { session, player, right }),
    ]
    .boxed()
}

fn queue() -> impl Strategy<Value = usize> {
    prop_oneof![6 => Just(0), 2 => Just(1), 1 => Just(2), 2 => Just(3), 1 => Just(4)]
}

fn session_step() -> BoxedStrategy<Step> {
    let platform_session = || (0..PLATFORMS.len(), 0..IDS.len());
    prop_oneof![
        6 => (session(), change()).prop_map(|(session, change)| Step::Change { session, change }),
        2 => (session(), team(), team_change())
            .prop_map(|(session, team, change)| Step::ChangeTeam { session, team, change }),
        5 => (session(), platform_session())
            .prop_map(|(session, (platform, id))| Step::Link { session, platform, id }),
        2 => (session(), platform_session())
            .prop_map(|(session, (platform, id))| Step::Unlink { session, platform, id }),
        1 => session().prop_map(|session| Step::MakeShortCode { session }),
        2 => (session(), data()).prop_map(|(session, data)| Step::List { session, data }),
        1 => (session(), data()).prop_map(|(session, data)| Step::Relist { session, data }),
        1 => session().prop_map(|session| Step::Unlist { session }),
        6 => (session(), queue()).prop_map(|(session, queue)| Step::JoinQueue { session, queue }),
        2 => session().prop_map(|session| Step::LeaveQueue { session }),
    ]
    .boxed()
}

/// A match, of the newest sessions more often than of others. Few ids, so that some are those of a match that was made.
fn match_step() -> impl Strategy<Value = Step> {
    let match_id = prop::sample::select(vec!["m1", "m2", "m3", "m4"]);
    (session(), session(), match_id, prop::bool::weighted(0.7)).prop_map(
        |(session, other, match_id, by_tickets)| Step::MakeMatch {
            session,
            other,
            match_id,
            by_tickets,
            parties: Vec::new(),
        },
    )
}

fn instance_step() -> BoxedStrategy<Step> {
    let id = prop::option::weighted(0.6, prop::sample::select(INSTANCES.to_vec()));
    let host_type = prop::sample::select(vec!["dedicated", "player", "standalone", "preallocated"]);
    let template = prop_oneof![6 => Just(None), 2 => Just(Some(true)), 1 => Just(Some(false))];
    let host = prop::option::weighted(0.3, player());
    let instance_request = (id, host_type, host, template, any::<bool>(), data()).prop_map(
        |(id, host_type, host, template, startup, data)| InstanceRequest {
            id,
            host_type,
            host,
            template,
            startup,
            data,
        },
    );
    let status = prop::option::of(prop::sample::select(vec!["pending", "joinable", "closed"]));
    let allocation = prop::option::weighted(0.7, 0..ALLOCATIONS.len());
    let texts = prop::array::uniform3(prop::option::weighted(0.3, prop::sample::select(vec!["1", "2"])));
    let change = (allocation, status, texts, prop::option::weighted(0.3, data())).prop_map(
        |(allocation, join_status, [address, version, match_id], data)| InstanceChange {
            allocation,
            join_status,
            address,
            version,
            match_id,
            data,
        },
    );
    let named = prop_oneof![8 => Just(""), 1 => Just(INSTANCES[0])];
    let health = prop::sample::select(vec!["healthy", "healthy", "degraded", "unhealthy", "unknown"]);
    prop_oneof![
        4 => (session(), instance_request)
            .prop_map(|(session, instance_request)| Step::RequestInstance { session, instance_request }),
        5 => (session(), change).prop_map(|(session, change)| Step::UpdateInstance { session, change }),
        2 => session().prop_map(|session| Step::EndInstance { session }),
        7 => (session(), named, health).prop_map(|(session, instance, health)| Step::ReportHealth {
            session, instance: instance.to_owned(), health,
        }),
    ]
    .boxed()
}

/// A step with its choices of caller, players and platform session.
fn random_step(
    step: impl Strategy<Value = Step> + 'static,
    caller: impl Strategy<Value = PlayerChoice> + 'static,
    player: impl Strategy<Value = PlayerChoice> + Clone + 'static,
) -> BoxedStrategy<RandomStep> {
    let caller = prop_oneof![
        18 => caller,
        1 => Just(PlayerChoice::Number(MODERATOR)),
        1 => Just(PlayerChoice::Number(SERVICE)),
    ];
    let link = prop::option::weighted(0.8, 0..4_usize);
    (step, caller, [player.clone(), player], link, prop::bool::weighted(0.1))
        .prop_map(|(step, caller, players, link, by_code)| RandomStep {
            step,
            caller,
            players,
            link,
            by_code,
        })
        .boxed()
}

pub fn any_step() -> impl Strategy<Value = RandomStep> {
    let seconds = prop::sample::select(vec![1, 5, 10, 30, 60, 299, 300, 600, 1800, 3599, 4000, 4050]);
    let wait = seconds.prop_map(|seconds| Step::Wait { seconds });
    let read_allocation = (0..ALLOCATIONS.len()).prop_map(|allocation| Step::ReadAllocation { allocation });
    let by_few =
        prop_oneof![2 => (MODERATOR..=SERVICE).prop_map(PlayerChoice::Number), 1 => player_choice(1, 1, 1)];
    // The first active player is the leader.
    let insider = || prop_oneof![2 => Just(PlayerChoice::Active(0)), 3 => player_choice(8, 1, 1)].boxed();
    prop_oneof![
        8 => random_step(read_step(), player_choice(3, 1, 1), player_choice(3, 2, 1).boxed()),
        10 => random_step(join_step(), player_choice(1, 3, 4), player_choice(1, 2, 4).boxed()),
        3 => random_step(leave_step(), insider(), player_choice(3, 2, 1).boxed()),
        6 => random_step(invite_step(), insider(), player_choice(1, 3, 6).boxed()),
        8 => random_step(roster_step(), insider(), player_choice(6, 2, 1).boxed()),
        6 => random_step(session_step(), insider(), player_choice(1, 1, 1).boxed()),
        8 => random_step(instance_step(), insider(), player_choice(4, 2, 1).boxed()),
        1 => random_step(read_allocation, by_few, player_choice(1, 1, 1).boxed()),
        1 => random_step(create_for_service(), Just(PlayerChoice::Number(SERVICE)), player_choice(1, 1, 1).boxed()),
        2 => random_step(match_step(), Just(PlayerChoice::Number(SERVICE)), player_choice(1, 1, 1).boxed()),
        4 => random_step(wait, player_choice(1, 1, 1), player_choice(1, 1, 1).boxed()),
    ]
}

/// The first steps of every sequence: two sessions with players, one with a platform session, the other with an
/// instance.
pub fn opening() -> Vec<RandomStep> {
    let client = GameClient { version: "1.0.0", input: "gamepad", crossplay: None, platform: "PSN" };
    let random_step = |caller: usize, step: Step| RandomStep {
        step,
        caller: PlayerChoice::Number(caller),
        players: [PlayerChoice::Number(0); 2],
        link: None,
        by_code: false,
    };
    let create = |kind| Step::Create { kind, client, join_body: None, password: false, region: None };
    let join_body = |team| JoinBody { client, team, data: Data::new(), password: None, friend: None };
    let instance_request = InstanceRequest {
        id: Some(INSTANCES[0]),
        host_type: "dedicated",
        host: None,
        template: None,
        startup: true,
        data: Data::new(),
    };
    let change = InstanceChange {
        allocation: Some(0),
        join_status: None,
        address: Some("192.0.2.1:7777"),
        version: None,
        match_id: None,
        data: None,
    };
    let through = |player, join_body| {
        random_step(player, Step::JoinThrough { platform: 0, id: 0, player: None, join_body })
    };
    vec![
        random_step(0, create(Kind::Game)),
        random_step(1, create(Kind::Party)),
        random_step(1, Step::Link { session: 0, platform: 0, id: 0 }),
        random_step(2, Step::Join { session: 1, join_body: join_body(1) }),
        random_step(3, Step::Join { session: 1, join_body: join_body(0) }),
        through(3, join_body(0)),
        through(4, join_body(0)),
        random_step(0, Step::RequestInstance { session: 1, instance_request }),
        random_step(0, Step::UpdateInstance { session: 1, change }),
        random_step(0, Step::ReportHealth { session: 1, instance: String::new(), health: "healthy" }),
    ]
}
