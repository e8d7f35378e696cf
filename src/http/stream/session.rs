//! Sessions: an event stream, and the messages of a WebSocket by requests of their own.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use uuid::Uuid;
use warp::http::{HeaderValue, StatusCode, Version};

use crate::delivery::connection::Options;
use crate::delivery::conversation::{Farewell, Flow, Peer, Talk};
use crate::delivery::session::{Mailbox, Messages, Posted, Reply};
use crate::http::answer::{self, Answer};
use crate::http::call::Call;
use crate::http::gate::wrong_user;
use crate::http::query::Query;
use crate::http::stream::options::StreamOptions;
use crate::http::stream::speaker::Speaker;
use crate::http::stream::sse::{begun, head, refused_event, retry_after};
use crate::model::id::ConnectionId;
use crate::model::refusal::{Code, Refusal};
use crate::wire::dialect::{Dialect, Format};
use crate::wire::framing::Framing;
use crate::wire::greeting;

/// The most messages of one request. A client with more sends several requests; between two of them, other streams have
/// their turn.
const MAX_MESSAGES: usize = 100;

const SESSION: &str = "Presently-Session";
const SEQ: &str = "Presently-Seq";

/// `POST /api/stream`
pub async fn open(mut call: Call) -> Answer {
    call.only("POST")?;
    let query = Query::strict(&call.query, &["suspect"])?;
    let (client, suspects) = (call.client(&query)?, query.flag("suspect")?);
    let visitor = call.visitor()?;
    // No EventSource asks by POST, so a refusal needs no stream, see `sse`.
    let charge = call.gate.charge(&call.forwarded())?;
    let first = messages(&mut call).await?.unwrap_or_default();
    let framing = Framing::Sse { chunked: call.version == Version::HTTP_11 };
    let format = Format { dialect: Dialect::Session, suspects, framing };
    let asks = call.gate.asks(true);
    let (secret, mailbox) = call.gate.open_session(first, asks.clone());
    let mut bytes = begun(&call, head(call.version));
    for json in [greeting::session(&secret), call.gate.hello(call.caller()?).json()] {
        bytes.extend_from_slice(&format.answer(&json));
    }
    let id = ConnectionId(Uuid::new_v4());
    let options = Options { id, format, alive: true, asks: Some(asks), head: bytes.into() };
    let peer = SessionClient { mailbox, speaker: Some(Speaker::new(visitor, client)) };
    call.began(id);
    call.gate.stream(&call.slot, charge, move |_| (options, peer)).await
}

/// `POST /api/stream/messages`
pub async fn post(mut call: Call) -> Answer {
    call.only("POST")?;
    Query::strict(&call.query, &[])?;
    let secret = single(&call, SESSION)?.to_owned();
    let inbox = call.gate.session(&call.forwarded(), call.caller()?, &secret)?;
    // Before the body, which may take its time.
    inbox.iter().for_each(|inbox| inbox.heard());
    if inbox.is_none() && !call.gate.may_be_elsewhere(&secret) {
        return Err(no_session());
    }
    let number = number(&call)?;
    let missing = || Refusal::new(Code::BadJson, "a JSON array of messages is missing").of("body");
    let messages = messages(&mut call).await?.ok_or_else(missing)?;
    let reply = match inbox {
        Some(inbox) => posted(inbox.post(number, messages)).await,
        None => call.gate.post_elsewhere(call.caller()?, &secret, (number, messages)).await,
    };
    match reply {
        Reply::Done => Ok(answer::bare(StatusCode::NO_CONTENT)),
        Reply::Busy => {
            let message = "another request of this session is under way; ask again with the same number in 100 ms";
            Err(Refusal::new(Code::Busy, message))
        }
        Reply::OutOfOrder(last) => {
            let message = format!("{number} does not follow {last}, the last number of this session");
            Err(Refusal::new(Code::OutOfOrder, message).of(SEQ))
        }
        Reply::Ended => Err(no_session()),
        Reply::WrongUser => Err(wrong_user()),
        Reply::TooLarge => {
            let message = "the messages are too large to be handed on to the session's gateway; send several requests";
            Err(Refusal::new(Code::BatchTooLarge, message).of("body"))
        }
    }
}

