//! Templates of instance requests: the host type and the maps to choose from.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use super::{HostType, StartupParams};
use crate::domain::{CustomData, limits};

/// A template of instance requests (contract: `InstanceRequestTemplate`), in the form of the configuration file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceTemplate {
    /// What hosts the instance, unless the request names a host type.
    #[serde(default)]
    pub default_host_type: HostType,
    /// The name of the list of maps.
    pub map_selection_list_id: String,
    /// The maps, of which one is drawn at random by weight. At least one has a weight above 0.
    #[serde(deserialize_with = "maps_to_draw")]
    pub maps: Vec<MapChoice>,
    /// The product's data, passed to the instance.
    #[serde(default, deserialize_with = "limits::custom_data")]
    pub custom_data: CustomData,
}

/// A map that can be drawn (contract: `MapConfigV2`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapChoice {
    /// Its id.
    pub map_id: String,
    /// Its name in the engine.
    pub map_name: String,
    /// The mode to play.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Its weight, relative to the other maps: 0 (never drawn) to 100.
    #[serde(deserialize_with = "weight")]
    pub map_weight: f64,
    /// The product's data, passed to the instance.
    #[serde(default, deserialize_with = "limits::custom_data")]
    pub custom_data: CustomData,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A description for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Further parameters, in the form of a command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misc_params: Option<String>,
}

/// Reads a weight: 0 to 100.
fn weight<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let weight = f64::deserialize(from)?;
    if (0.0..=100.0).contains(&weight) {
        return Ok(weight);
    }
    Err(D::Error::custom(format!("{weight} is not from 0 to 100")))
}

/// Reads maps, of which at least one can be drawn.
fn maps_to_draw<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<MapChoice>, D::Error> {
    let maps = Vec::<MapChoice>::deserialize(from)?;
    if maps.iter().any(|map| map.map_weight > 0.0) {
        return Ok(maps);
    }
    Err(D::Error::custom("at least one map needs a map_weight above 0"))
}

impl InstanceTemplate {
    /// Startup parameters of an instance of this template, with a map drawn by weight. `random` is a random number
    /// from 0 to 1. Returns `None` if no map has a weight.
    pub fn draw(&self, random: f64) -> Option<StartupParams> {
        self.draw_among(&[], random)
    }

    /// As [`draw`](Self::draw), of the maps at these positions; of all, if there are none.
    pub fn draw_among(&self, positions: &[usize], random: f64) -> Option<StartupParams> {
        let among = || {
            let all = self.maps.iter().enumerate();
            all.filter(|(at, _)| positions.is_empty() || positions.contains(at)).map(|(_, map)| map)
        };
        let total: f64 = among().map(|map| map.map_weight).sum();
        let mut left = random * total;
        let mut drawn = None;
        for map in among() {
            if map.map_weight > 0.0 {
                // Stays the last map with a weight if rounding leaves something at the end.
                drawn = Some(map);
                left -= map.map_weight;
                if left < 0.0 {
                    break;
                }
            }
        }
        let map = drawn?;
        Some(StartupParams {
            map: map.map_name.clone(),
            mode: map.mode.clone(),
            misc_params: map.misc_params.clone().unwrap_or_default(),
            custom_data: map.custom_data.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_drawn_by_weight() {
        let map = |name: &str, map_weight| MapChoice {
            map_id: name.into(),
            map_name: name.into(),
            mode: None,
            map_weight,
            custom_data: CustomData::new(),
            name: None,
            description: None,
            misc_params: None,
        };
        let template = InstanceTemplate {
            default_host_type: HostType::Dedicated,
            map_selection_list_id: "all".into(),
            maps: vec![map("never", 0.0), map("often", 3.0), map("seldom", 1.0), map("never", 0.0)],
            custom_data: CustomData::new(),
        };
        let drawn = |random| template.draw(random).unwrap().map;
        assert_eq!(
            [0.0, 0.74, 0.75, 0.999_999, 1.0].map(drawn),
            ["often", "often", "seldom", "seldom", "seldom"]
        );
        let among = |positions: &[usize]| template.draw_among(positions, 0.0).unwrap().map;
        assert_eq!([&[2][..], &[0, 1, 2], &[]].map(among), ["seldom", "often", "often"]);
        assert!(template.draw_among(&[0], 0.0).is_none(), "it is never drawn");
    }
}
