//! Bytes on their way to the broker.

use std::io;

use crate::transport::Transport;

/// Packets that wait to be written, in one piece.
#[derive(Default, Debug)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    /// Written already.
    start: usize,
}

impl Outgoing {
    /// Where packets are appended.
    #[inline]
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Bytes that wait.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    /// Writes until nothing waits (true) or the transport takes no more.
    pub(crate) fn flush(&mut self, transport: &mut Transport) -> io::Result<bool> {
        while self.start < self.bytes.len() {
            match transport.write(&self.bytes[self.start..]) {
                Ok(count) => self.start += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.clear();
        match transport.flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            flushed => flushed.map(|()| true),
        }
    }
}
