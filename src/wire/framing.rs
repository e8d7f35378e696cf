//! Framing: the bytes around JSON on each transport.

use std::io::Write;

use bytes::Bytes;

use crate::model::cursor::Cursor;
use crate::model::hold::Transport;

/// How a stream frames its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events (WHATWG HTML, 9.2).
    Sse {
        /// Whether the bytes travel in chunks (RFC 9112, 7.1); HTTP/1.0 has none.
        chunked: bool,
    },
    /// WebSocket text messages (RFC 6455).
    WebSocket,
}

/// The number of framings.
pub const FRAMINGS: usize = 3;

/// The most bytes of a chunk's size line: 16 hexadecimal digits and the line's end.
const CHUNK_HEAD: usize = 18;

/// Messages in one framing, joined in one run of bytes.
#[derive(Debug)]
pub struct Frames {
    framing: Framing,
    out: Vec<u8>,
}

impl Framing {
    /// A number below [`FRAMINGS`] for each framing.
    pub fn index(self) -> usize {
        match self {
            Framing::Sse { chunked: true } => 0,
            Framing::Sse { chunked: false } => 1,
            Framing::WebSocket => 2,
        }
    }

    /// The transport of such streams.
    pub fn transport(self) -> Transport {
        match self {
            Framing::Sse { .. } => Transport::Sse,
            Framing::WebSocket => Transport::WebSocket,
        }
    }

    /// SSE lines outside a message, such as `retry:`.
    pub fn lines(self, lines: &str) -> Bytes {
        let mut frames = Frames::new(self);
        frames.out.extend_from_slice(lines.as_bytes());
        frames.finish()
    }

    /// A keep-alive, to keep an idle stream open and to detect a broken stream: an SSE comment, or a ping (RFC 6455,
    /// 5.5.2). Scripts see neither; with `alive`, a message for scripts follows.
    pub fn keep_alive(self, alive: bool) -> Bytes {
        Bytes::from_static(match (self, alive) {
            (Framing::WebSocket, false) => b"\x89\0",
            (Framing::WebSocket, true) => b"\x89\0\x81\x12{\"action\":\"alive\"}",
            (Framing::Sse { chunked: true }, false) => b"3\r\n:\n\n\r\n",
            (Framing::Sse { chunked: false }, false) => b":\n\n",
            (Framing::Sse { chunked: true }, true) => b"1a\r\ndata: {\"action\":\"alive\"}\n\n\r\n",
            (Framing::Sse { chunked: false }, true) => b"data: {\"action\":\"alive\"}\n\n",
        })
    }

    /// The end of a stream in HTTP: the last chunk. A WebSocket ends with a close frame instead.
    pub fn end(self) -> Bytes {
        Bytes::from_static(match self {
            Framing::Sse { chunked: true } => b"0\r\n\r\n",
            Framing::Sse { chunked: false } | Framing::WebSocket => b"",
        })
    }

    fn is_chunked(self) -> bool {
        self == Framing::Sse { chunked: true }
    }
}

impl Frames {
    /// No messages yet.
    pub fn new(framing: Framing) -> Self {
        Frames { framing, out: vec![0; if framing.is_chunked() { CHUNK_HEAD } else { 0 }] }
    }

    /// Appends a message. `id` is the place from which a reader that has seen the message can resume, `event` the SSE
    /// event type; a WebSocket message has neither.
    pub fn push(&mut self, json: &str, id: Option<Cursor>, event: Option<&str>) {
        match self.framing {
            Framing::WebSocket => websocket_text(&mut self.out, json),
            Framing::Sse { .. } => sse_event(&mut self.out, json, id, event),
        }
    }

    /// All messages as one run of bytes, which is empty without messages: an empty chunk would end the stream.
    pub fn finish(self) -> Bytes {
        let mut out = self.out;
        if !self.framing.is_chunked() {
            return out.into();
        }
        let content = out.len() - CHUNK_HEAD;
        if content == 0 {
            return Bytes::new();
        }
        let head = format!("{content:x}\r\n");
        let start = CHUNK_HEAD - head.len();
        out[start..CHUNK_HEAD].copy_from_slice(head.as_bytes());
        out.extend_from_slice(b"\r\n");
        Bytes::from(out).slice(start..)
    }
}

/// One event (WHATWG HTML, 9.2.5). The gateway's JSON never contains a line's end, so one `data:` line is enough.
fn sse_event(out: &mut Vec<u8>, json: &str, id: Option<Cursor>, event: Option<&str>) {
    // Writing to a Vec cannot fail.
    if let Some(id) = id {
        let _ = writeln!(out, "id: {id}");
    }
    if let Some(event) = event {
        let _ = writeln!(out, "event: {event}");
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(json.as_bytes());
    out.extend_from_slice(b"\n\n");
}

/// One text frame (RFC 6455, 5.2), not masked, as from a server.
fn websocket_text(out: &mut Vec<u8>, text: &str) {
    out.push(0x81);
    match text.len() {
        len @ 0..126 => out.push(len as u8),
        len @ 126..65_536 => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cursor::{Epoch, Offset};

    const CURSOR: Cursor = Cursor { epoch: Epoch(10), offset: Offset(2) };

    fn framed(framing: Framing, messages: &[(&str, Option<Cursor>, Option<&str>)]) -> Bytes {
        let mut frames = Frames::new(framing);
        messages.iter().for_each(|(json, id, event)| frames.push(json, *id, *event));
        frames.finish()
    }

    #[test]
    fn an_sse_event_has_an_id_and_a_type_only_where_they_are_given() {
        let one = |id, event| framed(Framing::Sse { chunked: false }, &[("{}", id, event)]);
        assert_eq!(one(None, None), "data: {}\n\n");
        assert_eq!(one(Some(CURSOR), None), "id: a.2\ndata: {}\n\n");
        assert_eq!(one(Some(CURSOR), Some("snapshot")), "id: a.2\nevent: snapshot\ndata: {}\n\n");
    }

    #[test]
    fn several_messages_are_one_chunk() {
        let messages = [("{}", None, None), ("[]", None, None)];
        assert_eq!(framed(Framing::Sse { chunked: true }, &messages), "14\r\ndata: {}\n\ndata: []\n\n\r\n");
        assert_eq!(framed(Framing::WebSocket, &messages), &b"\x81\x02{}\x81\x02[]"[..]);
    }

    #[test]
    fn nothing_is_no_chunk_since_an_empty_chunk_ends_the_stream() {
        assert!(framed(Framing::Sse { chunked: true }, &[]).is_empty());
    }

    #[test]
    fn websocket_frames_carry_their_length_as_rfc_6455_has_it() {
        for (len, head) in [
            (125, &[0x81, 125][..]),
            (126, &[0x81, 126, 0, 126]),
            (65_535, &[0x81, 126, 255, 255]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let text = "x".repeat(len);
            let mut out = Vec::new();
            websocket_text(&mut out, &text);
            assert_eq!((&out[..head.len()], out.len()), (head, head.len() + len));
        }
    }
}
