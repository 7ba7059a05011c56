use proptest::prelude::*;

use super::*;
use crate::store::KEY_BYTES_MAX;

fn any_id() -> impl Strategy<Value = SessionId> {
    ".{1,128}".prop_map(|text| SessionId::parse(&text).unwrap())
}

proptest! {
    #[test]
    fn keys_round_trip(id in any_id(), player: u128, ms: i64, name in "[a-zA-Z0-9_ -]{1,128}") {
        let player = PlayerUuid(uuid::Uuid::from_u128(player));
        prop_assert_eq!(parse_due(&due(ms, &id)), Some((ms, id.clone())));
        prop_assert_eq!(parse_membership(&membership(player, &id)), Some((player, id.clone())));
        prop_assert!(membership(player, &id).starts_with(&memberships_of(player)));
        let template = template(&name);
        prop_assert_eq!(parse_template(&template), Some(&*name));
        prop_assert_eq!(parse_list_changed(&list_changed(player)), Some(player));
        prop_assert_eq!(parse_list_changed(&membership(player, &id)), None);
        prop_assert_eq!(parse_open(&name, &open(&name, ms, &id)), Some(id.clone()));
        prop_assert_eq!(parse_gate(&name, &open(&name, ms, &id)), None);
        let queued = queued(&name, ms, &id);
        prop_assert_eq!(parse_queued(&name, &queued), Some((ms, id.clone())));
        prop_assert_eq!(parse_queued(&name[1..], &queued), None, "another profile");
        let (start, end) = queued_since(&name, ms);
        prop_assert!((start.clone()..end.clone()).contains(&queued));
        let (_, end_of_longer) = queued_since(&(name.clone() + "x"), i64::MIN);
        prop_assert!(!(start..end).contains(&end_of_longer) && queued < end_of_longer);
        prop_assert_eq!(unique(&queued_player(player)), Some(Unique::QueuedPlayer));
        prop_assert_eq!(unique(&match_of(id.as_str())), Some(Unique::Match));
        let wanted = backfill(&name, ms, &id);
        prop_assert_eq!(parse_backfill(&name, &wanted), Some((ms, id.clone())));
        let (start, end) = backfills_of(&name);
        prop_assert!((start..end).contains(&wanted));
        prop_assert_eq!(parse_launch_due(&launch_due(ms, player.0)), Some((ms, player.0)));
        let of_player = launch_of_player(player, "local", Uuid::nil());
        prop_assert!(of_player.starts_with(&launches_of_player(player, "local")));
        prop_assert!(!of_player.starts_with(&launches_of_player(player, "loc")), "another allocator");
        prop_assert_eq!(parse_node(&node(player.0)), Some(player.0));
        let (start, end) = all_launches();
        prop_assert!((start.clone()..end.clone()).contains(&launch(player.0)));
        prop_assert!(!(start..end).contains(&of_player));
    }

    #[test]
    fn keys_of_login_round_trip(player: u128, ms: i64, name in "[^\u{0}]{0,64}", hash: TokenHash) {
        let player = PlayerUuid(uuid::Uuid::from_u128(player));
        prop_assert_eq!(parse_refresh_token(&refresh_token(&hash)), Some(hash));
        let of_player = refresh_token_of(player, ms, &hash);
        prop_assert_eq!((parse_refresh_token_of(&of_player), parse_refresh_token(&of_player)), (Some(hash), None));
        prop_assert!(of_player.starts_with(&refresh_tokens_of(player)));
        prop_assert_eq!(parse_last_login(&last_login(ms, player)), Some(player));
        prop_assert_eq!(parse_display_name(&name, &display_name(&name, player)), Some(player));
        prop_assert!(display_name(&name, player).starts_with(&display_name_of(&name)));
    }

    #[test]
    fn keys_of_inboxes_round_trip(player: u128, first: u64, last: u64, number: u64) {
        let player = PlayerUuid(Uuid::from_u128(player));
        let [first, last, number] = [first, last, number].map(MessageNumber);
        prop_assert_eq!(parse_inbox(&inbox(player)), Some(player));
        prop_assert_eq!(parse_message(&message(player, number)), Some(number));
        prop_assert_eq!((parse_message(&inbox(player)), parse_inbox(&message(player, number))), (None, None));
        let (start, end) = messages_between(player, first, last);
        prop_assert_eq!((start..end).contains(&message(player, number)), (first..=last).contains(&number));
    }

    #[test]
    fn keys_of_deserters_round_trip(player: u128, kind: u128) {
        let (player, kind) = (PlayerUuid(Uuid::from_u128(player)), Uuid::from_u128(kind));
        let (status, cleared) = (deserter(player, kind), deserters_cleared(kind));
        prop_assert_eq!(parse_deserter(&status), Some((player, kind)));
        prop_assert!(status.starts_with(&deserters_of(player)));
        let (start, end) = all_deserters();
        prop_assert!((start.clone()..end.clone()).contains(&status) && !(start..end).contains(&cleared));
        prop_assert_eq!(parse_deserters_cleared(&cleared), Some(kind));
        prop_assert_eq!((parse_deserter(&cleared), parse_deserters_cleared(&status)), (None, None));
    }

    #[test]
    fn keys_of_answers_are_in_their_range(request: RequestHash, id in any_id()) {
        let (start, end) = all_answers();
        prop_assert!((start.clone()..end.clone()).contains(&answer(&request)) && is_answer(&answer(&request)));
        prop_assert!(!(start..end).contains(&session(&id)) && !is_answer(&session(&id)));
    }

    #[test]
    fn gates_come_before_open_sessions(id in any_id(), created_ms in 0..i64::MAX, name in "[a-z]{1,9}", number: u8) {
        let gate = gate(&name, number);
        prop_assert_eq!(parse_gate(&name, &gate), Some(number));
        prop_assert_eq!(parse_open(&name, &gate), None);
        prop_assert!(gate.starts_with(&open_of(&name)) && gate < open(&name, created_ms, &id));
    }

    #[test]
    fn deadlines_sort_as_they_count(one: i64, other: i64, id in any_id()) {
        prop_assert_eq!(one.cmp(&other), due(one, &id).cmp(&due(other, &id)));
        let (from, to) = due_until(one);
        let key = due(other, &id);
        prop_assert_eq!(key >= from && key < to, other <= one && one < i64::MAX);
    }

    #[test]
    fn different_platform_sessions_have_different_keys(one in ".{1,64}", other in ".{1,64}") {
        let parse = |text: &str| PlatformSessionId::parse(text).unwrap();
        let key = |platform, text: &str| platform_session(platform, &parse(text));
        prop_assert_eq!(one == other, key(Platform::Steam, &one) == key(Platform::Steam, &other));
        for platform in Platform::ALL {
            for second in Platform::ALL {
                prop_assert_eq!(platform == second, key(platform, &one) == key(second, &one));
            }
        }
        prop_assert_eq!(unique(&key(Platform::Epic, &one)), Some(Unique::PlatformSession));
    }

    #[test]
    fn long_platform_sessions_have_keys_that_fit(end in ".{1,8}", other in ".{1,8}") {
        let parse = |end: &str| PlatformSessionId::parse(&format!("{}{end}", "\u{10ffff}".repeat(4_088))).unwrap();
        let key = |platform, end: &str| platform_session(platform, &parse(end));
        prop_assert!(key(Platform::Steam, &end).len() <= KEY_BYTES_MAX);
        prop_assert_eq!(end == other, key(Platform::Steam, &end) == key(Platform::Steam, &other));
        prop_assert_ne!(key(Platform::Steam, &end), key(Platform::Epic, &end));
    }
}
