//! Frames over a socket between two processes of one user, with files.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::Word;

/// The most files in one frame; the system allows 253.
const MAX_FILES: usize = 64;

/// The most bytes of a frame: far above the names of a hold.
const MAX_FRAME: usize = 64 * 1024;

const READ: usize = 4_096;

/// One end of the socket.
#[derive(Debug)]
pub struct Wire {
    stream: UnixStream,
    read: Vec<u8>,
    files: Vec<OwnedFd>,
}

impl Wire {
    /// # Errors
    ///
    /// The other end is another user's.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        Wire::of_user(stream, rustix::process::geteuid().as_raw())
    }

    /// # Errors
    ///
    /// The other end is not of `user`.
    pub fn of_user(stream: UnixStream, user: u32) -> io::Result<Self> {
        let peer = stream.peer_cred()?;
        if peer.uid() != user {
            let why = format!("a process of user {} is there", peer.uid());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        Ok(Wire { stream, read: Vec::new(), files: Vec::new() })
    }

    /// Says one word, with files.
    ///
    /// # Errors
    ///
    /// The socket's, or the other end takes nothing for `within`.
    pub async fn say(&mut self, word: &Word, files: &[BorrowedFd<'_>], within: Duration) -> io::Result<()> {
        let json = serde_json::to_vec(word)?;
        let length = u32::try_from(json.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let frame = [&length.to_be_bytes()[..], &json].concat();
        timeout(within, self.send(&frame, files)).await?
    }

    async fn send(&self, mut frame: &[u8], mut files: &[BorrowedFd<'_>]) -> io::Result<()> {
        if files.len() > MAX_FILES {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many listening sockets"));
        }
        while !frame.is_empty() {
            let sent = self.stream.async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                if !files.is_empty() {
                    ancillary.push(SendAncillaryMessage::ScmRights(files));
                }
                let parts = [IoSlice::new(frame)];
                Ok(sendmsg(self.stream.as_fd(), &parts, &mut ancillary, SendFlags::NOSIGNAL)?)
            });
            frame = &frame[sent.await?..];
            // They went along with the first byte.
            files = &[];
        }
        Ok(())
    }

    /// The next word, with the files that came so far. Cancelling loses nothing.
    ///
    /// # Errors
    ///
    /// The socket's; `UnexpectedEof` at its end, `InvalidData` for what is no word, `TimedOut` after `within`.
    pub async fn hear(&mut self, within: Duration) -> io::Result<(Word, Vec<OwnedFd>)> {
        timeout(within, self.next()).await?
    }

    /// The same, however long it takes.
    ///
    /// # Errors
    ///
    /// As [`Wire::hear`].
    pub async fn next(&mut self) -> io::Result<(Word, Vec<OwnedFd>)> {
        loop {
            if let Some((length, rest)) = self.read.split_first_chunk() {
                let length = u32::from_be_bytes(*length) as usize;
                if length > MAX_FRAME {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                if let Some(json) = rest.get(..length) {
                    let word = serde_json::from_slice(json)?;
                    self.read.drain(..size_of::<u32>() + length);
                    return Ok((word, std::mem::take(&mut self.files)));
                }
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        let (bytes, files) = self.stream.async_io(Interest::READABLE, || receive(self.stream.as_fd())).await?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read.extend_from_slice(&bytes);
        self.files.extend(files);
        Ok(())
    }
}

/// Reads once.
fn receive(socket: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let (mut bytes, mut files) = (vec![0; READ], Vec::new());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            files.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too many files came along"));
    }
    bytes.truncate(received.bytes);
    Ok((bytes, files))
}
