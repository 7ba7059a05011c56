//! `rallypoint store`: copies a whole store to another kind of store, or to another directory or database; looks for
//! damage in an embedded store, and salvages what is before it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use super::config::load;
use super::signals::StopSignals;
use super::{print, runtime};
use crate::config::{Config, Sources};
use crate::env::Clock;
use crate::records::keys::KEY_UPGRADE;
use crate::runtime::settings::postgres_settings;
use crate::store::copy::{CopyError, CopyProgress, CopyStep, Summary, copy};
use crate::store::{Embedded, LeftOut, Postgres, Salvaged, Store, StoreError};

/// Text after `rallypoint store --help`.
pub const HELP: &str = "\
A store is the embedded store in a data directory, or a PostgreSQL database.

  rallypoint store copy --from ./rallypoint-data --to postgresql://me@db1/games
  rallypoint store verify --data-dir ./rallypoint-data

Next: read `rallypoint store copy --help` before you copy; all servers must be stopped.";

/// Text after `rallypoint store copy --help`.
const COPY_HELP: &str = "\
A store is a data directory (file:DIR, or DIR) or a database (postgresql://USER@HOST/DATABASE). For a database, the \
password is in RALLYPOINT_POSTGRES__PASSWORD or in the password_file of --config, as for serve; other settings under \
[postgres] apply too. If both stores are databases, they use the same settings.

1. Stop every server that uses either store. The command refuses a store that a server has open. It recognises the \
servers of a database by the application_name of their connections, rallypoint unless the url sets another, so give the \
same url as the servers. If a server changes the source during the copy, the copy fails; a change after the last check \
is not in the copy.

2. Copy. The target must be empty; a data directory is created if it does not exist. The command reads both stores again \
at the end, and exits with status 0 only if number and checksum of all keys and values agree. It changes nothing in the \
source, except that it upgrades an old format, as serve does. If it fails, the target may hold a part of the data: empty \
it as the error says, and start again.

3. Start a server on the target.

Sessions, deadlines and ETags stay the same. Versions get new values. The development key is not copied.

  rallypoint store copy --from ./rallypoint-data --to postgresql://me@db1/games
  rallypoint store copy --from postgresql://me@db1/games --to file:/var/lib/games";

/// Text after `rallypoint store verify --help`.
const VERIFY_HELP: &str = "\
Reads all files of the embedded store in a data directory and changes none. Stop the server first. Exits with status 0 if \
every change that a server has answered is there, and with status 1 if files are damaged or missing; the error says what to \
do. A server looks for the same damage at its start, except in large tables, which it checks when it reads a value.

  rallypoint store verify --data-dir /var/lib/rallypoint";

/// Text after `rallypoint store salvage --help`.
const SALVAGE_HELP: &str = "\
For a store that `verify` refuses, if there is no backup. Copies the store as it was before the damaged change into another \
data directory. Later changes are lost, unless the damaged ones are in the tables too. It says how much it left out. The \
damaged store keeps its files. This is possible only if the damage is in the newest changes (the files *.jnl). The \
development key is not copied.

  rallypoint store salvage --from /var/lib/rallypoint --to /var/lib/rallypoint-salvaged";

/// Shortest time between two lines of progress.
const REPORT_EVERY: Duration = Duration::from_secs(2);

#[derive(Args)]
pub struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Subcommand)]
enum StoreCommand {
    /// Copy a store into an empty one, and verify the copy.
    #[command(after_help = COPY_HELP)]
    Copy(CopyArgs),
    /// Look for damage in the files of an embedded store.
    #[command(after_help = VERIFY_HELP)]
    Verify(VerifyArgs),
    /// Copy a damaged embedded store, without the changes after the damage.
    #[command(after_help = SALVAGE_HELP)]
    Salvage(SalvageArgs),
}

