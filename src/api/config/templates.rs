//! The session templates from the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::api::wire::instance::StartupParamsBody;
use crate::api::wire::{CustomDataBody, Named, PlatformNumber};
use crate::app::App;
use crate::app::waits::{Topic, WaitOn};
use crate::auth::Caller;
use crate::document::Document;
use crate::domain::Platform;
use crate::domain::instance::StartupParams;
use crate::domain::template::{PlatformTemplate, Template, Visibility};
use crate::http::error::Error;
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{Reply, Watched};

params! {
    /// Path of a session template.
    TemplatePath in "path" {
        /// Type of session, which is the name of its template.
        session_type: String,
    }
}

/// All session templates.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionTemplates")]
pub struct TemplatesView {
    /// Templates by type of session.
    templates: Named<TemplateView>,
}

/// A session template: the initial state and the rules of sessions of one type.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionTemplate")]
pub struct TemplateView {
    /// Type of session, which is the name of the template.
    session_type: String,
    /// Name of this type of session in the game engine.
    engine_session_type: String,
    /// Whether players may create sessions of this type.
    can_be_created_by_players_directly: bool,
    /// Deprecated: the same as `attempt_auto_join`.
    joinable: bool,
    /// Whether create-or-join first looks for an open session to join.
    attempt_auto_join: bool,
    /// Whether sessions of this type may join matchmaking.
    can_join_matchmaking: bool,
    /// Whether new sessions are open to everyone.
    default_public: bool,
    /// Whether a session continues after its last active player left.
    keep_alive_on_empty: bool,
    /// Whether players may change their own team.
    can_change_own_team: bool,
    /// Whether players see their reservations in their list of sessions.
    notify_on_reservation: bool,
    /// Whether a leader may list the session in the browser.
    can_be_added_to_server_browser: bool,
    /// Whether every new session is listed in the browser.
    auto_add_to_browser: bool,
    /// Custom data of the listing that `auto_add_to_browser` creates.
    auto_browser_params: CustomDataBody,
    /// Which players of the session a player other than the leader sees.
    player_visibility: Visibility,
    /// Which players of the session the leader sees.
    admin_player_visibility: Visibility,
    /// About which players of the session a player other than the leader is notified.
    player_notification_frequency: Visibility,
    /// About which players of the session the leader is notified.
    admin_player_notification_frequency: Visibility,
    /// Seconds without a heartbeat after which an active player is removed from the session. 0 means never.
    #[serde(skip_serializing_if = "Option::is_none")]
    player_culling_timeout: Option<usize>,
    /// Instance request template of a new session's first instance. It takes precedence over `auto_startup_params`.
    #[serde(skip_serializing_if = "Option::is_none")]
    auto_startup_instance_template_id: Option<Uuid>,
    /// Startup parameters of a new session's first instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    auto_startup_params: Option<StartupParamsBody>,
    /// Number of sessions of this type to keep running in each region.
    min_session_count: usize,
    /// Templates of platform sessions, by platform.
    platform_templates: BTreeMap<&'static str, PlatformTemplateView>,
    /// Custom data of the template.
    custom_data: CustomDataBody,
    /// Number of teams of a new session.
    #[schemars(range(min = 1, max = 50))]
    num_teams: usize,
    /// Slots of each team of a new session.
    #[schemars(range(min = 1, max = 100))]
    players_per_team: usize,
}

/// A template of platform sessions, for one platform.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlatformSessionTemplate")]
pub struct PlatformTemplateView {
    /// Deprecated: number of the platform. Absent for platforms without a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    platform_id: Option<PlatformNumber>,
    /// Platform. It equals the key of this entry.
    platform: Platform,
    /// Type of session, as the platform names it.
    #[schemars(length(min = 1, max = 128))]
    platform_session_type: String,
    /// Largest number of players in the platform session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    max_players: Option<usize>,
    /// Custom data of linked platform sessions.
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

/// Reads all session templates.
pub async fn templates(app: Arc<App>, _: Caller, _: Input) -> Result<Reply<Watched<TemplatesView>>, Error> {
    let catalog = app.catalog();
    let document = catalog.document(|by_type| {
        let view = |(name, template): (&String, &Template)| (name.clone(), TemplateView::of(name, template));
        Document::of(&TemplatesView { templates: by_type.into_iter().map(view).collect() })
    });
    Ok(Reply::watched(document, WaitOn::topic(Topic::Catalog)))
}

/// Reads one session template.
pub async fn template(
    app: Arc<App>,
    _: Caller,
    Input { path, .. }: Input<TemplatePath>,
) -> Result<Reply<Watched<TemplateView>>, Error> {
    let catalog = app.catalog();
    let template = catalog.template(&path.session_type)?;
    let document = Document::of(&TemplateView::of(&path.session_type, template));
    Ok(Reply::watched(&document, WaitOn::topic(Topic::Catalog)))
}
