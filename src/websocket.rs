//! The WebSocket protocol without a socket (RFC 6455): bytes in, messages and answering bytes out.

use std::io::{self, Read, Write};

use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, coding::CloseCode};
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};

/// One end of a WebSocket.
#[derive(Debug)]
pub struct WebSocket(WebSocketContext);

/// Whether there is more to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The conversation goes on.
    Open,
    /// A close frame went out; nothing may follow it.
    Closed,
}

impl WebSocket {
    /// A server's end, behind the handshake, for messages of at most `max_message` bytes.
    pub fn new(max_message: usize) -> Self {
        let config = WebSocketConfig::default()
            // Read-ahead for small frames: its default of 128 KiB would be each idle connection's.
            .read_buffer_size(128)
            .write_buffer_size(0)
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message));
        WebSocket(WebSocketContext::new(Role::Server, Some(config)))
    }

    /// Takes `input` off the wire. Texts go to `on_text`, whose answers, like pongs and closes, go to
    /// `output` in order.
    pub fn hear(
        &mut self,
        mut input: &[u8],
        output: &mut Vec<u8>,
        mut on_text: impl FnMut(&str, &mut Vec<u8>),
    ) -> State {
        loop {
            let mut pipe = Pipe { input: &mut input, output };
            let (code, reason) = match self.0.read(&mut pipe) {
                Ok(Message::Text(text)) => {
                    on_text(&text, output);
                    continue;
                }
                Ok(Message::Binary(_)) => (CloseCode::Unsupported, "only text messages are understood"),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => continue,
                Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => return State::Open,
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return State::Closed,
                Err(Error::Utf8(_)) => (CloseCode::Invalid, "text is not UTF-8"),
                Err(Error::Capacity(_)) => (CloseCode::Size, "message is too large"),
                Err(_) => (CloseCode::Protocol, "frame breaks RFC 6455"),
            };
            self.close(code.into(), reason, output);
            return State::Closed;
        }
    }

    /// Says good-bye with `code`.
    pub fn close(&mut self, code: u16, reason: &str, output: &mut Vec<u8>) {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        // The pipe takes everything, so what fails here is only a close after a close.
        let _ = self.0.close(&mut Pipe { input: &mut &[][..], output }, Some(frame));
    }
}

/// Bytes that came and bytes to go, as the stream that the protocol wants.
struct Pipe<'a, 'b> {
    input: &'a mut &'b [u8],
    output: &'a mut Vec<u8>,
}

impl Read for Pipe<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(into)
    }
}

impl Write for Pipe<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
