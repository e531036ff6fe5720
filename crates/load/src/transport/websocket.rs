//! MQTT in the binary messages of a WebSocket (MQTT 5.0 §6).

use std::io::{self, Read, Write};
use std::mem;

use mio::net::TcpStream;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::ClientHandshake;
use tungstenite::handshake::{HandshakeError, MidHandshake};
use tungstenite::http::HeaderValue;
use tungstenite::{Bytes, Error, Message};

use super::channel::Channel;

pub(crate) struct WebSocket {
    stage: Stage,
    /// What is left of the message read last.
    unread: Bytes,
}

enum Stage {
    Opening(MidHandshake<ClientHandshake<Channel>>),
    Open(Box<tungstenite::WebSocket<Channel>>),
    /// The handshake has failed, or is being carried on this moment.
    Broken,
}

impl WebSocket {
    /// Prepares the opening handshake at `url`; reads and writes carry it out.
    pub fn new(channel: Channel, url: &str) -> io::Result<WebSocket> {
        let mut request = url.into_client_request().map_err(into_io)?;
        let headers = request.headers_mut();
        headers.insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
        let begun = ClientHandshake::start(channel, request, None).map_err(into_io)?;
        Ok(WebSocket {
            stage: Stage::Opening(begun),
            unread: Bytes::new(),
        })
    }

    pub fn stream(&mut self) -> io::Result<&mut TcpStream> {
        match &mut self.stage {
            Stage::Opening(handshake) => Ok(handshake.get_mut().get_mut().stream()),
            Stage::Open(socket) => Ok(socket.get_mut().stream()),
            Stage::Broken => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The open WebSocket; `WouldBlock` while the handshake goes on.
    fn open(&mut self) -> io::Result<&mut tungstenite::WebSocket<Channel>> {
        if let Stage::Opening(_) = self.stage
            && let Stage::Opening(handshake) = mem::replace(&mut self.stage, Stage::Broken)
        {
            match handshake.handshake() {
                Ok((socket, _)) => self.stage = Stage::Open(Box::new(socket)),
                Err(HandshakeError::Interrupted(goes_on)) => {
                    self.stage = Stage::Opening(goes_on);
                }
                Err(HandshakeError::Failure(error)) => return Err(into_io(error)),
            }
        }
        match &mut self.stage {
            Stage::Open(socket) => Ok(socket),
            Stage::Opening(_) => Err(io::ErrorKind::WouldBlock.into()),
            Stage::Broken => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl Read for WebSocket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.unread.is_empty() {
            match self.open()?.read() {
                Ok(Message::Binary(payload)) => self.unread = payload,
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed) => return Ok(0),
                // Pings are answered below.
                Ok(_) => {}
                Err(error) => return Err(into_io(error)),
            }
        }
        let count = self.unread.len().min(into.len());
        into[..count].copy_from_slice(&self.unread.split_to(count));
        Ok(count)
    }
}

impl Write for WebSocket {
    /// One message. What the socket does not take of it at once is kept.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let message = Message::Binary(Bytes::copy_from_slice(bytes));
        match self.open()?.write(message).map_err(into_io) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.open()?.flush().map_err(into_io)
    }
}

fn into_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error => io::Error::other(error),
    }
}
