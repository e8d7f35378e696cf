//! WebSockets: the handshake, and the talk with a client.

use std::future::pending;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use uuid::Uuid;
use warp::http::header::{self, HeaderName, HeaderValue};
use warp::http::{Response, StatusCode, Version};

use crate::delivery::connection::{Manner, Peer, Talk};
use crate::model::event::Cursor;
use crate::wire::framing::Framing;
use crate::gateway::Gateway;
use crate::model::hold::Transport;
use crate::rooms::connection_holds::Holding;
use crate::http::answer::{self, Answer};
use crate::http::call::Call;
use crate::http::stream::message::{self, FRAMING, Message, Reference};
use crate::http::permit::may_change;
use crate::http::query::Query;
use crate::http::stream::sse::{head_bytes, no_body};
use crate::http::stream::options::Wish;
use crate::model::meta::Meta;
use crate::model::name::Name;
use crate::delivery::reader::Reader;
use crate::model::refusal::{Code, Refusal};
use crate::wire::websocket::{State, WebSocket};

/// The one subprotocol: the frames of PROTOCOL.
const SUBPROTOCOL: &str = "presently.v1";

/// A close code by which a client says that it goes away and may be back within the grace. Browsers
/// send 1001 for that by themselves, but let no script do so.
const GOING_AWAY: u16 = 4001;

/// `GET /ws`
pub async fn upgrade(call: Call) -> Answer {
    call.only("GET")?;
    let head = handshake(&call)?;
    // From here on a refusal is a close, since a browser sees nothing of an HTTP error.
    let wish = wish(&call);
    let alive = wish.as_ref().is_ok_and(|(_, wish)| wish.alive);
    let first = head_bytes(&head).into();
    let gateway = call.gateway.clone();
    call.slot.claim(move |mut socket| {
        let read = std::mem::take(&mut socket.read);
        let manner = Manner { id: Uuid::new_v4(), framing: FRAMING, alive, head: first };
        let speaker = Speaker { gateway: gateway.clone(), client: None, holding: None };
        let websocket = WebSocket::new(gateway.config().max_message);
        gateway.stream(socket, manner, WsClient { websocket, begin: Some(Box::new((read, wish))), speaker });
    });
    pending().await
}

