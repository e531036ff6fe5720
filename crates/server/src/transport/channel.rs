//! A byte stream, in clear or encrypted.

use std::io::{self, IoSlice};

use noctule_broker::Identity;

use super::socket::Socket;
use super::tls::Tls;
use super::{Read, Written};

#[derive(Debug)]
pub(crate) enum Channel {
    Plain(Socket),
    Tls(Box<Tls>),
}

impl Channel {
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<Read> {
        match self {
            Channel::Plain(socket) => socket.read(into),
            Channel::Tls(tls) => tls.read(into),
        }
    }

    pub fn write_vectored(&mut self, chunks: &[IoSlice<'_>]) -> io::Result<Written> {
        match self {
            Channel::Plain(socket) => socket.write_vectored(chunks),
            Channel::Tls(tls) => tls.write_vectored(chunks),
        }
    }

    pub fn has_pending(&self) -> bool {
        match self {
            Channel::Plain(_) => false,
            Channel::Tls(tls) => tls.has_pending(),
        }
    }

    pub fn refusal(&self) -> Option<&str> {
        match self {
            Channel::Plain(_) => None,
            Channel::Tls(tls) => tls.refusal(),
        }
    }

    pub fn finish_writing(&mut self) -> io::Result<()> {
        match self {
            Channel::Plain(socket) => socket.finish_writing(),
            Channel::Tls(tls) => tls.finish_writing(),
        }
    }

    pub fn identity(&self) -> Result<Option<Identity>, String> {
        match self {
            Channel::Plain(_) => Ok(None),
            Channel::Tls(tls) => tls.identity(),
        }
    }

    pub fn socket(&self) -> &Socket {
        match self {
            Channel::Plain(socket) => socket,
            Channel::Tls(tls) => tls.socket(),
        }
    }

    pub fn socket_mut(&mut self) -> &mut Socket {
        match self {
            Channel::Plain(socket) => socket,
            Channel::Tls(tls) => tls.socket_mut(),
        }
    }

    pub fn into_socket(self) -> Socket {
        match self {
            Channel::Plain(socket) => socket,
            Channel::Tls(tls) => tls.into_socket(),
        }
    }
}
