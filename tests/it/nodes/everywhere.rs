//! The suite once more, on stores that several nodes share: whatever a test of the API says in memory holds on one node
//! on a database, and on three that each request comes to one of. This runs the very binary that it is part of.

use std::process::Stdio;

use tokio::process::Command;

use crate::harness::STORE_VARIABLE;
use crate::support::postgres::{URL_VARIABLE, newest_server_url, server_url};
use crate::support::process::run;

/// What says nothing new there: modules whose tests choose their stores themselves, or have none.
const INDEPENDENT: [&str; 14] = [
    "api::cors::",
    "api::large::",
    "nodes::",
    "process::",
    "promises::connections::",
    "promises::failures::",
    "promises::fast_path_wire::",
    "promises::fuzz::",
    "promises::linearizable::",
    "promises::model::",
    "promises::published::",
    "promises::races::",
    "promises::store::",
    "promises::tidy::",
];

/// What asks most of the database itself.
const OF_THE_DATABASE: [&str; 4] = [
    "promises::store::postgres::",
    "nodes::postgres::",
    "nodes::postgres_faults::",
    "nodes::postgres_operator::",
];

/// Fewer random sequences than usual, since each asks for a place of its own in the database.
const CASES: &str = "8";

/// What is another way on a store that several nodes may share, and why.
const ON_SHARED_STORES: [(&str, &str); 6] = [
    (
        "promises::fast_path::",
        "what a node has in memory is asked for in the store first; a test there says so",
    ),
    ("api::session_end::a_session_leaves_nothing_behind_after_its_last_player_is_inactive", LATER),
    ("promises::leftovers::departures_are_counted_by_cause", LATER),
    ("promises::inactivity::an_instance_that_reports_unknown_must_report_as_often_as_others", LATER),
    ("promises::inactivity::the_health_rules_are_configurable", LATER),
    ("promises::inactivity::an_inactive_player_is_removed_as_if_they_had_left", LATER),
];
/// Nodes wait for what others may have heard.
const LATER: &str = "silence counts an eighth later where others may have heard something";

/// What is another way where requests are spread over nodes, and why.
const ON_MANY_NODES: [(&str, &str); 10] = [
    ("api::browser::listing_again_replaces_the_data_and_keeps_the_position", INTERLEAVE),
    ("api::browser::a_page_starts_after_the_last_listing_of_the_page_before", INTERLEAVE),
    ("promises::expiry::an_overdue_session_does_not_block_its_platform_session", LOOKS_INSIDE),
    ("promises::leftovers::an_idle_session_leaves_nothing_in_memory", LOOKS_INSIDE),
    ("api::refresh_ttl::every_operation_with_refresh_ttl_keeps_a_session_alive_by_default", LOOKS_INSIDE),
    ("promises::inactivity::ended_sessions_are_no_longer_watched", LOOKS_INSIDE),
    ("api::short_code::each_wrong_code_in_a_path_counts", GUESSES),
    ("api::short_code::wrong_codes_are_limited_per_caller", GUESSES),
    ("api::short_code::services_are_rate_limited_by_address", GUESSES),
    ("api::short_code::invalid_input_is_reported_before_codes_are_looked_up", GUESSES),
];
const INTERLEAVE: &str = "nodes number their listings each from a block of its own";
const LOOKS_INSIDE: &str = "looks into the memory of one node";
const GUESSES: &str = "each node counts the guesses that come to it";

/// The tests of this binary, as a command with these arguments.
fn tests(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(args).env(URL_VARIABLE, server_url());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs the suite on the stores of this name, without what is another way there.
async fn runs_on(stores: &str, another_way: &[(&str, &str)]) {
    let another_way = another_way.iter().map(|(name, _)| *name);
    let skipped: Vec<_> = INDEPENDENT.into_iter().chain(another_way).collect();
    let listed = run(tests(&["--list", "--format=terse"])).await.expect(0).stdout;
    for name in &skipped {
        assert!(listed.lines().any(|line| line.starts_with(name)), "no test is called {name}");
    }
    let skips: Vec<_> = skipped.into_iter().flat_map(|name| ["--skip", name]).collect();
    let mut suite = tests(&skips);
    suite.env(STORE_VARIABLE, stores).env("PROPTEST_CASES", CASES);
    succeeds(suite, &format!("{STORE_VARIABLE}={stores}")).await;
}

async fn succeeds(mut suite: Command, name: &str) {
    let ran = suite.output().await.unwrap();
    let [said, also_said] = [ran.stdout, ran.stderr].map(|said| String::from_utf8(said).unwrap());
    assert!(ran.status.success(), "{name}\n{said}{also_said}");
    println!("{said}");
}

/// All else runs on the oldest version that there is.
#[tokio::test]
async fn the_database_tests_pass_on_the_newest_server() {
    let mut suite = tests(&OF_THE_DATABASE);
    suite.env(URL_VARIABLE, newest_server_url());
    succeeds(suite, "on the newest server").await;
}

#[tokio::test]
async fn the_suite_passes_on_a_database() {
    runs_on("postgres", &ON_SHARED_STORES).await;
}

#[tokio::test]
async fn the_suite_passes_on_three_nodes_that_share_a_database() {
    runs_on("postgres-3-nodes", &[&ON_SHARED_STORES[..], &ON_MANY_NODES].concat()).await;
}
