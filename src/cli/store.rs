//! `rallypoint store`: a whole store, moved to another backend or another place.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use super::{StopSignals, print, runtime};
use crate::config::{Config, Sources};
use crate::env::Clock;
use crate::store::copy::{CopyError, Progress, Step, Summary, copy};
use crate::store::{Embedded, Postgres, Store, StoreError};

/// What `rallypoint store copy --help` teaches.
const COPY_HELP: &str = "\
A store is named by its data directory (file:DIR, or DIR alone), or as postgresql://USER@HOST/DATABASE. For a \
database all else is as for serve: RALLYPOINT_POSTGRES__PASSWORD and the knobs under [postgres], for both where \
both are databases.

Stop every server that uses either store first. One that has a store open is noticed and refused: a database's by the \
application_name of its connections, rallypoint unless the url says otherwise, so name the database as they do. What one \
changes that is started before the last check makes the copy fail, and what it changes later is not in the copy.

The target must be empty. Start no server on it before this has ended with status 0, which it does only after \
number and checksum of all keys and values have been read again on both sides and agree. After anything else, empty \
the target and start again; the error says how. The source is not changed, but for being brought up to date as \
serve does it.

Sessions, deadlines and ETags stay what they are. Versions, which are a store's own, are new. The development \
key is not part of a store.

  rallypoint store copy --from ./rallypoint-data --to postgresql://me@db1/games
  rallypoint store copy --from postgresql://me@db1/games --to file:/var/lib/games";

/// Least time between two lines about how far it has come.
const TELL_EVERY: Duration = Duration::from_secs(2);

#[derive(Args)]
pub struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Subcommand)]
enum StoreCommand {
    /// Copy all of a store into an empty one, and check that it is all there.
    #[command(after_help = COPY_HELP)]
    Copy(CopyArgs),
}

#[derive(Args)]
struct CopyArgs {
    /// The store to copy.
    #[arg(long, value_name = "URL", value_parser = parse_place)]
    from: Place,
    /// The empty store that becomes its copy; a data directory is made where there is none.
    #[arg(long, value_name = "URL", value_parser = parse_place)]
    to: Place,
    /// Configuration file, for the knobs under [postgres].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// In this data directory.
    Embedded(PathBuf),
    /// In the database at this address.
    Postgres(String),
}

/// Reads where a store is, or says how one is named.
fn parse_place(text: &str) -> Result<Place, String> {
    const FORMS: &str =
        "this takes a data directory, as in file:/var/lib/rallypoint, or postgresql://USER@HOST/DATABASE";
    if text.starts_with("postgresql://") || text.starts_with("postgres://") {
        // What is wrong with it is told later, by who knows, without a password that it may hold.
        return Ok(Place::Postgres(text.into()));
    }
    let dir = text.strip_prefix("file:").unwrap_or(text);
    let names_host = dir.starts_with("//") && !dir.starts_with("///");
    if dir.is_empty() || names_host || dir.contains("://") {
        return Err(FORMS.into());
    }
    Ok(Place::Embedded(dir.into()))
}

impl Place {
    /// Opens the store there.
    async fn open(&self, config: &Config) -> Result<Store, String> {
        match self {
            Self::Embedded(data_dir) => {
                let data_dir = data_dir.clone();
                // Opening reads the journal from disk: not on a thread that others wait for.
                let open = tokio::task::spawn_blocking(move || Embedded::open(&data_dir));
                match open.await.map_err(|error| error.to_string())? {
                    Ok(embedded) => Ok(Store::Embedded(embedded)),
                    Err(StoreError::InUse { dir }) => {
                        Err(format!("a server uses the data directory {}: stop it first", dir.display()))
                    }
                    Err(error) => Err(error.to_string()),
                }
            }
            Self::Postgres(url) => {
                let mut postgres = config.postgres.clone();
                postgres.url = Some(url.clone());
                let opened = Postgres::open_alone(postgres.settings()?).await;
                Ok(Store::Postgres(opened.map_err(|error| error.to_string())?))
            }
        }
    }

    /// Opens a store that must be there already, since opening one makes it.
    async fn open_existing(&self, config: &Config) -> Result<Store, String> {
        match self {
            Self::Embedded(data_dir) if !Embedded::folder(data_dir).is_dir() => Err(format!(
                "there is no store in {}: name the data directory of a server",
                data_dir.display()
            )),
            _ => self.open(config).await,
        }
    }

    fn is_same_directory(&self, other: &Self) -> bool {
        let (Self::Embedded(one), Self::Embedded(other)) = (self, other) else { return false };
        let real = |dir: &Path| dir.canonicalize().ok();
        real(one).is_some_and(|one| real(other) == Some(one))
    }

    /// How an operator takes away what the store holds.
    fn emptying(&self) -> String {
        match self {
            Self::Embedded(data_dir) => format!("rm -r '{}'", Embedded::folder(data_dir).display()),
            Self::Postgres(url) => format!("psql '{url}' -c 'TRUNCATE rallypoint_entries'"),
        }
    }
}

