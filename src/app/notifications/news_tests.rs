//! Entries are told once, in order, and from any entry on.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::*;

/// Everything there is.
const ALL: usize = usize::MAX;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn sessions(versions: &[(u128, u8)]) -> BTreeMap<Uuid, Tag> {
    versions.iter().map(|(number, version)| (id(*number), [*version; 8])).collect()
}

fn now(versions: &[(u128, u8)]) -> Now {
    Now { sessions: sessions(versions), ..Now::default() }
}

fn told(versions: &[(u128, u8)]) -> Cursor {
    Cursor { sessions: sessions(versions), ..Cursor::nothing() }
}

fn entries(cursor: &Cursor, now: &Now, limit: usize) -> Vec<Entry> {
    entries_after(cursor, now, limit, |_| 5)
}

fn changes(cursor: &Cursor, now: &Now) -> Vec<Change> {
    entries(cursor, now, ALL).into_iter().map(|entry| entry.change).collect()
}

#[test]
fn the_difference_is_told_in_order() {
    let cursor = told(&[(1, 1), (2, 1), (3, 1)]);
    let now = Now { messages: vec![4, 6], ..now(&[(1, 1), (3, 2), (4, 1)]) };
    let expected = [
        Change::Message(4),
        Change::Message(6),
        Change::Changed(id(3)),
        Change::Added(id(4)),
        Change::Removed(id(2)),
    ];
    assert_eq!(changes(&cursor, &now), expected);
    let last = entries(&cursor, &now, ALL).pop().unwrap().cursor;
    assert_eq!((last.position, last.last_message, last.created_ms), (5, 6, 5));
    assert_eq!(last.sessions, now.sessions);
}

#[test]
fn a_session_that_changed_back_is_not_told() {
    assert_eq!(changes(&told(&[(1, 1)]), &now(&[(1, 1)])), []);
}

#[test]
fn nothing_is_told_of_quiet_sessions() {
    let cursor = told(&[(1, 1), (2, 1)]);
    let mut now = now(&[(1, 2), (3, 1), (4, 1)]);
    now.quiet = [id(1), id(2), id(3)].into();
    let only = entries(&cursor, &now, ALL);
    assert_eq!((only.len(), only[0].change), (1, Change::Added(id(4))));
    now.quiet.clear();
    let later = [Change::Changed(id(1)), Change::Added(id(3)), Change::Removed(id(2))];
    assert_eq!(changes(&only[0].cursor, &now), later);
}

#[test]
fn further_sessions_are_told_page_by_page_and_again_after_a_change_of_one() {
    let many: Vec<_> = (0..200).map(|number| (number, 1)).collect();
    let mut now = now(&many);
    let mut cursor = Cursor::nothing();
    for pages_left in (0..20).rev() {
        let page = entries(&cursor, &now, 10);
        assert_eq!(page.len(), 10);
        cursor = page.last().unwrap().cursor.clone();
        assert_eq!(changes(&cursor, &now).len(), 10 * pages_left);
    }
    now.sessions.insert(id(199), [2; 8]);
    assert_eq!(changes(&cursor, &now).len(), 40, "the cursor does not know which of them");
    assert_eq!(changes(&cursor_before(&now.sessions, &BTreeSet::new(), &BTreeSet::new(), 0), &now), []);
}

#[test]
fn a_full_cursor_forgets_sessions_before_it_takes_new_ones() {
    let former: Vec<_> = (0..160).map(|number| (number, 1)).collect();
    let others: Vec<_> = (200..360).map(|number| (number, 1)).collect();
    let (cursor, mut now) = (told(&former), now(&others));
    let all = entries(&cursor, &now, ALL);
    assert_eq!((all.len(), all[0].change), (320, Change::Removed(id(0))));
    assert!(all.iter().all(|entry| entry.cursor.sessions.len() <= SESSIONS_MAX));
    now.quiet.insert(id(0));
    let others = entries(&cursor, &now, ALL);
    assert_eq!(others.len(), 159 + 159, "there is no place for one of them while another one is quiet");
}

#[test]
fn a_start_tells_recent_changes_only() {
    let now = now(&[(1, 1), (2, 1)]);
    let start = cursor_before(&now.sessions, &[id(2)].into(), &[id(1), id(3)].into(), 9);
    assert_eq!((start.subject, start.last_message), (Subject::Start, 9));
    assert_eq!(changes(&start, &now), [Change::Added(id(2)), Change::Removed(id(3))]);
}

/// Sessions with few ids and versions, so that two states have much in common.
fn states() -> impl Strategy<Value = BTreeMap<Uuid, Tag>> {
    btree_map((0..400_u128).prop_map(id), (0..3_u8).prop_map(|version| [version; 8]), 0..300)
}

