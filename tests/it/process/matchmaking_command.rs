//! `rallypoint matchmaking`.

use std::path::Path;

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Reply, creation};
use crate::support::connection::Connection;
use crate::support::process::{Finished, Server, rallypoint, run, serve, soon};

const CONFIG: &str = r#"
[ranks.00000000-0000-4000-8000-0000000000f1]
[queues.duel]
match_making_template_group_id = "00000000-0000-4000-8000-0000000000a1"
[[match_making_template_groups.00000000-0000-4000-8000-0000000000a1.templates]]
profiles = ["duel"]
[match_making_profiles.duel]
rank_id = "00000000-0000-4000-8000-0000000000f1"
fields = [{ name = "rank", widen = [{ after_s = 0, value = 2.0 }, { after_s = 60, value = 10.0 }] }]
"#;

async fn simulate(dir: &Path, args: &[&str]) -> Finished {
    let mut command = rallypoint(&["matchmaking", "simulate"]);
    command.args(args).current_dir(dir);
    run(command).await
}

fn directory(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// The cells of the row of all parties.
fn all(stdout: &str, configuration: &str) -> Vec<String> {
    let row = |line: &&str| line.starts_with("  all ") && line.contains(configuration);
    let row = stdout.lines().find(row).unwrap_or_else(|| panic!("{stdout}"));
    row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_simulation_prints_and_draws_the_same_figures_each_time() {
    let narrow = CONFIG.replace("value = 10.0", "value = 3.0");
    let dir = directory(&[("now.toml", CONFIG), ("next.toml", &narrow)]);
    let args = ["--config", "now.toml", "--compare", "next.toml", "--rate", "20", "--duration", "20m"];
    let finished = simulate(dir.path(), &[&args[..], &["--report", "both.html"]].concat()).await.expect(0);
    assert_eq!(finished.stderr, "", "progress is shown on terminals only");
    let page = std::fs::read_to_string(dir.path().join("both.html")).unwrap();
    let (now, next) = (all(&finished.stdout, "now.toml"), all(&finished.stdout, "next.toml"));
    assert_eq!(now[2], next[2], "the same parties go through both");
    assert_ne!(now[4..], next[4..], "{}", finished.stdout);
    for cell in now.iter().chain(&next) {
        assert!(page.contains(&format!(">{cell}<")), "the page has no {cell}");
    }
    let again = simulate(dir.path(), &args).await.expect(0);
    assert_eq!(finished.stdout.strip_suffix("\nThe report is in both.html.\n"), Some(&*again.stdout));
    let other = simulate(dir.path(), &[&args[..], &["--seed", "2"]].concat()).await.expect(0);
    assert_ne!(again.stdout, other.stdout);
}

#[tokio::test]
async fn recorded_events_are_simulated_until_their_tickets_have_ended() {
    let joined = |session: u8, second: u8, skill: u8| {
        format!(
            "{{\"event_name\":\"queue.joined\",\"session_id\":\"{session}\",\"queue_id\":\"duel\",\
             \"event_datetime\":\"2026-01-01T00:00:{second:02}Z\",\
             \"additional_params\":{{\"double_args\":{{\"00000000-0000-4000-8000-0000000000f1\":{skill}}}}}}}\n"
        )
    };
    let events = joined(1, 0, 10) + &joined(2, 1, 30) + &joined(3, 5, 11);
    let dir = directory(&[("now.toml", CONFIG), ("events.jsonl", &events)]);
    let finished =
        simulate(dir.path(), &["--config", "now.toml", "--events", "events.jsonl"]).await.expect(0);
    let expected =
        ["all", "3", "3", "66.7 %", "0.2 s", "5.2 s", "5.2 s", "5.2 s", "1", "0"].map(str::to_owned);
    assert_eq!(all(&finished.stdout, ""), expected, "{}", finished.stdout);
}

#[tokio::test]
async fn files_and_flags_that_cannot_be_simulated_are_refused() {
    let dir = directory(&[
        ("now.toml", CONFIG),
        ("none.toml", "[http]\n"),
        ("bad.toml", "[queues.a]\n"),
        ("bad.jsonl", "{}\n"),
        ("none.jsonl", "{\"event_name\":\"session.created\"}\n"),
    ]);
    for (args, expected) in [
        (&["--config", "gone.toml"][..], "gone.toml"),
        (&["--config", "none.toml"], "none.toml: the configuration has no active queue"),
        (&["--config", "bad.toml"], "match_making_template_group_id"),
        (
            &["--config", "now.toml", "--compare", "none.toml"],
            "none.toml: the configuration has no active queue",
        ),
        (&["--config", "now.toml", "--events", "gone.jsonl"], "gone.jsonl"),
        (&["--config", "now.toml", "--events", "bad.jsonl"], "bad.jsonl: line 1: there is no event_name"),
        (
            &["--config", "now.toml", "--events", "none.jsonl"],
            "none.jsonl: there is no event queue.joined among its 1",
        ),
        (
            &["--config", "now.toml", "--queues", "race=1"],
            "--queues names \"race\"; the configuration has duel",
        ),
        (&["--config", "now.toml", "--parties", "0=1"], "--parties has the size \"0\""),
        (
            &["--config", "now.toml", "--parties", "9=1"],
            "--parties has only sizes that the queues do not take",
        ),
        (
            &["--config", "now.toml", "--regions", "xx=1"],
            "--regions names \"xx\"; the configuration has no region",
        ),
        (&["--config", "now.toml", "--rate", "0"], "--rate must be above 0"),
        (&["--config", "now.toml", "--rate", "1e6", "--duration", "366d"], "shorten --duration"),
        (&["--config", "now.toml", "--report", "missing/a.html", "--duration", "1s"], "missing/a.html"),
    ] {
        let Finished { stdout, stderr, .. } = simulate(dir.path(), args).await.expect(1);
        assert!(
            stdout.is_empty() && stderr.starts_with("error: ") && stderr.contains(expected),
            "{args:?}: {stderr}"
        );
    }
    for args in [&["--report", "a.txt"][..], &["--queues", "duel"], &["--events", "a", "--seed", "2"]] {
        let Finished { stderr, .. } =
            simulate(dir.path(), &[&["--config", "now.toml"], args].concat()).await.expect(2);
        assert!(stderr.contains("--"), "{stderr}");
    }
}

async fn explain(data_dir: &Path, ticket: &str, args: &[&str]) -> Finished {
    let data_dir = data_dir.to_str().unwrap();
    run(rallypoint(&[&["matchmaking", "explain", ticket, "--data-dir", data_dir], args].concat())).await
}

#[tokio::test]
async fn a_waiting_ticket_of_a_running_server_is_explained() {
    let types = "[templates.party]\ncan_be_created_by_players_directly = true\ncan_join_matchmaking = true\n[templates.game]\n";
    let dir = directory(&[("now.toml", &format!("{types}{CONFIG}"))]);
    let (data_dir, config) = (dir.path().join("data"), dir.path().join("now.toml"));
    let server = Server::spawn(serve(&data_dir, &["--config", config.to_str().unwrap()])).await;
    let player = "11111111-1111-4111-8111-111111111111";
    let token = rallypoint(&["token", "--player", player, "--data-dir", data_dir.to_str().unwrap()]);
    let token = run(token).await.expect(0).stdout;
    let mut player = Connection::open(server.address, Some(token.trim_end())).await.unwrap();
    let created = player.call(&Method::POST, "/v1/session", Some(&creation("party"))).await.unwrap();
    let created = Reply::from(created).expect(200).body;
    let path = format!("/v1/session/{}/queue", created["session_id"].as_str().unwrap());
    let queued = player.call(&Method::POST, &path, Some(&json!({ "queue_id": "duel" }))).await.unwrap();
    let ticket = Reply::from(queued).expect(200).body["ticket_id"].as_str().unwrap().to_owned();

    // The first round of the matcher comes a moment after the start.
    let explained = soon("the ticket is known", async {
        loop {
            let finished = explain(&data_dir, &ticket, &[]).await;
            if finished.code == Some(0) {
                return finished.stdout;
            }
        }
    });
    let explained = explained.await;
    assert!(explained.starts_with("duel: nobody else waits\n"), "{explained}");
    assert!(explained.contains("with 1 of 2 players that a match needs\n"), "{explained}");
    assert!(explained.contains("  the next step comes in "), "{explained}");
    let json = explain(&data_dir, &ticket, &["--json"]).await.expect(0).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["profiles"]["duel"]["fit"]["waiting"], 0);
    let unknown = explain(&data_dir, "11111111-1111-4111-8111-111111111111", &[]).await.expect(1);
    assert!(unknown.stderr.starts_with("error: no ticket 11111111-"), "{}", unknown.stderr);
    let left = player.call(&Method::DELETE, &path, None).await.unwrap();
    Reply::from(left).expect(204);
    let left = explain(&data_dir, &ticket, &[]).await.expect(1);
    assert!(left.stderr.contains("has left the queue"), "{}", left.stderr);
    server.stop().await.expect(0);
    let stopped = explain(&data_dir, &ticket, &[]).await.expect(1).stderr;
    assert!(stopped.contains("is the server running on this machine"), "{stopped}");
}
