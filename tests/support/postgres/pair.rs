//! A primary and a synchronous standby, which takes over where it is told to.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::super::process::soon;
use super::programs;
use super::server::{free_ports, script};

/// Makes two servers in the directory `$1`, with the programs in `$2`, on the ports `$3` and `$4`, by which their
/// directories are named; does what each line of its input says, says so, and takes everything away when that ends.
///
/// The primary waits for the standby with every commit, so that it acknowledges nothing before both are together. A
/// server that is killed leaves a little of the system's memory behind, by which others would know that it ran. Where
/// nobody listens any more, saying so must not end the script before all is taken away.
const SCRIPT: &str = r#"
trap '' PIPE
cd "$1" || exit 1
export PATH="$2:$PATH"
primary=$3 standby=$4

start() {
    pg_ctl -D "$1" -l "$1.log" -w -o "-p $1 -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off \
        -c full_page_writes=off -c max_connections=200 -c shared_buffers=64MB -c dynamic_shared_memory_type=mmap $2" start
}
all_of() {
    read -r id <"$1/postmaster.pid" && echo "$id" && cat "/proc/$id/task/$id/children"
}
slay() {
    [ -f "$1/postmaster.pid" ] || return 0
    kill -s KILL $(all_of "$1")
    ipcrm -m "$(sed -n '7s/.* //p' "$1/postmaster.pid")"
    rm "$1/postmaster.pid"
}
pair() {
    rm -rf "$standby" && cp -a "$primary" "$standby" && touch "$standby/standby.signal" &&
    start "$primary" "-c synchronous_standby_names=*" &&
    start "$standby" "-c primary_conninfo='host=127.0.0.1 port=$primary user=rallypoint'"
}
turn() {
    set -- "$primary" "$standby"
    primary=$2 standby=$1
}
obey() {
    case $1 in
        make) initdb -D "$primary" -U rallypoint -A trust -E UTF8 --locale=C --no-sync && pair ;;
        pair) pg_ctl -D "$primary" -m fast -w stop && pair ;;
        kill) slay "$primary" ;;
        freeze) kill -s STOP $(all_of "$primary") ;;
        promote) pg_ctl -D "$standby" -w promote && turn ;;
        bury) slay "$standby" ;;
    esac
}

while read -r step; do
    obey "$step" >>log 2>&1 && echo "done" || { cat log *.log; break; }
done
slay "$primary" 2>>log
slay "$standby" 2>>log
cd / && rm -rf "$1"
"#;

/// A primary and a synchronous standby, for as long as this lives.
pub struct Pair {
    /// Names both.
    pub url: String,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _script: Child,
}

impl Pair {
    /// A new primary with its standby.
    pub async fn start() -> Self {
        let ports: [u16; 2] = free_ports();
        let (_, command) = script(SCRIPT, &programs::oldest(), &ports, &[]);
        let mut script = Command::from(command).stderr(Stdio::inherit()).spawn().unwrap();
        let output = BufReader::new(script.stdout.take().expect("its output is a pipe")).lines();
        let input = script.stdin.take().expect("its input is a pipe");
        let hosts = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
        let url = format!("postgresql://rallypoint@{hosts}/postgres");
        let mut pair = Self { url, input, output, _script: script };
        pair.obeys("make").await;
        pair
    }

    /// Ends the primary at once, with SIGKILL.
    pub async fn kill_primary(&mut self) {
        self.obeys("kill").await;
    }

    /// Stops the primary as if its machine stood still: it answers nothing, and whoever is connected is not told.
    pub async fn freeze_primary(&mut self) {
        self.obeys("freeze").await;
    }

    /// Makes the standby the primary, one without a standby. Nobody may reach the former primary as such again.
    pub async fn promote_standby(&mut self) {
        self.obeys("promote").await;
    }

    /// Ends a former primary that stands still.
    pub async fn kill_former_primary(&mut self) {
        self.obeys("bury").await;
    }

    /// Makes a new standby in place of the former primary. The primary starts anew for it.
    pub async fn make_standby(&mut self) {
        self.obeys("pair").await;
    }

    async fn obeys(&mut self, step: &str) {
        self.input.write_all(format!("{step}\n").as_bytes()).await.unwrap();
        let said = soon(step, self.output.next_line()).await.unwrap();
        if said.as_deref() != Some("done") {
            let mut told = vec![said.unwrap_or_default()];
            while let Ok(Some(line)) = self.output.next_line().await {
                told.push(line);
            }
            panic!("the database does not {step}: {told:#?}");
        }
    }
}