fn ids() -> impl Strategy<Value = BTreeSet<Uuid>> {
    btree_set((0..400_u128).prop_map(id), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A client goes on from any entry, by pages of any size, and is told each session once. Then it knows the state.
    #[test]
    fn pages_of_any_size_tell_the_same(
        before in states(),
        after in states(),
        messages in vec(1..9_u64, 0..4),
        limits in vec(1..100_usize, 1..5),
    ) {
        let none = BTreeSet::new();
        let cursor = cursor_before(&before, &none, &none, 0);
        let now = Now { messages, sessions: after, ..Now::default() };
        let whole = entries(&cursor, &now, ALL);
        let mut at = cursor;
        let mut seen = Vec::new();
        for limit in limits.iter().cycle() {
            let messages = now.messages.iter().copied().skip(messages_in(&seen)).collect();
            let now = Now { messages, ..now.clone() };
            let page = entries(&at, &now, *limit);
            prop_assert!(page.len() <= *limit);
            let Some(last) = page.last() else { break };
            at = last.cursor.clone();
            seen.extend(page);
        }
        let told: Vec<_> = whole.iter().map(|entry| entry.change).collect();
        // A session that is named from now on is told before the others, wherever the page was cut.
        let sorted = |changes: &[Change]| {
            let mut texts: Vec<_> = changes.iter().map(|change| format!("{change:?}")).collect();
            texts.sort();
            texts
        };
        let paged: Vec<_> = seen.iter().map(|entry| entry.change).collect();
        prop_assert_eq!(sorted(&paged), sorted(&told));
        let ids: BTreeSet<_> = told.iter().filter_map(session_of).collect();
        prop_assert_eq!(ids.len(), told.iter().filter_map(session_of).count(), "one entry for a session");
        let known = cursor_before(&now.sessions, &none, &none, at.last_message);
        prop_assert_eq!((at.sessions, at.rest), (known.sessions, known.rest));
    }

    #[test]
    fn a_cursor_has_place_for_what_is_told(
        before in states(),
        after in states(),
        departed in ids(),
        quiet in ids(),
    ) {
        let none = BTreeSet::new();
        let now = Now { messages: Vec::new(), sessions: after, departed, quiet };
        for entry in entries(&cursor_before(&before, &none, &none, 0), &now, ALL) {
            prop_assert!(entry.cursor.sessions.len() <= SESSIONS_MAX);
            prop_assert!(session_of(&entry.change).is_some_and(|id| !now.quiet.contains(&id) || is_further(&now, id)));
        }
    }
}

/// Ids beside those that states have.
fn unknown_ids() -> impl Strategy<Value = BTreeSet<Uuid>> {
    btree_set((0..420_u128).prop_map(id), 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A client that goes on from the last entry comes to an end, and then knows what the list shows.
    #[test]
    fn departures_come_to_an_end(before in states(), after in states(), departed in unknown_ids()) {
        let none = BTreeSet::new();
        let mut cursor = cursor_before(&before, &none, &none, 0);
        let now = Now { sessions: after, departed, ..Now::default() };
        let mut rounds = 0;
        while let Some(last) = entries(&cursor, &now, ALL).pop() {
            cursor = last.cursor;
            rounds += 1;
            prop_assert!(rounds <= 3);
        }
        let known = cursor_before(&now.sessions, &none, &none, 0);
        cursor.sessions.retain(|_, tag| *tag != GONE);
        prop_assert_eq!((cursor.sessions, cursor.rest), (known.sessions, known.rest));
    }
}

#[test]
fn a_departure_that_the_cursor_does_not_know_is_told_once() {
    let mut now = Now { departed: [id(1), id(2), id(3)].into(), ..now(&[(3, 1)]) };
    let all = entries(&told(&[(2, 1), (3, 1)]), &now, ALL);
    let changes_told: Vec<_> = all.iter().map(|entry| entry.change).collect();
    assert_eq!(changes_told, [Change::Removed(id(2)), Change::Removed(id(1))]);
    let cursor = all.last().unwrap().cursor.clone();
    assert_eq!(changes(&cursor, &now), []);
    now.sessions.insert(id(1), [7; 8]);
    assert_eq!(changes(&cursor, &now), [Change::Added(id(1))], "the player is back");
    now.sessions.remove(&id(1));
    // The departures are forgotten after a while, and the cursor forgets them, too.
    now.departed.clear();
    now.sessions.insert(id(3), [2; 8]);
    let last = entries(&cursor, &now, ALL).pop().unwrap();
    assert_eq!((last.change, last.cursor.sessions.len()), (Change::Changed(id(3)), 1));
}

fn messages_in(entries: &[Entry]) -> usize {
    entries.iter().filter(|entry| matches!(entry.change, Change::Message(_))).count()
}

fn session_of(change: &Change) -> Option<Uuid> {
    match change {
        Change::Message(_) => None,
        Change::Added(id) | Change::Changed(id) | Change::Removed(id) => Some(*id),
    }
}

fn is_further(now: &Now, id: Uuid) -> bool {
    Further::of(&now.sessions).has(id)
}
