//! `rallypoint audit`: the events of a running server, over its control socket.

use std::io::{IsTerminal as _, Write as _};

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::config::KeyArgs;
use super::control::ask;
use crate::app::audit::EventsExport;
use crate::runtime::control::ControlRequest;

/// Text after `rallypoint audit --help`.
pub const HELP: &str = "\
Every change of a session is an event: who joined, left or was kicked and by whom, what became of an instance, who waited \
in a queue. [audit] in the configuration says for how long events are kept. The command speaks to the running server over \
the socket control.sock in its data directory, which --data-dir, RALLYPOINT_STORE__DATA_DIR or the configuration file \
names, as for serve. Only the user that runs the server can use it.

  rallypoint audit export --from 2026-11-01 > events.jsonl";

/// Text after `rallypoint audit export --help`.
const EXPORT_HELP: &str = "\
Each line is an event as JSON, in the form in which GET /v1/audit answers it. The events of one session are together, \
oldest first. A date without a time begins at midnight, in UTC.

  rallypoint audit export > events.jsonl
  rallypoint audit export --from 2026-11-01 --to 2026-11-02T06:00:00Z > night.jsonl";

#[derive(Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
    #[command(flatten)]
    key: KeyArgs,
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Print events, one JSON object a line.
    #[command(after_help = EXPORT_HELP)]
    Export {
        /// First time of the events.
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        from: Option<Timestamp>,
        /// End of the time of the events. It is excluded.
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        to: Option<Timestamp>,
    },
}

/// Runs the command.
pub fn run(args: &AuditArgs) -> Result<(), String> {
    let AuditCommand::Export { from, to } = &args.command;
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        return Err(format!("--from {from} is not before --to {to}, so there is no event between them"));
    }
    let data_dir = args.key.data_dir()?;
    let (mut out, mut count, mut after) = (std::io::stdout().lock(), 0, None);
    let shows_progress = std::io::stderr().is_terminal();
    loop {
        let request = ControlRequest::AuditExport {
            from_ms: from.map_or(i64::MIN, Timestamp::as_millisecond),
            to_ms: to.map_or(i64::MAX, Timestamp::as_millisecond),
            after,
        };
        let EventsExport { events, next } = ask(&data_dir, &request)?;
        count += events.len();
        for event in events {
            match writeln!(out, "{event}") {
                // A reader that has closed the pipe (`| head`) is not an error.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                written => written.map_err(|error| error.to_string())?,
            }
        }
        if shows_progress {
            eprint!("\r{count} events");
        }
        after = next;
        if after.is_none() {
            break;
        }
    }
    if shows_progress {
        eprintln!();
    }
    out.flush().map_err(|error| error.to_string())
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    let time = text.parse().or_else(|_| format!("{text}T00:00:00Z").parse());
    time.map_err(|_| format!("{text:?} is no time, as in 2026-11-01 or 2026-11-01T06:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_or_has_a_zone() {
        let ms = |text| parse_time(text).map(Timestamp::as_millisecond);
        assert_eq!(ms("1970-01-02"), Ok(86_400_000));
        assert_eq!(ms("1970-01-02T01:00:00+01:00"), Ok(86_400_000));
        assert_eq!(ms("1970-01-02T00:00:00").unwrap_err().split(' ').next(), Some("\"1970-01-02T00:00:00\""));
    }
}
