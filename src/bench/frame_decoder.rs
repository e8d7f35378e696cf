//! Decodes the bytes of a stream, over either transport, into frames.
//!
//! It finds only where frames begin and end, and leaves JSON alone: each delivery passes here, on a
//! machine whose processors the gateway needs.

use memchr::memchr;

/// Frames larger than this, in bytes, are an error. The gateway's parts have some 32 KiB.
const MAX_FRAME: usize = 16 * 1024 * 1024;

/// A complete frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A JSON object.
    Object(&'a [u8]),
    /// A WebSocket ping; the pong carries the same payload.
    Ping(&'a [u8]),
    /// The end of the stream, with the close code of a WebSocket.
    End(Option<u16>),
}

/// The decoder of one connection; it keeps the bytes of an incomplete frame.
#[derive(Debug)]
pub(super) enum FrameDecoder {
    /// Server-sent events.
    Sse {
        /// The state of the chunked coding; `None` if the body is not chunked.
        chunk: Option<ChunkState>,
        /// The bytes of an incomplete line.
        line: Vec<u8>,
    },
    /// WebSocket frames (RFC 6455), with the bytes of an incomplete frame.
    WebSocket(Vec<u8>),
}

/// A position in a chunked body (RFC 9112, 7.1).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ChunkState {
    /// In the size of a chunk: its value so far; `None` before the first digit.
    Size(Option<usize>),
    /// In the content of a chunk, with the number of bytes left.
    Content(usize),
}

impl FrameDecoder {
    /// A decoder of server-sent events, for a body from its first byte on.
    pub(super) fn sse(chunked: bool) -> Self {
        FrameDecoder::Sse { chunk: chunked.then_some(ChunkState::Size(None)), line: Vec::new() }
    }

    /// A decoder of WebSocket frames, for the bytes after the handshake.
    pub(super) fn websocket() -> Self {
        FrameDecoder::WebSocket(Vec::new())
    }