#[derive(Args)]
struct VerifyArgs {
    /// Configuration file of the server.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory of the server [default: ./rallypoint-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Args)]
struct SalvageArgs {
    /// Data directory with the damaged store.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Data directory for the copy; it must not have a store.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

#[derive(Args)]
struct CopyArgs {
    /// Source: a data directory or a database.
    #[arg(long, value_name = "URL", value_parser = parse_store_url)]
    from: StoreUrl,
    /// Target: an empty database, or a data directory without a store.
    #[arg(long, value_name = "URL", value_parser = parse_store_url)]
    to: StoreUrl,
    /// Configuration file, for the settings under [postgres].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Address of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
enum StoreUrl {
    /// An embedded store, in this data directory.
    Embedded(PathBuf),
    /// A PostgreSQL database.
    Postgres(String),
}

/// Parses the address of a store. The error shows the formats.
fn parse_store_url(text: &str) -> Result<StoreUrl, String> {
    const FORMS: &str =
        "this takes a data directory, as in file:/var/lib/rallypoint, or postgresql://USER@HOST/DATABASE";
    if text.starts_with("postgresql://") || text.starts_with("postgres://") {
        // The store parses the URL when it opens. Its error does not show a password that the URL may contain.
        return Ok(StoreUrl::Postgres(text.into()));
    }
    let dir = text.strip_prefix("file:").unwrap_or(text);
    let names_host = dir.starts_with("//") && !dir.starts_with("///");
    if dir.is_empty() || names_host || dir.contains("://") {
        return Err(FORMS.into());
    }
    Ok(StoreUrl::Embedded(dir.into()))
}

impl StoreUrl {
    /// Opens the store. An embedded store is created if it does not exist.
    async fn open(&self, config: &Config) -> Result<Store, String> {
        match self {
            Self::Embedded(data_dir) => {
                let data_dir = data_dir.clone();
                // Opening reads the journal from disk, which would block other tasks.
                let open = tokio::task::spawn_blocking(move || Embedded::open(&data_dir, KEY_UPGRADE));
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
                let opened = Postgres::open_alone(postgres_settings(&postgres)?).await;
                Ok(Store::Postgres(opened.map_err(|error| error.to_string())?))
            }
        }
    }

    /// Opens the store if it exists, and never creates one.
    async fn open_existing(&self, config: &Config) -> Result<Store, String> {
        match self {
            Self::Embedded(data_dir) => check_store_exists(data_dir)?,
            Self::Postgres(_) => {}
        }
        self.open(config).await
    }

    fn is_same_directory(&self, other: &Self) -> bool {
        let (Self::Embedded(one), Self::Embedded(other)) = (self, other) else { return false };
        let real = |dir: &Path| dir.canonicalize().ok();
        real(one).is_some_and(|one| real(other) == Some(one))
    }

    /// The command that empties the store, for error messages.
    fn command_to_empty(&self) -> String {
        match self {
            Self::Embedded(data_dir) => format!("rm -r '{}'", Embedded::folder(data_dir).display()),
            Self::Postgres(url) => format!("psql '{url}' -c 'TRUNCATE rallypoint_entries'"),
        }
    }
}

/// Runs the command.
pub fn run(args: &StoreArgs) -> Result<(), String> {
    match &args.command {
        StoreCommand::Copy(args) => run_copy(args),
        StoreCommand::Verify(args) => verify(args),
        StoreCommand::Salvage(args) => salvage(args),
    }
}

fn verify(args: &VerifyArgs) -> Result<(), String> {
    let data_dir = match &args.data_dir {
        Some(data_dir) => data_dir.clone(),
        None => load(&Sources::of_process(args.config.clone()))?.store.data_dir,
    };
    check_store_exists(&data_dir)?;
    let found = Embedded::verify(&data_dir).map_err(|error| error.to_string())?;
    let (dir, torn) = (data_dir.display(), found.torn_bytes);
    let newest = match found.knows_newest {
        true => "",
        false => {
            "but store/acknowledged is missing or damaged, so the loss of the newest changes cannot be found (older servers \
             wrote none)\n"
        }
    };
    let torn = match torn {
        0 => String::new(),
        _ => format!(
            "a crash left {torn} bytes of an unfinished write, which is normal; the next start removes them\n"
        ),
    };
    print(&format!(
        "the store in {dir} is OK: {} journals with {} batches of changes, and {} tables\n{torn}{newest}",
        found.journals, found.batches, found.tables
    ))
}

fn salvage(args: &SalvageArgs) -> Result<(), String> {
    check_store_exists(&args.from)?;
    let salvaged = Embedded::salvage(&args.from, &args.to).map_err(|error| error.to_string())?;
    let Salvaged { what, left_out } = salvaged;
    let left_out: String = left_out.iter().map(describe).collect();
    print(&format!(
        "copied the changes before the damage to {}\nthe damage: {what}\n{left_out}Next: copy the development key \
         (development-key), if the server uses it; then rallypoint serve --data-dir '{}'\n",
        args.to.display(),
        args.to.display()
    ))
}

fn describe(left_out: &LeftOut) -> String {
    let LeftOut { journal, bytes, is_in_tables, later, batches } = left_out;
    let journal = journal.display();
    if *is_in_tables {
        return format!(
            "left out: {bytes} damaged bytes of {journal}; nothing is lost, because these changes are in tables too, and \
             the later changes were copied\n"
        );
    }
    format!(
        "left out: {bytes} bytes at the end of {journal}, and {later} later journals; in them were {batches} whole batches \
         of changes, which are lost\n"
    )
}

fn check_store_exists(data_dir: &Path) -> Result<(), String> {
    if Embedded::folder(data_dir).is_dir() {
        return Ok(());
    }
    Err(format!("there is no store in {}: name the data directory of a server", data_dir.display()))
}

fn run_copy(args: &CopyArgs) -> Result<(), String> {
    let config = load(&Sources::of_process(args.config.clone()))?;
    if args.from.is_same_directory(&args.to) {
        return Err("--from and --to are the same directory; name another target".into());
    }
    let copied = runtime()?.block_on(async {
        // Before anything is written, so that no signal is missed.
        let mut signals = StopSignals::listen()?;
        let source = args.from.open_existing(&config).await.map_err(|error| format!("--from: {error}"))?;
        let target = args.to.open(&config).await.map_err(|error| format!("--to: {error}"))?;
        let mut progress_log = ProgressLog::new(Clock::System);
        let copied = tokio::select! {
            copied = copy(&source, &target, |progress| progress_log.report(progress)) => {
                copied.map_err(|error| with_advice(&error, &args.to))
            }
            () = signals.next() => Err(format!("interrupted; {}", start_again(&args.to))),
        };
        // The source is unchanged, so an error of closing it does not matter.
        let (_, closed) = tokio::join!(source.close(), target.close());
        let copied = copied?;
        closed.map_err(|error| format!("{error}; {}", start_again(&args.to)))?;
        Ok::<_, String>(copied)
    })?;
    print(&summary_line(&copied))
}

fn summary_line(copied: &Summary) -> String {
    let sha256: String = copied.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    let Summary { keys, bytes, .. } = copied;
    format!("copied {keys} keys of {bytes} bytes; both stores have the checksum {sha256}\n")
}

/// The error, and what to do about the target.
fn with_advice(error: &CopyError, target: &StoreUrl) -> String {
    match error {
        CopyError::TargetNotEmpty => {
            let command = target.command_to_empty();
            format!("{error}: name another one, or, if you do not need its data, empty it with {command}")
        }
        error if error.changed_nothing() => error.to_string(),
        error => format!("{error}; {}", start_again(target)),
    }
}

fn start_again(target: &StoreUrl) -> String {
    format!(
        "the target may hold a part of the data: empty it with {}, and start again",
        target.command_to_empty()
    )
}

/// Reports the progress on standard error, at most every [`REPORT_EVERY`].
struct ProgressLog {
    clock: Clock,
    step: Option<CopyStep>,
    step_began: Instant,
    last_report: Instant,
}

impl ProgressLog {
    fn new(clock: Clock) -> Self {
        let now = clock.instant();
        Self { clock, step: None, step_began: now, last_report: now }
    }

