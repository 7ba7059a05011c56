//! Reloads the catalog while the server runs: on SIGHUP, or when the configuration file changes. An invalid file
//! changes nothing; the log has the error.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::{Config, ConfigError, Problem, Sources};
use crate::runtime::settings::{catalog, check, log_warnings};

/// How often the file is compared with what was read from it last.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// Reads the configuration again and replaces the catalog: templates, regions, instance templates, key-value pairs and
/// matchmaking. Existing sessions keep their values, and the templates that they use are served until they have ended.
/// Other sections need a restart.
///
/// # Errors
/// If the configuration is invalid, also for the running server; then nothing is replaced.
pub fn reload(app: &App, sources: &Sources) -> Result<(), ConfigError> {
    let config = Config::load(sources, |config| {
        check(config)?;
        check_allocators(app, config)
    })?;
    log_warnings(&config);
    app.replace_catalog(catalog(&config));
    Ok(())
}

/// Allocators take a restart. A template that uses a new one before it would make sessions that get no server.
fn check_allocators(app: &App, config: &Config) -> Result<(), Problem> {
    for (name, template) in &config.templates {
        if let Some(allocator) =
            template.allocator.as_ref().filter(|allocator| !app.launches.serves(allocator))
        {
            let message = format!(
                "allocator: the running server has no [allocators.{allocator}] yet, restart it first"
            );
            return Err(Problem::new(&["templates", name, "allocator"], message));
        }
    }
    Ok(())
}

/// Reloads on SIGHUP and when the content of the file is no longer that of `loaded`, until `stop` is cancelled. The
/// content alone tells a change: a file that takes the place of another one, as by a symbolic link, can have the same
/// time and size.
pub async fn reload_forever(app: Arc<App>, loaded: Config, stop: CancellationToken) {
    let Config { sources, text, .. } = loaded;
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return tracing::error!(%error, "cannot listen for SIGHUP; templates are not reloaded"),
    };
    let mut last_content = Some(text.into_bytes());
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
        let content = content_of(file.clone()).await;
        if !is_requested && content == last_content {
            continue;
        }
        last_content = content;
        match reload(&app, &sources) {
            Ok(()) => tracing::info!(
                file = %file.display(),
                "templates, regions, instance templates, key-value pairs and matchmaking were reloaded; other changes need a restart"
            ),
            Err(error) => {
                tracing::error!(%error, "the configuration is invalid; nothing of it is taken over")
            }
        }
    }
}

/// The content of a file; `None` if it cannot be read.
async fn content_of(file: PathBuf) -> Option<Vec<u8>> {
    let read = tokio::task::spawn_blocking(move || std::fs::read(file).ok());
    read.await.ok().flatten()
}
