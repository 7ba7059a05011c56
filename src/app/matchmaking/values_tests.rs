use super::*;
use crate::domain::client::{CrossplayInput, CrossplayPlatform, CrossplayPreferences};
use crate::domain::fixtures::{at_s, client, instance, session, set_client, ticket};
use crate::domain::instance::{Health, JoinStatus, StartupParams};
use crate::domain::matchmaking::Matchmaking;
use crate::domain::matchmaking::ticket::JoinParams;
use crate::domain::session::backfill::BackfillConfirmation;
use crate::domain::{Actor, Platform};

/// The crossplay of a ticket of two players: one with these preferences, or without; and one whose client is not known.
fn with_unknown(crossplay: Option<CrossplayPreferences>) -> TicketValues {
    let mut party = session("L1 M2");
    set_client(&mut party, 1, Client { crossplay, ..client(Platform::XboxLive) });
    values_of(&QueuedTicket::of(&party, &ticket(&[1, 2], 5), "p"))
}

#[test]
fn a_player_whose_client_is_unknown_fits_those_who_accept_everybody() {
    let prefers = |permitted_platform, permitted_input| {
        Some(CrossplayPreferences { permitted_platform, permitted_input })
    };
    for (crossplay, agrees) in [
        (None, true),
        (prefers(CrossplayPlatform::Any, CrossplayInput::Any), true),
        (prefers(CrossplayPlatform::XboxLike, CrossplayInput::Any), false),
        (prefers(CrossplayPlatform::Any, CrossplayInput::Gamepad), false),
    ] {
        let values = with_unknown(crossplay);
        assert_eq!((values.players, values.crossplay.agrees()), (2, agrees), "{crossplay:?}");
    }
}

/// A profile that compares skill and playlist, with maps that are hard wishes.
fn catalog() -> Catalog {
    let profile = r#"
        instance_request_template_id = "00000000-0000-4000-8000-0000000000c1"
        maps = "hard"
        equal = ["playlist"]
        fields = [{ name = "level", default = 2.0 }, { name = "rank", default = 10.0 }]
    "#;
    let template = r#"
        default_host_type = "player"
        map_selection_list_id = "all"
        maps = [{ map_id = "1", map_name = "Dunes", map_weight = 0.0 }, { map_id = "2", map_name = "Pier", map_weight = 1.0 }]
    "#;
    let profile: Profile = toml::from_str(profile).unwrap();
    let templates = [(profile.instance_request_template_id.unwrap(), toml::from_str(template).unwrap())];
    let matchmaking = Matchmaking { profiles: [("p".to_owned(), profile)].into(), ..Matchmaking::default() };
    Catalog::new(Default::default(), Default::default(), templates.into()).with_matchmaking(matchmaking)
}

/// A match of 1 and 2 against 3, whose instance can be joined. The tickets of the first two have values.
fn game() -> Session {
    let mut game = session("L1 M2 | M3");
    game.teams.iter_mut().for_each(|team| team.max_size = 3);
    let mut instance = instance(None, Some(1));
    instance.join_status = JoinStatus::Joinable;
    instance.startup_params = Some(StartupParams {
        map: "Pier".into(),
        mode: None,
        misc_params: String::new(),
        custom_data: Default::default(),
    });
    game.instance = Some(instance);
    game.start_backfill("b".into(), "p".into(), at_s(5));
    let mut ticket = ticket(&[1, 2], 5);
    ticket.params.double_args = [("level".to_owned(), 7.0)].into();
    ticket.params.string_args = [("playlist".to_owned(), "a".to_owned())].into();
    game.note_values(&session("L1 M2"), &ticket, &catalog().matchmaking.profiles["p"]);
    game
}

fn seen(game: &Session) -> Option<Backfill> {
    backfill_of(game, &catalog(), VersionCheck::MajorMinor)
}

#[test]
fn the_matcher_is_told_who_fits_a_running_match() {
    let game = game();
    let backfill = seen(&game).unwrap();
    assert_eq!((backfill.wanted, backfill.overfill, backfill.map), (vec![1, 2], false, Some(1)));
    assert_eq!((backfill.created_ms, &*backfill.region), (at_s(5).as_millisecond(), "eu"));
    assert_eq!(backfill.equal, [Some("a".to_owned())]);
    assert_eq!(backfill.ranges, [Some((7.0, 7.0)), Some((10.0, 10.0))], "the default counts as a value");
    // Clients of players who are not there yet count as they were in the party.
    let mut invited = game.clone();
    let mut party = session("L4");
    set_client(&mut party, 4, Client { version: "2.1.9".into(), ..client(Platform::PSN) });
    let mut newcomer = ticket(&[4], 6);
    newcomer.params.double_args = [("level".to_owned(), 1.0)].into();
    let profile = &catalog().matchmaking.profiles["p"];
    invited.fill_with(1, &party, &newcomer, profile, at_s(9));
    let backfill = seen(&invited).unwrap();
    assert_eq!((backfill.wanted, backfill.ranges[0]), (vec![1, 1], Some((1.0, 7.0))));
    let psn = Crossplay::of([&client(Platform::PSN)]);
    assert_eq!(backfill.crossplay, crossplay_of(&game).with(psn));
    assert_eq!(backfill.version_group, "2.1");
}

#[test]
fn what_a_host_says_replaces_what_tickets_have_said() {
    let mut game = game();
    let said = JoinParams { double_args: [("rank".to_owned(), 30.0)].into(), ..JoinParams::default() };
    game.update_backfill(Actor::Anyone, "i", [(0, 1)].into(), Some(said)).unwrap();
    let confirmation = BackfillConfirmation { overflow_action: Overflow::Overfill, ..Default::default() };
    game.confirm_backfill(Actor::Anyone, "i", confirmation).unwrap();
    let backfill = seen(&game).unwrap();
    assert_eq!((backfill.wanted, backfill.overfill), (vec![1, 0], true));
    assert_eq!((backfill.equal, backfill.ranges), (vec![None], vec![None, Some((30.0, 30.0))]));
}

#[test]
fn a_match_that_cannot_take_players_is_not_given_to_the_matcher() {
    let game = game();
    let changes: [fn(&mut Session); 4] = [
        |game| game.expire_backfill(),
        |game| game.instance.as_mut().unwrap().join_status = JoinStatus::Unjoinable,
        |game| game.instance.as_mut().unwrap().health = Some(Health::Unhealthy),
        |game| game.instance = None,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut changed = game.clone();
        change(&mut changed);
        assert_eq!(seen(&changed), None, "{number}");
    }
    assert_eq!(backfill_of(&game, &Catalog::default(), VersionCheck::Off), None, "without its profile");
}
