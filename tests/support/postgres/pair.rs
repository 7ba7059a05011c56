//! A primary and a synchronous standby that can be promoted.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::super::process::soon;
use super::programs;
use super::server::{free_ports, script};

/// Creates two servers in the directory `$1`, with the programs in `$2`, on the ports `$3` and `$4`. The port is also
/// the name of the server's directory. The script runs each line of its input as a command and prints the result. At
/// the end of its input it removes everything.
///
/// Every commit on the primary waits for the standby, so the primary acknowledges nothing before both are connected.
/// A killed server leaves a shared memory segment behind, which the script removes. The script ignores SIGPIPE: a
/// closed output must not end it before the cleanup.
const SCRIPT: &str = r#"
trap '' PIPE
cd "$1" || exit 1
export PATH="$2:$PATH"
primary=$3 standby=$4

start() {
    pg_ctl -D "$1" -l "$1.log" -w -o "-p $1 -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off \
        -c full_page_writes=off -c max_connections=200 -c shared_buffers=64MB -c dynamic_shared_memory_type=mmap $2" start
}
process_ids() {
    read -r id <"$1/postmaster.pid" && echo "$id" && cat "/proc/$id/task/$id/children"
}
kill_server() {
    [ -f "$1/postmaster.pid" ] || return 0
    kill -s KILL $(process_ids "$1")
    ipcrm -m "$(sed -n '7s/.* //p' "$1/postmaster.pid")"
    rm "$1/postmaster.pid"
}
pair() {
    rm -rf "$standby" && cp -a "$primary" "$standby" && touch "$standby/standby.signal" &&
    start "$primary" "-c synchronous_standby_names=*" &&
    start "$standby" "-c primary_conninfo='host=127.0.0.1 port=$primary user=rallypoint'"
}
swap_roles() {
    set -- "$primary" "$standby"
    primary=$2 standby=$1
}
run_command() {
    case $1 in
        make) initdb -D "$primary" -U rallypoint -A trust -E UTF8 --locale=C --no-sync && pair ;;
        pair) pg_ctl -D "$primary" -m fast -w stop && pair ;;
        kill) kill_server "$primary" ;;
        freeze) kill -s STOP $(process_ids "$primary") ;;
        promote) pg_ctl -D "$standby" -w promote && swap_roles ;;
        kill_former) kill_server "$standby" ;;
    esac
}

while read -r step; do
    run_command "$step" >>log 2>&1 && echo "done" || { cat log *.log; break; }
done
kill_server "$primary" 2>>log
kill_server "$standby" 2>>log
cd / && rm -rf "$1"
"#;

/// A primary and a synchronous standby. Both stop when this is dropped.
pub struct Pair {
    /// The URL, with both hosts.
    pub url: String,
    /// Both hosts, each with its port: first the primary, then the standby that was made from it.
    pub hosts: [String; 2],
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
        let hosts = ports.map(|port| format!("127.0.0.1:{port}"));
        let url = format!("postgresql://rallypoint@{}/postgres", hosts.join(","));
        let mut pair = Self { url, hosts, input, output, _script: script };
        pair.run("make").await;
        pair
    }

    /// Ends the primary at once, with SIGKILL.
    pub async fn kill_primary(&mut self) {
        self.run("kill").await;
    }

    /// Freezes the primary with SIGSTOP: it answers nothing, and its connections stay open.
    pub async fn freeze_primary(&mut self) {
        self.run("freeze").await;
    }

    /// Promotes the standby to a primary without a standby. A former primary that lives on still takes writes.
    pub async fn promote_standby(&mut self) {
        self.run("promote").await;
    }

    /// Kills the frozen former primary.
    pub async fn kill_former_primary(&mut self) {
        self.run("kill_former").await;
    }

    /// Creates a new standby in place of the former primary. This restarts the primary.
    pub async fn make_standby(&mut self) {
        self.run("pair").await;
    }

    async fn run(&mut self, step: &str) {
        self.input.write_all(format!("{step}\n").as_bytes()).await.unwrap();
        let said = soon(step, self.output.next_line()).await.unwrap();
        if said.as_deref() != Some("done") {
            let mut lines = vec![said.unwrap_or_default()];
            while let Ok(Some(line)) = self.output.next_line().await {
                lines.push(line);
            }
            panic!("the database script failed at {step}: {lines:#?}");
        }
    }
}