/// Which room the URL asks to watch, and whom to hold there.
fn wish(call: &Call) -> Result<(Option<Name>, Wish), Refusal> {
    // A page of another site could join by a message as well as by the URL, so it gets neither.
    may_change(&call.headers, &call.gateway.config().allow_origins)?;
    let query = Query::strict(&call.query, &["room", "since", "as", "meta", "client", "alive"])?;
    let room = query.get("room").map(|room| Name::new("room", room)).transpose()?;
    let wish = Wish::of(&query)?;
    if room.is_none() && (wish.holds.is_some() || query.get("since").is_some()) {
        return Err(Refusal::new(Code::BadParameter, "parameter \"room\" is missing").of("room"));
    }
    Ok((room, wish))
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

/// Whether a close code says that the client has left for good; any other, and none at all, may be a
/// reload or a network that failed.
fn is_clean(code: u16) -> bool {
    matches!(code, 1000 | 1005 | 3000..=4999) && code != GOING_AWAY
}

/// The client's side of the conversation.
struct WsClient {
    websocket: WebSocket,
    /// What came along with the handshake, until it is heard.
    begin: Option<Box<Begin>>,
    speaker: Speaker,
}

type Begin = (Bytes, Result<(Option<Name>, Wish), Refusal>);

impl Peer for WsClient {
    fn begin(&mut self, talk: &mut Talk<'_>) -> bool {
        let Some((read, wish)) = self.begin.take().map(|begin| *begin) else {
            return false;
        };
        match wish.and_then(|(room, wish)| self.speaker.grant(room, wish, talk)) {
            Ok(()) => self.hear(&read, talk),
            Err(refusal) => {
                talk.close(self.farewell(refusal.code, FRAMING));
                true
            }
        }
    }

    fn hear(&mut self, input: &[u8], talk: &mut Talk<'_>) -> bool {
        let mut output = Vec::new();
        let state = self.websocket.hear(input, &mut output, |text, output| {
            // Pongs keep their place among the answers.
            talk.say(std::mem::take(output));
            self.speaker.answer(text, talk);
        });
        let State::Closed(code) = state else {
            talk.say(output);
            return false;
        };
        if let Some(holding) = &mut self.speaker.holding {
            holding.end(code.is_some_and(is_clean));
        }
        talk.close(output);
        true
    }

    fn gone(&mut self) {
        self.speaker.holding = None;
    }

    fn farewell(&mut self, code: Code, _: Framing) -> Bytes {
        let mut output = Vec::new();
        self.websocket.close(code.row().close, code.row().name, &mut output);
        output.into()
    }
}

/// Does what a client asks for.
struct Speaker {
    gateway: Arc<Gateway>,
    client: Option<Uuid>,
    /// What the connection holds, once it held anybody.
    holding: Option<Box<Holding>>,
}

impl Speaker {
    /// Does what the URL asked for. The hold comes first, so that the snapshot has it.
    fn grant(&mut self, room: Option<Name>, wish: Wish, talk: &mut Talk<'_>) -> Result<(), Refusal> {
        self.client = wish.client;
        let Some(room) = room else {
            return Ok(());
        };
        let following = self.gateway.rooms().follow(&room)?;
        let mut least = 0;
        if let Some((user, meta)) = wish.holds {
            match self.join(room, user, meta, None, talk) {
                Ok(cursor) => least = cursor.offset,
                Err(refusal) if refusal.only_watches() => talk.say(Reference::default().refused(&refusal)),
                Err(refusal) => return Err(refusal),
            }
        }
        talk.begin(Reader::resume(following, wish.since, least));
        Ok(())
    }

    /// Answers a text.
    fn answer(&mut self, text: &str, talk: &mut Talk<'_>) {
        let (reference, message) = message::read(text);
        if let Err(refusal) = message.and_then(|message| self.act(message, &reference, talk)) {
            talk.say(reference.refused(&refusal));
        }
    }

    fn act(&mut self, message: Message, reference: &Reference, talk: &mut Talk<'_>) -> Result<(), Refusal> {
        match message {
            Message::Join { room, user, meta, client } => {
                let cursor = self.join(room, user, meta, client, talk)?;
                talk.say(reference.ok(Some(cursor)));
            }
            Message::Update { room, user, meta } => {
                let holding = self.holding.as_ref().ok_or_else(|| not_joined(&room, &user))?;
                talk.say(reference.ok(Some(holding.update(&room, user, meta)?.cursor)));
            }
            Message::Leave { room, user } => {
                let holding = self.holding.as_mut().ok_or_else(|| not_joined(&room, &user))?;
                let cursor = holding.leave(&room, user)?.cursor;
                let ok = reference.ok(Some(cursor));
                match self.gateway.rooms().key(&room) {
                    // The member's `del` comes first, if the room is watched here.
                    Some(room) => talk.say_behind(room, cursor.offset, ok),
                    None => talk.say(ok),
                }
            }
            Message::Subscribe { room, since } => self.subscribe(&room, since, reference, talk)?,
            Message::Unsubscribe { room } => {
                let stopped = self.gateway.rooms().key(&room).and_then(|key| talk.stop(key));
                let cursor = stopped.ok_or_else(|| {
                    Refusal::new(Code::NotSubscribed, format!("this connection does not watch {room}")).of("room")
                })?;
                talk.say(reference.ok(cursor));
            }
        }
        Ok(())
    }

    fn subscribe(
        &self,
        room: &Name,
        since: Option<Cursor>,
        reference: &Reference,
        talk: &mut Talk<'_>,
    ) -> Result<(), Refusal> {
        let following = self.gateway.rooms().follow(room)?;
        let most = self.gateway.config().max_per_connection;
        // Asked for again, the room is read anew.
        if talk.stop(following.room().key()).is_none() && talk.rooms() >= most {
            let message = format!("this connection watches {most} rooms, and no more than that may be");
            return Err(Refusal::new(Code::TooManySubscribed, message));
        }
        talk.say(reference.ok(Some(following.room().look(|presence| presence.head()))));
        talk.begin(Reader::resume(following, since, 0));
        Ok(())
    }

    fn join(
        &mut self,
        room: Name,
        user: Name,
        meta: Option<Meta>,
        client: Option<Uuid>,
        talk: &Talk<'_>,
    ) -> Result<Cursor, Refusal> {
        let holding = self.holding.get_or_insert_with(|| {
            let holding = self.gateway.holding(talk.connection().id(), Transport::WebSocket);
            holding.arrived(talk.connection());
            Box::new(holding)
        });
        Ok(holding.join(room, user, meta, client.or(self.client))?.cursor)
    }
}

fn not_joined(room: &Name, user: &Name) -> Refusal {
    Refusal::new(Code::NotJoined, format!("this connection does not hold {user} in {room}"))
}
