//! The WebSocket protocol without a socket (RFC 6455): bytes in, messages and answering bytes out.

use std::io::{self, Read, Write};

use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, coding::CloseCode};
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};

/// One end of a WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    max_message: usize,
    /// The state in the middle of a frame or message; `None` otherwise.
    amid: Option<Box<Amid>>,
}

#[derive(Debug)]
struct Amid {
    context: WebSocketContext,
    place: Place,
}

/// The end of the received bytes among frames and messages (RFC 6455, 5.2 and 5.4).
#[derive(Debug, Default)]
struct Place {
    /// The head of a frame, as far as it has arrived, without the mask.
    head: [u8; 10],
    /// The number of bytes in `head`.
    arrived: usize,
    /// The bytes to come of a frame whose head has arrived: the mask and the payload.
    to_come: u64,
    /// Whether a fragmented message has begun.
    fragmented: bool,
}

/// The bytes of a frame's mask.
const MASK: u64 = 4;

/// Whether the conversation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The client may send more. All messages are whole.
    Open,
    /// The last message, or the last frame, is not whole yet.
    Amid {
        /// Whether these bytes began the message or frame.
        new: bool,
    },
    /// A close frame was written, and nothing may follow. If the client closed first, the code of the client's frame.
    Closed(Option<u16>),
}

impl WebSocket {
    /// A server's end, after the handshake, for messages of at most `max_message` bytes.
    pub fn new(max_message: usize) -> Self {
        WebSocket { max_message, amid: None }
    }

    fn amid(&mut self) -> &mut Amid {
        self.amid.get_or_insert_with(|| {
            let config = WebSocketConfig::default()
                // Read-ahead for small frames: the default is 128 KiB for each idle connection.
                .read_buffer_size(128)
                .write_buffer_size(0)
                .max_message_size(Some(self.max_message))
                .max_frame_size(Some(self.max_message));
            let context = WebSocketContext::new(Role::Server, Some(config));
            Box::new(Amid { context, place: Place::default() })
        })
    }

    /// Takes `input` from the client. Texts go to `on_text`; the answers of `on_text`, pongs and closes go to `output`,
    /// in order.
    pub fn receive(
        &mut self,
        mut input: &[u8],
        output: &mut Vec<u8>,
        on_text: impl FnMut(&str, &mut Vec<u8>),
    ) -> State {
        let fresh = self.amid.is_none();
        if fresh {
            input = behind_pongs(input);
            if input.is_empty() {
                return State::Open;
            }
        }
        let new = self.amid().place.advance(input) || fresh;
        if let Some(code) = self.read(input, output, on_text) {
            return State::Closed(code);
        }
        if self.amid().place.is_boundary() {
            self.amid = None;
            return State::Open;
        }
        State::Amid { new }
    }

    /// The code of [`State::Closed`], if the conversation is over.
    fn read(
        &mut self,
        mut input: &[u8],
        output: &mut Vec<u8>,
        mut on_text: impl FnMut(&str, &mut Vec<u8>),
    ) -> Option<Option<u16>> {
        let mut said = None;
        loop {
            let mut pipe = Pipe { input: &mut input, output };
            let (code, reason) = match self.amid().context.read(&mut pipe) {
                Ok(Message::Text(text)) => {
                    on_text(&text, output);
                    continue;
                }
                Ok(Message::Close(frame)) => {
                    said = Some(frame.map_or(CloseCode::Status, |frame| frame.code).into());
                    continue;
                }
                Ok(Message::Binary(_)) => (CloseCode::Unsupported, "only text messages are understood"),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
                Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => return None,
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Some(said),
                Err(Error::Utf8(_)) => (CloseCode::Invalid, "text is not UTF-8"),
                Err(Error::Capacity(_)) => (CloseCode::Size, "message is too large"),
                Err(_) => (CloseCode::Protocol, "frame breaks RFC 6455"),
            };
            self.close(code.into(), reason, output);
            return Some(None);
        }
    }

