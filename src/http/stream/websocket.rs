//! WebSockets (RFC 6455): the handshake, and the client's frames.

use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use uuid::Uuid;
use warp::http::header::{self, HeaderName, HeaderValue};
use warp::http::{Response, StatusCode, Version};

use crate::delivery::connection::Options;
use crate::delivery::conversation::{Farewell, Flow, Peer, Talk};
use crate::http::answer::{self, Answer, Body};
use crate::http::audit::Asked;
use crate::http::call::Call;
use crate::http::query::Query;
use crate::http::request_id::REQUEST_ID;
use crate::http::stream::options::StreamOptions;
use crate::http::stream::speaker::Speaker;
use crate::http::stream::sse::{head_bytes, no_body};
use crate::model::id::ConnectionId;
use crate::model::name::Name;
use crate::model::refusal::{Code, Refusal};
use crate::runtime::admission::Charge;
use crate::wire::dialect::Format;
use crate::wire::framing::Framing;
use crate::wire::websocket::{State, WebSocket};

/// The subprotocol of PROTOCOL's messages.
const SUBPROTOCOL: &str = "presently.v1";

/// The close code of a connection that has served its purpose (RFC 6455, 7.4.1).
const CLEAN: u16 = 1000;

/// The close code of a client that may return within the grace period. Browsers send 1001 for that purpose, but do not
/// let scripts send it.
const GOING_AWAY: u16 = 4001;

/// `GET /ws`
pub async fn upgrade(call: Call) -> Answer {
    call.only("GET")?;
    let mut head = handshake(&call)?;
    head.headers_mut().insert(REQUEST_ID, call.id());
    // From here on a refusal is a close code, because browsers hide HTTP errors of WebSockets from scripts.
    let (charge, options) = match call.gate.charge(&call.forwarded()) {
        Ok(charge) => (charge, options(&call)),
        Err(refusal) => (Charge::default(), Err(refusal)),
    };
    if let Err(refusal) = &options {
        call.gate.count_refusal(refusal);
        let client = || call.forwarded().client();
        let asked = Asked::of(&call.id(), ("GET", "/ws"), Some(&call.query), client);
        asked.iter().for_each(|asked| asked.refused(refusal));
    }
    let (alive, suspects) = options.as_ref().map_or((false, false), |(.., options)| (options.alive, options.suspects));
    let mut first = head_bytes(&head);
    if let (true, Ok(caller)) = (alive, call.caller()) {
        first.extend_from_slice(&Format::WEBSOCKET.answer(&call.gate.hello(caller).json()));
    }
    // A client from before the questions does not answer them, and is found by pings.
    let asks = alive.then(|| call.gate.asks(false));
    let max_message = call.gate.config().max_message;
    let id = ConnectionId(Uuid::new_v4());
    call.began(id);
    call.gate
        .stream(&call.slot, charge, move |socket| {
            let read = std::mem::take(&mut socket.read);
            let format = Format { suspects, ..Format::WEBSOCKET };
            let connection_options = Options { id, format, alive, asks, head: first.into() };
            let websocket = WebSocket::new(max_message);
            (connection_options, WsClient { websocket, begin: Some(Box::new((read, options))), speaker: None })
        })
        .await
}

/// The speaker for the client, the room that the URL asks to watch, and how.
fn options(call: &Call) -> Result<(Speaker, Option<Name>, StreamOptions), Refusal> {
    let visitor = call.visitor()?;
    let query =
        Query::strict(&call.query, &["room", "since", "as", "meta", "rank", "client", "alive", "suspect", "ticket"])?;
    let room = query.get("room").map(|room| Name::new("room", room)).transpose()?;
    let options = StreamOptions::of(call, &query)?;
    if room.is_none() && (options.holds.is_some() || query.get("since").is_some()) {
        return Err(Refusal::new(Code::BadParameter, "parameter \"room\" is missing").of("room"));
    }
    Ok((Speaker::new(visitor, options.client), room, options))
}

/// Checks the client's handshake (RFC 6455, 4.2.1), and gives the head of the answer (4.2.2).
fn handshake(call: &Call) -> Result<Response<Body>, Refusal> {
    no_body(call)?;
    if call.version < Version::HTTP_11 {
        return Err(bad("the handshake is not HTTP/1.1", "version"));
    }
    if !lists(call, header::UPGRADE, "websocket") {
        let refusal = Refusal::new(Code::UpgradeRequired, "/ws speaks only WebSocket; Upgrade is not websocket");
        return Err(refusal.of("Upgrade"));
    }
    if !lists(call, header::CONNECTION, "upgrade") {
        return Err(bad("Connection does not list Upgrade", "Connection"));
    }
    if single(call, header::SEC_WEBSOCKET_VERSION)? != "13" {
        let refusal = Refusal::new(Code::UpgradeRequired, "only version 13 of WebSocket is understood");
        return Err(refusal.of("Sec-WebSocket-Version"));
    }
    let key = single(call, header::SEC_WEBSOCKET_KEY)?;
    if BASE64_STANDARD.decode(key).map_or(0, |nonce| nonce.len()) != 16 {
        return Err(bad("Sec-WebSocket-Key is not 16 bytes in base64", "Sec-WebSocket-Key"));
    }
    Ok(accept(call, &derive_accept_key(key.as_bytes())))
}

