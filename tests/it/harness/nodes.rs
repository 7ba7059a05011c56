//! Nodes that share a store.

use std::slice;
use std::sync::{Arc, LazyLock};
use std::thread;

use futures_util::future::try_join_all;
use rallypoint::config::Config;
use rallypoint::env::Entropy;
use rallypoint::store::{Memory, Postgres, PostgresSettings, Store};
use tokio::runtime::{Builder, Runtime};

use super::Server;
use crate::support::postgres::Database;

/// Names what the servers of tests run on that do not say so: `memory`, which is usual; `postgres`, for one node on a
/// database; or `postgres-3-nodes`, for three that each request comes to one of.
pub const STORE_VARIABLE: &str = "RALLYPOINT_TEST_STORE";
/// The seed that decides which request comes to which node.
const SEED_VARIABLE: &str = "RALLYPOINT_TEST_SEED";

/// Where stores live that are opened for tests in one call: it outlasts each of them.
static STORES: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

/// A store for a server, and one for each further node beside it.
pub fn usual_stores() -> (Store, Vec<Store>) {
    let nodes = match std::env::var(STORE_VARIABLE).as_deref() {
        Err(_) | Ok("memory") => return (Store::Memory(Memory::default()), Vec::new()),
        Ok("postgres") => 1,
        Ok("postgres-3-nodes") => 3,
        Ok(other) => {
            panic!("{STORE_VARIABLE} is memory, postgres or postgres-3-nodes, and not {other:?}")
        }
    };
    // Tests make servers on a thread of a runtime, which must not wait for another one.
    let mut stores = thread::scope(|scope| scope.spawn(|| STORES.block_on(open(nodes))).join().unwrap());
    (stores.remove(0), stores)
}

/// So many stores on an empty database.
async fn open(nodes: usize) -> Vec<Store> {
    let database = Database::new().await;
    // Few connections: there are many tests, and each connection is a process of the database.
    let settings = || PostgresSettings { write_connections: 1, read_connections: 1, ..database.settings() };
    let opened = try_join_all((0..nodes).map(|_| Postgres::open(settings()))).await;
    opened.unwrap().into_iter().map(Store::Postgres).collect()
}

/// The nodes beside one, and chance to choose among them all.
#[derive(Clone)]
pub struct Others {
    nodes: Arc<[Server]>,
    chance: Entropy,
}

impl Default for Others {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Others {
    /// Others to spread requests over.
    pub fn new(nodes: Vec<Server>) -> Self {
        let seed = std::env::var(SEED_VARIABLE).map_or_else(
            |_| u64::from_le_bytes(Entropy::System.bytes()),
            |seed| seed.parse().expect("a seed is a number"),
        );
        if !nodes.is_empty() {
            // Shown where the test fails.
            println!("{SEED_VARIABLE}={seed} sends each request to the same node again");
        }
        Self { nodes: nodes.into(), chance: Entropy::seeded(seed) }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// One of them, or none, where it is the node itself, each as likely as the other.
    pub fn any(&self) -> Option<&Server> {
        if self.nodes.is_empty() {
            return None;
        }
        let drawn = u64::from_le_bytes(self.chance.bytes()) % (self.nodes.len() as u64 + 1);
        self.nodes.get(usize::try_from(drawn).unwrap())
    }

    /// Each of them.
    pub fn iter(&self) -> slice::Iter<'_, Server> {
        self.nodes.iter()
    }
}

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
