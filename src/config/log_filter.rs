//! The format of `[telemetry] log`.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Crates whose modules a filter may name without a level, to log all their messages.
const LOG_TARGETS: [&str; 4] = ["rallypoint", "fjall", "lsm_tree", "tokio_postgres"];

/// Checks a log filter.
///
/// # Errors
/// If it is invalid; the message shows the format.
pub(super) fn check_log_filter(text: &str) -> Result<(), String> {
    let wrong = |cause: String| {
        format!("{text:?} is no log filter, as in \"info\" or \"warn,rallypoint=debug\": {cause}")
    };
    if let Some(word) = text.split(',').find(|directive| is_unknown_word(directive)) {
        return Err(wrong(format!("{word:?} is none of the levels error, warn, info, debug, trace and off")));
    }
    EnvFilter::try_new(text).map(drop).map_err(|error| wrong(error.to_string()))
}

/// Whether a directive is a single word that is neither a level nor a known module. The library accepts any word as the
/// name of a module. With a misspelled level, such as "warning", it would log nothing.
fn is_unknown_word(directive: &str) -> bool {
    let is_target = |target: &str| LOG_TARGETS.iter().any(|known| target.starts_with(known));
    !directive.contains(['=', '[']) && directive.parse::<LevelFilter>().is_err() && !is_target(directive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_must_be_a_level_or_a_known_module() {
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
            assert_eq!(check_log_filter(text), Ok(()), "{text:?}");
        }
        for (text, word) in [
            ("verbose", "verbose"),
            ("warning", "warning"),
            ("info,all", "all"),
            ("info, debug", " debug"),
            ("6", "6"),
            ("hyper", "hyper"),
        ] {
            let message = check_log_filter(text).unwrap_err();
            assert!(message.starts_with(&format!("{text:?} is no log filter, as in \"info\"")), "{message}");
            let expected = format!("{word:?} is none of the levels error, warn, info, debug, trace and off");
            assert!(message.ends_with(&expected), "{message}");
        }
    }
}
