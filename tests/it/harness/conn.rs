//! A TCP connection that speaks just enough HTTP/1 to see every byte the gateway sends.

use std::io;
use std::net::SocketAddr;
use std::str;

use serde_json::Value;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::within;

/// An HTTP response of any of the clients.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The header of this name, which must not be repeated.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} is there twice: {self:?}");
        value
    }

    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("a body in UTF-8")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks the status.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?} {}", self.headers, String::from_utf8_lossy(&self.body));
        self
    }

    fn parse(head: &str) -> Self {
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line:?}"));
            (name.to_owned(), value.trim().to_owned())
        });
        Self {
            status: status.unwrap_or_else(|| panic!("no status line: {status_line:?}")),
            headers: headers.collect(),
            body: Vec::new(),
        }
    }
}

/// A connection, and the bytes received but not yet taken.
pub struct Conn {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Conn {
    pub async fn open(addr: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(addr)).await.expect("a connection");
        Self { stream, buffer: Vec::new() }
    }

    /// Opens a connection with a small receive window: without reads, the gateway's socket is soon full.
    pub async fn narrow(addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let stream = within("a connection", socket.connect(addr)).await.expect("a connection");
        Self { stream, buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within("bytes to be taken", self.stream.write_all(bytes.as_ref())).await.expect("an open connection");
    }

    /// A second handle, to send while the connection is read.
    pub fn sender(&self) -> TcpStream {
        let socket = SockRef::from(&self.stream).try_clone().expect("a second handle");
        TcpStream::from_std(socket.into()).expect("a socket that does not block")
    }

    /// Receives further bytes; `Ok(false)` is the peer's clean end.
    pub async fn fill(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    /// Takes the bytes before `mark`, and drops the mark; `None` until the mark has arrived.
    pub fn take_until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        let at = self.buffer.windows(mark.len()).position(|window| window == mark)?;
        let mut taken = self.take(at + mark.len())?;
        taken.truncate(at);
        Some(taken)
    }

    /// Takes exactly `count` bytes; `None` until all have arrived.
    pub fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        (self.buffer.len() >= count).then(|| self.take_up_to(count))
    }

    fn take_up_to(&mut self, count: usize) -> Vec<u8> {
        self.buffer.drain(..count.min(self.buffer.len())).collect()
    }

    /// Takes all bytes that have arrived.
    fn take_all(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// Takes the content of the next chunk; empty for the last chunk.
    fn take_chunk(&mut self) -> Option<Vec<u8>> {
        let digits = self.buffer.windows(2).position(|window| window == b"\r\n")?;
        let text = str::from_utf8(&self.buffer[..digits]).expect("a chunk's size");
        let size = usize::from_str_radix(text, 16).unwrap_or_else(|_| panic!("no chunk's size: {text:?}"));
        let mut chunk = self.take(digits + 2 + size + 2)?;
        assert!(chunk.ends_with(b"\r\n"), "a chunk ends with CRLF");
        chunk.truncate(digits + 2 + size);
        chunk.drain(..digits + 2);
        Some(chunk)
    }

    async fn must_fill(&mut self, what: &str) {
        let more = within(what, self.fill()).await;
        assert!(more.unwrap_or_else(|error| panic!("{what}: {error}")), "the connection ended before {what}");
    }

    /// Reads the head of the next response, and leaves the body unread.
    pub async fn head(&mut self) -> Answer {
        loop {
            if let Some(head) = self.take_until(b"\r\n\r\n") {
                return Answer::parse(str::from_utf8(&head).expect("a head in UTF-8"));
            }
            self.must_fill("the head of an answer").await;
        }
    }

    /// Reads the next response, as an answer to a `GET`.
    pub async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        if answer.header("content-length").or(answer.header("transfer-encoding")).is_none() {
            return answer;
        }
        let (mut body, mut bytes) = (Body::of(&answer), Vec::new());
        while within("the body of an answer", body.read(self, &mut bytes)).await {}
        assert!(body.clean, "the body of an answer was cut: {answer:?}");
        answer.body = bytes;
        answer
    }

    /// Waits for the end of the connection, clean or not.
    pub async fn lost(mut self) {
        while within("the end of the connection", self.fill()).await.is_ok_and(|more| more) {}
    }

    /// Checks that the peer closes, without a reset and without further bytes.
    pub async fn ended(mut self) {
        let more = within("the end of the connection", self.fill()).await;
        let more = more.expect("an end without a reset");
        assert!(!more && self.buffer.is_empty(), "more came: {:?}", String::from_utf8_lossy(&self.buffer));
    }
}

/// The framing of a body.
enum Framing {
    Chunked,
    /// The number of bytes to come.
    Length(usize),
    UntilClose,
}

/// The body of a response, read step by step.
pub struct Body {
    framing: Framing,
    /// Whether the body ended according to its framing, and was not cut.
    pub clean: bool,
}

impl Body {
    pub fn of(answer: &Answer) -> Self {
        let length = answer.header("content-length").map(|length| Framing::Length(length.parse().expect("a length")));
        let chunked = answer.header("transfer-encoding") == Some("chunked");
        assert!(length.is_none() || !chunked, "a body has one framing: {answer:?}");
        let framing = if chunked { Framing::Chunked } else { length.unwrap_or(Framing::UntilClose) };
        Self { framing, clean: false }
    }

    /// Appends further bytes of the body; `false` at the end. Cancelling loses nothing.
    pub async fn read(&mut self, conn: &mut Conn, into: &mut Vec<u8>) -> bool {
        loop {
            let before = into.len();
            self.decode(conn, into);
            if into.len() > before {
                return true;
            }
            if self.clean {
                return false;
            }
            match conn.fill().await {
                Ok(true) => {}
                Ok(false) => {
                    self.clean = matches!(self.framing, Framing::UntilClose);
                    return false;
                }
                Err(_) => return false,
            }
        }
    }

    fn decode(&mut self, conn: &mut Conn, into: &mut Vec<u8>) {
        match &mut self.framing {
            Framing::UntilClose => into.extend(conn.take_all()),
            Framing::Length(left) => {
                let bytes = conn.take_up_to(*left);
                *left -= bytes.len();
                self.clean = *left == 0;
                into.extend(bytes);
            }
            Framing::Chunked => {
                if let Some(chunk) = conn.take_chunk() {
                    self.clean = chunk.is_empty();
                    into.extend(chunk);
                }
            }
        }
    }
}

/// Sends the bytes of one request on a new connection.
pub async fn raw(addr: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let mut conn = Conn::open(addr).await;
    conn.send(request).await;
    conn.answer().await
}
