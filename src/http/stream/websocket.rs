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

use crate::delivery::connection::Options;
use crate::delivery::conversation::{Flow, Peer, Talk};
use crate::delivery::outbox::Unsubscribed;
use crate::delivery::reader::Place;
use crate::delivery::reader::Reader;
use crate::delivery::step::Follower;
use crate::gateway::Gateway;
use crate::http::answer::{self, Answer};
use crate::http::call::Call;
use crate::http::permit::may_change;
use crate::http::query::Query;
use crate::http::stream::message::{self, Message, Reference};
use crate::http::stream::options::StreamOptions;
use crate::http::stream::sse::{head_bytes, no_body};
use crate::model::cursor::{Cursor, Offset};
use crate::model::hold::Transport;
use crate::model::id::{ClientId, ConnectionId};
use crate::model::meta::Meta;
use crate::model::name::Name;
use crate::model::refusal::{Code, Refusal};
use crate::rooms::connection_holds::ConnectionHolds;
use crate::wire::dialect::Format;
use crate::wire::framing::Framing;
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
    let options = options(&call);
    let alive = options.as_ref().is_ok_and(|(_, options)| options.alive);
    let first = head_bytes(&head).into();
    let gateway = call.gateway.clone();
    call.slot.claim(move |mut socket| {
        let read = std::mem::take(&mut socket.read);
        let id = ConnectionId(Uuid::new_v4());
        let connection_options = Options { id, format: Format::WEBSOCKET, alive, head: first };
        let speaker = Speaker { gateway: gateway.clone(), client: None, holds: None };
        let websocket = WebSocket::new(gateway.config().max_message);
        gateway.stream(
            socket,
            connection_options,
            WsClient { websocket, begin: Some(Box::new((read, options))), speaker },
        );
    });
    pending().await
}

