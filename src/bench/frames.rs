//! Where frames begin and end in the bytes of a stream, and nothing more: each delivery passes here.

use memchr::memchr;

/// A frame larger than this is no gateway's: its parts have some 32 KiB.
const MOST: usize = 16 * 1024 * 1024;

/// What a stream carries.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A JSON object.
    Object(&'a [u8]),
    /// A WebSocket ping, which wants a pong with the same payload.
    Ping(&'a [u8]),
    /// The end, with its close code on a WebSocket.
    End(Option<u16>),
}

/// Cuts one connection's bytes into frames.
#[derive(Debug)]
pub enum Frames {
    /// Server-sent events, in chunks or not.
    Sse {
        /// `None` without chunks.
        chunk: Option<Chunk>,
        /// The beginning of a line whose end has not come.
        line: Vec<u8>,
    },
    /// WebSocket frames; the beginning of one whose end has not come.
    WebSocket(Vec<u8>),
}

/// Where in the chunks (RFC 9112, 7.1) a connection is.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Before a chunk, in the digits of its size, if any came.
    Size(Option<usize>),
    /// So many bytes before a chunk's end.
    Content(usize),
}

impl Frames {
    /// Server-sent events from their first byte on.
    pub fn sse(chunked: bool) -> Self {
        Frames::Sse { chunk: chunked.then_some(Chunk::Size(None)), line: Vec::new() }
    }

    /// A WebSocket after its handshake.
    pub fn websocket() -> Self {
        Frames::WebSocket(Vec::new())
    }