/// Runs the command.
pub fn run(args: &StoreArgs) -> Result<(), String> {
    let StoreCommand::Copy(args) = &args.command;
    let config =
        Config::load(&Sources::of_process(args.config.clone())).map_err(|error| error.to_string())?;
    if args.from.is_same_directory(&args.to) {
        return Err("--from and --to are the same directory".into());
    }
    let copied = runtime()?.block_on(async {
        // Asked for before anything is written, so that no signal is missed.
        let mut signals = StopSignals::listen()?;
        let source = args.from.open_existing(&config).await.map_err(|error| format!("--from: {error}"))?;
        let target = args.to.open(&config).await.map_err(|error| format!("--to: {error}"))?;
        let mut reporter = Reporter::new(Clock::System);
        let copied = tokio::select! {
            copied = copy(&source, &target, |progress| reporter.hear(progress)) => {
                copied.map_err(|error| advised(&error, &args.to))
            }
            () = signals.next() => Err(format!("interrupted; {}", start_again(&args.to))),
        };
        // Nothing was changed in the source, which may be flushed or not.
        let (_, closed) = tokio::join!(source.close(), target.close());
        let copied = copied?;
        closed.map_err(|error| format!("{error}; {}", start_again(&args.to)))?;
        Ok::<_, String>(copied)
    })?;
    print(&told(&copied))
}

fn told(copied: &Summary) -> String {
    let sha256: String = copied.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    let Summary { keys, bytes, .. } = copied;
    format!("copied {keys} keys of {bytes} bytes; both stores have the checksum {sha256}\n")
}

/// What went wrong, and what to do about the target.
fn advised(error: &CopyError, target: &Place) -> String {
    match error {
        CopyError::TargetNotEmpty => {
            let emptying = target.emptying();
            format!("{error}: name another one, or, if nothing in it is needed, empty it with {emptying}")
        }
        error if error.changed_nothing() => error.to_string(),
        error => format!("{error}; {}", start_again(target)),
    }
}

fn start_again(target: &Place) -> String {
    format!("the target may hold a part: empty it with {}, and start again", target.emptying())
}

/// Says now and then on standard error how far it has come.
struct Reporter {
    clock: Clock,
    step: Option<Step>,
    step_began: Instant,
    last_told: Instant,
}

impl Reporter {
    fn new(clock: Clock) -> Self {
        let now = clock.instant();
        Self { clock, step: None, step_began: now, last_told: now }
    }

    fn hear(&mut self, progress: Progress) {
        let now = self.clock.instant();
        if self.step != Some(progress.step) {
            (self.step, self.step_began) = (Some(progress.step), now);
        }
        if now - self.last_told >= TELL_EVERY {
            self.last_told = now;
            eprintln!("{}", line(progress, now - self.step_began));
        }
    }
}

fn line(Progress { step, keys, bytes }: Progress, took: Duration) -> String {
    let done = match step {
        Step::Copy => "copied",
        Step::CheckTarget => "checked in the target:",
        Step::CheckSource => "checked in the source:",
    };
    let per_second = u128::from(keys) * 1_000 / took.as_millis().max(1);
    format!("{done} {keys} keys, {} MiB, {per_second} keys/s", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_named_by_directory_or_url() {
        for (text, dir) in [
            ("rallypoint-data", "rallypoint-data"),
            ("./a b", "./a b"),
            ("file:rallypoint-data", "rallypoint-data"),
            ("file:/var/lib/rallypoint", "/var/lib/rallypoint"),
            ("file:///var/lib/rallypoint", "///var/lib/rallypoint"),
        ] {
            assert_eq!(parse_place(text), Ok(Place::Embedded(dir.into())), "{text}");
        }
        for url in ["postgresql://me@db/games", "postgres://me@db/games?sslmode=require"] {
            assert_eq!(parse_place(url), Ok(Place::Postgres(url.into())));
        }
        for text in
            ["", "file:", "file://host/data", "http://127.0.0.1:7700", "redis://cache", "file:http://a"]
        {
            assert!(parse_place(text).unwrap_err().contains("file:/var/lib/rallypoint"), "{text}");
        }
    }

    #[test]
    fn progress_is_told_with_its_pace() {
        let progress = |step| Progress { step, keys: 3_000, bytes: 5 << 20 };
        let took = Duration::from_millis(1_500);
        assert_eq!(line(progress(Step::Copy), took), "copied 3000 keys, 5 MiB, 2000 keys/s");
        assert_eq!(
            line(progress(Step::CheckTarget), Duration::ZERO),
            "checked in the target: 3000 keys, 5 MiB, 3000000 keys/s"
        );
    }

    #[test]
    fn what_went_wrong_comes_with_what_to_do() {
        let target = Place::Postgres("postgresql://me@db/games".into());
        let emptying = "psql 'postgresql://me@db/games' -c 'TRUNCATE rallypoint_entries'";
        for (error, is_advised) in [
            (CopyError::SourceChanged, true),
            (CopyError::TargetNotEmpty, true),
            (CopyError::SourceEmpty, false),
            // There it would take the source away.
            (CopyError::SameStore, false),
        ] {
            let told = advised(&error, &target);
            assert_eq!(told.contains(emptying), is_advised, "{told}");
        }
    }
}
