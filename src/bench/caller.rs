//! Requests over one kept-alive connection.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bench::target::Target;
use crate::bench::trouble::Trouble;

/// Longer than any answer takes from a gateway that is alive.
const WITHIN: Duration = Duration::from_secs(10);

/// Someone who asks the gateway, one request after the other.
#[derive(Debug)]
pub struct Caller {
    stream: TcpStream,
    url: String,
    host: String,
    buffer: Vec<u8>,
}

/// The head of an answer, as far as anybody here cares.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// How many bytes of what was read are the head.
    pub bytes: usize,
    /// `Content-Length`; 0 without one.
    pub length: usize,
    /// Whether the body comes in chunks (RFC 9112, 7.1).
    pub chunked: bool,
}

impl Head {
    /// Reads a head; `None` until it is whole.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, String> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut answer = httparse::Response::new(&mut headers);
        let parsed = answer.parse(bytes).map_err(|error| format!("the gateway does not speak HTTP: {error}"))?;
        let httparse::Status::Complete(bytes) = parsed else {
            return Ok(None);
        };
        let value = |name: &str| {
            let header = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            header.and_then(|header| str::from_utf8(header.value).ok()).map(str::trim)
        };
        Ok(Some(Head {
            status: answer.code.unwrap_or_default(),
            bytes,
            length: value("content-length").and_then(|length| length.parse().ok()).unwrap_or(0),
            chunked: value("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")),
        }))
    }
}

impl Caller {
    /// Connects.
    pub async fn open(target: &Target) -> Result<Self, Trouble> {
        let url = target.url.to_string();
        let connected = timeout(WITHIN, target.connect(0, false)).await;
        let connected = connected.map_err(|_| Trouble::gateway(format!("cannot reach {url}: no answer in 10 s")))?;
        let stream = connected.map_err(|error| Trouble::gateway(format!("cannot reach {url}: {error}")))?;
        Ok(Caller { stream, url, host: target.host(), buffer: Vec::new() })
    }

    /// Asks and awaits a 2xx; its body.
    pub async fn call(&mut self, method: &str, path: &str, body: &str) -> Result<Vec<u8>, Trouble> {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        let answered = timeout(WITHIN, self.exchange(request.as_bytes())).await;
        let failed = |why: String| Trouble::gateway(format!("{method} {path} at {} failed: {why}", self.url));
        let (status, body) = answered.map_err(|_| failed("no answer in 10 s".into()))?.map_err(failed)?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let said = String::from_utf8_lossy(&body);
        Err(failed(format!("{status} {}", said.lines().next().unwrap_or_default())))
    }

    /// Asks for JSON, and takes it apart.
    pub async fn ask(&mut self, path: &str) -> Result<serde_json::Value, Trouble> {
        let body = self.call("GET", path, "").await?;
        let said = |error| Trouble::gateway(format!("{} does not answer {path} as Presently does: {error}", self.url));
        serde_json::from_slice(&body).map_err(said)
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<(u16, Vec<u8>), String> {
        self.stream.write_all(request).await.map_err(|error| error.to_string())?;
        let head = loop {
            if let Some(head) = Head::parse(&self.buffer)? {
                break head;
            }
            self.fill().await?;
        };
        if head.chunked {
            return Err("the answer came in chunks, which only streams do".into());
        }
        let whole = head.bytes + head.length;
        while self.buffer.len() < whole {
            self.fill().await?;
        }
        let body = self.buffer[head.bytes..whole].to_vec();
        self.buffer.drain(..whole);
        Ok((head.status, body))
    }

    async fn fill(&mut self) -> Result<(), String> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => Err("the gateway closed the connection".into()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}
