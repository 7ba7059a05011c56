//! Nodes that share a store, and the store that tests use by default.

use std::slice;
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use rallypoint::config::Config;
use rallypoint::env::Entropy;
use rallypoint::store::{Memory, Postgres, PostgresSettings, Store};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::OnceCell;
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;

use super::Server;
use crate::support::postgres::Database;

/// Environment variable with the default store of tests: `memory` (the default); `postgres`, one node on a database;
/// or `postgres-3-nodes`, three nodes on one database, each request sent to one of them.
pub const STORE_VARIABLE: &str = "RALLYPOINT_TEST_STORE";
/// Environment variable with the seed of random choices, such as which node gets which request.
const SEED_VARIABLE: &str = "RALLYPOINT_TEST_SEED";
/// What comes later than this never comes.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// The runtime of the default stores. It lives longer than the runtime of any test.
static STORES: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

/// A store for the first node, and one for each further node.
pub fn default_stores() -> (Store, Vec<Store>) {
    let nodes = match std::env::var(STORE_VARIABLE).as_deref() {
        Err(_) | Ok("memory") => return (Store::Memory(Memory::default()), Vec::new()),
        Ok("postgres") => 1,
        Ok("postgres-3-nodes") => 3,
        Ok(other) => {
            panic!("{STORE_VARIABLE} is memory, postgres or postgres-3-nodes, and not {other:?}")
        }
    };
    // Tests create servers on a thread of a runtime. Such a thread must not block on another runtime.
    let mut stores = thread::scope(|scope| scope.spawn(|| STORES.block_on(open(nodes))).join().unwrap());
    (stores.remove(0), stores)
}

/// Opens this many stores on an empty database.
async fn open(nodes: usize) -> Vec<Store> {
    let database = Database::new().await;
    // Few connections each: many tests run at once, and each connection is a process of the database server.
    let settings = || PostgresSettings { write_connections: 1, read_connections: 1, ..database.settings() };
    let opened = try_join_all((0..nodes).map(|_| Postgres::open(settings()))).await;
    opened.unwrap().into_iter().map(Store::Postgres).collect()
}

/// The other nodes of a server, and the randomness that chooses one for each request.
#[derive(Clone)]
pub struct OtherNodes {
    nodes: Arc<[Server]>,
    entropy: Entropy,
    /// Set once all nodes exchange messages.
    exchange: Arc<OnceCell<()>>,
}

impl Default for OtherNodes {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl OtherNodes {
    /// Other nodes to distribute requests over.
    pub fn new(nodes: Vec<Server>) -> Self {
        let entropy = if nodes.is_empty() { Entropy::seeded(0) } else { seeded() };
        Self { nodes: nodes.into(), entropy, exchange: Arc::default() }
    }

    /// Whether the server is the only node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A random other node, or `None` for the server itself. All nodes are equally likely.
    pub fn any(&self) -> Option<&Server> {
        if self.nodes.is_empty() {
            return None;
        }
        let drawn = u64::from_le_bytes(self.entropy.bytes()) % (self.nodes.len() as u64 + 1);
        self.nodes.get(usize::try_from(drawn).unwrap())
    }

    /// The other nodes.
    pub fn iter(&self) -> slice::Iter<'_, Server> {
        self.nodes.iter()
    }
}

impl Server {
    /// The number of requests that the nodes hold.
    pub fn held(&self) -> usize {
        self.nodes().map(|node| node.app.waits.count()).sum()
    }

    /// Lets other tasks run until every wait that the nodes hold sleeps. A look may take long on a database.
    pub async fn waits_settle(&self) {
        until(async || {
            // A wait that was woken counts as asleep until its task has run.
            for _ in 0..100 {
                yield_now().await;
            }
            self.nodes().all(|node| node.app.waits.asleep() == node.app.waits.count())
        })
        .await;
    }

    /// Lets the nodes exchange messages, as servers do. Returns once messages arrive. A single node has none to hear.
    pub async fn hears_other_nodes(&self) {
        if !self.others.is_empty() {
            self.others.exchange.get_or_init(|| exchange(self.nodes())).await;
        }
    }
}

/// Lets nodes exchange messages, and returns once messages arrive.
pub async fn exchange(nodes: impl IntoIterator<Item = &Server>) {
    let nodes: Vec<_> = nodes.into_iter().collect();
    for node in &nodes {
        let app = Arc::clone(&node.app);
        tokio::spawn(async move { app.invalidations.exchange(CancellationToken::new()).await });
    }
    for node in nodes {
        until(async || node.app.invalidations.is_connected()).await;
        // The sweep of everything that follows a new connection.
        node.app.invalidations.sweep().await.unwrap();
    }
}

/// Waits until something is so. Panics if it is never so.
pub async fn until<F: Future<Output = bool>>(is_so: impl Fn() -> F) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(HANGS_AFTER, waiting).await.expect("it is never so");
}

/// Randomness for the choices of a test.
pub fn seeded() -> Entropy {
    let seed = std::env::var(SEED_VARIABLE).map_or_else(
        |_| u64::from_le_bytes(Entropy::System.bytes()),
        |seed| seed.parse().expect("a seed is a number"),
    );
    // The test runner shows this if the test fails.
    println!("{SEED_VARIABLE}={seed} repeats the random choices");
    Entropy::seeded(seed)
}

/// Handles of one store, for each kind of store that several nodes can share.
pub async fn shared_stores<const HANDLES: usize>() -> [[Store; HANDLES]; 2] {
    let memory = Memory::shared();
    let database = Database::new().await;
    let databases = join_all((0..HANDLES).map(|_| database.open())).await.into_iter().map(Store::Postgres);
    let databases: Vec<_> = databases.collect();
    [
        [(); HANDLES].map(|()| Store::Memory(memory.clone())),
        databases.try_into().unwrap_or_else(|_| unreachable!()),
    ]
}

/// Two nodes on one store, for each kind of store that several nodes can share.
pub async fn pairs_of_nodes(change: impl Fn(&mut Config)) -> [[Server; 2]; 2] {
    shared_stores().await.map(|[store, other]| {
        let one = Server::over(store, &change);
        let other = one.another_node(other);
        [one, other]
    })
}
