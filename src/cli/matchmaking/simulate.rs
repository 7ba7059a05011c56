//! `rallypoint matchmaking simulate`: matches of simulated parties, without a server.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use super::demand::{DemandArgs, NO_QUEUE};
use crate::cli::config::load;
use crate::cli::print;
use crate::cli::token::parse_duration;
use crate::config::{Config, Sources};
use crate::env::Clock;
use crate::simulation::{
    Arrival, Figures, Progress, Recorded, Setup, as_html, as_svg, as_text, read, run as simulate,
};

/// Text after `rallypoint matchmaking simulate --help`.
pub const HELP: &str = "\
The command needs no server and changes nothing but the file of --report. It lets the matcher of the server make matches \
of parties that come at random, in simulated time: an hour takes a moment. The same flags give the same figures on every \
machine.

The output says how long parties waited (of 100 parties with a match, 50 waited at most p50, 99 at most p99), by size and \
by region; how well matches fit; and why parties got no match. A spread is the difference between the best and the weakest \
party of a match in a field of the profile; 1 is what the last step of `widen` allows.

With --events, the parties are those that a server has recorded: the file has events as `rallypoint audit export` writes \
them, one JSON object on each line. Its queue.joined events count, and its queue.left events of parties that left their \
queues or changed. The simulation goes on after the last of them until each ticket has ended. With --compare, \
the same parties go through a second configuration.

Not simulated: tags, wishes for maps, latencies and crossplay (but --events has the first three); players who leave a match \
early, or decline their invite; the time of a commit.

  rallypoint matchmaking simulate --config rallypoint.toml
  rallypoint matchmaking simulate --config rallypoint.toml --rate 20 --parties 1=50,2=50 --skill 25:8
  rallypoint matchmaking simulate --config now.toml --compare next.toml --report compared.html
  rallypoint matchmaking simulate --config rallypoint.toml --events joins.jsonl

Next: change the steps of `widen` or the sizes in a copy of the file, and --compare it.";

/// Shortest time between two reports of the progress.
const REPORT_EVERY: Duration = Duration::from_millis(200);
/// How long recorded parties are simulated after the last of them, if tickets have no timeout, in milliseconds.
const AFTER_LAST_MS: i64 = 3_600_000;

#[derive(Args)]
pub struct SimulateArgs {
    /// Configuration file with queues and profiles. The environment is ignored.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Second configuration file, which gets the same parties.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// File with recorded events, one JSON object on each line, in place of random parties.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// File to write a report with charts to: FILE.html is a page that loads nothing, FILE.svg has the charts of waits and spreads alone.
    #[arg(long, value_name = "FILE", value_parser = parse_report)]
    report: Option<Report>,
    /// How long a match takes players who come later, if `backfill` of its profile is "auto".
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_duration)]
    match_time: Duration,
    #[command(flatten)]
    demand: DemandArgs,
}

/// The file of a report, and its form.
#[derive(Clone, Debug, PartialEq)]
struct Report {
    path: PathBuf,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Html,
    Svg,
}

fn parse_report(text: &str) -> Result<Report, String> {
    let path = PathBuf::from(text);
    let form = match path.extension().and_then(OsStr::to_str) {
        Some("html") => Form::Html,
        Some("svg") => Form::Svg,
        _ => return Err("the name of a report ends with .html or .svg".into()),
    };
    Ok(Report { path, form })
}