    /// Writes a close frame with `code`.
    pub fn close(&mut self, code: u16, reason: &str, output: &mut Vec<u8>) {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        // The pipe takes all bytes, so only a second close fails.
        let _ = self.amid().context.close(&mut Pipe { input: &mut &[][..], output }, Some(frame));
    }
}

/// The rest of `input` after whole, masked pongs (RFC 6455, 5.5.3), which need no answer.
fn behind_pongs(mut input: &[u8]) -> &[u8] {
    while let [0x8A, len @ 0x80..=0xFD, rest @ ..] = input
        && let Some(next) = rest.get(4 + usize::from(len & 0x7F)..)
    {
        input = next;
    }
    input
}

impl Place {
    /// Moves behind `input`; true when a boundary between messages was passed.
    fn advance(&mut self, mut input: &[u8]) -> bool {
        let mut passed = false;
        loop {
            if self.to_come > 0 {
                let taken = input.len().min(usize::try_from(self.to_come).unwrap_or(usize::MAX));
                self.to_come -= taken as u64;
                input = &input[taken..];
                passed |= self.is_boundary();
            }
            let [first, rest @ ..] = input else {
                return passed;
            };
            self.take_head(*first);
            input = rest;
        }
    }

    fn take_head(&mut self, byte: u8) {
        self.head[self.arrived] = byte;
        self.arrived += 1;
        let [first, length, long @ ..] = self.head;
        let payload = match (self.arrived, length & 0x7F) {
            (2, length @ ..126) => u64::from(length),
            (4, 126) => u64::from(u16::from_be_bytes([long[0], long[1]])),
            (10, 127) => u64::from_be_bytes(long),
            _ => return,
        };
        self.arrived = 0;
        self.to_come = payload.saturating_add(MASK);
        // Control frames may come within a fragmented message.
        let is_control = first & 0x08 != 0;
        if !is_control {
            self.fragmented = first & 0x80 == 0;
        }
    }

    /// Whether no frame and no message has begun.
    fn is_boundary(&self) -> bool {
        self.arrived == 0 && self.to_come == 0 && !self.fragmented
    }
}

