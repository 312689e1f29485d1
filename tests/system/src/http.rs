//! A few HTTP requests, each on a connection of its own.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ANSWER_TIME: Duration = Duration::from_secs(30);

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header lines, as they are.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// `GET path`.
///
/// # Errors
/// When the connection fails or the answer is no HTTP.
pub async fn get(server: SocketAddr, path: &str) -> io::Result<Answer> {
    request(server, "GET", path).await
}

/// A request without a body.
///
/// # Errors
/// When the connection fails or the answer is no HTTP.
pub async fn request(server: SocketAddr, method: &str, path: &str) -> io::Result<Answer> {
    send(server, method, path, &[], "").await
}

/// A request with these header lines and this body.
///
/// # Errors
/// When the connection fails or the answer is no HTTP.
pub async fn send(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        parse(&answer)
    };
    match tokio::time::timeout(ANSWER_TIME, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, path.to_owned())),
    }
}

/// The room's document as one update; `None` when there is no such room. `room` is `space/name`
/// with nothing in it that needs escapes but `/`.
///
/// # Panics
/// When the server answers with anything else.
pub async fn snapshot(server: SocketAddr, room: &str) -> Option<Vec<u8>> {
    let answer = get(server, &format!("{}/snapshot", room_path(room))).await;
    let answer = answer.unwrap_or_else(|error| panic!("snapshot of {room}: {error}"));
    match answer.status {
        200 => Some(answer.body),
        404 => None,
        _ => panic!("snapshot of {room}: {answer:?}"),
    }
}

/// What the server says about the room; `None` when there is no such room.
///
/// # Panics
/// When the server answers with anything else.
pub async fn room(server: SocketAddr, room: &str) -> Option<serde_json::Value> {
    let answer = get(server, &room_path(room)).await;
    let answer = answer.unwrap_or_else(|error| panic!("room {room}: {error}"));
    match answer.status {
        200 => Some(answer.json()),
        404 => None,
        _ => panic!("room {room}: {answer:?}"),
    }
}

fn room_path(room: &str) -> String {
    let (space, name) = room.split_once('/').unwrap_or((room, ""));
    format!("/api/v1/rooms/{space}/{}", name.replace('/', "%2F"))
}

fn parse(answer: &[u8]) -> io::Result<Answer> {
    let bad = || {
        let text = String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned();
        io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {text:?}"))
    };
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or_else(bad)?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(bad)?;
    let rest = &answer[end + 4..];
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    let body = if chunked {
        dechunk(rest).ok_or_else(bad)?
    } else {
        rest.to_vec()
    };
    Ok(Answer { status, head, body })
}

fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line]).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(line + 2..line + 2 + size)?);
        rest = rest.get(line + 2 + size + 2..)?;
    }
}
