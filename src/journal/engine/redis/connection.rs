//! Connections to the server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::{AsyncPushSender, MultiplexedConnection};
use ::redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, Pipeline, ProtocolVersion, RedisConnectionInfo, RedisError,
    ServerErrorKind, Value, cmd,
};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::task::AbortOnDropHandle;

use crate::journal::engine::address;
use crate::journal::engine::options::Options;
use crate::journal::engine::seam::Trouble;
use crate::runtime::trust;

/// The time for a connection, with its handshakes.
const CONNECT: Duration = Duration::from_secs(2);

/// How to reach the server.
pub struct Link {
    server: address::Server,
    tls: Option<TlsConnector>,
    settings: RedisConnectionInfo,
    /// The time of each request.
    pub within: Duration,
    /// The connection for everything that does not wait.
    shared: Mutex<Option<Connection>>,
}

/// A connection. Clones share it.
#[derive(Clone)]
pub struct Connection {
    redis: MultiplexedConnection,
    _driving: Arc<AbortOnDropHandle<()>>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The server refused it, and would refuse it again.
    #[error("{0}")]
    Refused(String),
    /// There is no answer, or not now.
    #[error("{0}")]
    Away(String),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Trouble {
        Trouble::Unknown(fault.to_string())
    }
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Fault {
        let kind = error.kind();
        let temporary = [ServerErrorKind::BusyLoading, ServerErrorKind::TryAgain, ServerErrorKind::MasterDown];
        let is_lasting = matches!(kind, ErrorKind::Server(kind) if !temporary.contains(&kind));
        if kind == ErrorKind::AuthenticationFailed {
            Fault::Refused("the server refuses the password".to_owned())
        } else if is_lasting || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM")) {
            Fault::Refused(error.to_string())
        } else {
            Fault::Away(error.to_string())
        }
    }
}

impl Link {
    /// How to reach the server that the options name.
    ///
    /// # Errors
    ///
    /// A sentence about the file with certificates.
    pub fn new(options: &Options) -> Result<Link, String> {
        let address = &options.addresses;
        let server = address.servers.first().cloned().ok_or("there is no address")?;
        let tls = address.tls.then(|| trust::client(options.authorities.as_deref(), "the authorities")).transpose()?;
        let mut settings = RedisConnectionInfo::default().set_db(i64::from(address.database)).set_skip_set_lib_name();
        if let Some(user) = &address.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &options.password {
            settings = settings.set_password(password.reveal());
        }
        let tls = tls.map(|config| TlsConnector::from(Arc::new(config)));
        Ok(Link { server, tls, settings, within: options.within, shared: Mutex::new(None) })
    }

    /// A connection of its own.
    ///
    /// # Errors
    ///
    /// There is none in time.
    pub async fn connect(&self) -> Result<Connection, Fault> {
        self.connect_with(&self.settings, AsyncConnectionConfig::new()).await
    }

    /// A connection of its own for commands and messages, which the server sends on its own. The connection says its end as well.
    ///
    /// # Errors
    ///
    /// There is none in time.
    pub async fn connect_to_hear(&self, messages: impl AsyncPushSender) -> Result<Connection, Fault> {
        let settings = self.settings.clone().set_protocol(ProtocolVersion::RESP3);
        self.connect_with(&settings, AsyncConnectionConfig::new().set_push_sender(messages)).await
    }

    async fn connect_with(
        &self,
        settings: &RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> Result<Connection, Fault> {
        let config = config.set_response_timeout(Some(self.within));
        let connecting = async {
            let away = |error: std::io::Error| Fault::Away(error.to_string());
            let socket = TcpStream::connect((&*self.server.host, self.server.port)).await.map_err(away)?;
            socket.set_nodelay(true).map_err(away)?;
            let Some(tls) = &self.tls else { return handshake(socket, settings, config).await };
            let name = ServerName::try_from(self.server.host.clone());
            let name = name.map_err(|_| Fault::Refused("the host is no name".to_owned()))?;
            handshake(tls.connect(name, socket).await.map_err(away)?, settings, config).await
        };
        let connected = timeout(CONNECT, connecting).await;
        connected.map_err(|_| Fault::Away("the server does not answer".to_owned()))?
    }

    /// Asks over the shared connection, and once more over a new one: the server may have closed the old one long ago. For
    /// commands that may be done twice.
    ///
    /// # Errors
    ///
    /// No answer, or a refusal.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Fault> {
        let there = self.shared.lock().clone();
        if let Some(mut connection) = there {
            match connection.ask(command).await {
                Err(Fault::Away(_)) => {}
                asked => return asked,
            }
        }
        self.renewed().await?.ask(command).await
    }

    /// Sends several commands at once over a shared connection that was just seen to work.
    ///
    /// # Errors
    ///
    /// No answers.
    pub async fn ask_all(&self, commands: &Pipeline) -> Result<Vec<Value>, Fault> {
        let _: String = self.ask(&cmd("PING")).await?;
        let there = self.shared.lock().clone();
        match there {
            Some(mut connection) => connection.ask_all(commands).await,
            None => self.renewed().await?.ask_all(commands).await,
        }
    }

    /// A new shared connection.
    async fn renewed(&self) -> Result<Connection, Fault> {
        *self.shared.lock() = None;
        let connection = self.connect().await?;
        *self.shared.lock() = Some(connection.clone());
        Ok(connection)
    }
}

async fn handshake(
    socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    settings: &RedisConnectionInfo,
    config: AsyncConnectionConfig,
) -> Result<Connection, Fault> {
    let (redis, driver) = MultiplexedConnection::new_with_config(settings, socket, config).await?;
    Ok(Connection { redis, _driving: Arc::new(AbortOnDropHandle::new(tokio::spawn(driver))) })
}

impl Connection {
    /// Subscribes to channels and leaves others, of a connection that hears messages.
    ///
    /// # Errors
    ///
    /// No answer, or a refusal.
    pub async fn subscribe(&mut self, to: &[String], not: &[String]) -> Result<(), Fault> {
        if !to.is_empty() {
            self.redis.subscribe(to).await?;
        }
        if !not.is_empty() {
            self.redis.unsubscribe(not).await?;
        }
        Ok(())
    }

    /// Asks for one thing.
    ///
    /// # Errors
    ///
    /// No answer, or a refusal.
    pub async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, Fault> {
        Ok(command.query_async(&mut self.redis).await?)
    }

    /// Sends several commands at once, and gives each one's answer.
    ///
    /// # Errors
    ///
    /// No answers.
    pub async fn ask_all(&mut self, commands: &Pipeline) -> Result<Vec<Value>, Fault> {
        Ok(self.redis.send_packed_commands(commands, 0, commands.len()).await?)
    }
}

/// The values of an array.
pub fn array(value: Value) -> Option<Vec<Value>> {
    if let Value::Array(values) = value { Some(values) } else { None }
}

/// The bytes of a string.
pub fn bytes(value: Value) -> Option<Vec<u8>> {
    if let Value::BulkString(bytes) = value { Some(bytes) } else { None }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", self.server)
    }
}
