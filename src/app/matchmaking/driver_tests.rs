//! Rounds that go wrong in the middle, where tests of the API cannot reach.

use super::*;
use crate::app::launches::LaunchSettings;
use crate::auth::{DevelopmentKey, KeyRing};
use crate::config::Config;
use crate::domain::fixtures;
use crate::env::Clock;
use crate::runtime::server;
use crate::store::{Memory, Store};

/// A server with two parties in the queue of duels.
async fn app_with_two_tickets() -> (App, [Uuid; 2]) {
    let mut config = Config::default();
    let profile = Config::parse("[match_making_profiles.p]", "test", &[]).unwrap().match_making_profiles;
    config.match_making_profiles = profile;
    let entropy = Entropy::seeded(1);
    let dir = tempfile::tempdir().unwrap();
    let key = DevelopmentKey::load_or_create(dir.path(), &entropy).unwrap();
    let ring = Arc::new(KeyRing::new(key.key_set()));
    let (store, clock) = (Store::Memory(Memory::default()), Clock::manual(fixtures::created()));
    let environment = (clock, entropy);
    let app = server::new_app(&config, store, ring, LaunchSettings::default(), environment, Arc::default());
    let tickets = [1, 2].map(Uuid::from_u128);
    for (number, id) in (1_u128..).zip(tickets) {
        let mut party = fixtures::session(&format!("L{number}"));
        party.id = SessionId::parse(&format!("party{number}")).unwrap();
        let mut ticket = fixtures::ticket(&[number], 0);
        ticket.id = id;
        party.matchmaking = Some(Arc::new(ticket));
        app.sessions.create(party).await.unwrap();
    }
    (app, tickets)
}

async fn has_ticket(app: &App, number: u32) -> bool {
    let id = SessionId::parse(&format!("party{number}")).unwrap();
    app.sessions.get_latest(&id).await.unwrap().session.matchmaking.is_some()
}

#[tokio::test]
async fn a_pass_that_panics_costs_nobody_the_ticket() {
    let (app, _) = app_with_two_tickets().await;
    let (matchmaker, stop) = (&app.matchmaker, CancellationToken::new());
    {
        let mut state = matchmaker.state.lock().await;
        state.follow(&app.catalog(), &*matchmaker.nodes.lock().await, app.clock.now_ms(), &app.metrics);
        state.pools.get_mut("p").unwrap().panics_next = true;
    }
    matchmaker.round(&app, &stop).await.unwrap();
    assert!(has_ticket(&app, 1).await && has_ticket(&app, 2).await);
    matchmaker.round(&app, &stop).await.unwrap();
    assert!(!has_ticket(&app, 1).await && !has_ticket(&app, 2).await);
}

#[tokio::test]
async fn a_stop_lets_the_tickets_of_matches_that_are_not_begun_wait() {
    let (app, tickets) = app_with_two_tickets().await;
    let (matchmaker, catalog, stop) = (&app.matchmaker, app.catalog(), CancellationToken::new());
    let orders = matchmaker.orders(&app, &catalog, &stop).await.unwrap();
    assert_eq!(orders.len(), 1);
    // Meanwhile others can ask why a ticket waits.
    assert_eq!(matchmaker.explain(&app, tickets[0]).await.unwrap().1.len(), 1);
    stop.cancel();
    let made = commits::make_all(&app, &catalog, orders, &stop).await;
    assert!(matchmaker.state.lock().await.note(made, app.clock.up_ms()).unwrap(), "they wait again");
    assert!(has_ticket(&app, 1).await && has_ticket(&app, 2).await);
    matchmaker.round(&app, &CancellationToken::new()).await.unwrap();
    assert!(!has_ticket(&app, 1).await && !has_ticket(&app, 2).await);
}
