//! Packets with descriptors, between the agent and what it started.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// A packet as it came in. Without bytes, the other side has closed.
pub(crate) struct Packet {
    pub(crate) bytes: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

const MOST_DESCRIPTORS: usize = 4;
/// Of a packet. Larger than any report: a path may have 4096 bytes.
const LARGEST: usize = 8 * 1024;

/// Whether to wait for a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    Yes,
    No,
}

pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

pub(crate) fn send(to: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut extra = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !extra.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::TOOBIG);
    }
    sendmsg(to, &[IoSlice::new(bytes)], &mut extra, SendFlags::NOSIGNAL).map(drop)
}

pub(crate) fn receive(from: BorrowedFd<'_>, wait: Wait) -> Result<Packet, Errno> {
    // On the stack, which is there already: a buffer on the heap would be given back, and faulted in again, for each packet.
    let mut bytes = [0; LARGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut extra = RecvAncillaryBuffer::new(&mut space);
    let flags = match wait {
        Wait::Yes => RecvFlags::CMSG_CLOEXEC,
        Wait::No => RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
    };
    let got = loop {
        match recvmsg(from, &mut [IoSliceMut::new(&mut bytes)], &mut extra, flags) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut descriptors = Vec::new();
    for message in extra.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(Packet { bytes: bytes[..got.bytes].to_vec(), descriptors })
}

/// Sends bytes of any length: the length, then pieces.
pub(crate) fn send_long(to: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno> {
    let length = (bytes.len() as u64).to_ne_bytes();
    let first = bytes.len().min(LARGEST - length.len());
    let mut packet = Vec::with_capacity(length.len() + first);
    packet.extend_from_slice(&length);
    packet.extend_from_slice(&bytes[..first]);
    send(to, &packet, &[])?;
    bytes[first..].chunks(LARGEST).try_for_each(|piece| send(to, piece, &[]))
}

/// What [`send_long`] sent.
pub(crate) fn receive_long(from: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let first = receive(from, Wait::Yes)?.bytes;
    let (length, rest) = first.split_first_chunk().ok_or(Errno::CONNRESET)?;
    let length = usize::try_from(u64::from_ne_bytes(*length)).map_err(|_| Errno::TOOBIG)?;
    let mut bytes = rest.to_vec();
    while bytes.len() < length {
        let piece = receive(from, Wait::Yes)?.bytes;
        if piece.is_empty() {
            return Err(Errno::CONNRESET);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
