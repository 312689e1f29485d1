//! A WebSocket client (RFC 6455) that does as it is told, also what no honest client would do.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};

use crate::wire::{self, Message};

const PATIENCE: Duration = Duration::from_secs(30);

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A message.
    Message(Message),
    /// A close frame.
    Close(u16, String),
    /// The end of the connection, without a close frame before.
    End,
}

/// One connection.
#[derive(Debug)]
pub struct Socket {
    ears: Ears,
    mouth: OwnedWriteHalf,
}

/// The side of a connection that hears.
#[derive(Debug)]
pub struct Ears {
    stream: OwnedReadHalf,
    buffer: Vec<u8>,
    at: usize,
}

impl Socket {
    /// Connects, and does the handshake.
    ///
    /// # Errors
    /// When the connection fails, or the server does not agree to speak WebSocket.
    pub async fn connect(server: SocketAddr, path: &str) -> io::Result<Self> {
        let socket = Self::connect_without_handshake(server).await?;
        socket.shake_hands(server, path).await
    }

    /// Connects from another address of this machine, like `127.0.0.2`, and does the handshake.
    ///
    /// # Errors
    /// As for [`Socket::connect`], or when the address is not this machine's.
    pub async fn connect_from(
        source: Ipv4Addr,
        server: SocketAddr,
        path: &str,
    ) -> io::Result<Self> {
        let socket = Self::connect_from_without_handshake(source, server).await?;
        socket.shake_hands(server, path).await
    }

    async fn shake_hands(mut self, server: SocketAddr, path: &str) -> io::Result<Self> {
        self.send_raw(handshake(server, path).as_bytes()).await?;
        self.take_handshake().await?;
        Ok(self)
    }

