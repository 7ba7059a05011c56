//! A network between a server and its database that does what it is told.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// It carries everything.
    Open,
    /// It carries nothing, and breaks what is connected.
    Down,
    /// It carries nothing, and says so to nobody.
    Silent,
    /// The next answer is lost, and then it is down.
    DownAtAnswer,
    /// The next request is lost, and then it is down.
    DownAtRequest,
    /// Of the next answer one half arrives, and then it is down.
    DownWithinAnswer,
    /// Of the next request one half arrives, and then it is down.
    DownWithinRequest,
    /// In place of the next answer one connection ends on that way alone, and goes on taking requests.
    HalfClosesAtAnswer,
    /// It carries everything, each piece after a while.
    Slow,
}

/// How long a slow network takes for each piece.
const DELAY: Duration = Duration::from_millis(20);

/// A proxy before a database.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    network: watch::Sender<Network>,
    accepting: JoinHandle<()>,
}

/// A connection of either kind.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Proxy {
    /// A proxy before the first host of this database.
    pub async fn before(database: &tokio_postgres::Config) -> Self {
        let host = database.get_hosts()[0].clone();
        let port = database.get_ports().first().copied().unwrap_or(5432);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let network = watch::Sender::new(Network::Open);
        let told = network.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = connect(&host, port).await.unwrap();
                tokio::spawn(carry(client, server, told.clone()));
            }
        });
        Self { address, network, accepting }
    }

    /// Changes what the network does.
    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// What the network does.
    pub fn network(&self) -> Network {
        *self.network.borrow()
    }

    /// Waits until the network does this.
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

/// Carries bytes both ways until somebody ends it.
async fn carry(client: TcpStream, server: Box<dyn Stream>, network: watch::Sender<Network>) {
    let (requests, answered) = split(client);
    let (answers, asked) = split(server);
    tokio::select! {
        () = carry_one_way(requests, asked, &REQUESTS, &network) => {}
        () = carry_one_way(answers, answered, &ANSWERS, &network) => {}
    }
}

/// What a network does to lose what goes one way: all of a piece, half of it, or it with all that follows.
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

/// Carries bytes one way.
async fn carry_one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    losses: &Losses,
    network: &watch::Sender<Network>,
) {
    let mut changes = network.subscribe();
    let mut carried = vec![0; 65_536];
    loop {
        let now = *changes.borrow_and_update();
        if now == Network::Down {
            return;
        }
        tokio::select! {
            _ = changes.changed() => {}
            read = from.read(&mut carried), if now != Network::Silent => {
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
                    // The other way goes on for as long as somebody uses it.
                    return std::future::pending().await;
                }
                if now == Network::Slow {
                    tokio::time::sleep(DELAY).await;
                }
                if to.write_all(&carried[..arriving]).await.is_err() {
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
