//! Strategies that generate random steps. Steps that can succeed are more frequent.

use proptest::prelude::*;

use super::setup::{
    ALLOCATIONS, ENDED, IDS, INSTANCES, Kind, MODERATOR, PASSWORDS, PLATFORMS, PLAYERS, REGIONS, SERVICE,
};
use super::state::Data;
use super::step::{
    Ask, Change, GameClient, Hosting, InstanceChange, Overflow, Pick, Right, Spelling, Standing, Step,
    TeamChange, Terms, Turn,
};

/// The number of a session that has not ended, counted from the newest; or [`ENDED`]. Few sessions are likely, so that
/// steps of different players affect the same one.
fn session() -> impl Strategy<Value = usize> {
    prop_oneof![16 => Just(0_usize), 10 => Just(1), 6 => Just(2), 1 => Just(ENDED)]
}

/// A placeholder: the player is chosen when the step runs.
fn player() -> Just<usize> {
    Just(0)
}

/// A choice by status, with these weights.
fn pick(active: u32, waiting: u32, outside: u32) -> impl Strategy<Value = Pick> {
    prop_oneof![
        active => (0..PLAYERS).prop_map(Pick::Active),
        waiting => (0..PLAYERS).prop_map(Pick::Waiting),
        outside => (0..PLAYERS).prop_map(Pick::Outside),
        1 => (0..=MODERATOR).prop_map(Pick::Number),
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

fn ask() -> BoxedStrategy<Ask> {
    let password = prop_oneof![4 => Just(None), 2 => Just(Some(PASSWORDS[0])), 1 => Just(Some(PASSWORDS[1]))];
    let friend = prop::option::weighted(0.3, player());
    (client(), team(), data(), password, friend)
        .prop_map(|(client, team, data, password, friend)| Ask { client, team, data, password, friend })
        .boxed()
}

fn terms() -> BoxedStrategy<Terms> {
    use Overflow as O;
    let overflow = prop_oneof![
        4 => Just(O::Fail), 1 => Just(O::Allow), 1 => Just(O::PartialWith), 1 => Just(O::PartialWithout),
        1 => Just(O::Overfill),
    ];
    (prop::option::of(team()), overflow, data())
        .prop_map(|(team, overflow, data)| Terms { team, overflow, data })
        .boxed()
}

fn spelling() -> impl Strategy<Value = Spelling> {
    prop_oneof![2 => Just(Spelling::Plain), 1 => Just(Spelling::ByUuid), 1 => Just(Spelling::ById)]
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
    let doors = (prop::option::weighted(0.3, any::<bool>()), prop::option::weighted(0.4, joinability));
    let teams = prop::option::weighted(0.3, prop::collection::vec(team_change(), 0..4));
    let password = prop::option::weighted(0.1, Just(PASSWORDS[0]));
    (region(), prop::option::weighted(0.3, data()), doors, teams, password)
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

fn reading() -> BoxedStrategy<Step> {
    let place = || (0..PLATFORMS.len() - 1, 0..IDS.len());
    prop_oneof![
        4 => (session(), any::<bool>()).prop_map(|(session, refresh)| Step::Read { session, refresh }),
        3 => (session(), 1..4_usize, any::<bool>())
            .prop_map(|(session, page_size, go_on)| Step::ReadPlayers { session, page_size, go_on }),
        2 => (session(), player()).prop_map(|(session, player)| Step::ReadPlayer { session, player }),
        1 => (session(), player()).prop_map(|(session, player)| Step::ReadRights { session, player }),
        2 => prop::option::of(player()).prop_map(|player| Step::ReadList { player }),
        3 => place().prop_map(|(platform, id)| Step::ReadPlatform { platform, id }),
        3 => (kind(), region(), 1..3_usize, any::<bool>())
            .prop_map(|(kind, region, page_size, go_on)| Step::Browse { kind, region, page_size, go_on }),
    ]
    .boxed()
}

fn coming() -> BoxedStrategy<Step> {
    let place = || (0..PLATFORMS.len() - 1, 0..IDS.len());
    let other = || prop::option::weighted(0.2, player());
    let create = (kind(), client(), prop::option::of(ask()), prop::bool::weighted(0.1), region());
    prop_oneof![
        4 => create.prop_map(|(kind, client, ask, password, region)| Step::Create {
            kind, client, ask, password, region
        }),
        8 => (session(), ask()).prop_map(|(session, ask)| Step::Join { session, ask }),
        6 => (place(), other(), ask()).prop_map(|((platform, id), player, ask)| Step::JoinThrough {
            platform, id, player, ask
        }),
    ]
    .boxed()
}

fn going() -> BoxedStrategy<Step> {
    let place = || (0..PLATFORMS.len() - 1, 0..IDS.len());
    let other = || prop::option::weighted(0.2, player());
    prop_oneof![
        3 => session().prop_map(|session| Step::Leave { session }),
        3 => (place(), other()).prop_map(|((platform, id), player)| Step::LeaveThrough { platform, id, player }),
        5 => (session(), player(), spelling())
            .prop_map(|(session, player, spelling)| Step::Kick { session, player, spelling }),
        1 => session().prop_map(|session| Step::End { session }),
        1 => (session(), session()).prop_map(|(session, kicked)| Step::KickSession { session, kicked }),
    ]
    .boxed()
}

fn inviting() -> BoxedStrategy<Step> {
    use Standing as S;
    let status = prop_oneof![Just(Some(S::Invited)), Just(Some(S::Reserved))];
    prop_oneof![
        3 => (session(), player(), terms()).prop_map(|(session, player, terms)| Step::Invite { session, player, terms }),
        2 => (session(), player(), spelling(), status, terms()).prop_map(
            |(session, player, spelling, status, terms)| Step::Update { session, player, spelling, status, terms }
        ),
        3 => (session(), session(), terms())
            .prop_map(|(session, invited, terms)| Step::InviteSession { session, invited, terms }),
    ]
    .boxed()
}

fn arranging() -> BoxedStrategy<Step> {
    use Standing as S;
    let status = prop_oneof![
        2 => Just(None), 2 => Just(Some(S::Leader)), 2 => Just(Some(S::Member)),
    ];
    let right = || prop::sample::select(Right::ALL.to_vec());
    prop_oneof![
        6 => (session(), player(), spelling(), status, terms()).prop_map(
            |(session, player, spelling, status, terms)| Step::Update { session, player, spelling, status, terms }
        ),
        1 => (session(), player(), data()).prop_map(|(session, player, data)| Step::SetData { session, player, data }),
        2 => (session(), player()).prop_map(|(session, player)| Step::Promote { session, player }),
        3 => (session(), player(), prop::option::weighted(0.9, team()))
            .prop_map(|(session, player, team)| Step::Move { session, player, team }),
        2 => (session(), [player(), player()]).prop_map(|(session, players)| Step::Swap { session, players }),
        3 => (session(), player(), right()).prop_map(|(session, player, right)| Step::Lend { session, player, right }),
        2 => (session(), player(), right())
            .prop_map(|(session, player, right)| Step::TakeBack { session, player, right }),
    ]
    .boxed()
}

fn changing() -> BoxedStrategy<Step> {
    let place = || (0..PLATFORMS.len(), 0..IDS.len());
    prop_oneof![
        6 => (session(), change()).prop_map(|(session, change)| Step::Change { session, change }),
        2 => (session(), team(), team_change())
            .prop_map(|(session, team, change)| Step::ChangeTeam { session, team, change }),
        5 => (session(), place()).prop_map(|(session, (platform, id))| Step::Link { session, platform, id }),
        2 => (session(), place()).prop_map(|(session, (platform, id))| Step::Unlink { session, platform, id }),
        1 => session().prop_map(|session| Step::MakeCode { session }),
        2 => (session(), data()).prop_map(|(session, data)| Step::List { session, data }),
        1 => (session(), data()).prop_map(|(session, data)| Step::Relist { session, data }),
        1 => session().prop_map(|session| Step::Unlist { session }),
    ]
    .boxed()
}

fn hosting() -> BoxedStrategy<Step> {
    let id = prop::option::weighted(0.6, prop::sample::select(INSTANCES.to_vec()));
    let host_type = prop::sample::select(vec!["dedicated", "player", "standalone", "preallocated"]);
    let template = prop_oneof![6 => Just(None), 2 => Just(Some(true)), 1 => Just(Some(false))];
    let host = prop::option::weighted(0.3, player());
    let hosting = (id, host_type, host, template, any::<bool>(), data()).prop_map(
        |(id, host_type, host, template, startup, data)| Hosting {
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
        4 => (session(), hosting).prop_map(|(session, hosting)| Step::Host { session, hosting }),
        5 => (session(), change).prop_map(|(session, change)| Step::UpdateInstance { session, change }),
        2 => session().prop_map(|session| Step::EndInstance { session }),
        7 => (session(), named, health).prop_map(|(session, instance, health)| Step::Report {
            session, instance: instance.to_owned(), health,
        }),
    ]
    .boxed()
}

/// A step with its choices of caller, players and platform session.
fn turn(
    step: impl Strategy<Value = Step> + 'static,
    caller: impl Strategy<Value = Pick> + 'static,
    player: impl Strategy<Value = Pick> + Clone + 'static,
) -> BoxedStrategy<Turn> {
    let caller =
        prop_oneof![18 => caller, 1 => Just(Pick::Number(MODERATOR)), 1 => Just(Pick::Number(SERVICE))];
    let link = prop::option::weighted(0.8, 0..4_usize);
    (step, caller, [player.clone(), player], link, prop::bool::weighted(0.1))
        .prop_map(|(step, caller, players, link, by_code)| Turn { step, caller, players, link, by_code })
        .boxed()
}

pub fn any_turn() -> impl Strategy<Value = Turn> {
    let wait = prop::sample::select(vec![1, 5, 10, 30, 60, 299, 300, 600, 1800, 3599, 4000, 4050]);
    let allocated = (0..ALLOCATIONS.len()).prop_map(|allocation| Step::ReadAllocation { allocation });
    let by_few = prop_oneof![2 => (MODERATOR..=SERVICE).prop_map(Pick::Number), 1 => pick(1, 1, 1)];
    // The first active player is the leader.
    let insider = || prop_oneof![2 => Just(Pick::Active(0)), 3 => pick(8, 1, 1)].boxed();
    prop_oneof![
        8 => turn(reading(), pick(3, 1, 1), pick(3, 2, 1).boxed()),
        10 => turn(coming(), pick(1, 3, 4), pick(1, 2, 4).boxed()),
        3 => turn(going(), insider(), pick(3, 2, 1).boxed()),
        6 => turn(inviting(), insider(), pick(1, 3, 6).boxed()),
        8 => turn(arranging(), insider(), pick(6, 2, 1).boxed()),
        6 => turn(changing(), insider(), pick(1, 1, 1).boxed()),
        8 => turn(hosting(), insider(), pick(4, 2, 1).boxed()),
        1 => turn(allocated, by_few, pick(1, 1, 1).boxed()),
        4 => turn(wait.prop_map(|seconds| Step::Wait { seconds }), pick(1, 1, 1), pick(1, 1, 1).boxed()),
    ]
}

/// The first steps of every sequence: two sessions with players, one with a platform session, the other with an
/// instance.
pub fn opening() -> Vec<Turn> {
    let client = GameClient { version: "1.0.0", input: "gamepad", crossplay: None, platform: "PSN" };
    let turn = |caller: usize, step: Step| Turn {
        step,
        caller: Pick::Number(caller),
        players: [Pick::Number(0); 2],
        link: None,
        by_code: false,
    };
    let create = |kind| Step::Create { kind, client, ask: None, password: false, region: None };
    let ask = |team| Ask { client, team, data: Data::new(), password: None, friend: None };
    let hosting = Hosting {
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
    let through = |player, ask| turn(player, Step::JoinThrough { platform: 0, id: 0, player: None, ask });
    vec![
        turn(0, create(Kind::Game)),
        turn(1, create(Kind::Party)),
        turn(1, Step::Link { session: 0, platform: 0, id: 0 }),
        turn(2, Step::Join { session: 1, ask: ask(1) }),
        turn(3, Step::Join { session: 1, ask: ask(0) }),
        through(3, ask(0)),
        through(4, ask(0)),
        turn(0, Step::Host { session: 1, hosting }),
        turn(0, Step::UpdateInstance { session: 1, change }),
        turn(0, Step::Report { session: 1, instance: String::new(), health: "healthy" }),
    ]
}
