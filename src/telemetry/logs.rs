//! Starts the log.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Directive that is always added to the filter: below the level `warn`, the PostgreSQL client logs stored values.
const NO_STORED_VALUES: &str = "tokio_postgres=warn";

/// Starts the log on standard error; standard output is for the results of commands. `filter` selects messages by level
/// and module, as in `info,fjall=warn`. A message is a JSON object a line if `as_json`, else text.
///
/// # Errors
/// If `filter` is invalid, or this process has started a log before.
pub fn start_logs(filter: &str, as_json: bool) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
    let no_stored_values = NO_STORED_VALUES.parse().expect("the directive is valid");
    let registry = tracing_subscriber::registry().with(filter.add_directive(no_stored_values));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // Colours are for terminals only.
    let layer = if std::io::stderr().is_terminal() { layer } else { layer.with_ansi(false) };
    let started = if as_json {
        registry.with(layer.json().flatten_event(true)).try_init()
    } else {
        registry.with(layer.with_target(false)).try_init()
    };
    started.map_err(|error| error.to_string())
}
