//! Logs: what is written, and how.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people at a terminal.
    #[default]
    Text,
    /// A JSON object per line, for collectors.
    Json,
}

/// What may be named in a log filter without a level, for all that it says.
const LOG_TARGETS: [&str; 4] = ["rallypoint", "fjall", "lsm_tree", "tokio_postgres"];

/// Reads what is to be logged, or says how that is written.
pub fn parse_log_filter(text: &str) -> Result<EnvFilter, String> {
    let wrong = |cause: String| {
        format!("{text:?} is no log filter, as in \"info\" or \"warn,rallypoint=debug\": {cause}")
    };
    if let Some(word) = text.split(',').find(|directive| is_stray_word(directive)) {
        return Err(wrong(format!("{word:?} is none of the levels error, warn, info, debug, trace and off")));
    }
    let filter = EnvFilter::try_new(text).map_err(|error| wrong(error.to_string()))?;
    // Below that, the database's client logs what is stored.
    let quiet = "tokio_postgres=warn".parse().map_err(|error| format!("{error}"))?;
    Ok(filter.add_directive(quiet))
}

/// Whether a directive is a mere word that names no level. The library takes each for a module, and so would log that
/// alone, and nothing where there is no such module.
fn is_stray_word(directive: &str) -> bool {
    let is_target = |target: &str| LOG_TARGETS.iter().any(|known| target.starts_with(known));
    !directive.contains(['=', '[']) && directive.parse::<LevelFilter>().is_err() && !is_target(directive)
}

/// Starts writing logs to standard error; standard output stays free for what commands print.
///
/// # Errors
/// Where `filter` is no filter, or logs are written already.
pub fn start_logs(filter: &str, format: LogFormat) -> Result<(), String> {
    let registry = tracing_subscriber::registry().with(parse_log_filter(filter)?);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // Colours are for terminals; in a file or a journal they are noise.
    let layer = if std::io::stderr().is_terminal() { layer } else { layer.with_ansi(false) };
    match format {
        LogFormat::Text => registry.with(layer.with_target(false)).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    }
    .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_no_log_filter() {
        for text in [
            "info",
            "WARN",
            "off",
            "5",
            "",
            "rallypoint",
            "rallypoint::api",
            "info,fjall=warn,lsm_tree=warn",
            "warn,hyper=debug",
            "info,[request]=debug",
        ] {
            assert!(parse_log_filter(text).is_ok(), "{text:?}");
        }
        for (text, word) in [
            ("verbose", "verbose"),
            ("warning", "warning"),
            ("info,all", "all"),
            ("info, debug", " debug"),
            ("6", "6"),
            ("hyper", "hyper"),
        ] {
            let message = parse_log_filter(text).unwrap_err();
            assert!(message.starts_with(&format!("{text:?} is no log filter, as in \"info\"")), "{message}");
            let told = format!("{word:?} is none of the levels error, warn, info, debug, trace and off");
            assert!(message.ends_with(&told), "{message}");
        }
    }
}
