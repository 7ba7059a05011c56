use super::*;
use crate::domain::matchmaking::matcher::Obstacle;
use crate::domain::matchmaking::{Matchmaking, Profile, Queue, Rank, TemplateGroup};
use crate::domain::region::Region;

const RANK: &str = "00000000-0000-4000-8000-0000000000f1";
const GROUP: Uuid = Uuid::from_u128(0xa1);

/// A configuration with one queue and one profile, as in a file.
fn setup(profile: &str) -> Setup {
    let group: TemplateGroup = toml::from_str("[[templates]]\nprofiles = [\"p\"]").unwrap();
    let queue: Queue =
        toml::from_str(&format!("max_queue_group_size = 2\nmatch_making_template_group_id = \"{GROUP}\""))
            .unwrap();
    let profile: Profile = toml::from_str(&format!("rank_id = \"{RANK}\"\n{profile}")).unwrap();
    Setup {
        matchmaking: Matchmaking {
            ranks: [(RANK.parse().unwrap(), Rank::default())].into(),
            queues: [("q".to_owned(), queue)].into(),
            template_groups: [(GROUP, group)].into(),
            profiles: [("p".to_owned(), profile)].into(),
            ..Matchmaking::default()
        },
        regions: ["eu", "us"].map(|region| (region.to_owned(), Region::default())).into(),
        maps: BTreeMap::new(),
        pass_every_ms: 250,
        ticket_timeout_ms: Some(60_000),
        profiles_per_ticket_max: 32,
        match_ms: 600_000,
    }
}

/// A party of players of one skill.
fn arrival(number: u128, at_ms: i64, region: &str, skills: &[f64]) -> Arrival {
    let players = (0..skills.len()).map(|at| PlayerUuid(Uuid::from_u128(number * 100 + at as u128)));
    let skills = skills.iter().map(|mu| Skill { mu: *mu, sigma: 1.0 });
    Arrival {
        at_ms,
        ticket_id: Uuid::from_u128(number),
        queue_ids: vec!["q".into()],
        players: players.collect(),
        skills: [(RANK.parse().unwrap(), skills.collect())].into(),
        region: Some(region.to_owned()),
        ..Arrival::default()
    }
}

fn ends(outcome: &Outcome) -> Vec<End> {
    outcome.parties.iter().map(|party| party.end).collect()
}

const DUEL: &str =
    "fields = [{ name = \"rank\", widen = [{ after_s = 0, value = 2.0 }, { after_s = 30, value = 10.0 }] }]";

/// Two meet at once, two when the older one accepts more, and two when both do.
fn duels() -> Vec<Arrival> {
    vec![
        arrival(1, 0, "eu", &[10.0]),
        arrival(2, 1_000, "us", &[20.0]),
        arrival(3, 5_000, "eu", &[11.0]),
        arrival(4, 40_000, "us", &[28.0]),
        arrival(5, 100_000, "eu", &[5.0]),
        arrival(6, 100_000, "eu", &[12.0]),
    ]
}

#[test]
fn waits_and_quality_of_a_small_case_are_right() {
    let outcome = run(&setup(DUEL), &duels(), 200_000, &mut |_| {});
    let waits = [5_250, 39_250, 250, 250, 30_000, 30_000];
    assert_eq!(ends(&outcome), waits.map(End::Matched));
    let parties = |made: &MatchMade| {
        let mut parties = made.sides.concat();
        parties.sort_unstable();
        parties
    };
    let matches: Vec<_> = outcome.matches.iter().map(|made| (made.at_ms, parties(made))).collect();
    assert_eq!(matches, [(5_250, vec![0, 2]), (40_250, vec![1, 3]), (130_000, vec![4, 5])]);
    let figures = Figures::of("a", &outcome);
    assert_eq!([50, 90, 99].map(|percent| figures.all.wait_ms(percent)), [5_250, 39_250, 39_250].map(Some));
    assert_eq!(figures.by_region["us"].waits_ms, [250, 39_250]);
    assert_eq!(figures.by_size.keys().copied().collect::<Vec<_>>(), [1]);
    assert_eq!(figures.spreads["rank"], [0.1, 0.7, 0.8]);
    assert_eq!((figures.matches, figures.full_matches, figures.own_region), (3, 3, Some(1.0)));
    assert_eq!((figures.all.matched(), figures.obstacles.len()), (Some(1.0), 0));
}

