//! How often hosts must report the health of instances, and how missing reports change that health.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::auth::Caller;
use crate::http::error::Error;
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply};

/// How often hosts must report the health of instances, and how missing reports change that health.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InstanceHealthSettingsResponse")]
pub struct HealthSettingsView {
    /// Seconds between health reports.
    #[schemars(range(min = 1))]
    cadence_seconds: usize,
    /// Percentage of missing reports at which an instance becomes unhealthy.
    #[schemars(extend("exclusiveMinimum" = 0))]
    unhealthy_health_check_percentage: f64,
    /// Number of reports missed in a row after which the health of an instance is unknown.
    #[schemars(range(min = 1))]
    missed_checks_before_unknown: usize,
}

/// Reads the settings of health reports.
pub async fn health_config(
    app: Arc<App>,
    _: Caller,
    _: Input,
) -> Result<Reply<Plain<HealthSettingsView>>, Error> {
    let settings = &app.settings.health;
    Ok(Reply::plain(&HealthSettingsView {
        cadence_seconds: settings.cadence_s,
        unhealthy_health_check_percentage: settings.unhealthy_missed_percent,
        missed_checks_before_unknown: settings.missed_before_unknown,
    }))
}