/// What became of a request of a session here, once its messages are answered.
async fn posted(posted: Posted) -> Reply {
    match posted {
        Posted::Taken(done) => done.await.map_or(Reply::Ended, |()| Reply::Done),
        Posted::Again => Reply::Done,
        Posted::Busy => Reply::Busy,
        Posted::OutOfOrder(last) => Reply::OutOfOrder(last),
        Posted::Ended => Reply::Ended,
    }
}

/// The request's number among those of its session, from 1.
fn number(call: &Call) -> Result<u64, Refusal> {
    let text = single(call, SEQ)?;
    let number = text.parse().ok().filter(|number| *number > 0 && text.bytes().all(|byte| byte.is_ascii_digit()));
    number.ok_or_else(|| bad(&format!("{SEQ} is not a whole number from 1"), SEQ))
}

/// The value of a header that must be present exactly once.
fn single<'a>(call: &'a Call, name: &str) -> Result<&'a str, Refusal> {
    let mut values = call.headers.get_all(name).iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (Some(Ok(value)), None) => Ok(value),
        _ => Err(bad(&format!("{name} must be present exactly once"), name)),
    }
}

fn bad(message: &str, field: &str) -> Refusal {
    Refusal::new(Code::BadRequest, message).of(field)
}

/// The secret is not repeated: refusals are logged.
fn no_session() -> Refusal {
    Refusal::new(Code::NoSession, "no session is open under this secret; open a new one").of(SESSION)
}

/// The messages in the body; `None` without a body. A message is read only when its turn comes, and refused by itself.
async fn messages(call: &mut Call) -> Result<Option<Messages>, Refusal> {
    let Some(body) = call.json_body(call.gate.config().max_message).await? else {
        return Ok(None);
    };
    let bad = |error| Refusal::new(Code::BadJson, format!("body: {error}")).of("body");
    let messages: Vec<&RawValue> = serde_json::from_slice(&body).map_err(bad)?;
    if messages.len() > MAX_MESSAGES {
        let message = format!("{} messages are more than {MAX_MESSAGES}; send several requests", messages.len());
        return Err(Refusal::new(Code::BatchTooLarge, message).of("body"));
    }
    Ok(Some(messages.into_iter().map(ToOwned::to_owned).collect()))
}

/// The client of a session, whose stream's socket brings nothing but its end.
struct SessionClient {
    mailbox: Mailbox,
    /// Absent once the stream has ended.
    speaker: Option<Speaker>,
}

impl Peer for SessionClient {
    fn begin(&mut self, talk: &mut Talk<'_>) -> Flow {
        if let Some(speaker) = &mut self.speaker {
            // Asks for no room, so it refuses nothing.
            let _ = speaker.begin(None, StreamOptions::default(), talk);
            speaker.sub().into_iter().for_each(|sub| self.mailbox.own(sub));
        }
        Flow::Continue
    }

    fn receive(&mut self, _: &[u8], _: &mut Talk<'_>) -> Flow {
        Flow::Continue
    }

    fn poll_posted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.speaker.as_mut().filter(|speaker| speaker.is_busy()) {
            Some(speaker) => speaker.poll_resumed(cx),
            None => self.mailbox.poll(cx),
        }
    }

    fn take_posted(&mut self, talk: &mut Talk<'_>) -> Flow {
        let mut flow = self.speaker.as_mut().map_or(Flow::Continue, |speaker| speaker.go_on(talk));
        for message in self.mailbox.take() {
            if let Some(speaker) = &mut self.speaker
                && flow != Flow::End
            {
                flow = speaker.answer(message.get(), talk);
            }
        }
        // Its answers are not all given yet.
        if self.is_busy() {
            return flow;
        }
        self.speaker.as_ref().and_then(Speaker::sub).into_iter().for_each(|sub| self.mailbox.own(sub));
        self.mailbox.done();
        if flow == Flow::End {
            talk.close(talk.connection().format().framing.end());
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
        self.mailbox.close();
        if let Some(speaker) = self.speaker.as_mut().filter(|_| code == Some(Code::Revoked)) {
            speaker.kick();
        }
        self.speaker = None;
    }

    fn farewell(&mut self, Farewell { code, wait }: Farewell, framing: Framing) -> Bytes {
        let wait = wait.map(retry_after).unwrap_or_default();
        let said = framing.lines(&(wait + &refused_event(&Refusal::new(code, code.row().means))));
        [said, framing.end()].concat().into()
    }
}
