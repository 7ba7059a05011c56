//! `rallypoint matchmaking explain`: why a ticket of a running server waits, over its control socket.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::cli::control::ask;
use crate::cli::{print, print_json};
use crate::domain::matchmaking::matcher::{Explanation, Fit};
use crate::runtime::control::ControlRequest;

/// Text after `rallypoint matchmaking explain --help`.
pub const HELP: &str = "\
The ticket is `ticket_id` in the answer to the request that joined the queue, and in `matchmaking` of the session. For each \
profile that the ticket waits for, the command says how many of the other tickets fit it by each condition alone and by all \
of them, and when its next step comes. The command speaks to the running Rallypoint server over the socket control.sock in \
its data directory. With several servers on one database, ask the one that makes the matches of the profile.

  rallypoint matchmaking explain 0b8d6e0c-6a3e-4c9e-9d0e-3f2a1b5c7d9e

Next: `rallypoint matchmaking simulate` shows how other steps would do.";

/// The answer of the server.
#[derive(Deserialize)]
struct Explained {
    /// The time for which the explanations hold, in milliseconds since 1970.
    now_ms: i64,
    /// Explanations by profile.
    profiles: BTreeMap<String, Explanation>,
}

/// Runs the command.
pub fn run(data_dir: &Path, ticket: Uuid, is_json: bool) -> Result<(), String> {
    let answer: Value = ask(data_dir, &ControlRequest::MatchmakingExplain { ticket })?;
    let explained = Explained::deserialize(&answer)
        .map_err(|error| format!("the answer of the server cannot be read: {error}"))?;
    if explained.profiles.is_empty() {
        return Err(format!(
            "no ticket {ticket} waits in a profile whose matches this server makes. Perhaps it has got a match; or its party \
             has left the queue or has changed; or it has waited for ticket_timeout_s: the event queue.left of \
             `rallypoint audit export` has the reason. Or another server makes the matches of the profile"
        ));
    }
    if is_json {
        return print_json(&answer);
    }
    let text =
        |(profile, explanation): (&String, &Explanation)| as_text(profile, explained.now_ms, explanation);
    print(&explained.profiles.iter().map(text).collect::<Vec<_>>().join("\n"))
}

fn as_text(profile: &str, now_ms: i64, explanation: &Explanation) -> String {
    let Explanation {
        age_ms, is_held, players, players_needed, fit, running, running_fit, next_step_ms, ..
    } = explanation;
    let seconds = |ms: i64| format!("{:.1} s", ms as f64 / 1_000.0);
    let why = if *is_held {
        "a match with it is being made".to_owned()
    } else {
        explanation.obstacle().to_string()
    };
    let mut text = format!(
        "{profile}: {why}\n  the ticket is {} old, with {players} of {players_needed} players that a match needs\n",
        seconds(*age_ms)
    );
    for (condition, count) in conditions(fit) {
        let _ = writeln!(text, "  {count:>7}  {condition}");
    }
    if *running > 0 {
        let _ = writeln!(
            text,
            "  {running:>7}  running matches take players; {running_fit} of them could take it"
        );
    }
    text + &match next_step_ms {
        Some(at_ms) => format!("  the next step comes in {}\n", seconds(at_ms - now_ms)),
        None => "  no step comes any more: it accepts all that it ever will\n".to_owned(),
    }
}

/// How many of the other tickets fit, by condition.
fn conditions(fit: &Fit) -> Vec<(String, usize)> {
    let mut all = vec![
        ("other tickets wait".to_owned(), fit.waiting),
        ("of these have the same version and the same texts".to_owned(), fit.texts),
        ("of these take part in new matches; of these fit by".to_owned(), fit.take_part),
        ("  size".to_owned(), fit.size),
        ("  platforms and inputs".to_owned(), fit.crossplay),
        ("  regions".to_owned(), fit.regions),
        ("  maps".to_owned(), fit.maps),
    ];
    all.extend(fit.fields.iter().map(|(name, count)| (format!("  {name}"), *count)));
    all.push((format!("  all of that, with {} players", fit.players), fit.all));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_is_written_for_people() {
        let fit = Fit {
            waiting: 41,
            texts: 41,
            take_part: 40,
            size: 39,
            crossplay: 40,
            regions: 40,
            maps: 40,
            fields: [("rank".to_owned(), 5)].into(),
            all: 4,
            players: 5,
        };
        let explanation = Explanation {
            age_ms: 12_300,
            is_held: false,
            takes_part: true,
            players: 2,
            players_needed: 8,
            fit,
            running: 0,
            running_fit: 0,
            next_step_ms: Some(50_000),
        };
        assert_eq!(
            as_text("casual_4v4", 32_300, &explanation),
            "casual_4v4: too few players fit\n\
             \x20 the ticket is 12.3 s old, with 2 of 8 players that a match needs\n\
             \x20      41  other tickets wait\n\
             \x20      41  of these have the same version and the same texts\n\
             \x20      40  of these take part in new matches; of these fit by\n\
             \x20      39    size\n\
             \x20      40    platforms and inputs\n\
             \x20      40    regions\n\
             \x20      40    maps\n\
             \x20       5    rank\n\
             \x20       4    all of that, with 5 players\n\
             \x20 the next step comes in 17.7 s\n"
        );
        let explanation =
            Explanation { is_held: true, running: 3, running_fit: 1, next_step_ms: None, ..explanation };
        let text = as_text("casual_4v4", 32_300, &explanation);
        assert!(text.starts_with("casual_4v4: a match with it is being made\n"), "{text}");
        assert!(
            text.contains("        3  running matches take players; 1 of them could take it\n"),
            "{text}"
        );
        assert!(text.ends_with("it accepts all that it ever will\n"), "{text}");
    }
}