#[test]
fn what_gets_no_match_is_explained() {
    let mut arrivals = duels();
    arrivals.truncate(2);
    arrivals.push(arrival(7, 2_000, "us", &[10.0, 10.0]));
    arrivals.push(arrival(8, 3_000, "us", &[10.0, 10.0, 10.0]));
    arrivals.push(arrival(9, 70_000, "us", &[50.0]));
    let outcome = run(&setup(DUEL), &arrivals, 80_000, &mut |_| {});
    let expected = [
        End::TimedOut(60_000),
        End::TimedOut(60_000),
        // A party is on one side as a whole, and a side is one player.
        End::Refused("no_matching_profile"),
        End::Refused("queue_group_too_large"),
        End::Waiting(10_000),
    ];
    assert_eq!(ends(&outcome), expected);
    let obstacles: Vec<_> = outcome.parties.iter().map(|party| party.obstacle.clone()).collect();
    let nobody = Some(Obstacle::NobodyElse);
    assert_eq!(obstacles, [Some(Obstacle::Regions), nobody.clone(), None, None, nobody]);
    let figures = Figures::of("a", &outcome);
    assert_eq!(figures.obstacles[&Obstacle::NobodyElse.to_string()], [1, 1]);
    assert_eq!(figures.refused, [("no_matching_profile", 1), ("queue_group_too_large", 1)].into());
    assert_eq!((figures.all.parties, figures.all.timed_out, figures.all.waiting), (3, 2, 1));
    assert_eq!(figures.all.longest_waiting_ms, 10_000);
}

#[test]
fn a_match_that_has_begun_takes_players_while_it_runs() {
    let profile = "min_players_per_side = 1\nmax_players_per_side = 2\nbackfill = \"auto\"\n\
                   size_widen = { full_for_s = 0, min_after_s = 10 }\n\
                   fields = [{ name = \"rank\", widen = [{ after_s = 0, value = 2.0 }] }]";
    let arrivals = [
        arrival(1, 0, "eu", &[10.0]),
        arrival(2, 0, "eu", &[10.5]),
        // Too far from those in the match.
        arrival(3, 15_000, "eu", &[12.6]),
        arrival(4, 20_100, "eu", &[8.6]),
    ];
    let mut setup = setup(profile);
    let outcome = run(&setup, &arrivals, 60_000, &mut |_| {});
    let expected = [End::Matched(10_000), End::Matched(10_000), End::Waiting(45_000), End::Backfilled(250)];
    assert_eq!(ends(&outcome), expected);
    assert_eq!((outcome.matches.len(), outcome.matches[0].players, outcome.matches[0].full), (1, 2, 4));
    setup.match_ms = 5_000;
    assert_eq!(ends(&run(&setup, &arrivals, 60_000, &mut |_| {}))[3], End::Waiting(39_900));
}

#[test]
fn the_skill_of_a_party_follows_from_its_players() {
    let mut setup = setup(&format!("max_players_per_side = 2\nmin_players_per_side = 2\n{DUEL}"));
    let arrivals = [arrival(1, 0, "eu", &[10.0, 30.0]), arrival(2, 0, "eu", &[20.0, 20.0])];
    assert_eq!(ends(&run(&setup, &arrivals, 10_000, &mut |_| {})), [End::Matched(250); 2]);
    let group = setup.matchmaking.template_groups.get_mut(&GROUP).unwrap();
    group.templates[0].mmr_grouping_method = crate::domain::matchmaking::MmrGrouping::Best;
    assert_eq!(ends(&run(&setup, &arrivals, 10_000, &mut |_| {})), [End::Waiting(10_000); 2]);
}

fn demand(seed: u64) -> Demand {
    Demand {
        seed,
        parties_per_minute: 40.0,
        duration_ms: 600_000,
        queues: Weighted(vec![("q".into(), 1.0)]),
        sizes: Weighted(vec![(1, 3.0), (2, 1.0)]),
        regions: Weighted(vec![("eu".into(), 3.0), ("us".into(), 1.0)]),
        ranks: [(RANK.parse().unwrap(), (Rank::default(), Normal { mean: 25.0, deviation: 8.0 }))].into(),
        numbers: BTreeMap::new(),
        texts: BTreeMap::new(),
    }
}

fn simulated(seed: u64, name: &str) -> Figures {
    let setup = setup(&format!("max_players_per_side = 2\nmin_players_per_side = 2\n{DUEL}"));
    let mut times = Vec::new();
    let outcome =
        run(&setup, &demand(seed).arrivals(), 600_000, &mut |progress| times.push(progress.done_ms));
    assert!(times.is_sorted() && times.len() > 100);
    Figures::of(name, &outcome)
}