    /// Gives each frame that is whole now to `each`, and keeps what is not.
    pub fn cut(&mut self, bytes: &[u8], mut each: impl FnMut(Frame<'_>)) -> Result<(), String> {
        match self {
            Frames::Sse { chunk: None, line } => cut_lines(line, bytes, &mut each),
            Frames::Sse { chunk: Some(chunk), line } => cut_chunks(chunk, line, bytes, &mut each),
            Frames::WebSocket(kept) if kept.is_empty() => {
                let used = cut_messages(bytes, &mut each)?;
                kept.extend_from_slice(&bytes[used..]);
                Ok(())
            }
            Frames::WebSocket(kept) => {
                kept.extend_from_slice(bytes);
                let used = cut_messages(kept, &mut each)?;
                kept.drain(..used);
                Ok(())
            }
        }
    }
}

fn cut_chunks(
    chunk: &mut Chunk,
    line: &mut Vec<u8>,
    mut bytes: &[u8],
    each: &mut impl FnMut(Frame<'_>),
) -> Result<(), String> {
    while let Some((first, rest)) = bytes.split_first() {
        match chunk {
            Chunk::Content(left) => {
                let (content, rest) = bytes.split_at(bytes.len().min(*left));
                cut_lines(line, content, each)?;
                *left -= content.len();
                if *left == 0 {
                    *chunk = Chunk::Size(None);
                }
                bytes = rest;
                continue;
            }
            Chunk::Size(size) => match (first, *size) {
                // The line's end without digits is that of the chunk before.
                (b'\r', _) | (b'\n', None) => {}
                (b'\n', Some(0)) => {
                    each(Frame::End(None));
                    return Ok(());
                }
                (b'\n', Some(size)) => *chunk = Chunk::Content(size),
                (digit, so_far) => {
                    let digit = char::from(*digit).to_digit(16).ok_or("a chunk without a size came")?;
                    let size = so_far.unwrap_or(0) * 16 + digit as usize;
                    if size > MOST {
                        return Err("a chunk larger than any came".into());
                    }
                    *chunk = Chunk::Size(Some(size));
                }
            },
        }
        bytes = rest;
    }
    Ok(())
}

/// An object is one `data:` line, since JSON holds no line's end; all other lines say nothing that it
/// does not say too.
fn cut_lines(kept: &mut Vec<u8>, mut bytes: &[u8], each: &mut impl FnMut(Frame<'_>)) -> Result<(), String> {
    while let Some(end) = memchr(b'\n', bytes) {
        let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
        if kept.is_empty() {
            data(line, each);
        } else {
            kept.extend_from_slice(line);
            data(kept, each);
            // A snapshot's line is long, and comes once.
            *kept = Vec::new();
        }
        bytes = rest;
    }
    if kept.len() + bytes.len() > MOST {
        return Err("a line longer than any came".into());
    }
    kept.extend_from_slice(bytes);
    Ok(())
}

fn data(line: &[u8], each: &mut impl FnMut(Frame<'_>)) {
    if let Some(object) = line.strip_prefix(b"data: ") {
        each(Frame::Object(object));
    }
}

/// Cuts unmasked frames (RFC 6455, 5.2); how many bytes those were that are whole.
fn cut_messages(bytes: &[u8], each: &mut impl FnMut(Frame<'_>)) -> Result<usize, String> {
    let mut used = 0;
    while let Some((head, whole)) = extent(&bytes[used..])?
        && let Some(payload) = bytes[used..].get(head..whole)
    {
        match bytes[used] & 0x0F {
            1 => each(Frame::Object(payload)),
            8 => each(Frame::End(payload.first_chunk().map(|code| u16::from_be_bytes(*code)))),
            9 => each(Frame::Ping(payload)),
            _ => {}
        }
        used += whole;
    }
    Ok(used)
}

/// How long the first frame's head is, and how long it is in all.
fn extent(bytes: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & 0xF0 != 0x80 || second & 0x80 != 0 {
        return Err("a WebSocket frame came that no gateway sends".into());
    }
    let (length, head) = match second {
        126 => (rest.first_chunk().map(|length| u64::from(u16::from_be_bytes(*length))), 4),
        127 => (rest.first_chunk().map(|length| u64::from_be_bytes(*length)), 10),
        length => (Some(u64::from(*length)), 2),
    };
    let Some(length) = length else {
        return Ok(None);
    };
    let length = usize::try_from(length).ok().filter(|length| *length <= MOST);
    Ok(Some((head, head + length.ok_or("a WebSocket frame larger than any came")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(mut frames: Frames, bytes: &[u8], at_once: usize) -> Vec<String> {
        let mut seen = Vec::new();
        for piece in bytes.chunks(at_once) {
            frames
                .cut(piece, |frame| {
                    seen.push(match frame {
                        Frame::Object(object) => String::from_utf8_lossy(object).into_owned(),
                        end @ (Frame::Ping(_) | Frame::End(_)) => format!("{end:?}"),
                    });
                })
                .unwrap();
        }
        seen
    }

    #[test]
    fn events_are_found_however_they_are_cut() {
        let lines = b"retry: 1000\n\nid: a.1\ndata: {\"a\":1}\n\n:\n\ndata: {\"b\":2}\n\n";
        let half = lines.len() / 2;
        let mut chunks = format!("{half:x}\r\n").into_bytes();
        chunks.extend_from_slice(&lines[..half]);
        chunks.extend(format!("\r\n{:X}\r\n", lines.len() - half).bytes());
        chunks.extend_from_slice(&lines[half..]);
        chunks.extend_from_slice(b"\r\n0\r\n\r\n");
        for at_once in 1..=chunks.len() {
            assert_eq!(cut(Frames::sse(false), lines, at_once), ["{\"a\":1}", "{\"b\":2}"]);
            assert_eq!(cut(Frames::sse(true), &chunks, at_once)[..3], ["{\"a\":1}", "{\"b\":2}", "End(None)"]);
        }
    }

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let long = "x".repeat(300);
        let mut bytes = b"\x81\x02{}\x89\x01p\x81\x7e\x01\x2c".to_vec();
        bytes.extend(long.bytes());
        bytes.extend(b"\x81\x7f\0\0\0\0\0\0\0\x02{}\x8a\0\x88\x02\x03\xe8");
        for at_once in 1..=bytes.len() {
            let seen = cut(Frames::websocket(), &bytes, at_once);
            assert_eq!(seen, ["{}", "Ping([112])", &long, "{}", "End(Some(1000))"]);
        }
    }

    #[test]
    fn what_no_gateway_sends_is_an_error() {
        for bytes in [&b"\x01\x00"[..], b"\x81\x80", b"\x81\x7f\xff\0\0\0\0\0\0\0"] {
            assert!(Frames::websocket().cut(bytes, |_| {}).is_err(), "{bytes:?}");
        }
        assert!(Frames::sse(true).cut(b"hello\r\n", |_| {}).is_err());
    }
}
