//! Runs the test suite again on shared stores: with one node on a database, and with three nodes on a database where
//! each request goes to one of them. It starts its own test binary.

use std::process::Stdio;

use tokio::process::Command;

use crate::harness::STORE_VARIABLE;
use crate::support::postgres::{URL_VARIABLE, newest_server_url, server_url};
use crate::support::process::run;

/// Modules that are skipped: their tests choose their stores themselves, or use none.
const INDEPENDENT: [&str; 22] = [
    "allocators::",
    "api::audit_of_changes::",
    "api::cors::",
    "api::large::",
    "api::voice::",
    "nodes::",
    "notifications::model::",
    "process::",
    "promises::connections::",
    "promises::damage::",
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
const NOT_ON_SHARED_STORES: [(&str, &str); 11] = [
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
    ("notifications::long_poll::waiting::the_deadline_is_that_of_the_client", SETTLES),
    ("users::", "a server on a database needs keys of its own, so it has no login"),
    ("api::wait_checks::the_pages_of_a_type_are_looked_at_four_times_a_second", SETTLES),
    ("api::wait_races::", "thousands of commits, one after the other, take long on a database"),
];
const SETTLES: &str = "the test does not wait for answers of a database";
/// Nodes wait for heartbeats and reports that other nodes may have received.
const LONGER_TIMEOUTS: &str = "on a shared store, timeouts are an eighth longer";

/// Tests that do not hold if requests are distributed over several nodes, each with the reason.
const NOT_ON_SEVERAL_NODES: [(&str, &str); 25] = [
    (
        "api::fillings::",
        "confirmations and tickets arrive at other nodes a moment later; tests of the module show it",
    ),
    ("api::matches::two_parties_meet", "a node reads the tickets of others a moment later"),
    ("api::browser::listing_again_replaces_the_data_and_keeps_the_position", INTERLEAVE),
    ("api::browser::a_page_starts_after_the_last_listing_of_the_page_before", INTERLEAVE),
    ("promises::expiry::an_overdue_session_does_not_block_its_platform_session", READS_MEMORY),
    ("promises::leftovers::an_idle_session_leaves_nothing_in_memory", READS_MEMORY),
    (
        "api::refresh_ttl::every_operation_with_refresh_ttl_keeps_a_session_alive_by_default",
        "it takes minutes on several nodes, and shows the same on one node",
    ),
    ("promises::inactivity::ended_sessions_are_no_longer_watched", READS_MEMORY),
    ("api::quiet_set::a_player_who_reports_is_online_for_90_seconds", REPORTS),
    ("api::quiet_set::only_the_player_sees_that_they_are_invisible", REPORTS),
    ("api::password::", WRONG_CODES),
    ("api::short_code::a_code_may_be_encoded", WRONG_CODES),
    ("api::short_code::each_wrong_code_in_a_path_counts", WRONG_CODES),
    ("api::short_code::wrong_codes_are_limited_per_caller", WRONG_CODES),
    ("api::short_code::services_are_rate_limited_by_address", WRONG_CODES),
    ("api::short_code::invalid_input_is_reported_before_codes_are_looked_up", WRONG_CODES),
    ("api::wait::a_node_holds_a_limited_number_of_waits", COUNTS_WAITS),
    ("api::wait::a_player_holds_a_limited_number_of_waits", COUNTS_WAITS),
    ("api::wait_checks::waits_that_are_held_stay_undisturbed_by_those_beyond_the_limit", COUNTS_WAITS),
    ("notifications::published::every_answer_of_a_long_poll_fits_the_published_contract", COUNTS_WAITS),
    ("notifications::long_poll::limits::a_player_holds_a_limited_number_of_long_polls", COUNTS_WAITS),
    (
        "notifications::long_poll::limits::a_node_and_its_services_hold_a_limited_number_of_long_polls",
        COUNTS_WAITS,
    ),
    (
        "notifications::long_poll::changes::players_are_told_of_their_own_changes_a_moment_later",
        "each node knows only who made the changes that it receives",
    ),
    (
        "notifications::long_poll::lookback::a_client_that_never_sends_a_cursor_is_answered_once_a_second",
        COUNTS_ANSWERS,
    ),
    (
        "notifications::long_poll::lookback::a_service_that_listens_for_a_player_does_not_slow_the_player",
        COUNTS_ANSWERS,
    ),
];
const COUNTS_ANSWERS: &str = "each node counts only the answers that it gives";
const COUNTS_WAITS: &str = "each node counts only the waits that it holds";
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
