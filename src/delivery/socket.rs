//! Stream sockets: the socket of one stream, with bounded buffers in the kernel.

use std::io;
use std::net::Shutdown;
use std::task::{Context, Poll};

use rustix::net::{RecvFlags, SendFlags};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The bytes of a stream that may wait unsent in the kernel before the socket counts as full. Few, so that later events can
/// still be netted and pings get through; fewer would cost more wake-ups.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 16 * 1024;

/// The size of the send buffer: bytes that may wait in the kernel for the client's acknowledgement. Linux doubles the size
/// for its own needs. A slow subscriber's backlog then stays in the room's history, where events can be netted. By
/// default a connection within one machine would begin with 2.6 MB. In bursts p99 was 53 ms by default, 35 with 48 KiB, 30
/// with 32 and 28 with 24, at a tenth less throughput.
const NARROW: usize = 32 * 1024;

/// The size of the send buffer while a set is written, to fill connections with a long round trip. Larger than systems
/// permit, so `net.core.wmem_max` decides.
const WIDE: usize = 4 * 1024 * 1024;

/// The socket of one stream.
#[derive(Debug)]
pub struct StreamSocket(TcpStream);

impl StreamSocket {
    /// Bounds the buffers of `socket`.
    pub fn new(socket: TcpStream) -> Self {
        #[cfg(target_os = "linux")]
        let _ = SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT);
        let socket = StreamSocket(socket);
        socket.set_wide(false);
        socket
    }

    /// Makes the send buffer wide for a set, or narrow for all else.
    pub fn set_wide(&self, wide: bool) {
        let _ = SockRef::from(&self.0).set_send_buffer_size(if wide { WIDE } else { NARROW });
    }

    /// Sends as many of `bytes` as the socket takes now.
    ///
    /// Sends without tokio, whose record of the socket lies elsewhere in memory. Only when that fails, tokio tries again,
    /// since it has to know that the socket is full. (Rust programs ignore SIGPIPE.)
    ///
    /// # Errors
    ///
    /// The socket's; `WouldBlock` when it is full.
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        rustix::net::send(&self.0, bytes, SendFlags::empty()).or_else(|_| self.0.try_write(bytes))
    }

    /// Waits until the socket takes bytes.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub async fn writable(&self) -> io::Result<()> {
        self.0.writable().await
    }

    /// Ready when the socket has bytes to read, its end or an error. Wakes only the task that asked last, and needs no
    /// memory of its own.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_read_ready(cx).map(|_| ())
    }

    /// Reads the bytes that have arrived; 0 is the client's end.
    ///
    /// A read that does not fill the buffer has emptied the socket. tokio is told so, and need not read once more to find nothing.
    ///
    /// # Errors
    ///
    /// The socket's; `WouldBlock` when there are no bytes.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        let emptied = self.0.try_io(Interest::READABLE, || {
            (read, _) = rustix::net::recv(&self.0, &mut *buffer, RecvFlags::DONTWAIT)?;
            let emptied = 0 < read && read < buffer.len();
            if emptied { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        if read > 0 { Ok(read) } else { emptied.map(|()| 0) }
    }

    /// Reads the bytes that have arrived, also when the write side has failed; 0 is the client's end.
    ///
    /// Reads without tokio, which may not know yet that bytes have arrived.
    ///
    /// # Errors
    ///
    /// The socket's; `WouldBlock` when there are no bytes.
    pub fn read_left(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (read, _) = rustix::net::recv(&self.0, buffer, RecvFlags::DONTWAIT)?;
        Ok(read)
    }

    /// Ends the write side, then takes all bytes up to the client's end.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub async fn finish(&self) -> io::Result<()> {
        SockRef::from(&self.0).shutdown(Shutdown::Write)?;
        loop {
            self.0.readable().await?;
            match self.try_read(&mut [0; 1_024]) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Ends both sides at once.
    pub fn close(&self) {
        let _ = SockRef::from(&self.0).shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
impl StreamSocket {
    /// The size of the send buffer in bytes, as the system counts it.
    pub fn buffer_size(&self) -> usize {
        SockRef::from(&self.0).send_buffer_size().unwrap()
    }
}
