//! Taking a socket back from hyper once a stream's request has been read.
//!
//! A stream lives for hours, and hyper's buffers, timers and task would cost about 20 KiB for each stream during that time.
//! Therefore a stream's handler does not answer through hyper. The handler leaves a [`Claim`] in the connection's
//! [`ClaimSlot`] and never resolves. hyper, with nothing to write for the request, is then taken apart, and the claim gets
//! the bare socket and writes the response's head itself. HTTP/1.1 answers in order, so earlier requests on the connection
//! have been answered by then. Only bytes of these answers may still be in hyper's buffer, and the handover waits for them.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use warp::reply::Response;

use crate::runtime::admission::{Admission, Visit};
use crate::runtime::head_timer::{Arrivals, HeadLimits, HeadTimer};
use crate::runtime::memory::Memory;

/// A socket taken back from hyper.
#[derive(Debug)]
pub struct Socket {
    /// The socket itself.
    pub stream: TcpStream,
    /// The bytes read behind the request.
    pub read: Bytes,
    /// The connection's admission.
    pub admission: Admission,
}

/// The continuation that gets the socket.
pub type Claim = Box<dyn FnOnce(Socket) + Send>;

/// The slot for a handler's claim to the request's connection.
#[derive(Clone, Default)]
pub struct ClaimSlot(Arc<Mutex<Option<Claim>>>);

impl ClaimSlot {
    /// Claims the socket. The caller must not answer the request afterwards.
    pub fn claim(&self, claim: impl FnOnce(Socket) + Send + 'static) {
        *self.0.lock() = Some(Box::new(claim));
    }

    fn is_claimed(&self) -> bool {
        self.0.lock().is_some()
    }
}

/// What one read of a head takes of hyper's buffer, in bytes, about.
const HEAD_READ: u64 = 8 * 1024;

/// The bounds on the requests of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most bytes of a head.
    pub max_head: usize,
    /// The deadlines of heads.
    pub head: HeadLimits,
}

/// The connection is closed instead of an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer")]
struct Closed;

/// Serves HTTP/1 on `stream` by `answer`, until the connection closes or has to give way, `stop` is cancelled or a stream
/// claims the socket. `answer` may also close the connection: `None`.
///
/// # Errors
///
/// hyper's error for the connection.
pub async fn serve<A>(
    stream: TcpStream,
    visit: Visit,
    limits: Limits,
    memory: &Arc<Memory>,
    stop: &CancellationToken,
    answer: impl Fn(Request<Incoming>, ClaimSlot) -> A,
) -> hyper::Result<()>
where
    A: Future<Output = Option<Response>>,
{
    let (slot, blocked) = (ClaimSlot::default(), Arc::new(AtomicBool::new(false)));
    let arrivals = Arrivals::default();
    let memory = memory.clone();
    let io = Watched { io: TokioIo::new(stream), blocked: blocked.clone(), arrivals: arrivals.clone(), memory };
    let (claimable, activity, heads) = (slot.clone(), visit.activity().clone(), arrivals.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        heads.complete();
        // A request that meets the end of its connection is not begun.
        let answered = activity.begin().then(|| answer(request, claimable.clone()));
        async {
            match answered {
                Some(answered) => answered.await.ok_or(Closed),
                None => Err(Closed),
            }
        }
    });
    let mut builder = Builder::new();
    let timer = HeadTimer::new(limits.head, arrivals.clone());
    builder.timer(timer).header_read_timeout(limits.head.within).max_buf_size(limits.max_head);
    // A client may end its side right after the request, and is answered all the same.
    builder.half_close(true);
    let mut http = Some(builder.serve_connection(io, service));
    let mut stopping = std::pin::pin!(stop.cancelled());
    let activity = visit.activity().clone();
    let mut gives_way = std::pin::pin!(activity.chosen());
    let (mut told, mut chosen) = (false, false);
    let ended = poll_fn(|cx| {
        let Some(connection) = &mut http else {
            return Poll::Ready(Ok(()));
        };
        if !told && stopping.as_mut().poll(cx).is_ready() {
            told = true;
            Pin::new(&mut *connection).graceful_shutdown();
        }
        if gives_way.as_mut().poll(cx).is_ready() {
            chosen = true;
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(connection).poll(cx);
        if arrivals.is_awaited() && !blocked.load(Relaxed) {
            activity.rest();
        }
        if polled.is_pending() && slot.is_claimed() && !blocked.load(Relaxed) {
            return Poll::Ready(Ok(()));
        }
        polled
    })
    .await;
    // A stream that has to give way is never begun: the answers before it may not be written.
    let claim = slot.0.lock().take().filter(|_| !chosen);
    if let (Some(connection), Some(claim), Some(admission)) = (http.take(), claim, visit.into_admission()) {
        let parts = connection.into_parts();
        let stream = parts.io.io.into_inner();
        // The socket still holds this task's waker for reading, and with it the task's memory, until bytes arrive.
        let _ = stream.poll_read_ready(&mut Context::from_waker(Waker::noop()));
        claim(Socket { stream, read: parts.read_buf, admission });
    }
    ended
}

/// A socket that records whether hyper has read bytes, and whether it has unwritten bytes. hyper flushes at the end of each
/// poll, so it has unwritten bytes exactly if its last write had to wait.
struct Watched {
    io: TokioIo<TcpStream>,
    blocked: Arc<AtomicBool>,
    arrivals: Arrivals,
    memory: Arc<Memory>,
}

impl Watched {
    fn note<T>(&self, polled: Poll<T>) -> Poll<T> {
        self.blocked.store(polled.is_pending(), Relaxed);
        polled
    }
}

impl Read for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if polled.is_ready() {
            self.arrivals.note();
            // What is read of a head stays in hyper's buffer. Bodies are counted by those who read them.
            if self.arrivals.is_awaited() {
                self.memory.grew(HEAD_READ);
            }
        }
        polled
    }
}

impl Write for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.note(polled)
    }
}