/// Runs the command.
pub fn run(args: &SimulateArgs) -> Result<(), String> {
    let first = load_file(&args.config)?;
    let second = args.compare.as_deref().map(load_file).transpose()?;
    let (arrivals, about) = match &args.events {
        Some(path) => recorded(path, &first)?,
        None => {
            let demand = args.demand.demand(&first)?;
            (demand.arrivals(), args.demand.about(&demand))
        }
    };
    let mut all = vec![figures(args, &args.config, &first, &arrivals)];
    if let (Some(path), Some(second)) = (&args.compare, &second) {
        all.push(figures(args, path, second, &arrivals));
    }
    if let Some(Report { path, form }) = &args.report {
        let report = match form {
            Form::Html => as_html(&about, &all),
            Form::Svg => as_svg(&all),
        };
        std::fs::write(path, report).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    print(&as_text(&about, &all))?;
    match &args.report {
        Some(Report { path, .. }) => print(&format!("\nThe report is in {}.\n", path.display())),
        None => Ok(()),
    }
}

fn load_file(path: &Path) -> Result<Config, String> {
    let config = load(&Sources { file: Some(path.to_owned()), ..Sources::default() })?;
    if config.queues.values().any(|queue| queue.active) {
        return Ok(config);
    }
    Err(format!("{}: {NO_QUEUE}", path.display()))
}

/// The parties of a file of events, and a sentence about them.
fn recorded(path: &Path, config: &Config) -> Result<(Vec<Arrival>, String), String> {
    let shown = path.display();
    let file = File::open(path).map_err(|error| format!("{shown}: {error}"))?;
    let Recorded { arrivals, others } =
        read(BufReader::new(file)).map_err(|error| format!("{shown}: {error}"))?;
    if arrivals.is_empty() {
        return Err(format!(
            "{shown}: there is no event queue.joined among its {others} events: nobody has joined a queue"
        ));
    }
    let unknown =
        arrivals.iter().flat_map(|arrival| &arrival.queue_ids).find(|id| !config.queues.contains_key(*id));
    if let Some(id) = unknown {
        eprintln!("warning: {shown}: parties join the queue {id:?}, which the configuration does not have");
    }
    let about = format!("{} parties of {shown}", arrivals.len());
    Ok((arrivals, about))
}

fn figures(args: &SimulateArgs, path: &Path, config: &Config, arrivals: &[Arrival]) -> Figures {
    let match_ms = i64::try_from(args.match_time.as_millis()).unwrap_or(i64::MAX);
    let setup = setup(config, match_ms);
    let last_ms = arrivals.last().map_or(0, |arrival| arrival.at_ms);
    let end_ms = match args.events {
        // The last tickets have timed out then.
        Some(_) => last_ms + setup.ticket_timeout_ms.unwrap_or(AFTER_LAST_MS) + 1,
        None => args.demand.duration_ms(),
    };
    let name = path.display().to_string();
    let mut line = ProgressLine::new(&name);
    let outcome = simulate(&setup, arrivals, end_ms, &mut |progress| line.show(progress));
    line.clear();
    Figures::of(&name, &outcome)
}

/// What the configuration says about matchmaking.
fn setup(config: &Config, match_ms: i64) -> Setup {
    let section = &config.matchmaking;
    let maps = config.instance_templates.iter().map(|(id, template)| (*id, template.maps.clone()));
    Setup {
        matchmaking: config.matchmaking_tables(),
        regions: config.regions.clone(),
        maps: maps.collect::<BTreeMap<_, _>>(),
        pass_every_ms: section.pass_every_ms.into(),
        ticket_timeout_ms: (section.ticket_timeout_s > 0)
            .then(|| i64::from(section.ticket_timeout_s) * 1_000),
        profiles_per_ticket_max: section.profiles_per_ticket_max,
        match_ms,
    }
}

/// A line on standard error that says how far a simulation is, if somebody sees it.
struct ProgressLine<'a> {
    name: &'a str,
    is_seen: bool,
    is_shown: bool,
    last: Instant,
}

impl<'a> ProgressLine<'a> {
    fn new(name: &'a str) -> Self {
        let is_seen = std::io::stderr().is_terminal();
        Self { name, is_seen, is_shown: false, last: Clock::System.instant() }
    }

    fn show(&mut self, Progress { done_ms, of_ms, waiting }: Progress) {
        if !self.is_seen {
            return;
        }
        let now = Clock::System.instant();
        if now - self.last >= REPORT_EVERY {
            (self.last, self.is_shown) = (now, true);
            self.write(&format!(
                "\r{}: {} %, {waiting} parties wait\x1b[K",
                self.name,
                done_ms * 100 / of_ms
            ));
        }
    }

    fn clear(&self) {
        if self.is_shown {
            self.write("\r\x1b[K");
        }
    }

    fn write(&self, text: &str) {
        // Whoever has closed standard error misses nothing else.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_named_by_their_form() {
        assert_eq!(parse_report("a/b.html").unwrap().form, Form::Html);
        assert_eq!(parse_report("b.svg").unwrap().form, Form::Svg);
        for name in ["", "html", "a.txt", "a.html.gz"] {
            assert!(parse_report(name).is_err(), "{name}");
        }
    }
}