fn accept(call: &Call, key: &str) -> Response<Body> {
    let mut head = answer::bare(StatusCode::SWITCHING_PROTOCOLS);
    head = answer::with(head, header::CONNECTION, "Upgrade");
    head = answer::with(head, header::UPGRADE, "websocket");
    if let Ok(key) = HeaderValue::from_str(key) {
        head.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, key);
    }
    if items(call, header::SEC_WEBSOCKET_PROTOCOL).any(|item| item == SUBPROTOCOL) {
        head = answer::with(head, header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
    }
    head
}

/// The value of a header that must be present exactly once.
fn single(call: &Call, name: HeaderName) -> Result<&str, Refusal> {
    let mut values = call.headers.get_all(&name).iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (Some(Ok(value)), None) if !value.is_empty() => Ok(value),
        _ => Err(bad(&format!("{name} must be present exactly once"), name.as_str())),
    }
}

/// Whether a header's list has `token`, without regard to case.
fn lists(call: &Call, name: HeaderName, token: &str) -> bool {
    items(call, name).any(|item| item.eq_ignore_ascii_case(token))
}

/// The items of a header's list (RFC 9110, 5.6.1).
fn items(call: &Call, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = call.headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

fn bad(message: &str, field: &str) -> Refusal {
    Refusal::new(Code::BadHandshake, message).of(field)
}

/// Whether a close code means that the client has left for good. With any other code, and without one, the client may
/// be reloading the page or changing its network.
fn is_clean(code: u16) -> bool {
    matches!(code, 1000 | 1005 | 3000..=4999) && code != GOING_AWAY
}

/// The client's side of the conversation.
struct WsClient {
    websocket: WebSocket,
    /// What came along with the handshake, until the conversation begins.
    begin: Option<Box<Begin>>,
    /// Absent where the handshake was refused.
    speaker: Option<Speaker>,
}

/// The bytes behind the handshake, and what its URL asks for.
type Begin = (Bytes, Result<(Speaker, Option<Name>, StreamOptions), Refusal>);

impl Peer for WsClient {
    fn begin(&mut self, talk: &mut Talk<'_>) -> Flow {
        let Some((read, options)) = self.begin.take().map(|begin| *begin) else {
            return Flow::Continue;
        };
        let granted =
            options.and_then(|(speaker, room, options)| self.speaker.insert(speaker).begin(room, options, talk));
        match granted {
            Ok(()) => self.receive(&read, talk),
            Err(refusal) => {
                if let Some(speaker) = &self.speaker {
                    speaker.refused(&refusal, talk);
                }
                talk.close(self.farewell(refusal.code.into(), Framing::WebSocket));
                Flow::End
            }
        }
    }

    fn receive(&mut self, input: &[u8], talk: &mut Talk<'_>) -> Flow {
        let (mut output, mut flow) = (Vec::new(), Flow::Continue);
        let state = self.websocket.receive(input, &mut output, |text, output| {
            // Pongs keep their place among the answers.
            talk.write(std::mem::take(output));
            if let Some(speaker) = &mut self.speaker
                && flow != Flow::End
            {
                flow = speaker.answer(text, talk);
            }
        });
        if flow == Flow::End {
            // Writes nothing if the client's own close frame was among the input, and is answered.
            self.websocket.close(CLEAN, "", &mut output);
            talk.close(output);
            return Flow::End;
        }
        let code = match state {
            State::Closed(code) => code,
            State::Open | State::Amid { .. } => {
                talk.write(output);
                return if let State::Amid { new } = state { Flow::Amid { new } } else { Flow::Continue };
            }
        };
        if code.is_some_and(is_clean)
            && let Some(speaker) = &mut self.speaker
        {
            // A close frame is answered at once: a leave that is lost with the process ends as a loss.
            speaker.leave();
        }
        talk.close(output);
        Flow::End
    }

    fn poll_posted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.speaker.as_mut().map_or(Poll::Pending, |speaker| speaker.poll_resumed(cx))
    }

    fn take_posted(&mut self, talk: &mut Talk<'_>) -> Flow {
        let flow = self.speaker.as_mut().map_or(Flow::Continue, |speaker| speaker.go_on(talk));
        if flow == Flow::End {
            let mut output = Vec::new();
            self.websocket.close(CLEAN, "", &mut output);
            talk.close(output);
        }
        flow
    }

    fn is_busy(&self) -> bool {
        self.speaker.as_ref().is_some_and(Speaker::is_busy)
    }

    fn pause(&mut self) -> Option<Duration> {
        self.speaker.as_ref()?.pause()
    }

    fn gone(&mut self, code: Option<Code>) {
        if let Some(speaker) = self.speaker.as_mut().filter(|_| code == Some(Code::Revoked)) {
            speaker.kick();
        }
        self.speaker = None;
    }

    fn farewell(&mut self, Farewell { code, wait }: Farewell, _: Framing) -> Bytes {
        let (mut output, row) = (Vec::new(), code.row());
        let reason = wait.map_or_else(|| row.name.to_owned(), |wait| format!("{} {wait}", row.name));
        self.websocket.close(row.close, &reason, &mut output);
        output.into()
    }
}
