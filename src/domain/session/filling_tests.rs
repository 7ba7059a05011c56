use super::*;
use crate::domain::Platform;
use crate::domain::fixtures::{at_s, client, player, session, set_client, ticket};
use crate::domain::matchmaking::profile::Field;
use crate::domain::session::Status;

/// A profile that compares skill, level and playlist.
fn profile() -> Profile {
    let field = |name: &str| Field {
        name: name.to_owned(),
        default: 0.0,
        weight: 1.0,
        widen_by: Default::default(),
        widen: Vec::new(),
    };
    let fields = vec![field(RANK_FIELD), field("level"), field("other")];
    Profile {
        fields,
        equal: vec!["playlist".into(), "mode".into()],
        accept_timeout_s: 30,
        ..Profile::default()
    }
}

/// A party of players 4 and 5, and its ticket.
fn party() -> (Session, Ticket) {
    let mut party = session("L4 M5");
    set_client(&mut party, 5, client(Platform::PSN));
    let mut ticket = ticket(&[4, 5], 7);
    ticket.skills = [("p".to_owned(), 25.0), ("q".to_owned(), 1.0)].into();
    ticket.params.double_args = [("level".to_owned(), 3.0), ("more".to_owned(), 9.0)].into();
    ticket.params.string_args =
        [("playlist".to_owned(), "a".to_owned()), ("x".to_owned(), "y".to_owned())].into();
    (party, ticket)
}

fn game() -> Session {
    let mut game = session("L1 M2 | M3");
    game.teams.iter_mut().for_each(|team| team.max_size = 4);
    game.start_backfill("b".into(), "p".into(), at_s(0));
    game
}

#[test]
fn players_who_are_sent_are_invited_and_remembered() {
    let (mut game, (party, ticket)) = (game(), party());
    game.fill_with(1, &party, &ticket, &profile(), at_s(9));
    for number in [4, 5] {
        let entry = &game.players[&player(number)];
        assert_eq!((entry.status, entry.team_id, entry.invited), (Status::Invited, 1, Some(at_s(9))));
        assert_eq!(entry.source_session.as_ref(), Some(&party.id));
        assert_eq!((entry.match_timeout_s, entry.inviting_player), (Some(30), None));
    }
    let backfill = game.backfill.clone().unwrap();
    assert_eq!(backfill.unconfirmed, [player(4), player(5)]);
    assert_eq!(backfill.texts, [("playlist".to_owned(), "a".to_owned())].into());
    let numbers = [(RANK_FIELD.to_owned(), 25.0), ("level".to_owned(), 3.0)].into();
    let known = PlayerValues { client: Some(client(Platform::PSN)), numbers };
    assert_eq!(backfill.values[&player(5)], known);
    // Who has left is forgotten with the next ticket.
    game.players.remove(&player(5));
    let other = crate::domain::fixtures::ticket(&[6], 8);
    game.fill_with(0, &session("L6"), &other, &profile(), at_s(10));
    let known: Vec<_> = game.backfill.as_ref().unwrap().values.keys().copied().collect();
    assert_eq!(known, [player(4), player(6)]);
}

#[test]
fn nobody_is_sent_who_is_there_or_was_kicked() {
    let mut game = game();
    game.kicked.push(player(7));
    for (players, may) in [(&[4, 5][..], true), (&[4, 3], false), (&[7], false), (&[8, 7], false)] {
        let players: Vec<_> = players.iter().map(|number| player(*number)).collect();
        assert_eq!(game.may_be_sent(&players), may, "{players:?}");
    }
}

#[test]
fn nothing_is_noted_without_a_backfill() {
    let (mut game, (party, ticket)) = (session("L4 M5"), party());
    let before = game.clone();
    game.note_values(&party, &ticket, &profile());
    assert_eq!(game, before);
}
