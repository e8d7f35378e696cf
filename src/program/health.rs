//! `presently health`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use presently::{Address, Config};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::output::failed;

/// Timeout of a health check.
const HEALTH_WITHIN: Duration = Duration::from_secs(3);

/// Checks the health of the gateway of `config`.
pub async fn health(config: &Config) -> ExitCode {
    let Some(address) = config.admin.as_ref().or(config.listen.first()) else {
        return failed(2, "--listen names no address");
    };
    let unhealthy = |why: &str| failed(1, &format!("the gateway at {address} is not healthy: {why}"));
    match timeout(HEALTH_WITHIN, ask(address)).await {
        Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200 ") => {
            if let Some(most) = full(&answer) {
                let sentence =
                    format!("healthy, but all {most} places for connections are taken; see --max-connections\n");
                // Fails only when the reader has closed the pipe.
                let _ = std::io::stdout().write_all(sentence.as_bytes());
            }
            ExitCode::SUCCESS
        }
        Ok(Ok(answer)) => unhealthy(answer.lines().next().unwrap_or("closed without an answer")),
        Ok(Err(error)) => unhealthy(&error.to_string()),
        Err(_) => unhealthy("no answer in 3 s"),
    }
}

/// The bound on connections, if that many are open.
fn full(answer: &str) -> Option<u64> {
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let health: serde_json::Value = serde_json::from_str(body).ok()?;
    let most = health["max_connections"].as_u64()?;
    (health["connections"].as_u64()? >= most).then_some(most)
}

/// Asks the gateway that listens on `address`.
async fn ask(address: &Address) -> std::io::Result<String> {
    match address {
        Address::Unix(path) => talk(UnixStream::connect(path).await?).await,
        Address::Socket(_) | Address::Name(..) | Address::All(_) => {
            talk(TcpStream::connect(&address.reachable().await?[..]).await?).await
        }
    }
}

async fn talk(mut socket: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<String> {
    // Health is told under any host.
    socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    socket.take(16 * 1024).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
