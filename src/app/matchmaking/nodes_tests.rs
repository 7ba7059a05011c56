use super::*;

const TIMEOUT_MS: i64 = 3_000;

fn ids() -> [Uuid; 3] {
    [1, 2, 3].map(Uuid::from_u128)
}

/// The node with this number, as it is before it has met others.
fn node(own: usize) -> Nodes {
    Nodes::new(ids()[own], TIMEOUT_MS)
}

/// The stored record of a node: which version it has, what its clock said then, and which profiles the node has.
fn record(node: usize, version: u64, clock_ms: i64, profiles: &[String]) -> (Key, Entry) {
    let record = NodeRecord {
        version: "1".into(),
        clock_ms,
        alive_until_ms: clock_ms + TIMEOUT_MS,
        allocators: Vec::new(),
        directory: String::new(),
        matches: true,
        profiles: profiles.to_vec(),
    };
    (keys::node(ids()[node]), Entry { version: Version(version), value: record.encode() })
}

fn profiles() -> Vec<String> {
    (0..300).map(|number| format!("p{number}")).collect()
}

#[test]
fn nodes_agree_on_who_matches_a_profile_and_share_the_work() {
    let profiles = profiles();
    let preferred = |alive: &[usize]| -> Vec<usize> {
        let nodes = alive.iter().map(|own| {
            let mut node = node(*own);
            let others = alive.iter().map(|other| record(*other, 1, 0, &profiles));
            node.note(others.collect(), 0, 0);
            (*own, node)
        });
        let nodes: Vec<_> = nodes.collect();
        let who = |profile: &String| {
            let of: Vec<_> = nodes.iter().filter(|(_, node)| node.prefer_this(profile)).collect();
            assert_eq!(of.len(), 1, "{profile}");
            of[0].0
        };
        profiles.iter().map(who).collect()
    };
    let all = preferred(&[0, 1, 2]);
    for own in 0..3 {
        assert!(all.iter().filter(|who| **who == own).count() > 60);
    }
    // The loss of a node moves its profiles only.
    for (before, after) in all.iter().zip(preferred(&[0, 2])) {
        assert!(*before == 1 || *before == after);
    }
}

#[test]
fn a_node_is_preferred_for_profiles_that_it_has() {
    let profiles = profiles();
    let mut own = node(0);
    own.note(vec![record(1, 1, 0, &profiles[..150])], 0, 0);
    assert!(profiles[..150].iter().any(|profile| !own.prefer_this(profile)));
    assert!(
        profiles[150..].iter().all(|profile| own.prefer_this(profile)),
        "the other one has none of these"
    );
}

#[test]
fn a_node_is_alive_while_its_record_changes_whatever_its_clock_says() {
    let profiles = profiles();
    let shares = |node: &Nodes| profiles.iter().any(|profile| !node.prefer_this(profile));
    for ahead_ms in [-9_000, 0, 9_000] {
        let mut own = node(0);
        let mut says = |version, up_ms: i64| {
            let forgotten = own.note(vec![record(1, version, up_ms + ahead_ms, &profiles)], up_ms, up_ms);
            (shares(&own), forgotten.len())
        };
        for second in 0..10_u32 {
            let said = says(u64::from(second), 1_000 * i64::from(second));
            assert_eq!(said, (true, 0), "{ahead_ms}");
        }
        assert_eq!(says(9, 12_000), (true, 0), "{ahead_ms}");
        assert_eq!(says(9, 12_001), (false, 0), "{ahead_ms}");
        assert_eq!(says(9, 69_000), (false, 0), "{ahead_ms}");
        assert_eq!(says(9, 69_001), (false, 1), "{ahead_ms}");
        assert_eq!(says(10, 70_000), (true, 0), "it is there again");
    }
    // What ended before this node started.
    let mut own = node(0);
    own.note(vec![record(1, 1, 0, &profiles)], 3_600_000, 0);
    assert!(!shares(&own));
}
