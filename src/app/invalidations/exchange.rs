//! Sends what has changed on this node, and takes what has changed on other nodes.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendError;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Invalidations;
use super::message::{Message, NodeTag};
use crate::app::waits::{Changes, News};
use crate::store::MessageEvent;
use crate::telemetry::InvalidationEvent;

/// Shortest time between two messages. Changes gather meanwhile.
const GAP: Duration = Duration::from_millis(2);
/// Most messages a second: each takes a lock of the whole database server, and a transaction id.
const PER_SECOND: u32 = 100;
/// Messages that may follow each other at [`GAP`].
const BURST: u32 = 10;
/// How often a node greets the others, if it has nothing else to say. Every other greeting has a number, which shows whether
/// the message before it has arrived; the rest are those that nodes of all builds know.
const HELLO_EVERY: Duration = Duration::from_secs(10);
/// A node that has heard no other for this time sends nothing else.
const ALONE_AFTER: Duration = Duration::from_secs(60);
/// Most nodes that are known. Messages of others count, but get no answer to their first one.
const NODES_MAX: usize = 1_000;

/// When the next message may be sent: a token bucket of [`BURST`], filled [`PER_SECOND`] times a second.
struct Pace {
    /// When the bucket is full again.
    full_at: Instant,
    last_sent: Option<Instant>,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { full_at: now, last_sent: None }
    }

    fn next_at(&self, now: Instant) -> Instant {
        let per_message = Duration::from_secs(1) / PER_SECOND;
        let refilled = self.full_at.checked_sub(per_message * (BURST - 1)).unwrap_or(now);
        self.last_sent.map_or(now, |sent| sent + GAP).max(refilled)
    }

    fn sent(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + Duration::from_secs(1) / PER_SECOND;
        self.last_sent = Some(now);
    }
}

/// The state of the exchange.
struct Exchange<'a> {
    invalidations: &'a Invalidations,
    others: HashMap<NodeTag, Other>,
    connected_at: Option<Instant>,
    /// Whether other nodes may have missed messages of this one.
    owes_everything: bool,
    hello_at: Instant,
    /// Whether the next greeting has a number.
    is_greeting_numbered: bool,
    /// The number of the next message.
    next_number: u32,
    pace: Pace,
}

/// Another node.
struct Other {
    /// When it was last heard.
    heard_at: Instant,
    /// The number of its next message, if none is lost. Messages without a number count too.
    next_number: u32,
}

impl Invalidations {
    /// Exchanges messages with the other nodes until `stop` is cancelled. Ends at once if the store has no messages.
    pub async fn exchange(&self, stop: CancellationToken) {
        let Some(mut messages) = self.sessions.store().messages() else { return };
        let outbox = self.waits.outbox();
        let now = Instant::now();
        let mut exchange = Exchange {
            invalidations: self,
            others: HashMap::new(),
            connected_at: None,
            owes_everything: false,
            hello_at: now,
            is_greeting_numbered: false,
            next_number: 0,
            pace: Pace::new(now),
        };
        loop {
            let now = Instant::now();
            outbox.set_open(exchange.has_others(now));
            // Asked once: news that comes meanwhile ends the sleep below.
            let has_news = outbox.has_news();
            let due_at = exchange.due_at(has_news, now);
            tokio::select! {
                () = stop.cancelled() => break,
                event = messages.incoming.recv() => match event {
                    Some(event) => exchange.note(event, Instant::now()),
                    None => break,
                },
                () = outbox.news(), if !has_news => {}
                permit = room(&messages.outgoing, due_at), if exchange.connected_at.is_some() => match permit {
                    Ok(permit) => {
                        if let Some(message) = exchange.next_message(Instant::now()) {
                            permit.send(message.encode(self.node));
                        }
                    }
                    Err(_) => break,
                },
            }
        }
        exchange.set_connected(None);
        outbox.set_open(false);
    }
}

/// Waits until a time, and then until there is room for a message.
async fn room(
    outgoing: &mpsc::Sender<String>,
    due_at: Instant,
) -> Result<mpsc::Permit<'_, String>, SendError<()>> {
    sleep_until(due_at).await;
    outgoing.reserve().await
}

