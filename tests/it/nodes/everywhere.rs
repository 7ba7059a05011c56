//! Runs the test suite again on shared stores: with one node on a database, and with three nodes on a database where
//! each request goes to one of them. It starts its own test binary.

use std::process::Stdio;

use tokio::process::Command;

use crate::harness::STORE_VARIABLE;
use crate::support::postgres::{URL_VARIABLE, newest_server_url, server_url};
use crate::support::process::run;

/// Modules that are skipped: their tests choose their stores themselves, or use none.
const INDEPENDENT: [&str; 18] = [
    "allocators::",
    "api::cors::",
    "api::large::",
    "nodes::",
    "process::",
    "promises::connections::",
    "promises::edges::",
    "promises::failures::",
    "promises::fast_path_wire::",
    "promises::fuzz::",
    "promises::linearizable::",
    "promises::memory::",
    "promises::model::",
    "promises::published::",
    "promises::races::",
    "promises::refusals::",
    "promises::store::",
    "promises::tidy::",
];

/// Modules that test the database itself.
const DATABASE_TESTS: [&str; 4] = [
    "promises::store::postgres::",
    "nodes::postgres::",
    "nodes::postgres_faults::",
    "nodes::postgres_operator::",
];

/// Number of random sequences: fewer than usual, since each needs a schema of its own in the database.
const CASES: &str = "8";

/// Tests that do not hold on a shared store, each with the reason.
const NOT_ON_SHARED_STORES: [(&str, &str); 13] = [
    (
        "promises::fast_path::",
        "a node checks its cache against the store first; a test of the module shows it",
    ),
    ("api::session_end::a_session_leaves_nothing_behind_after_its_last_player_is_inactive", LONGER_TIMEOUTS),
    ("promises::clock_steps::after_a_step_back_timeouts_take_their_usual_time", LONGER_TIMEOUTS),
    ("promises::leftovers::departures_are_counted_by_cause", LONGER_TIMEOUTS),
    (
        "promises::inactivity::an_instance_that_reports_unknown_must_report_as_often_as_others",
        LONGER_TIMEOUTS,
    ),
    ("promises::inactivity::the_health_rules_are_configurable", LONGER_TIMEOUTS),
    ("promises::inactivity::an_inactive_player_is_removed_as_if_they_had_left", LONGER_TIMEOUTS),
    ("notifications::long_poll::presence::", LONGER_TIMEOUTS),
    ("notifications::long_poll::waiting::the_deadline_is_that_of_the_client", SETTLES),
    ("users::", "a server on a database needs keys of its own, so it has no login"),
    ("api::wait_checks::a_wait_sleeps_through_changes_that_its_caller_does_not_see", SETTLES),
    ("api::wait_checks::the_pages_of_a_type_are_looked_at_four_times_a_second", SETTLES),
    ("api::wait_races::", "thousands of commits, one after the other, take long on a database"),
];
/// The tests of `nodes::invalidations` are for several nodes.
const HELD: &str = "the tests look at the waits of one node";
const SETTLES: &str = "the test does not wait for answers of a database";
/// Nodes wait for heartbeats and reports that other nodes may have received.
const LONGER_TIMEOUTS: &str = "on a shared store, timeouts are an eighth longer";

/// Tests that do not hold if requests are distributed over several nodes, each with the reason.
const NOT_ON_SEVERAL_NODES: [(&str, &str); 20] = [
    ("api::browser::listing_again_replaces_the_data_and_keeps_the_position", INTERLEAVE),
    ("api::browser::a_page_starts_after_the_last_listing_of_the_page_before", INTERLEAVE),
    ("promises::expiry::an_overdue_session_does_not_block_its_platform_session", READS_MEMORY),
    ("promises::leftovers::an_idle_session_leaves_nothing_in_memory", READS_MEMORY),
    ("api::refresh_ttl::every_operation_with_refresh_ttl_keeps_a_session_alive_by_default", READS_MEMORY),
    ("promises::inactivity::ended_sessions_are_no_longer_watched", READS_MEMORY),
    ("api::quiet_set::a_player_who_reports_is_online_for_90_seconds", REPORTS),
    ("api::quiet_set::only_the_player_sees_that_they_are_invisible", REPORTS),
    ("api::password::", WRONG_CODES),
    ("api::short_code::a_code_may_be_encoded", WRONG_CODES),
    ("api::short_code::each_wrong_code_in_a_path_counts", WRONG_CODES),
    ("api::short_code::wrong_codes_are_limited_per_caller", WRONG_CODES),
    ("api::short_code::services_are_rate_limited_by_address", WRONG_CODES),
    ("api::short_code::invalid_input_is_reported_before_codes_are_looked_up", WRONG_CODES),
    ("api::wait::", HELD),
    ("api::wait_checks::", HELD),
    ("notifications::long_poll::", HELD),
    ("notifications::messages::a_page_has_an_etag_and_can_be_waited_on", HELD),
    ("api::visibility::an_etag_covers_what_the_caller_sees", SCOUTS),
    ("api::exact::a_failed_write_keeps_nothing_alive_and_notes_no_platform", READS_MEMORY),
];
const SCOUTS: &str = "of players who join at the same moment, a random one is the scout";
const INTERLEAVE: &str = "each node numbers listings from its own block";
const READS_MEMORY: &str = "the test reads the memory of one node";
const REPORTS: &str = "each node knows only the players who report to it";
const WRONG_CODES: &str = "each node counts only the wrong codes and passwords that it receives";

/// A command that runs this test binary with these arguments.
fn tests(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(args).env(URL_VARIABLE, server_url());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs the suite on the stores of this name, without the `INDEPENDENT` modules and without the given exceptions.
async fn runs_on(stores: &str, exceptions: &[(&str, &str)]) {
    let exceptions = exceptions.iter().map(|(name, _)| *name);
    let skipped: Vec<_> = INDEPENDENT.into_iter().chain(exceptions).collect();
    let listed = run(tests(&["--list", "--format=terse"])).await.expect(0).stdout;
    for name in &skipped {
        assert!(listed.lines().any(|line| line.starts_with(name)), "no test name starts with {name}");
    }
    let skips: Vec<_> = skipped.into_iter().flat_map(|name| ["--skip", name]).collect();
    let mut suite = tests(&skips);
    suite.env(STORE_VARIABLE, stores).env("PROPTEST_CASES", CASES);
    succeeds(suite, &format!("{STORE_VARIABLE}={stores}")).await;
}

async fn succeeds(mut suite: Command, name: &str) {
    let ran = suite.output().await.unwrap();
    let [output, errors] = [ran.stdout, ran.stderr].map(|output| String::from_utf8(output).unwrap());
    assert!(ran.status.success(), "{name}\n{output}{errors}");
    println!("{output}");
}

/// All other tests run on the oldest installed version.
#[tokio::test]
async fn the_database_tests_pass_on_the_newest_server() {
    let mut suite = tests(&DATABASE_TESTS);
    suite.env(URL_VARIABLE, newest_server_url());
    succeeds(suite, "on the newest server").await;
}

#[tokio::test]
async fn the_suite_passes_on_a_database() {
    runs_on("postgres", &NOT_ON_SHARED_STORES).await;
}

#[tokio::test]
async fn the_suite_passes_on_three_nodes_that_share_a_database() {
    runs_on("postgres-3-nodes", &[&NOT_ON_SHARED_STORES[..], &NOT_ON_SEVERAL_NODES].concat()).await;
}
