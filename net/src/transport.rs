//! What bytes travel on.
//!
//! **Owns** the seam between connections and sockets: the only place of `connection` and `client`
//! that knows the socket's type. Encryption comes in here.
//! **Lives on** the shard of its socket.
//! **Invariants** 1. Dropping it closes the socket.
//! **Not here**: system calls (`corelog_runtime`), frames.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use corelog_runtime::{Block, File, Io, Tcp};

/// A connected socket.
pub(crate) struct Transport(Tcp);

impl Transport {
    /// A plain-text connection, set up as `socket.*.buffer.bytes` say; small responses are not
    /// held back to be joined (`TCP_NODELAY`): responses that are ready together are joined here.
    pub(crate) fn plain(
        tcp: Tcp,
        send_buffer: Option<usize>,
        receive_buffer: Option<usize>,
    ) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        if send_buffer.is_some() || receive_buffer.is_some() {
            tcp.set_buffer_sizes(receive_buffer, send_buffer)?;
        }
        Ok(Self(tcp))
    }

    #[inline]
    pub(crate) async fn recv_some(&self) -> io::Result<Block> {
        self.0.recv_some().await
    }

    #[inline]
    pub(crate) async fn recv(&self, into: Block) -> Io<usize, Block> {
        self.0.recv(into).await
    }

    #[inline]
    pub(crate) async fn send(&self, parts: Vec<Bytes>) -> Io<(), Vec<Bytes>> {
        self.0.send(parts).await
    }

    #[inline]
    pub(crate) async fn send_file(&self, file: &File, range: Range<u64>) -> io::Result<()> {
        self.0.send_file(file, range).await
    }

    pub(crate) fn shutdown_write(&self) {
        self.0.shutdown_send();
    }
}
