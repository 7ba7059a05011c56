//! Nodes that share a store.

use rallypoint::config::Config;
use rallypoint::store::{Memory, Store};

use super::Server;
use crate::support::postgres::Database;

/// Two nodes, for each kind of store that several can share.
pub async fn pairs_of_nodes(change: impl Fn(&mut Config)) -> [[Server; 2]; 2] {
    let memory = Memory::shared();
    let database = Database::new().await;
    [
        [Store::Memory(memory.clone()), Store::Memory(memory)],
        [Store::Postgres(database.open().await), Store::Postgres(database.open().await)],
    ]
    .map(|[store, other]| {
        let one = Server::over(store, &change);
        let other = one.another_node(other);
        [one, other]
    })
}
