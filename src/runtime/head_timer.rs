//! The deadlines of requests' heads: a head that has begun must arrive soon, while a connection may be idle between two
//! requests for longer.
//!
//! hyper has one deadline for both. It asks its timer for a sleep when it begins to wait for a head, and polls this sleep
//! after each read, so a timer of the connection's own can tell the two apart.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

/// The deadlines.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// For a head, from its first byte, and for the first byte on a new connection.
    pub within: Duration,
    /// For the first byte of a further head.
    pub idle: Duration,
}

/// What is known of the head that hyper waits for.
#[derive(Clone, Debug, Default)]
pub struct Arrivals(Arc<Head>);

#[derive(Debug, Default)]
struct Head {
    /// Whether bytes were read from the socket since hyper began to wait.
    is_begun: AtomicBool,
    /// Whether hyper waits.
    is_awaited: AtomicBool,
}

impl Arrivals {
    /// Notes that bytes were read.
    pub fn note(&self) {
        self.0.is_begun.store(true, Relaxed);
    }

    /// Notes that the head has arrived.
    pub fn complete(&self) {
        self.0.is_awaited.store(false, Relaxed);
    }

    /// Whether hyper waits for a head, and so has done with the request before.
    pub fn is_awaited(&self) -> bool {
        self.0.is_awaited.load(Relaxed)
    }
}

/// hyper's timer for one connection.
#[derive(Debug)]
pub struct HeadTimer {
    limits: HeadLimits,
    arrivals: Arrivals,
    /// Whether hyper has waited for a head before.
    is_used: AtomicBool,
}

impl HeadTimer {
    /// The timer of a connection whose reads are noted in `arrivals`.
    pub fn new(limits: HeadLimits, arrivals: Arrivals) -> Self {
        HeadTimer { limits, arrivals, is_used: AtomicBool::new(false) }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        // Bytes of this head that hyper read together with the last request begin nothing: the next byte does.
        self.arrivals.0.is_begun.store(false, Relaxed);
        self.arrivals.0.is_awaited.store(true, Relaxed);
        let is_begun = !self.is_used.swap(true, Relaxed);
        let first = if is_begun { self.limits.within } else { self.limits.idle };
        let sleep = Box::pin(tokio::time::sleep(first));
        Box::pin(HeadSleep { sleep, within: self.limits.within, arrivals: self.arrivals.clone(), is_begun })
    }

    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(Duration::ZERO)
    }
}

/// Ready at the deadline.
struct HeadSleep {
    sleep: Pin<Box<tokio::time::Sleep>>,
    within: Duration,
    arrivals: Arrivals,
    /// Whether the deadline is that of a begun head.
    is_begun: bool,
}

impl Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_begun && self.arrivals.0.is_begun.load(Relaxed) {
            self.is_begun = true;
            let deadline = tokio::time::Instant::now() + self.within;
            self.sleep.as_mut().reset(deadline);
        }
        self.sleep.as_mut().poll(cx)
    }
}
