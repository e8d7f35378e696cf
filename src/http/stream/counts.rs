//! The counts of many rooms as an event stream, without their members.

use bytes::Bytes;
use uuid::Uuid;
use warp::http::{Method, Version};

use crate::delivery::connection::Options;
use crate::delivery::conversation::{Farewell, Flow, Peer, Talk};
use crate::delivery::count_reader::CountReader;
use crate::http::answer::Answer;
use crate::http::call::Call;
use crate::http::gate::{Holds, PassWatch};
use crate::http::query::Query;
use crate::http::stream::sse;
use crate::model::count::Prefix;
use crate::model::id::ConnectionId;
use crate::model::refusal::{Code, Refusal};
use crate::runtime::admission::Charge;
use crate::wire::dialect::{Dialect, Format};
use crate::wire::framing::Framing;

/// `GET /api/counts`. The stream takes the socket, so the answer never resolves.
pub async fn stream(call: &Call) -> Answer {
    let query = Query::strict(&call.query, &["prefix", "alive"])?;
    let prefix = Prefix::new("prefix", query.get("prefix").unwrap_or_default())?;
    let alive = query.flag("alive")?;
    sse::no_body(call)?;
    let head = sse::head(call.version);
    if call.method == Method::HEAD {
        call.may_list()?.demand(&prefix)?;
        return Ok(head);
    }
    let (charge, reader) = match grant(call, prefix) {
        Ok(granted) => granted,
        Err(refusal) if sse::may_pass(&refusal) => return Ok(sse::refused_for_now(&refusal)),
        Err(refusal) => return Err(refusal),
    };
    let framing = Framing::Sse { chunked: call.version == Version::HTTP_11 };
    let format = Format { dialect: Dialect::Native, suspects: false, framing };
    let mut first = sse::begun(call, head);
    first.extend_from_slice(&framing.lines(&sse::retry_line(0)));
    if alive {
        first.extend_from_slice(&format.answer(&call.gate.hello(call.caller()?).json()));
    }
    let id = ConnectionId(Uuid::new_v4());
    let options = Options { id, format, alive, asks: None, head: first.into() };
    let (gate, pass) = (call.gate.clone(), call.caller()?.pass().clone());
    let peer = CountsClient { reader: Some(Box::new(reader)), watch: PassWatch::new(gate, pass) };
    call.began(id);
    call.gate.stream(&call.slot, charge, move |_| (options, peer)).await
}

fn grant(call: &Call, prefix: Prefix) -> Result<(Charge, CountReader), Refusal> {
    let charge = call.gate.charge(&call.forwarded())?;
    let counting = call.may_list()?.follow_counts(&prefix, &Holds::default())?;
    Ok((charge, CountReader::new(counting, prefix)))
}

/// A client that sends nothing after its request.
struct CountsClient {
    reader: Option<Box<CountReader>>,
    watch: PassWatch,
}

impl Peer for CountsClient {
    fn begin(&mut self, talk: &mut Talk<'_>) -> Flow {
        self.watch.begin(talk.connection());
        if let Some(reader) = self.reader.take() {
            talk.begin_counts(*reader);
        }
        Flow::Continue
    }

    fn receive(&mut self, _: &[u8], _: &mut Talk<'_>) -> Flow {
        Flow::Continue
    }

    fn gone(&mut self, _: Option<Code>) {
        self.watch = PassWatch::default();
    }

    fn farewell(&mut self, end: Farewell, framing: Framing) -> Bytes {
        sse::farewell(end, framing)
    }
}
