//! A WebSocket at the level of bytes, to send frames that break the protocol.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::net::TcpStream;

use super::{Conn, within};

pub const FIN: u8 = 0x80;
pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;

const MASK: [u8; 4] = [0x1F, 0xA2, 0x33, 0xC4];

/// The request that upgrades, with the example key of RFC 6455, 1.3.
pub fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// A frame as clients send it; `first` is the byte with FIN, the reserved bits and the opcode.
pub fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = head(first, 0x80, payload.len());
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A frame without a mask, which clients must not send.
pub fn unmasked(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = head(first, 0, payload.len());
    frame.extend(payload);
    frame
}

fn head(first: u8, mask_bit: u8, length: usize) -> Vec<u8> {
    if let Ok(length) = u8::try_from(length)
        && length < 126
    {
        return vec![first, mask_bit | length];
    }
    if let Ok(length) = u16::try_from(length) {
        return [&[first, mask_bit | 126][..], &length.to_be_bytes()].concat();
    }
    [&[first, mask_bit | 127][..], &(length as u64).to_be_bytes()].concat()
}

/// A frame from the gateway.
#[derive(Debug, PartialEq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn json(&self) -> Value {
        assert_eq!(self.opcode, TEXT, "{self:?}");
        serde_json::from_slice(&self.payload).expect("a JSON text")
    }

    /// The code and the reason of a close frame.
    pub fn close(&self) -> (u16, String) {
        assert_eq!(self.opcode, CLOSE, "{self:?}");
        let code = u16::from_be_bytes([self.payload[0], self.payload[1]]);
        (code, String::from_utf8(self.payload[2..].to_vec()).expect("a reason in UTF-8"))
    }
}

/// A WebSocket to which a test writes raw bytes.
pub struct RawWs {
    conn: Conn,
}

impl RawWs {
    /// Connects to the room, and leaves the snapshot unread.
    pub async fn open(addr: SocketAddr, room: &str) -> Self {
        Self::request(addr, upgrade(&format!("/ws?room={room}"))).await
    }

    /// Connects with a small receive window: without reads, the gateway's socket is soon full.
    pub async fn narrow(addr: SocketAddr, room: &str) -> Self {
        Self::over(Conn::narrow(addr).await, upgrade(&format!("/ws?room={room}"))).await
    }

    /// Sends bytes that begin with a handshake, which must be accepted.
    pub async fn request(addr: SocketAddr, bytes: impl AsRef<[u8]>) -> Self {
        Self::over(Conn::open(addr).await, bytes).await
    }

    async fn over(mut conn: Conn, bytes: impl AsRef<[u8]>) -> Self {
        conn.send(bytes).await;
        conn.head().await.expect(101);
        Self { conn }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.conn.send(bytes).await;
    }

    /// A second handle, to send while frames are read.
    pub fn sender(&self) -> TcpStream {
        self.conn.sender()
    }

    /// The next frame; the gateway neither masks nor fragments.
    pub async fn frame(&mut self) -> Frame {
        let head = self.take(2).await;
        assert_eq!(head[0] & 0xF0, FIN, "whole, and without reserved bits");
        let length = match head[1] {
            126 => self.take(2).await.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
            127 => self.take(8).await.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
            length => usize::from(length),
        };
        Frame { opcode: head[0] & 0x0F, payload: self.take(length).await }
    }

    /// The next frame that does not belong to the room: neither a snapshot nor an event.
    pub async fn reply(&mut self) -> Frame {
        loop {
            let frame = self.frame().await;
            let room = frame.opcode == TEXT && frame.json().get("room").is_some();
            if !room {
                return frame;
            }
        }
    }

    /// Waits for the gateway's close frame, and for the end of the connection without a reset.
    pub async fn closed(mut self) -> (u16, String) {
        let close = self.reply().await.close();
        self.ended().await;
        close
    }

    /// Checks that the connection ends, without a reset and without further frames.
    pub async fn ended(self) {
        self.conn.ended().await;
    }

    /// Waits for the end of the connection, clean or not.
    pub async fn lost(self) {
        self.conn.lost().await;
    }

    async fn take(&mut self, count: usize) -> Vec<u8> {
        loop {
            if let Some(bytes) = self.conn.take(count) {
                return bytes;
            }
            let more = within("a frame", self.conn.fill()).await.expect("no reset");
            assert!(more, "the connection ended without a close frame");
        }
    }
}