    /// Only connects.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn connect_without_handshake(server: SocketAddr) -> io::Result<Self> {
        Self::of(TcpStream::connect(server).await?)
    }

    /// Only connects, from another address of this machine.
    ///
    /// # Errors
    /// When the connection fails, or the address is not this machine's.
    pub async fn connect_from_without_handshake(
        source: Ipv4Addr,
        server: SocketAddr,
    ) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((source, 0)))?;
        Self::of(socket.connect(server).await?)
    }

    fn of(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let (stream, mouth) = stream.into_split();
        let ears = Ears {
            stream,
            buffer: Vec::new(),
            at: 0,
        };
        Ok(Self { ears, mouth })
    }

    /// Both sides apart, to hear while something is being said.
    #[must_use]
    pub fn split(self) -> (Ears, OwnedWriteHalf) {
        (self.ears, self.mouth)
    }

    /// Reads the server's answer to a handshake.
    ///
    /// # Errors
    /// When it is not 101.
    pub async fn take_handshake(&mut self) -> io::Result<()> {
        self.ears.take_handshake().await
    }

    /// Sends one binary message.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.send_raw(&frame(true, BINARY, message)).await
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.mouth.write_all(bytes).await
    }

    /// Ends the sending side: the server reads to the end of what was sent, and no further.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.mouth.shutdown().await
    }

    /// What the server says next. Pings are answered and not shown.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn hear(&mut self) -> io::Result<Heard> {
        loop {
            let Some((opcode, payload)) = self.ears.next_frame().await? else {
                return Ok(Heard::End);
            };
            match opcode {
                BINARY => return Ok(Heard::Message(wire::parse(&payload))),
                CLOSE => {
                    let (code, reason) = read_close(&payload);
                    return Ok(Heard::Close(code, reason));
                }
                PING => self.send_raw(&frame(true, PONG, &payload)).await?,
                PONG => {}
                _ => return Err(io::Error::other(format!("a frame with opcode {opcode}"))),
            }
        }
    }

    /// Reads past messages of any dialect to the server's close. Gives the code and the reason.
    ///
    /// # Errors
    /// When the connection breaks, or ends without one.
    pub async fn close_of_any_dialect(&mut self) -> io::Result<(u16, String)> {
        self.ears.close_of_any_dialect().await
    }

    /// The next message; an end of the connection is an error.
    ///
    /// # Errors
    /// When the connection ends, or stays silent for too long.
    pub async fn message(&mut self) -> io::Result<Message> {
        match tokio::time::timeout(PATIENCE, self.hear()).await {
            Ok(Ok(Heard::Message(message))) => Ok(message),
            Ok(Ok(end)) => Err(io::Error::other(format!("{end:?}"))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Asks for the document, and reads up to it.
    ///
    /// # Errors
    /// When the connection ends before.
    pub async fn sync(&mut self) -> io::Result<Vec<u8>> {
        self.send(wire::STEP_1).await?;
        loop {
            if let Message::Step2(document) = self.message().await? {
                return Ok(document);
            }
        }
    }

    /// Asks for an ack, and reads up to it: everything sent before is durable.
    ///
    /// # Errors
    /// When the connection ends before.
    pub async fn settle(&mut self, n: u64) -> io::Result<()> {
        self.send(&wire::ack_request(n)).await?;
        loop {
            if self.message().await? == Message::Ack(n) {
                return Ok(());
            }
        }
    }

    /// Reads until the server closes. Gives the code, the reason, and what was denied before; a
    /// connection that breaks without a close frame gives 1006.
    pub async fn closing(&mut self) -> (u16, String, Vec<String>) {
        let mut denied = Vec::new();
        loop {
            match tokio::time::timeout(PATIENCE, self.hear()).await {
                Ok(Ok(Heard::Message(Message::Denied(reason)))) => denied.push(reason),
                Ok(Ok(Heard::Message(_))) => {}
                Ok(Ok(Heard::Close(code, reason))) => return (code, reason, denied),
                Ok(Ok(Heard::End) | Err(_)) => return (1006, String::new(), denied),
                Err(_) => return (0, "it was not closed in time".into(), denied),
            }
        }
    }
}

impl Ears {
    async fn take_handshake(&mut self) -> io::Result<()> {
        let end = loop {
            let unread = &self.buffer[self.at..];
            if let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            if !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[self.at..self.at + end]).into_owned();
        self.at += end + 4;
        if head.starts_with("HTTP/1.1 101 ") {
            Ok(())
        } else {
            Err(io::Error::other(head))
        }
    }

    /// Reads past messages of any dialect to the server's close. Gives the code and the reason.
    ///
    /// # Errors
    /// When the connection breaks, or ends without one.
    pub async fn close_of_any_dialect(&mut self) -> io::Result<(u16, String)> {
        loop {
            if let Err(end) = self.next_message().await? {
                return Ok(end);
            }
        }
    }

    /// The next message of any dialect, or the server's close as its code and reason.
    ///
    /// # Errors
    /// When the connection breaks, or ends without a close.
    pub async fn next_message(&mut self) -> io::Result<Result<Vec<u8>, (u16, String)>> {
        loop {
            match self.next_frame().await? {
                Some((BINARY, message)) => return Ok(Ok(message)),
                Some((CLOSE, payload)) => return Ok(Err(read_close(&payload))),
                Some(_) => {}
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// Reads `most` bytes or fewer and forgets them. Gives how many; 0 at the end of the connection.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn swallow(&mut self, most: usize) -> io::Result<usize> {
        self.stream.readable().await?;
        self.stream.read(&mut vec![0; most]).await
    }

    /// The next frame; `None` at the end of the connection.
    async fn next_frame(&mut self) -> io::Result<Option<(u8, Vec<u8>)>> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(Some(frame));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// A whole frame from the buffer.
    fn take_frame(&mut self) -> io::Result<Option<(u8, Vec<u8>)>> {
        let unread = &self.buffer[self.at..];
        let &[first, second, ref rest @ ..] = unread else {
            return Ok(None);
        };
        if first & 0xf0 != 0x80 || second & 0x80 != 0 {
            let what = format!("a server's frame is whole and bare, not {first:02x} {second:02x}");
            return Err(io::Error::other(what));
        }
        let (len, header) = match second {
            126 => match rest.first_chunk::<2>() {
                Some(len) => (usize::from(u16::from_be_bytes(*len)), 4),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(len) => (u64::from_be_bytes(*len) as usize, 10),
                None => return Ok(None),
            },
            short => (usize::from(short), 2),
        };
        let Some(payload) = unread.get(header..header + len) else {
            return Ok(None);
        };
        let taken = (first & 0x0f, payload.to_vec());
        self.at += header + len;
        Ok(Some(taken))
    }

    /// Reads more. False at the end of the connection.
    async fn fill(&mut self) -> io::Result<bool> {
        if self.at == self.buffer.len() {
            self.buffer.clear();
        } else if self.at > 0 {
            self.buffer.drain(..self.at);
        }
        self.at = 0;
        self.stream.readable().await?;
        self.buffer.reserve(2048);
        let read = self.stream.read_buf(&mut self.buffer).await?;
        if self.buffer.is_empty() {
            self.buffer = Vec::new();
        }
        Ok(read > 0)
    }
}

/// The code and the reason in a close frame.
fn read_close(payload: &[u8]) -> (u16, String) {
    let code = payload.first_chunk();
    let code = code.map_or(1005, |two| u16::from_be_bytes(*two));
    let reason = payload.get(2..).unwrap_or_default();
    (code, String::from_utf8_lossy(reason).into_owned())
}

/// A client's request to speak WebSocket.
#[must_use]
pub fn handshake(server: SocketAddr, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: {server}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A frame that continues a message.
pub const CONTINUATION: u8 = 0;
/// A text message.
pub const TEXT: u8 = 1;
/// A binary message.
pub const BINARY: u8 = 2;
/// The end.
pub const CLOSE: u8 = 8;
/// Are you there?
pub const PING: u8 = 9;
/// I am.
pub const PONG: u8 = 10;

/// A client's frame, masked.
#[must_use]
pub fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x5a, 0xc3, 0x17, 0x88];
    let mut out = vec![opcode | u8::from(fin) << 7];
    if payload.len() < 126 {
        out.push(0x80 | payload.len() as u8);
    } else if let Ok(len) = u16::try_from(payload.len()) {
        out.push(0x80 | 126);
        out.extend(len.to_be_bytes());
    } else {
        out.push(0x80 | 127);
        out.extend((payload.len() as u64).to_be_bytes());
    }
    out.extend(MASK);
    out.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    out
}
