//! The bytes around JSON: how each kind of stream frames what it carries.

use std::io::Write;

use bytes::Bytes;

use crate::model::event::{Cursor, Event};

/// How one stream frames what it carries. Readers of one framing share their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// What the reader understands.
    pub form: Form,
    /// Whether the bytes travel in HTTP/1.1 chunks (RFC 9112, 7.1); HTTP/1.0 and WebSocket have none.
    pub chunked: bool,
}

/// What a reader understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Server-sent events as rooms have them.
    Sse,
    /// Server-sent events as the exercise had them: no `update`, and snapshots out of the way.
    Exercise,
    /// WebSocket text messages.
    WebSocket,
}

/// Something to frame.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    /// An event of a room.
    Event(&'a Event),
    /// One of several that lead to a place together, and not the last: no reader may resume from here.
    Midway(&'a Event),
    /// Any other object: its JSON, its cursor if a reader that has seen it stands there, and the SSE
    /// event type under which the exercise's readers get it.
    Object(&'a str, Option<Cursor>, &'static str),
}

/// How many different framings there are, for those who keep something for each.
pub const FRAMINGS: usize = 5;

impl Framing {
    /// A number less than [`FRAMINGS`] for each framing.
    pub fn index(self) -> usize {
        match (self.form, self.chunked) {
            (Form::Sse, true) => 0,
            (Form::Sse, false) => 1,
            (Form::Exercise, true) => 2,
            (Form::Exercise, false) => 3,
            (Form::WebSocket, _) => 4,
        }
    }

    /// All of `frames` as one run of bytes, which may be empty.
    pub fn frame<'a>(self, frames: impl Iterator<Item = Frame<'a>>) -> Bytes {
        let mut out = vec![0; if self.chunked { CHUNK_HEAD } else { 0 }];
        for frame in frames {
            match self.form {
                Form::WebSocket => websocket_text(&mut out, frame.json()),
                Form::Sse => sse(&mut out, frame.cursor(), None, frame.json()),
                Form::Exercise => exercise(&mut out, frame),
            }
        }
        self.close(out)
    }

    /// SSE lines as they stand, such as `retry:`.
    pub fn lines(self, lines: &str) -> Bytes {
        let mut out = vec![0; if self.chunked { CHUNK_HEAD } else { 0 }];
        out.extend_from_slice(lines.as_bytes());
        self.close(out)
    }

    /// What keeps an idle stream open and finds out whether it is: an SSE comment, or a ping
    /// (RFC 6455, 5.5.2). Scripts see neither: with `alive`, a message that they see comes along.
    pub fn keep_alive(self, alive: bool) -> Bytes {
        Bytes::from_static(match (self.form, self.chunked, alive) {
            (Form::WebSocket, _, false) => b"\x89\0",
            (Form::WebSocket, _, true) => b"\x89\0\x81\x12{\"action\":\"alive\"}",
            (_, true, false) => b"3\r\n:\n\n\r\n",
            (_, false, false) => b":\n\n",
            (_, true, true) => b"1a\r\ndata: {\"action\":\"alive\"}\n\n\r\n",
            (_, false, true) => b"data: {\"action\":\"alive\"}\n\n",
        })
    }

    /// What ends a stream as HTTP has it: the last chunk. A WebSocket's close frame is its own affair.
    pub fn end(self) -> Bytes {
        Bytes::from_static(if self.chunked { b"0\r\n\r\n" } else { b"" })
    }

    /// Makes one chunk of what stands behind the space left for its head.
    fn close(self, mut out: Vec<u8>) -> Bytes {
        if !self.chunked {
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

/// The most bytes a chunk's size line takes: 16 hexadecimal digits and the line's end.
const CHUNK_HEAD: usize = 18;

impl<'a> Frame<'a> {
    fn json(self) -> &'a str {
        match self {
            Frame::Event(event) | Frame::Midway(event) => event.json(),
            Frame::Object(json, ..) => json,
        }
    }

    fn cursor(self) -> Option<Cursor> {
        match self {
            Frame::Event(event) => Some(event.cursor),
            Frame::Midway(_) => None,
            Frame::Object(_, cursor, _) => cursor,
        }
    }
}

/// One event as WHATWG HTML, 9.2.5, has it. JSON never holds a line's end, so one `data:` line does.
fn sse(out: &mut Vec<u8>, id: Option<Cursor>, kind: Option<&str>, json: &str) {
    if let Some(id) = id {
        // Writing to a Vec cannot fail.
        let _ = writeln!(out, "id: {id}");
    }
    if let Some(kind) = kind {
        let _ = writeln!(out, "event: {kind}");
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(json.as_bytes());
    out.extend_from_slice(b"\n\n");
}

fn exercise(out: &mut Vec<u8>, frame: Frame<'_>) {
    match frame {
        Frame::Event(event) | Frame::Midway(event) => {
            if let Some(json) = event.exercise() {
                sse(out, frame.cursor(), None, json);
            }
        }
        Frame::Object(json, id, kind) => sse(out, id, Some(kind), json),
    }
}

/// One text frame (RFC 6455, 5.2), unmasked as a server's are.
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
    use crate::model::event::{Change, Reason};
    use crate::model::meta::Meta;
    use crate::model::name::Name;

    const CURSOR: Cursor = Cursor { epoch: 10, offset: 2 };

    fn events() -> [Event; 2] {
        let ann: Name = "ann".parse().unwrap();
        let of = |change| Event::new(&Name::lobby(), CURSOR, change);
        [of(Change::Update(ann.clone(), Meta::default())), of(Change::Del(ann, Reason::SignedOut))]
    }

    fn framed(form: Form, chunked: bool) -> String {
        let events = events();
        let bytes = Framing { form, chunked }.frame(events.iter().map(Frame::Event));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn events_are_framed_for_each_form() {
        let [update, del] = events().map(|event| event.json().to_owned());
        let sse = format!("id: a.2\ndata: {update}\n\nid: a.2\ndata: {del}\n\n");
        assert_eq!(framed(Form::Sse, false), sse);
        assert_eq!(framed(Form::Sse, true), format!("{:x}\r\n{sse}\r\n", sse.len()));
        let exercise = "id: a.2\ndata: {\"action\":\"del\",\"user\":\"ann\"}\n\n";
        assert_eq!(framed(Form::Exercise, false), exercise, "the exercise knew no update");
        assert_eq!(framed(Form::WebSocket, false).matches(&del).count(), 1);
    }

    #[test]
    fn nothing_is_no_chunk_since_an_empty_chunk_ends_the_stream() {
        let only_update = &events()[..1];
        let framing = Framing { form: Form::Exercise, chunked: true };
        assert!(framing.frame(only_update.iter().map(Frame::Event)).is_empty());
    }

    #[test]
    fn objects_have_an_id_only_where_a_reader_may_stand() {
        let object = |form, cursor| {
            let frames = [Frame::Object("{}", cursor, "snapshot")];
            Framing { form, chunked: false }.frame(frames.into_iter())
        };
        assert_eq!(object(Form::Sse, None), "data: {}\n\n");
        assert_eq!(object(Form::Sse, Some(CURSOR)), "id: a.2\ndata: {}\n\n");
        assert_eq!(object(Form::Exercise, None), "event: snapshot\ndata: {}\n\n");
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
