//! A client that watches a session on a connection of its own.

use std::net::SocketAddr;

use rallypoint::domain::PlayerUuid;
use tokio::task::JoinSet;

use crate::connection::Connection;
use crate::requests::{self, Request};
use crate::sessions::Kind;

use super::game;

/// Connections that are opened at the same time.
const OPENED_AT_ONCE: usize = 128;

/// A watcher, with the ETag of what it has.
pub struct Watcher {
    pub connection: Connection,
    request: Request,
    pub etag: String,
}

impl Watcher {
    /// Opens a connection and reads once.
    pub async fn open(address: SocketAddr, request: Request) -> Self {
        let mut connection = Connection::open(address).await;
        connection.send(&request).await;
        let etag = connection.header("etag").unwrap().to_owned();
        Self { connection, request, etag }
    }

    /// Opens `count` watchers: one for each player of the sessions from this number on, with a token for each.
    pub async fn open_all(
        address: SocketAddr,
        first_session: usize,
        count: usize,
        token: fn(PlayerUuid) -> String,
    ) -> Vec<Self> {
        let mut watchers = Vec::with_capacity(count);
        for first in (0..count).step_by(OPENED_AT_ONCE) {
            let mut opening = JoinSet::new();
            for number in first..count.min(first + OPENED_AT_ONCE) {
                let players = Kind::Game.players() as usize;
                let which = game(first_session + number / players);
                opening.spawn(async move {
                    let token = token(which.player((number % players) as u64 + 1));
                    (number, Self::open(address, requests::session(which, &token)).await)
                });
            }
            let mut opened = opening.join_all().await;
            opened.sort_by_key(|(number, _)| *number);
            watchers.extend(opened.into_iter().map(|(_, watcher)| watcher));
        }
        watchers
    }

    /// Begins to wait for a change.
    pub fn begin_wait(&mut self, wait_s: u64) {
        self.connection.begin(&self.request.waiting(&self.etag, wait_s).text);
    }

    /// Begins a long poll, from now on.
    pub fn begin_long_poll(&mut self) {
        self.connection.begin(&self.request.as_long_poll().text);
    }

    /// Reads, unless nothing has changed. Returns the status.
    pub async fn poll(&mut self) -> u16 {
        self.connection.begin(&self.request.unless(&self.etag).text);
        self.finish().await
    }

    /// Waits for the answer and keeps its ETag. Returns the status.
    pub async fn finish(&mut self) -> u16 {
        let status = self.connection.finish().await;
        assert!(matches!(status, 200 | 304), "{}", self.connection.answer());
        self.connection.header("etag").unwrap().clone_into(&mut self.etag);
        status
    }
}
