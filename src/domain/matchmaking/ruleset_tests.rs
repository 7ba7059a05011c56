use uuid::Uuid;

use super::*;

const LEADER: PlayerUuid = PlayerUuid(Uuid::from_u128(1));
const SECOND: PlayerUuid = PlayerUuid(Uuid::from_u128(2));
const THIRD: PlayerUuid = PlayerUuid(Uuid::from_u128(3));

/// A rule in the spelling of the configuration file.
fn rule(text: &str) -> Rule {
    toml::from_str(text).unwrap()
}

/// Two rules: the operation in question, on item 1 and the number 5; and at least one of item 2. The leader has 4 of
/// item 1 and none of item 2, the second player 5 and 1, the third 6 and 1. Each row has an operation, a determiner,
/// and whether the ruleset holds: for the leader, for all members, for any member.
const TRUTH: &str = "
    eq          allOf   no   no   yes
    eq          anyOf   no   no   yes
    eq          oneOf   no   no   yes
    eq          noneOf  yes  no   yes
    ne          allOf   no   no   yes
    ne          anyOf   yes  yes  yes
    ne          oneOf   yes  no   yes
    ne          noneOf  no   no   no
    lt          allOf   no   no   no
    lt          anyOf   yes  yes  yes
    lt          oneOf   yes  yes  yes
    lt          noneOf  no   no   no
    le          allOf   no   no   yes
    le          anyOf   yes  yes  yes
    le          oneOf   yes  no   yes
    le          noneOf  no   no   no
    gt          allOf   no   no   yes
    gt          anyOf   no   no   yes
    gt          oneOf   no   no   yes
    gt          noneOf  yes  no   yes
    ge          allOf   no   no   yes
    ge          anyOf   no   no   yes
    ge          oneOf   no   no   no
    ge          noneOf  yes  no   yes
    in_set      allOf   no   no   yes
    in_set      anyOf   no   no   yes
    in_set      oneOf   no   no   yes
    in_set      noneOf  yes  no   yes
    not_in_set  allOf   no   no   yes
    not_in_set  anyOf   yes  yes  yes
    not_in_set  oneOf   yes  no   yes
    not_in_set  noneOf  no   no   no";

#[test]
fn a_ruleset_holds_as_the_table_says() {
    let owned = |player, _: RuleType, item| match (player, item) {
        (LEADER, 1) => 4,
        (SECOND, 1) => 5,
        (THIRD, 1) => 6,
        (SECOND | THIRD, 2) => 1,
        _ => 0,
    };
    let party = Party { players: &[LEADER, SECOND, THIRD], region_id: None };
    let mut rows = 0;
    for row in TRUTH.lines().skip(1) {
        let cells: Vec<_> = row.split_whitespace().collect();
        let [operation, determiner, expected @ ..] = &cells[..] else { panic!("{row}") };
        let first = format!(
            "rule_type = \"Inventory\"\nitem_id = 1\ncomparison_operation = \"{operation}\"\ncomparison_value = 5\n\
             comparison_value_set = [\"5\", \"50\"]"
        );
        let second = "rule_type = \"InventoryLevel\"\nitem_id = 2\ncomparison_operation = \"ge\"\ncomparison_value = 1";
        let rules = vec![rule(&first), rule(second)];
        for (validated, expected) in ["leader", "all_members", "any_member"].iter().zip(expected) {
            let ruleset = format!("determiner = \"{determiner}\"\nplayers_to_validate = \"{validated}\"");
            let ruleset = Ruleset { rules: rules.clone(), ..toml::from_str(&ruleset).unwrap() };
            assert_eq!(ruleset.holds(&party, &owned), *expected == "yes", "{row}: {validated}");
        }
        assert_eq!(expected.len(), 3, "{row}");
        rows += 1;
    }
    assert_eq!(rows, 8 * 4);
}

#[test]
fn every_party_satisfies_a_ruleset_without_rules() {
    for determiner in [Determiner::All, Determiner::Any, Determiner::One, Determiner::None] {
        let ruleset = Ruleset { determiner, ..Ruleset::default() };
        assert!(
            ruleset.holds(&Party { players: &[LEADER], region_id: None }, NOTHING_OWNED),
            "{determiner:?}"
        );
    }
}

#[test]
fn sizes_and_regions_are_those_of_the_party() {
    let pair = Party { players: &[LEADER, SECOND], region_id: Some("eu") };
    let anywhere = Party { region_id: None, ..pair };
    let size = |operation: &str| {
        let text = format!("rule_type = \"JoiningSessionSize\"\ncomparison_operation = {operation}");
        Ruleset { rules: vec![rule(&text)], ..Ruleset::default() }
    };
    for (operation, expected) in [
        ("\"le\"\ncomparison_value = 2", true),
        ("\"lt\"\ncomparison_value = 2", false),
        ("\"in_set\"\ncomparison_value_set = [\"1\", \"2\"]", true),
        ("\"in_set\"\ncomparison_value_set = [\"02\"]", false),
    ] {
        assert_eq!(size(operation).holds(&pair, NOTHING_OWNED), expected, "{operation}");
    }
    for (operation, set, in_eu, without) in [
        ("in_set", "[\"eu\", \"uk\"]", true, false),
        ("in_set", "[\"uk\"]", false, false),
        ("not_in_set", "[\"eu\"]", false, true),
        ("not_in_set", "[\"uk\"]", true, true),
    ] {
        let text = format!(
            "rule_type = \"RegionList\"\ncomparison_operation = \"{operation}\"\ncomparison_value_set = {set}"
        );
        let ruleset = Ruleset { rules: vec![rule(&text)], ..Ruleset::default() };
        assert_eq!(ruleset.holds(&pair, NOTHING_OWNED), in_eu, "{text}");
        assert_eq!(ruleset.holds(&anywhere, NOTHING_OWNED), without, "{text}");
    }
}

#[test]
fn nobody_has_items_on_a_server_without_inventories() {
    let party = Party { players: &[LEADER], region_id: None };
    for (operation, expected) in [("eq", true), ("gt", false)] {
        let text = format!(
            "rule_type = \"Inventory\"\nitem_id = 7\ncomparison_operation = \"{operation}\"\ncomparison_value = 0"
        );
        let ruleset = Ruleset { rules: vec![rule(&text)], ..Ruleset::default() };
        assert_eq!(ruleset.holds(&party, NOTHING_OWNED), expected, "{operation}");
    }
}
