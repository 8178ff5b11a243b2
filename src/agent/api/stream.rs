//! A connection of either kind: over a Unix socket of this device, over TCP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Where connections come in.
#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// From how far a connection comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// From this device.
    Here,
    /// Over a network.
    Network,
}

/// One connection.
#[derive(Debug)]
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    /// The next connection. Cancel-safe.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Origin)> {
        match self {
            Socket::Unix(socket) => {
                socket.accept().await.map(|(stream, _)| (Stream::Unix(stream), Origin::Here))
            }
            Socket::Tcp(socket) => loop {
                match socket.accept().await {
                    Ok((stream, from)) => {
                        attend(&stream);
                        return Ok((Stream::Tcp(stream), origin(from)));
                    }
                    // Gone before it was accepted: no trouble of ours.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => return Err(error),
                }
            },
        }
    }
}

/// The end of a long answer must not wait for an acknowledgement, and a client that is gone without a word is found out while
/// a stream to it is silent. Without either the connection still works.
fn attend(stream: &TcpStream) {
    const SILENT: Duration = Duration::from_secs(30);
    let attended = stream.set_nodelay(true).and_then(|()| {
        set_socket_keepalive(stream, true)?;
        set_tcp_keepidle(stream, SILENT)?;
        set_tcp_keepintvl(stream, SILENT / 3)?;
        set_tcp_keepcnt(stream, 3)?;
        Ok(())
    });
    if let Err(error) = attended {
        log::debug!("attend to a network connection: {error}");
    }
}

fn origin(from: SocketAddr) -> Origin {
    let is_loopback = match from.ip() {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.to_ipv4_mapped().is_some_and(|address| address.is_loopback())
        }
    };
    if is_loopback { Origin::Here } else { Origin::Network }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Unix(stream) => stream.as_fd(),
            Stream::Tcp(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, room),
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, room),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, from),
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, from),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, from),
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, from),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_over_loopback_comes_from_here() {
        for here in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(origin(here.parse().unwrap()), Origin::Here, "{here}");
        }
        for away in ["192.168.1.5:1", "[fe80::1]:1", "[::ffff:10.0.0.1]:1", "0.0.0.0:1"] {
            assert_eq!(origin(away.parse().unwrap()), Origin::Network, "{away}");
        }
    }
}