#[test]
fn a_seed_gives_the_same_report_each_time() {
    let report = |seed| as_html("about", &[simulated(seed, "a")]);
    assert_eq!(report(3), report(3));
    assert_ne!(report(3), report(4));
}

#[test]
fn each_party_has_one_end_and_each_match_is_legal() {
    let setup = setup(&format!("max_players_per_side = 2\nmin_players_per_side = 2\n{DUEL}"));
    let arrivals = demand(5).arrivals();
    let outcome = run(&setup, &arrivals, 600_000, &mut |_| {});
    let mut matched: Vec<usize> = outcome.matches.iter().flat_map(|made| made.sides.concat()).collect();
    matched.sort_unstable();
    let with_match = outcome.parties.iter().enumerate().filter(|(_, party)| party.end.wait_ms().is_some());
    assert_eq!(matched, with_match.map(|(at, _)| at).collect::<Vec<_>>());
    assert!(matched.len() > 200, "{}", matched.len());
    for made in &outcome.matches {
        for side in &made.sides {
            assert_eq!(side.iter().map(|at| arrivals[*at].players.len()).sum::<usize>(), 2);
        }
        let regions = made.sides.concat().into_iter().map(|at| arrivals[at].region.clone());
        assert_eq!(regions.collect::<std::collections::BTreeSet<_>>().len(), 1);
    }
}

/// Checks that each element is closed, in order, and returns the names of the elements.
fn elements(markup: &str) -> Vec<&str> {
    let (mut open, mut seen) = (Vec::new(), Vec::new());
    for part in markup.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("each tag ends");
        assert!(!text.contains('>'), "{part}");
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap();
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if tag.starts_with('!') || tag.ends_with('/') {
            seen.push(name);
        } else if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{tag}");
        } else {
            seen.push(name);
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new());
    seen
}

#[test]
fn reports_are_well_formed_and_have_the_figures() {
    let all = [simulated(1, "now.toml"), simulated(2, "next <b>.toml")];
    let (text, page, picture) = (as_text("about <it>", &all), as_html("about <it>", &all), as_svg(&all));
    let of_page = elements(&page);
    for element in ["svg", "table", "path", "circle", "rect"] {
        assert!(of_page.contains(&element), "{element}");
    }
    assert!(!of_page.contains(&"script") && !page.contains("http://localhost") && !page.contains("src="));
    assert!(page.contains("prefers-color-scheme:dark") && picture.contains("prefers-color-scheme:dark"));
    assert!(page.contains("about &lt;it&gt;") && page.contains("next &lt;b&gt;.toml"));
    assert_eq!(of_page.iter().filter(|name| **name == "svg").count(), 5, "five charts");
    assert_eq!(elements(&picture).iter().filter(|name| **name == "svg").count(), 3, "two, and all");
    for figures in &all {
        let group = &figures.by_size[&2];
        let cells = [
            table::number(group.parties),
            table::seconds(group.wait_ms(50).unwrap()),
            table::seconds(group.wait_ms(99).unwrap()),
        ];
        let row = |line: &&str| line.trim_start().starts_with("2 players") && line.contains(&figures.name);
        let line = text.lines().find(row).unwrap();
        for cell in cells {
            assert!(line.contains(&cell), "{cell} in {line}");
            assert!(page.contains(&format!("<td>{cell}</td>")), "{cell}");
        }
    }
    // A single configuration has no column of names.
    assert!(!as_text("", &all[..1]).contains("configuration"));
    let nothing = Figures::of("empty", &Outcome::default());
    elements(&as_html("", std::slice::from_ref(&nothing)));
    assert!(as_text("", &[nothing]).contains("no match in 0 passes"));
}

#[test]
fn a_party_that_leaves_is_in_no_later_match() {
    let mut arrivals = vec![
        arrival(1, 0, "eu", &[10.0]),
        arrival(2, 5_000, "eu", &[10.0]),
        arrival(3, 6_000, "eu", &[10.0]),
    ];
    arrivals[0].leaves_ms = Some(3_000);
    // It has a match before that.
    arrivals[2].leaves_ms = Some(50_000);
    let outcome = run(&setup(DUEL), &arrivals, 60_000, &mut |_| {});
    assert_eq!(ends(&outcome), [End::Left(3_000), End::Matched(1_250), End::Matched(250)]);
}
