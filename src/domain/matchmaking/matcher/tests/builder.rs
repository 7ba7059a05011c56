//! Builds profiles, tickets and matchers in one line each.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::domain::CustomData;
use crate::domain::Platform;
use crate::domain::client::{Client, CrossplayInput, CrossplayPlatform, CrossplayPreferences, Input};
use crate::domain::instance::template::MapChoice;
use crate::domain::matchmaking::Profile;
use crate::domain::matchmaking::matcher::{
    Backfill, Crossplay, Limits, Matcher, Pass, Rules, Ticket, TicketValues,
};
use crate::domain::region::Region;

/// The time at which tickets are enqueued unless a test says otherwise, in milliseconds.
pub const START_MS: i64 = 1_800_000_000_000;

/// A profile with the regions and maps that belong to it.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub profile: Profile,
    pub regions: BTreeMap<String, Region>,
    pub maps: Vec<MapChoice>,
}

impl Scenario {
    /// A profile as in the configuration file.
    pub fn new(profile: &str) -> Self {
        Self { profile: toml::from_str(profile).unwrap(), regions: BTreeMap::new(), maps: Vec::new() }
    }

    /// With these regions: name, place in lists, the regions near it, and whether it is for custom games only.
    pub fn regions(mut self, regions: &[(&str, u32, &[&str], bool)]) -> Self {
        for (name, sort_order, near, custom_only) in regions {
            let near = near.iter().map(|near| (*near).to_owned()).collect();
            let region =
                Region { sort_order: *sort_order, custom_only: *custom_only, description: None, near };
            self.regions.insert((*name).to_owned(), region);
        }
        self
    }

    /// With these maps: id and weight.
    pub fn maps(mut self, maps: &[(&str, f64)]) -> Self {
        self.maps = maps.iter().map(|(id, weight)| map(id, *weight)).collect();
        self
    }

    pub fn rules(&self) -> Rules {
        Rules::new(&self.profile, &self.regions, &self.maps)
    }

    pub fn ticket(&self, values: &TicketValues) -> Ticket {
        Ticket::new(values, &self.rules())
    }

    /// A matcher in which these tickets wait.
    pub fn matcher(&self, tickets: &[TicketValues]) -> Matcher {
        let mut matcher = Matcher::new(self.rules(), START_MS);
        for values in tickets {
            assert!(matcher.add(self.ticket(values)));
        }
        matcher
    }

    /// The first pass over these tickets, so many seconds after the start.
    pub fn pass(&self, tickets: &[TicketValues], after_s: f64) -> Pass {
        self.matcher(tickets).pass(at(after_s), &[], &Limits::default())
    }

    /// The numbers of the tickets on each side, for each match of the first pass.
    pub fn matches(&self, tickets: &[TicketValues], after_s: f64) -> Vec<Vec<Vec<u128>>> {
        numbers(&self.pass(tickets, after_s))
    }

    /// The first pass over these tickets for one match that has begun.
    pub fn fill(&self, backfill: &Backfill, tickets: &[TicketValues], after_s: f64) -> Pass {
        self.matcher(tickets).pass(at(after_s), std::slice::from_ref(backfill), &Limits::default())
    }
}

fn map(id: &str, map_weight: f64) -> MapChoice {
    MapChoice {
        map_id: id.to_owned(),
        map_name: format!("/Game/{id}"),
        mode: None,
        map_weight,
        custom_data: CustomData::new(),
        name: None,
        description: None,
        misc_params: None,
    }
}

/// The numbers of the tickets on each side, for each proposal.
pub fn numbers(pass: &Pass) -> Vec<Vec<Vec<u128>>> {
    let side = |side: &Vec<Uuid>| side.iter().map(Uuid::as_u128).collect();
    pass.proposals.iter().map(|proposal| proposal.sides.iter().map(side).collect()).collect()
}

/// The sides, each sorted, and sorted themselves.
pub fn sorted(mut sides: Vec<Vec<u128>>) -> Vec<Vec<u128>> {
    sides.iter_mut().for_each(|side| side.sort_unstable());
    sides.sort();
    sides
}

/// The time so many seconds after the start, in milliseconds.
pub fn at(after_s: f64) -> i64 {
    START_MS + (after_s * 1_000.0).round() as i64
}

/// A ticket of so many players. Its id is its number.
pub fn party(number: u128, players: usize) -> TicketValues {
    TicketValues {
        id: Uuid::from_u128(number),
        players,
        enqueued_ms: START_MS,
        crossplay: Crossplay::of(&[client(Platform::Steam, Input::Gamepad)]),
        ..TicketValues::default()
    }
}

/// A ticket of one player.
pub fn solo(number: u128) -> TicketValues {
    party(number, 1)
}

/// A ticket of one player of a skill.
pub fn skilled(number: u128, skill: f64) -> TicketValues {
    TicketValues { skill: Some(skill), ..solo(number) }
}

/// A ticket that is enqueued so many seconds after the start.
pub fn later(after_s: f64, values: TicketValues) -> TicketValues {
    TicketValues { enqueued_ms: at(after_s), ..values }
}

pub fn client(platform: Platform, input: Input) -> Client {
    Client { version: "1.0".into(), platform, input, device_type: None, crossplay: None }
}

/// A client that accepts these only.
pub fn picky(
    client: Client,
    permitted_platform: CrossplayPlatform,
    permitted_input: CrossplayInput,
) -> Client {
    Client { crossplay: Some(CrossplayPreferences { permitted_platform, permitted_input }), ..client }
}

/// A random number generator whose numbers depend on the seed alone.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % end.max(1)
    }

    /// A number from 0 to 1.
    pub fn unit(&mut self) -> f64 {
        self.below(1 << 30) as f64 / f64::from(1 << 30)
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            let other = self.below(at + 1);
            items.swap(at, other);
        }
    }
}

/// How many times more a round is repeated: `RALLYPOINT_TEST_MATCHER_ROUNDS`, 1 by default; 50 is a whole round.
pub fn rounds() -> usize {
    std::env::var("RALLYPOINT_TEST_MATCHER_ROUNDS")
        .map_or(1, |rounds| rounds.parse().expect("a number of rounds"))
}
