//! Instance request templates from the configuration, in their current and their older form.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::api::wire::CustomDataBody;
use crate::app::App;
use crate::app::waits::{Topic, WaitOn};
use crate::auth::Caller;
use crate::document::Document;
use crate::domain::instance::HostType;
use crate::domain::instance::template::{InstanceTemplate, MapChoice};
use crate::http::error::Error;
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{Reply, Watched};

params! {
    /// Path of an instance request template.
    InstanceTemplatePath in "path" {
        /// Id of the instance request template.
        instance_request_template_id: Uuid,
    }
}

params! {
    /// Path of an instance request template in its older form.
    LaunchTemplatePath in "path" {
        /// Id of the instance request template.
        instance_launch_template_id: Uuid,
    }
}

/// An instance request template.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InstanceRequestTemplate")]
pub struct InstanceTemplateView {
    /// Id of the template.
    instance_request_template_id: Uuid,
    /// Maps of which the server draws one.
    map_selection_list: MapListView,
    /// Kind of host.
    default_host_type: HostType,
    /// Custom data of the template. It applies to a request that has none.
    custom_data: CustomDataBody,
}

/// Maps of which the server draws one.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MapSelectionListV2")]
pub struct MapListView {
    /// Id of the list.
    map_selection_list_id: String,
    /// Maps of the list.
    maps: Vec<MapView>,
}

/// A map that the server can draw.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MapConfigV2")]
pub struct MapView {
    /// Id of the map.
    map_id: String,
    /// Name of the map in the game engine.
    map_name: String,
    /// Game mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    /// Weight of the map in the draw, relative to the other maps.
    #[schemars(range(min = 0, max = 100))]
    map_weight: f64,
    /// Custom data of the map.
    custom_data: CustomDataBody,
    /// Name of the map for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Description of the map for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Further startup parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    misc_params: Option<String>,
}

/// Deprecated: an instance request template in its older form.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InstanceLaunchTemplate")]
pub struct LaunchTemplateView {
    /// Id of the template.
    instance_launch_template_id: Uuid,
    /// Maps of which the server draws one.
    map_selection_list: LaunchMapListView,
    /// Kind of host.
    default_host_type: HostType,
    /// Custom data of the template. It applies to a request that has none.
    custom_data: CustomDataBody,
}

/// Deprecated: the maps of a template, in their older form.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MapSelectionList")]
pub struct LaunchMapListView {
    /// Id of the list.
    map_selection_list_id: String,
    /// Maps of the list.
    maps: Vec<LaunchMapView>,
}

/// Deprecated: a map in its older form.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MapConfig")]
pub struct LaunchMapView {
    /// Id of the map if it is a number, otherwise 0.
    map_game_id: u64,
    /// Name of the map in the game engine.
    map_name: String,
    /// Game mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    /// Weight of the map in the draw, relative to the other maps.
    #[schemars(range(min = 0, max = 100))]
    selection_chance: f64,
    /// Custom data of the map.
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

/// Reads an instance request template.
pub async fn get(
    app: Arc<App>,
    _: Caller,
    Input { path, .. }: Input<InstanceTemplatePath>,
) -> Result<Reply<Watched<InstanceTemplateView>>, Error> {
    let catalog = app.catalog();
    let id = path.instance_request_template_id;
    let template: &InstanceTemplate = catalog.instance_template(id)?;
    Ok(Reply::watched(
        &Document::of(&InstanceTemplateView {
            instance_request_template_id: id,
            map_selection_list: MapListView {
                map_selection_list_id: template.map_selection_list_id.clone(),
                maps: template.maps.iter().map(MapView::from).collect(),
            },
            default_host_type: template.default_host_type,
            custom_data: CustomDataBody(template.custom_data.clone()),
        }),
        WaitOn::topic(Topic::Catalog),
    ))
}

/// Deprecated: reads an instance request template in its older form.
pub async fn get_launch_template(
    app: Arc<App>,
    _: Caller,
    Input { path, .. }: Input<LaunchTemplatePath>,
) -> Result<Reply<Watched<LaunchTemplateView>>, Error> {
    let catalog = app.catalog();
    let id = path.instance_launch_template_id;
    let template = catalog.instance_template(id)?;
    Ok(Reply::watched(
        &Document::of(&LaunchTemplateView {
            instance_launch_template_id: id,
            map_selection_list: LaunchMapListView {
                map_selection_list_id: template.map_selection_list_id.clone(),
                maps: template.maps.iter().map(LaunchMapView::from).collect(),
            },
            default_host_type: template.default_host_type,
            custom_data: CustomDataBody(template.custom_data.clone()),
        }),
        WaitOn::topic(Topic::Catalog),
    ))
}
