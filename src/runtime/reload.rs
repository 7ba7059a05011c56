//! Reading templates, regions and instance templates again while the server runs: at SIGHUP, or when the
//! configuration file changes. A file that is wrong changes nothing and says so.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::{Config, ConfigError, Sources};
use crate::runtime::server::catalog;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Reads the configuration file again and puts its templates, regions and instance templates in force. Sessions
/// that live keep what they hold. The other sections take a restart.
///
/// # Errors
/// Where the file is wrong; the old ones stay in force.
pub fn reload(app: &App, sources: &Sources) -> Result<(), ConfigError> {
    let config = Config::load(sources)?;
    app.replace_catalog(catalog(&config));
    Ok(())
}

/// Reloads at SIGHUP and whenever the file changes, until `stop` is cancelled.
pub async fn reload_forever(app: Arc<App>, sources: Sources, stop: CancellationToken) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return tracing::error!(%error, "cannot listen for SIGHUP; templates are not reloaded"),
    };
    let mut seen = sources.file.as_deref().and_then(changed_at);
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            _ = hangup.recv() => true,
            () = tokio::time::sleep(LOOK_EVERY) => false,
        };
        let Some(file) = &sources.file else {
            if asked {
                tracing::warn!("there is no configuration file to read again; start with --config FILE");
            }
            continue;
        };
        let now = changed_at(file);
        if !asked && now == seen {
            continue;
        }
        seen = now;
        match reload(&app, &sources) {
            Ok(()) => tracing::info!(
                file = %file.display(),
                "templates, regions and instance templates were read again; other changes take a restart"
            ),
            Err(error) => tracing::error!(%error, "the configuration is wrong; what was in force stays so"),
        }
    }
}

fn changed_at(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}
