//! Templates of instance requests, as the configuration has them, in their present and their older form.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::api::wire::CustomDataBody;
use crate::app::App;
use crate::auth::Caller;
use crate::document::Document;
use crate::domain::instance::HostType;
use crate::domain::instance::template::{InstanceTemplate, MapChoice};
use crate::http::error::Error;
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{Reply, Versioned};

params! {
    /// The path of a template of instance requests.
    InstanceTemplatePath in "path" {
        /// The template.
        instance_request_template_id: Uuid,
    }
}

params! {
    /// The path of a template in its older form.
    LaunchTemplatePath in "path" {
        /// The template.
        instance_launch_template_id: Uuid,
    }
}

/// A template of instance requests.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InstanceRequestTemplate")]
pub struct InstanceTemplateView {
    /// Its id.
    instance_request_template_id: Uuid,
    /// The maps to draw from.
    map_selection_list: MapListView,
    /// Who hosts.
    default_host_type: HostType,
    /// The product's data.
    custom_data: CustomDataBody,
}

/// Maps to draw from.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MapSelectionListV2")]
pub struct MapListView {
    /// The list's name.
    map_selection_list_id: String,
    /// The maps.
    maps: Vec<MapView>,
}

/// A map.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MapConfigV2")]
pub struct MapView {
    /// Its id.
    map_id: String,
    /// Its name in the engine.
    map_name: String,
    /// The mode to play.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    /// How often it is drawn, against the others.
    #[schemars(range(min = 0, max = 100))]
    map_weight: f64,
    /// The product's data.
    custom_data: CustomDataBody,
    /// Its name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// What it is, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Further parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    misc_params: Option<String>,
}

/// Deprecated: a template in its older form.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InstanceLaunchTemplate")]
pub struct LaunchTemplateView {
    /// Its id.
    instance_launch_template_id: Uuid,
    /// The maps to draw from.
    map_selection_list: LaunchMapListView,
    /// Who hosts.
    default_host_type: HostType,
    /// The product's data.
    custom_data: CustomDataBody,
}

/// Deprecated: maps in their older form.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MapSelectionList")]
pub struct LaunchMapListView {
    /// The list's name.
    map_selection_list_id: String,
    /// The maps.
    maps: Vec<LaunchMapView>,
}

/// Deprecated: a map in its older form.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MapConfig")]
pub struct LaunchMapView {
    /// Its id, where that is a number; else 0.
    map_game_id: u64,
    /// Its name in the engine.
    map_name: String,
    /// The mode to play.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    /// How often it is drawn, against the others.
    #[schemars(range(min = 0, max = 100))]
    selection_chance: f64,
    /// The product's data.
    custom_data: CustomDataBody,
}

impl From<&MapChoice> for MapView {
    fn from(map: &MapChoice) -> Self {
        Self {
            map_id: map.map_id.clone(),
            map_name: map.map_name.clone(),
            mode: map.mode.clone(),
            map_weight: map.map_weight,
            custom_data: CustomDataBody(map.custom_data.clone()),
            name: map.name.clone(),
            description: map.description.clone(),
            misc_params: map.misc_params.clone(),
        }
    }
}

impl From<&MapChoice> for LaunchMapView {
    fn from(map: &MapChoice) -> Self {
        Self {
            map_game_id: map.map_id.parse().unwrap_or(0),
            map_name: map.map_name.clone(),
            mode: map.mode.clone(),
            selection_chance: map.map_weight,
            custom_data: CustomDataBody(map.custom_data.clone()),
        }
    }
}

/// A template of instance requests.
pub async fn get(
    app: Arc<App>,
    _: Caller,
    Input { path, .. }: Input<InstanceTemplatePath>,
) -> Result<Reply<Versioned<InstanceTemplateView>>, Error> {
    let (id, catalog) = (path.instance_request_template_id, app.catalog());
    let template: &InstanceTemplate = catalog.instance_template(id)?;
    Ok(Reply::document(&Document::of(&InstanceTemplateView {
        instance_request_template_id: id,
        map_selection_list: MapListView {
            map_selection_list_id: template.map_selection_list_id.clone(),
            maps: template.maps.iter().map(MapView::from).collect(),
        },
        default_host_type: template.default_host_type,
        custom_data: CustomDataBody(template.custom_data.clone()),
    })))
}

/// Deprecated: a template in its older form.
pub async fn get_launch_template(
    app: Arc<App>,
    _: Caller,
    Input { path, .. }: Input<LaunchTemplatePath>,
) -> Result<Reply<Versioned<LaunchTemplateView>>, Error> {
    let (id, catalog) = (path.instance_launch_template_id, app.catalog());
    let template = catalog.instance_template(id)?;
    Ok(Reply::document(&Document::of(&LaunchTemplateView {
        instance_launch_template_id: id,
        map_selection_list: LaunchMapListView {
            map_selection_list_id: template.map_selection_list_id.clone(),
            maps: template.maps.iter().map(LaunchMapView::from).collect(),
        },
        default_host_type: template.default_host_type,
        custom_data: CustomDataBody(template.custom_data.clone()),
    })))
}
