//! Compares the server with a model: random sequences of operations by several players over HTTP, where each answer
//! must be the one that a simple model of the rules expects. The model has plain structs, no store, no HTTP and none
//! of the domain's rules. It shares the server's clock, which only steps advance, and copies what the server chooses:
//! ids, short codes and drawn maps.
//!
//! `PROPTEST_CASES=1000 cargo test --test it model::` runs more sequences.

mod answer;
mod join_paths;
mod queues;
mod strategies;
mod regressions;
mod instances;
mod invites;
mod matches;
mod request;
mod roster;
mod session;
mod setup;
mod state;
mod step;
mod views;
mod world;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use rallypoint::records::keys::KEY_UPGRADE;
use rallypoint::store::{Embedded, Memory, Store};

use self::setup::{Settings, any_settings};
use self::step::RandomStep;
use self::strategies::{any_step, opening};
use self::world::World;
use crate::support::postgres::Database;

/// Number of steps in a sequence.
const STEPS: std::ops::Range<usize> = 1..80;

/// As many sequences as `PROPTEST_CASES` says, by default 64.
fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    // A failure becomes a test in `regressions`, not a stored seed.
    ProptestConfig { cases: cases.unwrap_or(64), failure_persistence: None, ..ProptestConfig::default() }
}

fn run_sequence(store: Store, settings: Settings, steps: &[RandomStep]) -> Result<(), TestCaseError> {
    run_sequence_on(async || store, settings, steps)
}

fn run_sequence_on(
    open: impl AsyncFnOnce() -> Store,
    settings: Settings,
    steps: &[RandomStep],
) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(open().await, settings);
        for random_step in opening().iter().chain(steps) {
            world.run_step(random_step).await?;
        }
        world.close().await
    })
}

#[test]
fn the_server_matches_the_model_in_memory() {
    TestRunner::new(cases())
        .run(&(any_settings(), vec(any_step(), STEPS)), |(settings, steps)| {
            run_sequence(Store::Memory(Memory::default()), settings, &steps)
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn the_server_matches_the_model_in_a_database() {
    TestRunner::new(cases())
        .run(&(any_settings(), vec(any_step(), STEPS)), |(settings, steps)| {
            // Opened on the runtime that runs the sequence, which also drives the connections.
            run_sequence_on(
                async || Store::Postgres(Database::new().await.open().await),
                settings.without_timeouts(),
                &steps,
            )
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn the_server_matches_the_model_on_disk() {
    TestRunner::new(cases())
        .run(&(any_settings(), vec(any_step(), STEPS)), |(settings, steps)| {
            let dir = tempfile::tempdir().unwrap();
            run_sequence(Store::Embedded(Embedded::open(dir.path(), KEY_UPGRADE).unwrap()), settings, &steps)
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}
