//! Messages between the servers that share a store. They only shorten the time until a server looks into the store, so
//! they may be lost, late or repeated, and nobody believes what they say.

use tokio::sync::mpsc;

/// Longest message, in bytes. PostgreSQL takes up to 7,999.
pub const MESSAGE_BYTES_MAX: usize = 7_900;

/// Number of events that a server may fall behind. A store that cannot deliver more begins anew with
/// [`MessageEvent::Connected`].
pub(super) const EVENTS_MAX: usize = 1_024;

/// What a server learns of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageEvent {
    /// Messages arrive from now on. Earlier ones may have been lost.
    Connected,
    /// No messages arrive until the next [`Connected`](Self::Connected).
    Disconnected,
    /// A message of any server, also of this one.
    Received(String),
}

/// A server's end of the messages. Dropping it ends them.
#[derive(Debug)]
pub struct Messages {
    /// Sends a message of at most [`MESSAGE_BYTES_MAX`] bytes to all servers. It has room for one message; it is free
    /// again when the last one is under way.
    pub outgoing: mpsc::Sender<String>,
    /// The events, in their order.
    pub incoming: mpsc::Receiver<MessageEvent>,
}

/// The store's end.
#[derive(Debug)]
pub(super) struct MessageService {
    /// The messages to send.
    pub(super) outgoing: mpsc::Receiver<String>,
    /// The events for the server.
    pub(super) incoming: mpsc::Sender<MessageEvent>,
}

/// The two ends.
pub(super) fn channel() -> (Messages, MessageService) {
    let (outgoing, sent) = mpsc::channel(1);
    let (received, incoming) = mpsc::channel(EVENTS_MAX);
    (Messages { outgoing, incoming }, MessageService { outgoing: sent, incoming: received })
}