/// The bytes received and the bytes to send, as the stream that tungstenite works on.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::Mutants;

    const PONG: [u8; 8] = [0x8A, 0x82, 1, 2, 3, 4, 9, 9];
    const PING: [u8; 8] = [0x89, 0x82, 0, 0, 0, 0, b'h', b'i'];

    fn hear(websocket: &mut WebSocket, input: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        let state = websocket.receive(input, &mut output, |_, _| panic!("no text"));
        assert!(matches!(state, State::Open | State::Amid { .. }));
        output
    }

    #[test]
    fn pongs_take_no_memory_and_later_frames_are_read() {
        let mut websocket = WebSocket::new(1_024);
        assert!(hear(&mut websocket, &[PONG, PONG].concat()).is_empty());
        assert!(websocket.amid.is_none());
        assert_eq!(hear(&mut websocket, &[PONG, PING].concat()), b"\x8a\x02hi");
    }

    fn text(text: &str) -> Vec<u8> {
        let head = match text.len() {
            length @ ..126 => vec![0x81, 0x80 | length as u8],
            length @ 126..65_536 => [&[0x81, 0xFE][..], &(length as u16).to_be_bytes()].concat(),
            length => [&[0x81, 0xFF][..], &(length as u64).to_be_bytes()].concat(),
        };
        [&head[..], &[0; 4], text.as_bytes()].concat()
    }

    #[test]
    fn whole_messages_leave_nothing_behind_and_parts_are_kept() {
        let long = "x".repeat(300);
        for input in [text("a"), text(&long), [text(""), PING.to_vec(), text("b")].concat()] {
            for cut in 1..=input.len() {
                let (mut websocket, mut heard) = (WebSocket::new(1_024), String::new());
                for part in [&input[..cut], &input[cut..]] {
                    websocket.receive(part, &mut Vec::new(), |text, _| heard.push_str(text));
                }
                let all = input.iter().filter(|byte| byte.is_ascii_lowercase() && **byte != b'h' && **byte != b'i');
                assert_eq!(heard.len(), all.count(), "cut at {cut}");
                assert!(websocket.amid.is_none(), "cut at {cut}: {input:?}");
            }
        }
    }

    #[test]
    fn a_message_is_begun_until_it_is_whole_whatever_comes_in_between() {
        const START: &[u8] = &[0x01, 0x81, 0, 0, 0, 0, b'a'];
        const END: &[u8] = &[0x80, 0x81, 0, 0, 0, 0, b'b'];
        let mut websocket = WebSocket::new(100_000);
        let mut receive = |input: &[u8]| websocket.receive(input, &mut Vec::new(), |_, _| {});
        assert_eq!(receive(START), State::Amid { new: true });
        assert_eq!(receive(&PING), State::Amid { new: false });
        assert_eq!(receive(&END[..3]), State::Amid { new: false });
        assert_eq!(receive(&[&END[3..], START].concat()), State::Amid { new: true });
        assert_eq!(receive(END), State::Open);
        for length in [0, 125, 126, 65_535, 65_536] {
            for byte in text(&"x".repeat(length)).chunks(1) {
                assert_ne!(receive(byte), State::Closed(None));
            }
            assert_eq!(receive(&[]), State::Open, "{length}");
        }
    }

    #[test]
    fn the_clients_close_code_is_returned() {
        for (input, code) in [
            (&[0x88, 0x80, 0, 0, 0, 0][..], 1005),
            (&[0x88, 0x82, 0, 0, 0, 0, 3, 232], 1000),
            (&[0x88, 0x82, 0, 0, 0, 0, 3, 233], 1001),
            (&[0x88, 0x82, 0, 0, 0, 0, 15, 161], 4001),
        ] {
            let state = WebSocket::new(1_024).receive(input, &mut Vec::new(), |_, _| {});
            assert_eq!(state, State::Closed(Some(code)));
        }
        let unmasked = WebSocket::new(1_024).receive(&[0x81, 0], &mut Vec::new(), |_, _| {});
        assert_eq!(unmasked, State::Closed(None));
    }

    #[test]
    fn a_pong_cut_in_two_is_one_pong() {
        let mut websocket = WebSocket::new(1_024);
        for cut in 1..PONG.len() {
            assert!(hear(&mut websocket, &PONG[..cut]).is_empty());
            assert_eq!(hear(&mut websocket, &[&PONG[cut..], &PING].concat()), b"\x8a\x02hi", "cut at {cut}");
        }
    }

    /// What comes out of `parts`, until the end: texts, bytes and the state.
    fn outcome<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> (String, Vec<u8>, State) {
        let (mut websocket, mut texts, mut output) = (WebSocket::new(1_024), String::new(), Vec::new());
        for part in parts {
            let state = websocket.receive(part, &mut output, |text, _| {
                texts.push_str(text);
                texts.push('\n');
            });
            if let State::Closed(_) = state {
                return (texts, output, state);
            }
        }
        // How a message is cut decides only when its deadline begins.
        (texts, output, State::Open)
    }

    #[test]
    fn mutants_of_frames_mean_the_same_however_they_are_cut() {
        let inputs = [
            [text("{\"action\":\"x\"}"), PING.to_vec(), PONG.to_vec()].concat(),
            [PONG.to_vec(), text(&"é".repeat(300)), vec![0x88, 0x82, 0, 0, 0, 0, 3, 232]].concat(),
            vec![0x01, 0x81, 0, 0, 0, 0, b'a', 0x89, 0x80, 1, 2, 3, 4, 0x80, 0x81, 0, 0, 0, 0, b'b'],
            vec![0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 2],
        ];
        let mut rng = fastrand::Rng::with_seed(1);
        for mutant in Mutants::of(inputs, 5_000) {
            let whole = outcome([&*mutant]);
            assert_eq!(outcome(mutant.chunks(rng.usize(1..=mutant.len().max(1)))), whole);
            assert_eq!(outcome(mutant.chunks(1)), whole);
        }
    }
}