impl Exchange<'_> {
    /// Whether there may be another node. A node that has just connected does not know yet.
    fn has_others(&self, now: Instant) -> bool {
        let Some(connected_at) = self.connected_at else { return false };
        let mut heard = self.others.values().map(|other| other.heard_at).chain([connected_at]);
        heard.any(|at| now.duration_since(at) < ALONE_AFTER)
    }

    fn due_at(&self, has_news: bool, now: Instant) -> Instant {
        let news_at = has_news.then(|| self.pace.next_at(now));
        news_at.map_or(self.hello_at, |at| at.min(self.hello_at))
    }

    /// The message that is due; `None` if there is none.
    fn next_message(&mut self, now: Instant) -> Option<Message> {
        let outbox = self.invalidations.waits.outbox();
        let news = if now >= self.pace.next_at(now) { outbox.take() } else { None };
        let message = match news {
            Some(News::Changes(changes)) if !self.owes_everything => self.numbered(changes),
            Some(News::Changes(_) | News::Everything) => Message::Everything,
            None if now < self.hello_at => return None,
            None if self.owes_everything => Message::Everything,
            None => {
                self.is_greeting_numbered = !self.is_greeting_numbered;
                if self.is_greeting_numbered { Message::Hello } else { self.numbered(Changes::default()) }
            }
        };
        self.hello_at = now + HELLO_EVERY;
        self.owes_everything = false;
        if !message.is_greeting() {
            self.pace.sent(now);
            self.count(InvalidationEvent::Sent);
        }
        if message == Message::Everything {
            self.next_number = self.next_number.wrapping_add(1);
        }
        Some(message)
    }

    /// The next message of changes.
    fn numbered(&mut self, changes: Changes) -> Message {
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        Message::Changes { number, changes }
    }

    fn count(&self, event: InvalidationEvent) {
        self.invalidations.metrics.waits.invalidation(event);
    }

    fn set_connected(&mut self, connected_at: Option<Instant>) {
        self.connected_at = connected_at;
        self.invalidations.is_connected.store(connected_at.is_some(), Ordering::Release);
        self.invalidations.metrics.waits.set_connected(connected_at.is_some());
    }

    fn note(&mut self, event: MessageEvent, now: Instant) {
        match event {
            MessageEvent::Connected => {
                self.set_connected(Some(now));
                self.hello_at = now;
                // What this node has changed since the last connection was not sent.
                self.owes_everything = true;
                // Messages may have been lost before, and are not lost from now on. In this order there is no gap.
                self.invalidations.invalidate_all();
            }
            MessageEvent::Disconnected => self.set_connected(None),
            MessageEvent::Received(text) => self.receive(&text, now),
        }
    }

    fn receive(&mut self, text: &str, now: Instant) {
        let Ok((node, message)) = Message::decode(text) else {
            self.count(InvalidationEvent::Malformed);
            return;
        };
        if node == self.invalidations.node {
            return;
        }
        self.note_heard(node, now);
        // A greeting may be that of a node that has sent nothing else.
        if message != Message::Hello && !self.is_next_of(node, &message) {
            self.invalidations.lookback.interrupt();
        }
        if !message.is_greeting() && message != Message::Everything {
            self.count(InvalidationEvent::Received);
        }
        match message {
            Message::Hello => {}
            Message::Everything => {
                self.count(InvalidationEvent::All);
                self.invalidations.invalidate_all();
            }
            Message::Topics(topics) => self.invalidations.invalidate(topics),
            Message::Changes { changes, .. } => self.invalidations.apply(changes),
        }
    }

    /// Notes that another node is there.
    fn note_heard(&mut self, node: NodeTag, now: Instant) {
        let was_alone = !self.has_others(now);
        self.others.retain(|_, other| now.duration_since(other.heard_at) < ALONE_AFTER);
        if let Some(other) = self.others.get_mut(&node) {
            other.heard_at = now;
        } else if self.others.len() < NODES_MAX {
            self.others.insert(node, Other { heard_at: now, next_number: 0 });
            // The other node does not know this one yet either, and a node that is alone sends no changes.
            self.hello_at = now;
            self.owes_everything |= was_alone;
        }
    }

    /// Whether this message says all that the node has changed since its message before.
    fn is_next_of(&mut self, node: NodeTag, message: &Message) -> bool {
        let Some(other) = self.others.get_mut(&node) else { return false };
        let (number, says_all) = match message {
            Message::Changes { number, .. } => (*number, other.next_number == *number),
            _ => (other.next_number, false),
        };
        other.next_number = number.wrapping_add(1);
        says_all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_pace() {
        let start = Instant::now();
        let (mut pace, mut now, mut sent) = (Pace::new(start), start, 0_u32);
        while now < start + Duration::from_secs(2) {
            if now >= pace.next_at(now) {
                pace.sent(now);
                sent += 1;
                assert_eq!(pace.next_at(now).max(now + GAP), pace.next_at(now), "never closer than the gap");
            }
            now += Duration::from_millis(1);
        }
        let most = 2 * PER_SECOND + BURST;
        assert!((most - 2..=most).contains(&sent), "{sent} in two seconds");
        let later = now + Duration::from_secs(10);
        assert!(pace.next_at(later) <= later, "the first change after a pause is sent at once");
    }
}
