//! How often instances are expected to report, and what missing reports lead to.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::auth::Caller;
use crate::http::error::Error;
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply};

/// When instances are expected to report, and what becomes of those that do not.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InstanceHealthSettingsResponse")]
pub struct HealthSettingsView {
    /// Seconds between reports.
    #[schemars(range(min = 1))]
    cadence_seconds: usize,
    /// Percentage of reports that are missing where an instance is unhealthy.
    #[schemars(extend("exclusiveMinimum" = 0))]
    unhealthy_health_check_percentage: f64,
    /// Reports missed in a row after which its health is unknown.
    #[schemars(range(min = 1))]
    missed_checks_before_unknown: usize,
}

/// When instances are expected to report.
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
