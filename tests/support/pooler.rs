//! A connection pooler between a server and its database, like PgBouncer: its clients share a few connections. It
//! supports neither passwords nor encryption.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_postgres::config::Host;

use super::proxy::{Stream, connect};

/// The codes in permit of a protocol version with which a client requests TLS or GSSAPI encryption.
const ENCRYPTION_CODES: [i32; 2] = [80_877_103, 80_877_104];

/// How long a client keeps a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    /// Until the client disconnects.
    Session,
    /// For one transaction.
    Transaction,
}

/// A running pooler.
pub struct Pooler {
    /// Where it listens.
    pub address: SocketAddr,
    mode: watch::Sender<PoolMode>,
    _clients: JoinSet<()>,
}

/// The connections that the clients share.
struct Pool {
    host: Host,
    port: u16,
    mode: watch::Receiver<PoolMode>,
    is_round_robin: bool,
    permits: Arc<Semaphore>,
    idle: Mutex<VecDeque<Server>>,
}

/// A connection to the database.
struct Server {
    stream: Box<dyn Stream>,
    /// The messages of the server after the connection was opened.
    greeting: Vec<u8>,
}

/// A complete message of the protocol.
struct Message(Vec<u8>);

impl Pooler {
    /// Starts a pooler for the first host of this database, with at most `pool_size` connections. It assigns them
    /// round robin, or the last used one first.
    pub async fn before(
        database: &tokio_postgres::Config,
        mode: PoolMode,
        pool_size: usize,
        is_round_robin: bool,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mode = watch::Sender::new(mode);
        let pool = Arc::new(Pool {
            host: database.get_hosts()[0].clone(),
            port: database.get_ports().first().copied().unwrap_or(5432),
            mode: mode.subscribe(),
            is_round_robin,
            permits: Arc::new(Semaphore::new(pool_size)),
            idle: Mutex::default(),
        });
        let mut clients = JoinSet::new();
        clients.spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let pool = Arc::clone(&pool);
                // The result does not matter: the client sees the end of its connection.
                clients.spawn(async move { drop(pool.serve(client).await) });
            }
        });
        Self { address, mode, _clients: clients }
    }

    /// Changes how long clients keep a connection.
    pub fn set(&self, mode: PoolMode) {
        self.mode.send_replace(mode);
    }
}

impl Pool {
    async fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let startup = read_startup(&mut client).await?;
        let mut held = Some(self.take(&startup).await?);
        if let Some((server, _)) = &held {
            client.write_all(&server.greeting).await?;
        }
        loop {
            if *self.mode.borrow() == PoolMode::Transaction
                && let Some((server, permit)) = held.take()
            {
                self.give_back(server, permit).await;
            }
            let Some(request) = read_request(&mut client).await? else { return Ok(()) };
            let (server, permit) = match held.take() {
                Some(held) => held,
                None => self.take(&startup).await?,
            };
            held = Some((self.carry_out(request, &mut client, server).await?, permit));
        }
    }

    /// Runs a request, and further requests while a transaction is open.
    async fn carry_out(
        &self,
        mut request: Vec<u8>,
        client: &mut TcpStream,
        mut server: Server,
    ) -> io::Result<Server> {
        loop {
            server.stream.write_all(&request).await?;
            loop {
                let answer = Message::read(&mut server.stream).await?;
                client.write_all(&answer.0).await?;
                match (answer.0[0], answer.0.last()) {
                    (b'Z', Some(b'I')) => return Ok(server),
                    (b'Z', _) => break,
                    _ => {}
                }
            }
            let next = read_request(client).await?;
            request = next.ok_or(io::ErrorKind::UnexpectedEof)?;
        }
    }

    async fn take(&self, startup: &[u8]) -> io::Result<(Server, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(io::Error::other)?;
        let idle = self.idle.lock().await.pop_front();
        let server = match idle {
            Some(server) => server,
            None => Server::connect(&self.host, self.port, startup).await?,
        };
        Ok((server, permit))
    }

    async fn give_back(&self, server: Server, permit: OwnedSemaphorePermit) {
        let mut idle = self.idle.lock().await;
        if self.is_round_robin {
            idle.push_back(server);
        } else {
            idle.push_front(server);
        }
        drop(permit);
    }
}

impl Server {
    async fn connect(host: &Host, port: u16, startup: &[u8]) -> io::Result<Self> {
        let mut stream = connect(host, port).await?;
        stream.write_all(startup).await?;
        let mut greeting = Vec::new();
        loop {
            let message = Message::read(&mut stream).await?;
            let is_last = matches!(message.0[0], b'Z' | b'E');
            greeting.extend(message.0);
            if is_last {
                return Ok(Self { stream, greeting });
            }
        }
    }
}

impl Message {
    async fn read(from: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<Self> {
        let kind = from.read_u8().await?;
        let length = from.read_i32().await?;
        let mut message = [&[kind][..], &length.to_be_bytes()].concat();
        message.resize(1 + usize::try_from(length).map_err(io::Error::other)?, 0);
        from.read_exact(&mut message[5..]).await?;
        Ok(Self(message))
    }
}

/// The first message of a client. It has no type byte.
async fn read_startup(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    loop {
        let length = client.read_i32().await?;
        let mut message = length.to_be_bytes().to_vec();
        message.resize(usize::try_from(length).map_err(io::Error::other)?, 0);
        client.read_exact(&mut message[4..]).await?;
        if !ENCRYPTION_CODES.iter().any(|code| message[4..].starts_with(&code.to_be_bytes())) {
            return Ok(message);
        }
        client.write_all(b"N").await?;
    }
}

/// Messages up to a query or sync message. Returns `None` if the client terminates the connection.
async fn read_request(client: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut request = Vec::new();
    loop {
        let Message(message) = Message::read(client).await?;
        let kind = message[0];
        request.extend(message);
        match kind {
            b'Q' | b'S' => return Ok(Some(request)),
            b'X' => return Ok(None),
            _ => {}
        }
    }
}