    /// Calls `each` with the frames that `bytes` complete.
    ///
    /// # Errors
    ///
    /// A sentence about bytes that the gateway must not send. The connection is of no use then.
    pub(super) fn decode(&mut self, bytes: &[u8], mut each: impl FnMut(Frame<'_>)) -> Result<(), String> {
        match self {
            FrameDecoder::Sse { chunk: None, line } => decode_lines(line, bytes, &mut each),
            FrameDecoder::Sse { chunk: Some(chunk), line } => decode_chunks(chunk, line, bytes, &mut each),
            FrameDecoder::WebSocket(kept) if kept.is_empty() => {
                let used = decode_websocket(bytes, &mut each)?;
                kept.extend_from_slice(&bytes[used..]);
                Ok(())
            }
            FrameDecoder::WebSocket(kept) => {
                kept.extend_from_slice(bytes);
                let used = decode_websocket(kept, &mut each)?;
                kept.drain(..used);
                Ok(())
            }
        }
    }
}

/// Removes the chunked coding, and decodes the lines in it.
fn decode_chunks(
    chunk: &mut ChunkState,
    line: &mut Vec<u8>,
    mut bytes: &[u8],
    each: &mut impl FnMut(Frame<'_>),
) -> Result<(), String> {
    while let Some((first, rest)) = bytes.split_first() {
        match chunk {
            ChunkState::Content(left) => {
                let (content, rest) = bytes.split_at(bytes.len().min(*left));
                decode_lines(line, content, each)?;
                *left -= content.len();
                if *left == 0 {
                    *chunk = ChunkState::Size(None);
                }
                bytes = rest;
                continue;
            }
            ChunkState::Size(size) => match (first, *size) {
                // A line end without digits ends the chunk before.
                (b'\r', _) | (b'\n', None) => {}
                (b'\n', Some(0)) => {
                    each(Frame::End(None));
                    return Ok(());
                }
                (b'\n', Some(size)) => *chunk = ChunkState::Content(size),
                (digit, size) => *chunk = ChunkState::Size(Some(add_digit(size.unwrap_or(0), *digit)?)),
            },
        }
        bytes = rest;
    }
    Ok(())
}

/// Appends a hexadecimal digit to the size of a chunk.
fn add_digit(size: usize, digit: u8) -> Result<usize, String> {
    let digit = char::from(digit).to_digit(16).ok_or("the gateway sent a chunk without a size")?;
    let size = size * 16 + digit as usize;
    if size > MAX_FRAME { Err("the gateway sent a chunk larger than 16 MiB".into()) } else { Ok(size) }
}

/// An object is one `data:` line, since its JSON has no line end. The other lines (`id:`, `retry:`,
/// comments) repeat what the object says, or are keep-alives.
fn decode_lines(kept: &mut Vec<u8>, mut bytes: &[u8], each: &mut impl FnMut(Frame<'_>)) -> Result<(), String> {
    while let Some(end) = memchr(b'\n', bytes) {
        let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
        if kept.is_empty() {
            decode_line(line, each);
        } else {
            kept.extend_from_slice(line);
            decode_line(kept, each);
            // Frees the memory: only the rare line of a snapshot is long.
            *kept = Vec::new();
        }
        bytes = rest;
    }
    if kept.len() + bytes.len() > MAX_FRAME {
        return Err("the gateway sent a line longer than 16 MiB".into());
    }
    kept.extend_from_slice(bytes);
    Ok(())
}

fn decode_line(line: &[u8], each: &mut impl FnMut(Frame<'_>)) {
    if let Some(object) = line.strip_prefix(b"data: ") {
        each(Frame::Object(object));
    }
}

/// Decodes unmasked WebSocket frames (RFC 6455, 5.2), and returns the number of bytes of the complete ones.
fn decode_websocket(bytes: &[u8], each: &mut impl FnMut(Frame<'_>)) -> Result<usize, String> {
    let mut used = 0;
    while let Some((head, length)) = frame_length(&bytes[used..])?
        && let Some(payload) = bytes[used..].get(head..length)
    {
        match bytes[used] & 0x0F {
            1 => each(Frame::Object(payload)),
            8 => each(Frame::End(payload.first_chunk().map(|code| u16::from_be_bytes(*code)))),
            9 => each(Frame::Ping(payload)),
            _ => {}
        }
        used += length;
    }
    Ok(used)
}

/// The length of the first frame's head and of the whole frame, in bytes; `None` while its head is
/// incomplete.
fn frame_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & 0xF0 != 0x80 || second & 0x80 != 0 {
        return Err("the gateway sent a fragmented or masked WebSocket frame".into());
    }
    let (length, head) = match second {
        126 => (rest.first_chunk().map(|length| u64::from(u16::from_be_bytes(*length))), 4),
        127 => (rest.first_chunk().map(|length| u64::from_be_bytes(*length)), 10),
        length => (Some(u64::from(*length)), 2),
    };
    let Some(length) = length else {
        return Ok(None);
    };
    let length = usize::try_from(length).ok().filter(|length| *length <= MAX_FRAME);
    Ok(Some((head, head + length.ok_or("the gateway sent a WebSocket frame larger than 16 MiB")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(mut decoder: FrameDecoder, bytes: &[u8], at_once: usize) -> Vec<String> {
        let mut seen = Vec::new();
        for piece in bytes.chunks(at_once) {
            decoder
                .decode(piece, |frame| {
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
    fn server_sent_events_are_decoded_from_pieces_of_any_size() {
        let lines = b"retry: 1000\n\nid: a.1\ndata: {\"a\":1}\n\n:\n\ndata: {\"b\":2}\n\n";
        let half = lines.len() / 2;
        let mut chunks = format!("{half:x}\r\n").into_bytes();
        chunks.extend_from_slice(&lines[..half]);
        chunks.extend(format!("\r\n{:X}\r\n", lines.len() - half).bytes());
        chunks.extend_from_slice(&lines[half..]);
        chunks.extend_from_slice(b"\r\n0\r\n\r\n");
        for at_once in 1..=chunks.len() {
            assert_eq!(decode(FrameDecoder::sse(false), lines, at_once), ["{\"a\":1}", "{\"b\":2}"]);
            assert_eq!(decode(FrameDecoder::sse(true), &chunks, at_once)[..3], ["{\"a\":1}", "{\"b\":2}", "End(None)"]);
        }
    }

    #[test]
    fn websocket_frames_are_decoded_from_pieces_of_any_size() {
        let long = "x".repeat(300);
        let mut bytes = b"\x81\x02{}\x89\x01p\x81\x7e\x01\x2c".to_vec();
        bytes.extend(long.bytes());
        bytes.extend(b"\x81\x7f\0\0\0\0\0\0\0\x02{}\x8a\0\x88\x02\x03\xe8");
        for at_once in 1..=bytes.len() {
            let seen = decode(FrameDecoder::websocket(), &bytes, at_once);
            assert_eq!(seen, ["{}", "Ping([112])", &long, "{}", "End(Some(1000))"]);
        }
    }

    #[test]
    fn bytes_that_the_gateway_must_not_send_are_an_error() {
        for bytes in [&b"\x01\x00"[..], b"\x81\x80", b"\x81\x7f\xff\0\0\0\0\0\0\0"] {
            assert!(FrameDecoder::websocket().decode(bytes, |_| {}).is_err(), "{bytes:?}");
        }
        assert!(FrameDecoder::sse(true).decode(b"hello\r\n", |_| {}).is_err());
    }
}