/// Which room the URL asks to watch, and whom to hold there.
fn options(call: &Call) -> Result<(Option<Name>, StreamOptions), Refusal> {
    // A page of another site could join by a message as well as by the URL, so it gets neither.
    may_change(&call.headers, &call.gateway.config().allow_origins)?;
    let query = Query::strict(&call.query, &["room", "since", "as", "meta", "client", "alive"])?;
    let room = query.get("room").map(|room| Name::new("room", room)).transpose()?;
    let options = StreamOptions::of(&query)?;
    if room.is_none() && (options.holds.is_some() || query.get("since").is_some()) {
        return Err(Refusal::new(Code::BadParameter, "parameter \"room\" is missing").of("room"));
    }
    Ok((room, options))
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

type Begin = (Bytes, Result<(Option<Name>, StreamOptions), Refusal>);

impl Peer for WsClient {
    fn begin(&mut self, talk: &mut Talk<'_>) -> Flow {
        let Some((read, options)) = self.begin.take().map(|begin| *begin) else {
            return Flow::Continue;
        };
        match options.and_then(|(room, options)| self.speaker.grant(room, options, talk)) {
            Ok(()) => self.receive(&read, talk),
            Err(refusal) => {
                talk.close(self.farewell(refusal.code, Framing::WebSocket));
                Flow::End
            }
        }
    }

    fn receive(&mut self, input: &[u8], talk: &mut Talk<'_>) -> Flow {
        let mut output = Vec::new();
        let state = self.websocket.receive(input, &mut output, |text, output| {
            // Pongs keep their place among the answers.
            talk.send(std::mem::take(output));
            self.speaker.answer(text, talk);
        });
        let State::Closed(code) = state else {
            talk.send(output);
            return Flow::Continue;
        };
        if code.is_some_and(is_clean)
            && let Some(holds) = &mut self.speaker.holds
        {
            holds.leave_all();
        }
        talk.close(output);
        Flow::End
    }

    fn gone(&mut self) {
        self.speaker.holds = None;
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
    client: Option<ClientId>,
    /// The connection's holds, once it has held a user.
    holds: Option<Box<ConnectionHolds>>,
}

impl Speaker {
    /// Does what the URL asked for. The hold comes first, so that the snapshot has it.
    fn grant(&mut self, room: Option<Name>, options: StreamOptions, talk: &mut Talk<'_>) -> Result<(), Refusal> {
        self.client = options.client;
        let Some(room) = room else {
            return Ok(());
        };
        let following = self.gateway.rooms().follow(&room)?;
        let mut at_least = Offset::default();
        if let Some((user, meta)) = options.holds {
            match self.join(room, user, meta, None, talk) {
                Ok(cursor) => at_least = cursor.offset,
                Err(refusal) if refusal.only_watches() => talk.send(Reference::default().refused(&refusal)),
                Err(refusal) => return Err(refusal),
            }
        }
        talk.begin(Reader::new(Follower::resume(following, options.since, at_least)));
        Ok(())
    }

    /// Answers a text.
    fn answer(&mut self, text: &str, talk: &mut Talk<'_>) {
        let (reference, message) = message::read(text);
        if let Err(refusal) = message.and_then(|message| self.act(message, &reference, talk)) {
            talk.send(reference.refused(&refusal));
        }
    }

    fn act(&mut self, message: Message, reference: &Reference, talk: &mut Talk<'_>) -> Result<(), Refusal> {
        match message {
            Message::Join { room, user, meta, client } => {
                let cursor = self.join(room, user, meta, client, talk)?;
                talk.send(reference.ok(Some(cursor)));
            }
            Message::Update { room, user, meta } => {
                let holds = self.holds.as_ref().ok_or_else(|| not_joined(&room, &user))?;
                talk.send(reference.ok(Some(holds.update(&room, user, meta)?.cursor)));
            }
            Message::Leave { room, user } => {
                let holds = self.holds.as_mut().ok_or_else(|| not_joined(&room, &user))?;
                let cursor = holds.leave(&room, user)?.cursor;
                let ok = reference.ok(Some(cursor));
                match self.gateway.rooms().key(&room) {
                    // The member's `del` comes first, if the room is watched here.
                    Some(room) => talk.send_after(room, cursor.offset, ok),
                    None => talk.send(ok),
                }
            }
            Message::Subscribe { room, since } => self.subscribe(&room, since, reference, talk)?,
            Message::Unsubscribe { room } => {
                let key = self.gateway.rooms().key(&room);
                match key.map_or(Unsubscribed::NotSubscribed, |key| talk.stop(key)) {
                    Unsubscribed::At(Place::At(cursor)) => talk.send(reference.ok(Some(cursor))),
                    Unsubscribed::At(Place::Nowhere) => talk.send(reference.ok(None)),
                    Unsubscribed::NotSubscribed => {
                        let message = format!("this connection does not watch {room}");
                        return Err(Refusal::new(Code::NotSubscribed, message).of("room"));
                    }
                }
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
        if talk.stop(following.room().key()) == Unsubscribed::NotSubscribed && talk.rooms() >= most {
            let message = format!("this connection watches {most} rooms, and no more than that may be");
            return Err(Refusal::new(Code::TooManySubscribed, message));
        }
        talk.send(reference.ok(Some(following.room().read(|presence| presence.head()))));
        talk.begin(Reader::new(Follower::resume(following, since, Offset::default())));
        Ok(())
    }

    fn join(
        &mut self,
        room: Name,
        user: Name,
        meta: Option<Meta>,
        client: Option<ClientId>,
        talk: &Talk<'_>,
    ) -> Result<Cursor, Refusal> {
        let holds = self.holds.get_or_insert_with(|| {
            let holds = self.gateway.holds(talk.connection().id(), Transport::WebSocket);
            holds.notify(talk.connection());
            Box::new(holds)
        });
        Ok(holds.join(room, user, meta, client.or(self.client))?.cursor)
    }
}

fn not_joined(room: &Name, user: &Name) -> Refusal {
    Refusal::new(Code::NotJoined, format!("this connection does not hold {user} in {room}"))
}
