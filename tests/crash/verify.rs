//! Compares the state after a restart with the answers that the clients received before.

use crate::client::{Client, INVITE_EXPIRY_S};
use crate::model::{Aspect, Fact, Facts};
use crate::party::is_waiting;
use crate::world::World;

/// Counts of what was checked.
#[derive(Clone, Copy, Default)]
pub struct Checked {
    pub facts: usize,
    pub etags: usize,
    pub in_flight: usize,
    /// Writes in flight that took effect.
    pub happened: usize,
    /// Invites and sessions that expired.
    pub expired: usize,
}

/// Adds to `wrong` every lost acknowledged write, every write in flight that took effect only in part, and every
/// document whose ETag changed although nothing was written to it. From here on, the client expects the found state.
pub fn check_client(client: &mut Client, world: &World, checked: &mut Checked, wrong: &mut Vec<String>) {
    for entry in client.waiting.keys().cloned().collect::<Vec<_>>() {
        if !world.has(&entry, client) {
            checked.expired += usize::from(client.expire_invite(entry, world.read_ms));
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
    check_short_lived(client, world, checked, wrong);
    client.changed_by.retain(|fact, _| found.contains_key(fact));
    client.waiting.retain(|entry, _| found.get(entry).is_some_and(|entry| is_waiting(entry)));
    for (fact, value) in &found {
        // Invites whose write was in flight.
        if matches!(fact.1, Aspect::Entry(_)) && is_waiting(value) {
            client.waiting.entry(fact.clone()).or_insert(client.sent_ms + 1000 * INVITE_EXPIRY_S);
        }
    }
    client.facts = found;
    client.ended.clear();
}

/// The facts that differ from the client's expectation, each with the acknowledged write that last changed it.
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

/// Adds to `wrong` every short-lived session that ended before its time.
fn check_short_lived(client: &mut Client, world: &World, checked: &mut Checked, wrong: &mut Vec<String>) {
    client.short_lived.retain(|session, until_ms| {
        let lives = world.lives(session);
        if !lives && *until_ms > world.read_ms {
            wrong
                .push(format!("session {session}, which lives until {until_ms}, ended by {}", world.read_ms));
        }
        checked.expired += usize::from(!lives);
        lives
    });
}
