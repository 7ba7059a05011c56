//! A proxy between a server and its database that simulates network faults.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;

/// The state of the simulated network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Forwards everything.
    Open,
    /// Forwards nothing and closes all connections.
    Down,
    /// Forwards nothing and leaves connections open.
    Silent,
    /// Loses the next answer, then is down.
    DownAtAnswer,
    /// Loses the next request, then is down.
    DownAtRequest,
    /// Forwards half of the next answer, then is down.
    DownWithinAnswer,
    /// Forwards half of the next request, then is down.
    DownWithinRequest,
    /// In place of the next answer, closes that direction of one connection. The connection still accepts requests.
    HalfClosesAtAnswer,
    /// Forwards everything with a delay for each piece.
    Slow,
}

/// The delay of a slow network for each piece.
const DELAY: Duration = Duration::from_millis(20);

/// A running proxy.
pub struct Proxy {
    /// The address of the proxy.
    pub address: SocketAddr,
    network: watch::Sender<Network>,
    accepting: JoinHandle<()>,
}

/// A TCP or Unix socket connection.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Proxy {
    /// Starts a proxy for the first host of this database.
    pub async fn before(database: &tokio_postgres::Config) -> Self {
        let host = database.get_hosts()[0].clone();
        let port = database.get_ports().first().copied().unwrap_or(5432);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let network = watch::Sender::new(Network::Open);
        let network_of_tasks = network.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = connect(&host, port).await.unwrap();
                tokio::spawn(forward(client, server, network_of_tasks.clone()));
            }
        });
        Self { address, network, accepting }
    }

    /// Changes the state of the network.
    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// The state of the network.
    pub fn network(&self) -> Network {
        *self.network.borrow()
    }

    /// Waits until the network has this state.
    pub async fn becomes(&self, network: Network) {
        self.network.subscribe().wait_for(|now| *now == network).await.unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.network.send_replace(Network::Down);
    }
}

/// Connects to a database.
pub async fn connect(host: &Host, port: u16) -> std::io::Result<Box<dyn Stream>> {
    Ok(match host {
        Host::Tcp(name) => {
            let stream = TcpStream::connect((name.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
        Host::Unix(dir) => Box::new(UnixStream::connect(dir.join(format!(".s.PGSQL.{port}"))).await?),
    })
}

/// Forwards bytes in both directions until one side closes.
async fn forward(client: TcpStream, server: Box<dyn Stream>, network: watch::Sender<Network>) {
    let (requests, to_client) = split(client);
    let (answers, to_server) = split(server);
    tokio::select! {
        () = forward_one_way(requests, to_server, &REQUESTS, &network) => {}
        () = forward_one_way(answers, to_client, &ANSWERS, &network) => {}
    }
}

/// The network states that lose data of one direction: a whole piece, half a piece, or everything from now on.
struct Losses {
    whole: Network,
    half: Network,
    rest: Option<Network>,
}

const REQUESTS: Losses =
    Losses { whole: Network::DownAtRequest, half: Network::DownWithinRequest, rest: None };
const ANSWERS: Losses = Losses {
    whole: Network::DownAtAnswer,
    half: Network::DownWithinAnswer,
    rest: Some(Network::HalfClosesAtAnswer),
};

/// Forwards bytes in one direction.
async fn forward_one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    losses: &Losses,
    network: &watch::Sender<Network>,
) {
    let mut changes = network.subscribe();
    let mut buffer = vec![0; 65_536];
    loop {
        let now = *changes.borrow_and_update();
        if now == Network::Down {
            return;
        }
        tokio::select! {
            _ = changes.changed() => {}
            read = from.read(&mut buffer), if now != Network::Silent => {
                let Ok(bytes @ 1..) = read else { return };
                let now = *network.borrow();
                let arriving = match now {
                    now if now == losses.whole => 0,
                    now if now == losses.half => bytes / 2,
                    _ => bytes,
                };
                if Some(now) == losses.rest {
                    network.send_replace(Network::Open);
                    let _ = to.shutdown().await;
                    // The other direction stays open.
                    return std::future::pending().await;
                }
                if now == Network::Slow {
                    tokio::time::sleep(DELAY).await;
                }
                if to.write_all(&buffer[..arriving]).await.is_err() {
                    return;
                }
                if arriving < bytes {
                    network.send_replace(Network::Down);
                    return;
                }
            }
        }
    }
}
