use super::*;
use crate::domain::fixtures::{at_s, by, instance, player, session};

/// A match of two teams of three, with two players on the first and one on the second, whose instance player 1 registered.
fn filled() -> Session {
    let mut game = session("L1 M2 | M3");
    for team in &mut game.teams {
        team.max_size = 3;
    }
    game.instance = Some(instance(None, Some(1)));
    game.start_backfill("b".into(), "p".into(), at_s(0));
    game
}

fn wants(game: &Session, wanted: &[(usize, usize)]) -> Session {
    let mut game = game.clone();
    game.update_backfill(by(1), "i", wanted.iter().copied().collect(), None).unwrap();
    game
}

#[test]
fn the_host_wants_every_free_slot_until_it_says_how_many() {
    let game = filled();
    assert_eq!(game.wanted_places(), [1, 2]);
    for (wanted, expected) in
        [(&[][..], [0, 0]), (&[(1, 1)], [0, 1]), (&[(0, 9), (1, 9)], [1, 2]), (&[(0, 1), (1, 0)], [1, 0])]
    {
        assert_eq!(wants(&game, wanted).wanted_places(), expected);
    }
    assert_eq!(session("L1").wanted_places(), [0; 0], "without a backfill");
}

#[test]
fn who_was_invited_is_wanted_no_more_and_named_once() {
    let mut game = wants(&filled(), &[(0, 1), (1, 2)]);
    for invited in [4, 5] {
        let mut entry = game.players[&player(2)].as_ref().clone();
        entry.team_id = 1;
        game.players.insert(player(invited), Arc::new(entry));
    }
    game.note_backfilled(1, &[player(4), player(5)]);
    assert_eq!(game.wanted_places(), [1, 0]);
    game.players.remove(&player(5));
    assert_eq!(game.wanted_places(), [1, 0], "the host has got whom it wanted");
    let mut confirm = || game.confirm_backfill(by(1), "i", BackfillConfirmation::default()).unwrap();
    assert_eq!(confirm(), [player(4)], "the other one has left");
    assert!(confirm().is_empty());
}

#[test]
fn only_its_host_may_change_a_backfill_of_the_instance_that_there_is() {
    type Rule = fn(&mut Session, Actor, &str) -> Result<(), Refused>;
    let rules: [Rule; 3] = [
        |game, actor, id| game.confirm_backfill(actor, id, BackfillConfirmation::default()).map(drop),
        |game, actor, id| game.update_backfill(actor, id, BTreeMap::new(), None),
        |game, actor, id| game.delete_backfill(actor, id),
    ];
    for rule in rules {
        let tried = |game: &Session, actor, id: &str| rule(&mut game.clone(), actor, id);
        let game = filled();
        assert_eq!(tried(&game, by(1), "i"), Ok(()));
        assert_eq!(tried(&game, Actor::Anyone, "i"), Ok(()));
        for stranger in [by(2), by(9), Actor::Nobody] {
            assert_eq!(tried(&game, stranger, "i"), Err(Refused::NotSessionHost));
        }
        assert_eq!(tried(&game, by(1), "other"), Err(Refused::InstanceNotFound));
        let without = Session { backfill: None, ..game.clone() };
        assert_eq!(tried(&without, by(1), "i"), Err(Refused::BackfillNotFound));
        let without = Session { instance: None, ..game };
        assert_eq!(tried(&without, Actor::Anyone, "i"), Err(Refused::InstanceNotFound));
    }
    let mut game = filled();
    let unknown = game.update_backfill(by(1), "i", [(2, 1)].into(), None);
    assert_eq!((unknown, game.clone()), (Err(Refused::TeamNotFound), filled()));
}

#[test]
fn a_confirmation_that_says_nothing_new_changes_nothing() {
    let game = filled();
    let confirmed = |game: &Session, confirmation| {
        let mut game = game.clone();
        game.confirm_backfill(by(1), "i", confirmation).unwrap();
        game
    };
    assert_eq!(confirmed(&game, BackfillConfirmation::default()), game);
    let said = BackfillConfirmation {
        overflow_action: Overflow::Overfill,
        styles: Some(vec![BackfillStyle::Composition]),
        extensions: Some([("a".to_owned(), "b".to_owned())].into()),
    };
    let after = confirmed(&game, said.clone());
    assert_ne!(after, game);
    assert_eq!(confirmed(&after, said), after);
    // The action is always said; the rest is kept.
    let backfill = confirmed(&after, BackfillConfirmation::default()).backfill.unwrap();
    assert_eq!(backfill.overflow_action, Overflow::Fail);
    assert_eq!((backfill.styles.len(), backfill.extensions.len()), (1, 1));
}

#[test]
fn a_backfill_ends_with_its_instance_and_waits_while_nobody_can_join() {
    let settled = |change: fn(&mut Session)| {
        let before = filled();
        let mut after = before.clone();
        change(&mut after);
        after.settle_backfill(&before, at_s(7));
        after.backfill.map(|backfill| backfill.expected_since)
    };
    let join_status = |game: &mut Session, status| game.instance.as_mut().unwrap().join_status = status;
    assert_eq!(settled(|_| {}), Some(at_s(0)));
    assert_eq!(settled(|game| game.close_instance()), None);
    assert_eq!(settled(|game| game.instance = None), None);
    assert_eq!(settled(|game| game.instance.as_mut().unwrap().instance_id = "j".into()), None);
    let mut before = filled();
    join_status(&mut before, JoinStatus::Unjoinable);
    assert!(!before.expects_confirmation() && !before.can_be_filled());
    let mut after = before.clone();
    join_status(&mut after, JoinStatus::Joinable);
    after.settle_backfill(&before, at_s(7));
    assert_eq!(after.backfill.as_ref().unwrap().expected_since, at_s(7));
    assert!(after.expects_confirmation() && after.can_be_filled());
    for (health, can_be_filled) in [
        (Health::Healthy, true),
        (Health::Degraded, true),
        (Health::Unhealthy, false),
        (Health::Unknown, false),
    ] {
        after.instance.as_mut().unwrap().health = Some(health);
        assert_eq!(after.can_be_filled(), can_be_filled, "{health:?}");
    }
    // A session without an instance waits for one.
    let before = Session { instance: None, ..filled() };
    let mut after = filled();
    after.settle_backfill(&before, at_s(9));
    assert_eq!(after.backfill.unwrap().expected_since, at_s(9));
}
