//! WebSockets: the handshake, and what clients say.

use std::future::pending;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use warp::http::header::{self, HeaderName, HeaderValue};
use warp::http::{Response, StatusCode, Version};

use crate::connection::Peer;
use crate::event::to_json;
use crate::framing::{Form, Frame, Framing};
use crate::http::answer::{self, Answer};
use crate::http::call::Call;
use crate::http::origin::known_origin;
use crate::http::query::Query;
use crate::http::stream::{head_bytes, no_body};
use crate::name::Name;
use crate::reader::Reader;
use crate::refusal::{Code, Refusal};
use crate::websocket::{State, WebSocket};

/// The one subprotocol: the frames of PROTOCOL.
const SUBPROTOCOL: &str = "presently.v1";

const FRAMING: Framing = Framing { form: Form::WebSocket, chunked: false };

/// `GET /ws`
pub async fn upgrade(call: Call) -> Answer {
    call.only("GET")?;
    let head = handshake(&call)?;
    // From here on a refusal is a close, since a browser sees nothing of an HTTP error.
    let (reader, refusal) = match watch(&call) {
        Ok(reader) => (reader, None),
        Err(refusal) => (None, Some(Box::new(refusal))),
    };
    let websocket = WebSocket::new(call.gateway.config().max_message);
    let first = head_bytes(&head).into();
    let gateway = call.gateway.clone();
    call.slot.claim(move |mut socket| {
        let read = std::mem::take(&mut socket.read);
        let peer = WsClient { websocket, read, refusal };
        gateway.stream(socket, FRAMING, first, reader, peer);
    });
    pending().await
}

/// Whom the URL asks to watch.
fn watch(call: &Call) -> Result<Option<Reader>, Refusal> {
    known_origin(&call.headers, &call.gateway.config().allow_origins)?;
    let query = Query::strict(&call.query, &["room", "since"])?;
    let Some(room) = query.get("room") else {
        return Err(Refusal::new(Code::BadParameter, "parameter \"room\" is missing").of("room"));
    };
    let following = call.gateway.rooms().follow(&Name::new("room", room)?)?;
    let cursor = query.get("since").and_then(|text| text.parse().ok());
    Ok(Some(Reader::resume(following, cursor)))
}

/// Checks all that RFC 6455, 4.2.1 asks of a client, and gives the head that accepts (4.2.2).
fn handshake(call: &Call) -> Result<Response<Bytes>, Refusal> {
    no_body(call)?;
    if call.version < Version::HTTP_11 {
        return Err(bad("the handshake is not HTTP/1.1", "version"));
    }
    single(call, header::HOST)?;
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

fn accept(call: &Call, key: &str) -> Response<Bytes> {
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

/// The value of a header that must be there once.
fn single(call: &Call, name: HeaderName) -> Result<&str, Refusal> {
    let mut values = call.headers.get_all(&name).iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (Some(Ok(value)), None) if !value.is_empty() => Ok(value),
        _ => Err(bad(&format!("{name} has to be there once"), name.as_str())),
    }
}

/// Whether a header lists `token`, in any case.
fn lists(call: &Call, name: HeaderName, token: &str) -> bool {
    items(call, name).any(|item| item.eq_ignore_ascii_case(token))
}

/// What a header lists (RFC 9110, 5.6.1).
fn items(call: &Call, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = call.headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

fn bad(message: &str, field: &str) -> Refusal {
    Refusal::new(Code::BadHandshake, message).of(field)
}

/// The client's side of the conversation.
struct WsClient {
    websocket: WebSocket,
    /// What came along with the handshake.
    read: Bytes,
    refusal: Option<Box<Refusal>>,
}

impl Peer for WsClient {
    fn begin(&mut self, output: &mut Vec<u8>) -> bool {
        if let Some(refusal) = self.refusal.take() {
            let row = refusal.code.row();
            self.websocket.close(row.close, row.name, output);
            return true;
        }
        let read = std::mem::take(&mut self.read);
        self.hear(&read, output)
    }

    fn hear(&mut self, input: &[u8], output: &mut Vec<u8>) -> bool {
        let on_text = |text: &str, output: &mut Vec<u8>| {
            let refused = to_json(&refused(text));
            let frame = FRAMING.frame([Frame::Object(&refused, None, "refused")].into_iter());
            output.extend_from_slice(&frame);
        };
        self.websocket.hear(input, output, on_text) == State::Closed
    }

    fn farewell(&mut self, code: u16, reason: &str, _: Framing) -> Bytes {
        let mut output = Vec::new();
        self.websocket.close(code, reason, &mut output);
        output.into()
    }
}

#[derive(Serialize)]
struct Refused {
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#ref: Option<Value>,
    code: &'static str,
    message: String,
    retry: bool,
}

/// What to say to a message: nothing is understood yet.
fn refused(text: &str) -> Refused {
    let (code, message, reference) = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(mut object)) => {
            let reference = object.remove("ref").filter(|r| r.is_number() || r.is_string());
            let reference = reference.filter(|r| r.to_string().len() <= 128);
            let (code, message) = match object.get("action").and_then(Value::as_str) {
                Some(action) => (Code::UnknownAction, format!("action {:?} is not known", shortened(action))),
                None => (Code::BadJson, "the message has no action".into()),
            };
            (code, message, reference)
        }
        Ok(_) => (Code::BadJson, "the message is not a JSON object".into(), None),
        Err(error) => (Code::BadJson, format!("the message is not JSON: {error}"), None),
    };
    let row = code.row();
    Refused { action: "refused", r#ref: reference, code: row.name, message, retry: row.retry }
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}
