//! An HTTP/1.1 client with one kept-alive connection, for the requests that change or read a room.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bench::error::BenchError;
use crate::bench::target::Target;

/// Timeout of a connection attempt and of a request; a healthy gateway needs far less.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A client that sends one request after the other.
#[derive(Debug)]
pub(super) struct HttpClient {
    stream: TcpStream,
    url: String,
    host: String,
    /// Bytes that were read beyond the last response.
    buffer: Vec<u8>,
}

/// The parts of a response's head that the bench needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResponseHead {
    pub(super) status: u16,
    /// The length of the head, in bytes.
    pub(super) head_length: usize,
    /// `Content-Length`, in bytes; 0 without one.
    pub(super) content_length: usize,
    /// Whether the body is chunked (RFC 9112, 7.1).
    pub(super) chunked: bool,
}

impl ResponseHead {
    /// Parses the head at the beginning of `bytes`; `None` while it is incomplete.
    ///
    /// # Errors
    ///
    /// A sentence about bytes that are not HTTP/1.1.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, String> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(bytes).map_err(|error| format!("the gateway does not speak HTTP: {error}"))?;
        let httparse::Status::Complete(head_length) = parsed else {
            return Ok(None);
        };
        let value = |name: &str| {
            let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            header.and_then(|header| str::from_utf8(header.value).ok()).map(str::trim)
        };
        Ok(Some(ResponseHead {
            status: response.code.unwrap_or_default(),
            head_length,
            content_length: value("content-length").and_then(|length| length.parse().ok()).unwrap_or(0),
            chunked: value("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")),
        }))
    }
}

impl HttpClient {
    /// Connects to the gateway.
    ///
    /// # Errors
    ///
    /// [`BenchError::Gateway`] if it cannot be reached within 10 s.
    pub(super) async fn connect(target: &Target) -> Result<Self, BenchError> {
        let url = target.url.to_string();
        let connected = timeout(TIMEOUT, target.connect(0, false)).await;
        let connected = connected.map_err(|_| BenchError::gateway(format!("cannot reach {url}: no answer in 10 s")))?;
        let stream = connected.map_err(|error| BenchError::gateway(format!("cannot reach {url}: {error}")))?;
        Ok(HttpClient { stream, url, host: target.host(), buffer: Vec::new() })
    }

    /// Sends a request, with `body` as JSON unless it is empty, and returns the body of the response.
    ///
    /// # Errors
    ///
    /// [`BenchError::Gateway`] if no response came within 10 s, or its status is not 2xx.
    pub(super) async fn send(&mut self, method: &str, path: &str, body: &str) -> Result<Vec<u8>, BenchError> {
        let content_type = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{content_type}Content-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        let answered = timeout(TIMEOUT, self.exchange(request.as_bytes())).await;
        let failed = |why: String| BenchError::gateway(format!("{method} {path} at {} failed: {why}", self.url));
        let (status, body) = answered.map_err(|_| failed("no answer in 10 s".into()))?.map_err(failed)?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let text = String::from_utf8_lossy(&body);
        Err(failed(format!("{status} {}", text.lines().next().unwrap_or_default())))
    }

    /// Gets a JSON document.
    ///
    /// # Errors
    ///
    /// As [`HttpClient::send`], and if the response is not JSON.
    pub(super) async fn get(&mut self, path: &str) -> Result<Value, BenchError> {
        let body = self.send("GET", path, "").await?;
        let not_json =
            |error| BenchError::gateway(format!("{} does not answer {path} as Presently does: {error}", self.url));
        serde_json::from_slice(&body).map_err(not_json)
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<(u16, Vec<u8>), String> {
        self.stream.write_all(request).await.map_err(|error| error.to_string())?;
        let head = loop {
            if let Some(head) = ResponseHead::parse(&self.buffer)? {
                break head;
            }
            self.read_more().await?;
        };
        if head.chunked {
            return Err("the response is chunked, as only streams are".into());
        }
        let length = head.head_length + head.content_length;
        while self.buffer.len() < length {
            self.read_more().await?;
        }
        let body = self.buffer[head.head_length..length].to_vec();
        self.buffer.drain(..length);
        Ok((head.status, body))
    }

    async fn read_more(&mut self) -> Result<(), String> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => Err("the gateway closed the connection".into()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}