    fn report(&mut self, progress: CopyProgress) {
        let now = self.clock.instant();
        if self.step != Some(progress.step) {
            (self.step, self.step_began) = (Some(progress.step), now);
        }
        if now - self.last_report >= REPORT_EVERY {
            self.last_report = now;
            eprintln!("{}", progress_line(progress, now - self.step_began));
        }
    }
}

fn progress_line(CopyProgress { step, keys, bytes }: CopyProgress, took: Duration) -> String {
    let done = match step {
        CopyStep::Copy => "copied",
        CopyStep::CheckTarget => "checked in the target:",
        CopyStep::CheckSource => "checked in the source:",
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
            assert_eq!(parse_store_url(text), Ok(StoreUrl::Embedded(dir.into())), "{text}");
        }
        for url in ["postgresql://me@db/games", "postgres://me@db/games?sslmode=require"] {
            assert_eq!(parse_store_url(url), Ok(StoreUrl::Postgres(url.into())));
        }
        for text in
            ["", "file:", "file://host/data", "http://127.0.0.1:7700", "redis://cache", "file:http://a"]
        {
            assert!(parse_store_url(text).unwrap_err().contains("file:/var/lib/rallypoint"), "{text}");
        }
    }

    #[test]
    fn progress_includes_the_rate() {
        let progress = |step| CopyProgress { step, keys: 3_000, bytes: 5 << 20 };
        let took = Duration::from_millis(1_500);
        assert_eq!(progress_line(progress(CopyStep::Copy), took), "copied 3000 keys, 5 MiB, 2000 keys/s");
        assert_eq!(
            progress_line(progress(CopyStep::CheckTarget), Duration::ZERO),
            "checked in the target: 3000 keys, 5 MiB, 3000000 keys/s"
        );
    }

    #[test]
    fn errors_say_how_to_empty_a_target_that_was_written() {
        let target = StoreUrl::Postgres("postgresql://me@db/games".into());
        let command = "psql 'postgresql://me@db/games' -c 'TRUNCATE rallypoint_entries'";
        for (error, is_advised) in [
            (CopyError::SourceChanged, true),
            (CopyError::TargetNotEmpty, true),
            (CopyError::SourceEmpty, false),
            // Emptying the target would empty the source.
            (CopyError::SameStore, false),
        ] {
            let message = with_advice(&error, &target);
            assert_eq!(message.contains(command), is_advised, "{message}");
        }
    }
}
