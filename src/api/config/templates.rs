//! What clients read of the configuration: session templates.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::api::wire::instance::StartupParamsBody;
use crate::api::wire::{CustomDataBody, Named, PlatformNumber};
use crate::app::App;
use crate::auth::Caller;
use crate::document::Document;
use crate::domain::Platform;
use crate::domain::instance::StartupParams;
use crate::domain::template::{PlatformTemplate, Template, Visibility};
use crate::http::error::Error;
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{Reply, Versioned};

params! {
    /// The path of a template.
    TemplatePath in "path" {
        /// The template's name.
        session_type: String,
    }
}

/// All session templates.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionTemplates")]
pub struct TemplatesView {
    /// By type.
    templates: Named<TemplateView>,
}

/// A type of session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionTemplate")]
pub struct TemplateView {
    /// Its name.
    session_type: String,
    /// The engine's word for sessions of this type.
    engine_session_type: String,
    /// Whether players may create such sessions.
    can_be_created_by_players_directly: bool,
    /// Deprecated: the same as `attempt_auto_join`.
    joinable: bool,
    /// Whether create-or-join looks for an open session first.
    attempt_auto_join: bool,
    /// Whether sessions may join matchmaking.
    can_join_matchmaking: bool,
    /// Whether sessions start out open.
    default_public: bool,
    /// Whether a session stays when its last active player leaves.
    keep_alive_on_empty: bool,
    /// Whether players may change their own team.
    can_change_own_team: bool,
    /// Whether players see the places that are kept for them.
    notify_on_reservation: bool,
    /// Whether leaders may list sessions in the browser.
    can_be_added_to_server_browser: bool,
    /// Whether every session is listed from its start.
    auto_add_to_browser: bool,
    /// Data of a listing that was not asked for.
    auto_browser_params: CustomDataBody,
    /// Of which players a player sees the entries.
    player_visibility: Visibility,
    /// Of which players the leader sees the entries.
    admin_player_visibility: Visibility,
    /// Of which players a player is notified.
    player_notification_frequency: Visibility,
    /// Of which players the leader is notified.
    admin_player_notification_frequency: Visibility,
    /// After how many seconds a player is taken out who has not asked for the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    player_culling_timeout: Option<usize>,
    /// The template of the instance that a session starts with; wins over `auto_startup_params`.
    #[serde(skip_serializing_if = "Option::is_none")]
    auto_startup_instance_template_id: Option<Uuid>,
    /// What the instance that a session starts with starts with.
    #[serde(skip_serializing_if = "Option::is_none")]
    auto_startup_params: Option<StartupParamsBody>,
    /// Sessions of this type to run at any time in each region.
    min_session_count: usize,
    /// What sessions of a platform are, by platform.
    platform_templates: BTreeMap<&'static str, PlatformTemplateView>,
    /// The product's data.
    custom_data: CustomDataBody,
    /// Teams a session starts with.
    #[schemars(range(min = 1, max = 50))]
    num_teams: usize,
    /// MembershipList on each team.
    #[schemars(range(min = 1, max = 100))]
    players_per_team: usize,
}

/// A type of platform session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlatformSessionTemplate")]
pub struct PlatformTemplateView {
    /// Deprecated: the platform's number, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    platform_id: Option<PlatformNumber>,
    /// The platform; the same as the key.
    platform: Platform,
    /// The platform's own name of the kind of session.
    #[schemars(length(min = 1, max = 128))]
    platform_session_type: String,
    /// Most players the platform's session takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    max_players: Option<usize>,
    /// The product's data.
    custom_data: CustomDataBody,
}

impl TemplateView {
    fn of(session_type: &str, template: &Template) -> Self {
        let view = |(platform, entry): (&Platform, &PlatformTemplate)| {
            (platform.name(), PlatformTemplateView::of(*platform, entry))
        };
        let startup_params = template.auto_startup_params.clone().map(StartupParams::from);
        Self {
            session_type: session_type.to_owned(),
            engine_session_type: template.engine_session_type.clone(),
            can_be_created_by_players_directly: template.can_be_created_by_players_directly,
            joinable: template.joins_first(),
            attempt_auto_join: template.joins_first(),
            can_join_matchmaking: template.can_join_matchmaking,
            default_public: template.default_public,
            keep_alive_on_empty: template.keep_alive_on_empty,
            can_change_own_team: template.can_change_own_team,
            notify_on_reservation: template.notify_on_reservation,
            can_be_added_to_server_browser: template.can_be_added_to_server_browser,
            auto_add_to_browser: template.auto_add_to_browser,
            auto_browser_params: CustomDataBody(template.auto_browser_params.clone()),
            player_visibility: template.player_visibility,
            admin_player_visibility: template.admin_player_visibility,
            player_notification_frequency: template.player_notification_frequency,
            admin_player_notification_frequency: template.admin_player_notification_frequency,
            player_culling_timeout: template.player_culling_timeout,
            auto_startup_instance_template_id: template.auto_startup_instance_template_id,
            auto_startup_params: startup_params.map(StartupParamsBody::from),
            min_session_count: template.min_session_count,
            platform_templates: template.platform_templates.iter().map(view).collect(),
            custom_data: CustomDataBody(template.custom_data.clone()),
            num_teams: template.num_teams,
            players_per_team: template.players_per_team,
        }
    }
}

impl PlatformTemplateView {
    fn of(platform: Platform, entry: &PlatformTemplate) -> Self {
        Self {
            platform_id: platform.legacy_id().map(PlatformNumber),
            platform,
            platform_session_type: entry.platform_session_type.clone(),
            max_players: entry.max_players,
            custom_data: CustomDataBody(entry.custom_data.clone()),
        }
    }
}

/// All session templates.
pub async fn templates(app: Arc<App>, _: Caller, _: Input) -> Result<Reply<Versioned<TemplatesView>>, Error> {
    let catalog = app.catalog();
    let document = catalog.document(|by_type| {
        let view = |(name, template): (&String, &Template)| (name.clone(), TemplateView::of(name, template));
        Document::of(&TemplatesView { templates: by_type.iter().map(view).collect() })
    });
    Ok(Reply::document(document))
}

/// One session template.
pub async fn template(
    app: Arc<App>,
    _: Caller,
    Input { path, .. }: Input<TemplatePath>,
) -> Result<Reply<Versioned<TemplateView>>, Error> {
    let catalog = app.catalog();
    let template = catalog.template(&path.session_type)?;
    Ok(Reply::document(&Document::of(&TemplateView::of(&path.session_type, template))))
}
