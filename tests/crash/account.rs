//! Holds what was found after a restart against what the clients were told before.

use crate::client::{Client, INVITE_EXPIRY_S};
use crate::model::{Aspect, Fact, Facts};
use crate::party::is_waiting;
use crate::world::World;

/// What was checked.
#[derive(Clone, Copy, Default)]
pub struct Checked {
    pub facts: usize,
    pub etags: usize,
    pub in_flight: usize,
    /// Of the writes in flight, those that happened.
    pub happened: usize,
    /// Invites and sessions that ran out.
    pub lapsed: usize,
}

/// Notes every acknowledged write that is lost, every write in flight of which only a part happened, and every
/// document whose ETag is another one although nothing was written to it. What was found is the truth from here on.
pub fn settle(client: &mut Client, world: &World, checked: &mut Checked, wrong: &mut Vec<String>) {
    for seat in client.waiting.keys().cloned().collect::<Vec<_>>() {
        if !world.has(&seat, client) {
            checked.lapsed += usize::from(client.lapse(seat, world.read_ms));
        }
    }
    let found = world.facts(client);
    let in_flight = client.in_flight.take();
    let after = in_flight.as_ref().map(|write| write.happened(&client.facts, &found));
    let happened = found != client.facts && after.as_ref() == Some(&found);
    checked.facts += client.facts.len();
    checked.in_flight += usize::from(in_flight.is_some());
    checked.happened += usize::from(happened);
    if found != client.facts && !happened {
        wrong.extend(differences(client, &found));
        let in_flight = in_flight.map_or_else(|| "nothing".into(), |write| write.to_string());
        wrong
            .push(format!("  (client {}, {}, had in flight: {in_flight})", client.number, client.players[0]));
    }
    for (path, (_, etag)) in &client.etags {
        checked.etags += 1;
        let now = world.etag(path);
        if now != Some(etag) {
            wrong.push(format!("{path} had the ETag {etag} before the kill, and now has {now:?}"));
        }
    }
    settle_fleeting(client, world, checked, wrong);
    client.changed_by.retain(|fact, _| found.contains_key(fact));
    client.waiting.retain(|seat, _| found.get(seat).is_some_and(|seat| is_waiting(seat)));
    for (fact, value) in &found {
        // Those that were in flight.
        if matches!(fact.1, Aspect::Seat(_)) && is_waiting(value) {
            client.waiting.entry(fact.clone()).or_insert(client.sent_ms + 1000 * INVITE_EXPIRY_S);
        }
    }
    client.facts = found;
    client.ended.clear();
}

/// What is not as the client was told, each with the acknowledged write that made it so.
fn differences(client: &Client, found: &Facts) -> Vec<String> {
    let mut facts: Vec<_> = client.facts.keys().chain(found.keys()).collect();
    facts.sort();
    facts.dedup();
    let differ = facts.into_iter().filter(|fact| client.facts.get(*fact) != found.get(*fact));
    let describe = |fact: &Fact| {
        let (session, aspect) = fact;
        let (expected, found) = (client.facts.get(fact), found.get(fact));
        let writer = client.changed_by.get(fact);
        let writer = writer.map_or("no acknowledged write since the last start", |writer| writer);
        format!(
            "session {session}, {aspect:?}: {expected:?} is right, {found:?} was found; last changed by {writer}"
        )
    };
    differ.map(describe).collect()
}

/// Notes every session that ended by itself before its time.
fn settle_fleeting(client: &mut Client, world: &World, checked: &mut Checked, wrong: &mut Vec<String>) {
    client.fleeting.retain(|session, until_ms| {
        let lives = world.lives(session);
        if !lives && *until_ms > world.read_ms {
            wrong
                .push(format!("session {session}, which lives until {until_ms}, ended by {}", world.read_ms));
        }
        checked.lapsed += usize::from(!lives);
        lives
    });
}
