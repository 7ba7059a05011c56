//! Reloads templates, regions and instance templates while the server runs: on SIGHUP, or when the configuration file
//! changes. An invalid file changes nothing; the log has the error.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::{ConfigError, Sources};
use crate::runtime::settings::{catalog, load_config, log_warnings};

/// How often the modification time of the file is checked.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// Reads the configuration again and replaces templates, regions and instance templates. Existing sessions keep their
/// values, and the templates that they use are served until they have ended. Other sections need a restart.
///
/// # Errors
/// If the configuration is invalid; then nothing is replaced.
pub fn reload(app: &App, sources: &Sources) -> Result<(), ConfigError> {
    let config = load_config(sources)?;
    log_warnings(&config);
    app.replace_catalog(catalog(&config));
    Ok(())
}

/// Reloads on SIGHUP and when the file changes, until `stop` is cancelled.
pub async fn reload_forever(app: Arc<App>, sources: Sources, stop: CancellationToken) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return tracing::error!(%error, "cannot listen for SIGHUP; templates are not reloaded"),
    };
    let mut loaded_version = sources.file.as_deref().and_then(modified_at);
    loop {
        let is_requested = tokio::select! {
            () = stop.cancelled() => return,
            _ = hangup.recv() => true,
            () = tokio::time::sleep(CHECK_EVERY) => false,
        };
        let Some(file) = &sources.file else {
            if is_requested {
                tracing::warn!("there is no configuration file to reload; start with --config FILE");
            }
            continue;
        };
        let now = modified_at(file);
        if !is_requested && now == loaded_version {
            continue;
        }
        loaded_version = now;
        match reload(&app, &sources) {
            Ok(()) => tracing::info!(
                file = %file.display(),
                "templates, regions and instance templates were reloaded; other changes need a restart"
            ),
            Err(error) => {
                tracing::error!(%error, "the configuration is invalid; templates, regions and instance templates stay as they were")
            }
        }
    }
}

fn modified_at(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}
