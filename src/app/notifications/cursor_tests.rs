//! Cursors as text.

use proptest::collection::btree_map;
use proptest::option;
use proptest::prelude::*;

use super::*;

const ALICE: PlayerUuid = PlayerUuid(Uuid::from_u128(1));
const BOB: PlayerUuid = PlayerUuid(Uuid::from_u128(2));

fn cursor(sessions: usize) -> Cursor {
    let sessions = (0..sessions).map(|number| (Uuid::from_u128(number as u128), [7; 8])).collect();
    Cursor { sessions, ..Cursor::nothing() }
}

fn cursors() -> impl Strategy<Value = Cursor> {
    let sessions = btree_map(any::<u128>().prop_map(Uuid::from_u128), any::<Tag>(), 0..=SESSIONS_MAX);
    let state = (any::<u32>(), any::<u64>(), 0..1_i64 << 48, sessions, option::of(any::<Tag>()));
    (state, any::<usize>()).prop_map(|((position, last_message, created_ms, sessions, rest), drawn)| {
        let named = sessions.keys().nth(drawn % (sessions.len() + 1)).copied().map(Subject::Session);
        let others = [Subject::Nothing, Subject::Start, Subject::Message, Subject::Other];
        let subject = named.unwrap_or(others[drawn % others.len()]);
        Cursor { position, last_message, created_ms, subject, sessions, rest }
    })
}

proptest! {
    #[test]
    fn a_cursor_is_read_as_it_was_written(cursor in cursors()) {
        let text = cursor.encode(ALICE);
        prop_assert_eq!(Cursor::decode(&text, ALICE), Some(cursor));
        prop_assert_eq!(Cursor::decode(&text, BOB), None);
    }

    #[test]
    fn a_text_that_is_read_is_the_only_one_for_its_cursor(bytes in any::<Vec<u8>>(), cursor in cursors(), at in any::<usize>()) {
        let mut forged = URL_SAFE_NO_PAD.decode(cursor.encode(ALICE)).unwrap();
        let from = at % forged.len();
        forged.splice(from.., bytes);
        let text = URL_SAFE_NO_PAD.encode(forged);
        if let Some(cursor) = Cursor::decode(&text, ALICE) {
            prop_assert_eq!(cursor.encode(ALICE), text);
        }
    }
}

#[test]
fn a_cursor_has_34_characters_and_32_for_each_session() {
    for (sessions, chars) in [(0, 34), (1, 66), (2, 98), (160, 5_154)] {
        assert_eq!(cursor(sessions).encode(ALICE).len(), chars);
    }
    let full = Cursor { rest: Some([1; 8]), ..cursor(SESSIONS_MAX) };
    assert!(full.encode(ALICE).len() <= CURSOR_CHARS_MAX);
}

#[test]
fn other_texts_are_no_cursors() {
    let text = cursor(2).encode(ALICE);
    let future = URL_SAFE_NO_PAD.encode([&[2], &URL_SAFE_NO_PAD.decode(&text).unwrap()[1..]].concat());
    let more = "A".repeat(4) + &text;
    let long = "A".repeat(CURSOR_CHARS_MAX + 1);
    for other in ["", "A", "?", "äöü", "12", &text[1..], &text[..text.len() - 2], &future, &more, &long] {
        assert_eq!(Cursor::decode(other, ALICE), None, "{other}");
    }
    let unknown_subject = Cursor { subject: Subject::Session(Uuid::from_u128(9)), ..cursor(2) };
    let decoded = Cursor::decode(&unknown_subject.encode(ALICE), ALICE).unwrap();
    assert_eq!(decoded.subject, Subject::Other);
}
