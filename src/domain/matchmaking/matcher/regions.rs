//! Regions as positions and sets of bits.

use std::collections::BTreeMap;

use crate::domain::matchmaking::profile::RegionReach;
use crate::domain::region::Region;

/// Largest number of regions that a matcher knows. Further ones, in the order of lists, are ignored.
pub const REGIONS_MAX: usize = 64;
/// The region of a match if no region is configured.
pub const REGION_DEFAULT: &str = "default";

/// The regions that matches may be played in: all but those for custom games, in the order of lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Regions {
    names: Vec<String>,
    /// By region: the regions near it, the nearest first.
    near: Vec<Vec<u8>>,
}

/// What a ticket says about regions.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    /// Nothing: all regions are equal.
    Anywhere,
    /// The region of its session.
    Home(u8),
    /// By region: milliseconds to it, if the ticket has measured it.
    Latencies(Box<[Option<u32>]>),
}

impl Regions {
    pub(super) fn new(configured: &BTreeMap<String, Region>) -> Self {
        let mut sorted: Vec<_> = configured.iter().filter(|(_, region)| !region.custom_only).collect();
        sorted.sort_by_key(|(name, region)| (region.sort_order, *name));
        sorted.truncate(REGIONS_MAX);
        let names: Vec<String> = sorted.iter().map(|(name, _)| (*name).clone()).collect();
        let at = |name: &String| names.iter().position(|known| known == name).map(|at| at as u8);
        let near = sorted.iter().map(|(_, region)| region.near.iter().filter_map(at).collect()).collect();
        Self { names, near }
    }

    /// The position of a region.
    pub(super) fn position(&self, name: &str) -> Option<u8> {
        self.names.iter().position(|known| known == name).map(|at| at as u8)
    }

    /// Number of regions; 1 if none is configured.
    pub(super) fn count(&self) -> usize {
        self.names.len().max(1)
    }

    pub(super) fn name(&self, position: usize) -> &str {
        self.names.get(position).map_or(REGION_DEFAULT, String::as_str)
    }

    /// The set of all regions.
    pub(super) fn all(&self) -> u64 {
        u64::MAX >> (REGIONS_MAX - self.count())
    }

    /// The set of regions that a ticket of a region accepts.
    pub(super) fn reached(&self, home: u8, reach: RegionReach) -> u64 {
        match reach {
            RegionReach::Own => bit(home),
            RegionReach::Near => {
                self.near[usize::from(home)].iter().fold(bit(home), |set, near| set | bit(*near))
            }
            RegionReach::Any => self.all(),
        }
    }

    /// How far down a region stands in a ticket's order: 0 for its own.
    pub(super) fn rank(&self, place: &Place, region: usize) -> u32 {
        match place {
            Place::Anywhere => 0,
            Place::Home(home) if usize::from(*home) == region => 0,
            Place::Home(home) => {
                let near = &self.near[usize::from(*home)];
                let place = near.iter().position(|near| usize::from(*near) == region);
                place.unwrap_or(near.len()) as u32 + 1
            }
            Place::Latencies(ms) => ms.get(region).copied().flatten().unwrap_or(u32::MAX >> 8),
        }
    }
}

/// The set of one region.
pub(super) fn bit(region: u8) -> u64 {
    1 << region
}

/// The positions in a set of regions.
pub(super) fn positions(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = set.trailing_zeros() as usize;
        set &= set.wrapping_sub(1);
        (at < REGIONS_MAX).then_some(at)
    })
}
