//! The server over real sockets, with `web-transport-quinn` as the client.

mod well;

use std::net::SocketAddr;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use broker::{Broker, Limits, Snapshots};
use protocol::CloseCode;
use protocol::dialect::yjs;
use replay::{History, Kind, Stores};
use storage::memory::MemoryLog;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use web_transport_quinn::proto::ConnectRequest;
use web_transport_quinn::{
    ClientBuilder, ClientError, ReadError, RecvStream, SendStream, Session, SessionError,
    WebTransportError, WriteError, http,
};

use super::*;
use crate::access::revoked::Revocations;
use crate::access::{Auth, Keeper};
use crate::{Space, Spaces};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// A server on a port of its own.
struct Server {
    gateway: Gateway,
    door: WebTransport,
    serving: JoinHandle<()>,
}

impl Server {
    fn start() -> Self {
        Self::with(Source::SelfSigned(None))
    }

    fn with(source: Source) -> Self {
        let kind_of = |space: &str| match space {
            "blob" => Kind::Opaque,
            _ => Kind::Yjs,
        };
        let stores = Stores::of_log(Arc::new(MemoryLog::new()));
        let history = History::new(stores, Arc::new(kind_of));
        let broker = Broker::new(history, Snapshots::none(), Limits::default());
        let spaces = Spaces::from([
            ("doc".to_owned(), Space::open(Kind::Yjs)),
            ("pit".to_owned(), Space::open(Kind::Yjs)),
            ("blob".to_owned(), Space::open(Kind::Opaque)),
        ]);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let door = WebTransport::open(address, source, SystemTime::now()).unwrap();
        let open = Door::Open(door.clone());
        let keeper = Keeper::new(Auth::none(), Revocations::in_memory());
        let exporter = crate::exporter_of_tests();
        let gateway = Gateway::new(broker, exporter, keeper, spaces, false, open);
        let serving = tokio::spawn(serve(gateway.clone()));
        Self {
            gateway,
            door,
            serving,
        }
    }

    fn hashes(&self) -> Vec<String> {
        self.door.certificates.lock().hashes()
    }

    async fn connect(&self, path: &str) -> Session {
        self.request(request(self.door.address(), path))
            .await
            .unwrap()
    }

    async fn request(&self, request: ConnectRequest) -> Result<Session, ClientError> {
        connect(request, &self.hashes()).await
    }

    /// A session in a room, past the room's greeting.
    async fn join(&self, path: &str) -> Client {
        Client::join(self.connect(path).await).await
    }
}

fn request(address: SocketAddr, path: &str) -> ConnectRequest {
    let url: url::Url = format!("https://{address}{path}").parse().unwrap();
    ConnectRequest::new(url)
}

async fn connect(request: ConnectRequest, hashes: &[String]) -> Result<Session, ClientError> {
    let hashes = hashes.iter().map(|hash| STANDARD.decode(hash).unwrap());
    ClientBuilder::new()
        .with_server_certificate_hashes(hashes.collect())?
        .connect(request)
        .await
}

/// A y-websocket client on a session's stream.
struct Client {
    session: Session,
    send: SendStream,
    recv: RecvStream,
}

impl Client {
    async fn join(session: Session) -> Self {
        let (send, recv) = session.open_bi().await.unwrap();
        let mut client = Self {
            session,
            send,
            recv,
        };
        client.say(&[0, 0, 1, 0]).await;
        assert_eq!(client.hear().await[..2], [0, 0], "the server's step 1");
        assert_eq!(client.hear().await[..2], [0, 1], "step 2 answers step 1");
        client
    }

    async fn say(&mut self, message: &[u8]) {
        let len = (message.len() as u32).to_be_bytes();
        self.send.write_all(&len).await.unwrap();
        self.send.write_all(message).await.unwrap();
    }

    /// The next message that is not presence.
    async fn hear(&mut self) -> Vec<u8> {
        loop {
            let message = timeout(10 * SECOND, self.message()).await.unwrap().unwrap();
            if message[0] != 1 {
                return message;
            }
        }
    }

    async fn message(&mut self) -> Result<Vec<u8>, web_transport_quinn::ReadExactError> {
        let mut len = [0; 4];
        self.recv.read_exact(&mut len).await?;
        let mut message = vec![0; u32::from_be_bytes(len) as usize];
        self.recv.read_exact(&mut message).await?;
        Ok(message)
    }

    /// Sends an update and waits until it is durable.
    async fn edit(&mut self, update: &[u8]) {
        self.say(&message(update)).await;
        self.say(&[102, 1, 9]).await;
        assert_eq!(self.hear().await, [102, 1, 9]);
    }
}

/// A Yjs update: the map `m` has `k` = a text of so many bytes, by this client.
fn update(client: u8, len: usize) -> Vec<u8> {
    let mut update = vec![1, 1, client, 0, 40, 1, 1, b'm', 1, b'k', 1, 119];
    let mut rest = len;
    while rest >= 128 {
        update.push(rest as u8 | 128);
        rest >>= 7;
    }
    update.push(rest as u8);
    update.resize(update.len() + len, b'v');
    update.push(0);
    update
}

/// An update as its message.
fn message(update: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    yjs::encode_update(update, &mut message);
    message
}

/// With which code and reason the server closes.
async fn closed(session: &Session) -> (u32, String) {
    let patience = 2 * crate::limits::ACCEPT_TIME;
    match timeout(patience, session.closed()).await.unwrap() {
        SessionError::WebTransportError(WebTransportError::Closed(code, reason)) => (code, reason),
        other => panic!("closed without a code: {other}"),
    }
}

fn code(code: CloseCode) -> u32 {
    code.code().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_goes_from_one_session_to_another() {
    let server = Server::start();
    let mut writer = server.join("/yjs/doc/a%2Fb?role=editor").await;
    let mut reader = server.join("/yjs/doc/a/b").await;
    let update = update(1, 1);
    writer.edit(&update).await;
    assert_eq!(reader.hear().await, message(&update));
    let mut late = Client::join(server.connect("/yjs/doc/a/b?role=viewer").await).await;
    late.say(&message(&self::update(2, 1))).await;
    assert_eq!(late.hear().await[..2], [2, 0], "a viewer does not write");
    writer.send.finish().unwrap();
    assert_eq!(
        closed(&writer.session).await.0,
        1000,
        "a goodbye is answered"
    );
    reader.session.close(0, b"");
    late.session.close(7, b"bye");
    timeout(5 * SECOND, reader.session.closed()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_hears_why() {
    let server = Server::start();
    for (path, expected) in [
        ("/", CloseCode::NoRoom),
        ("/nowhere", CloseCode::NoRoom),
        ("/yjs/nospace/x", CloseCode::NoRoom),
        ("/yjs/doc/", CloseCode::NoRoom),
        ("/yjs/doc", CloseCode::NoRoom),
        ("/pit/", CloseCode::NoRoom),
        ("/yjs/doc/a%00b", CloseCode::NoRoom),
        ("/yjs/blob/x", CloseCode::Conflict),
    ] {
        let session = server.connect(path).await;
        let (got, reason) = closed(&session).await;
        assert_eq!(got, code(expected), "{path}: {reason}");
        assert!(!reason.is_empty(), "{path}");
    }
    let session = server.connect("/yjs/doc/no-stream").await;
    assert_eq!(closed(&session).await.0, code(CloseCode::AuthTimeout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_let_in_as_over_websocket() {
    let server = Server::start();
    server.gateway.set_local();
    let from = |origin: &'static str| {
        let origin = http::HeaderValue::from_static(origin);
        request(server.door.address(), "/pit/k3x9qa").with_header(http::header::ORIGIN, origin)
    };
    let own = server.request(from("http://localhost:5173")).await.unwrap();
    let mut client = Client::join(own).await;
    client.edit(&update(1, 1)).await;
    let other = server.request(from("https://example.org")).await.unwrap();
    assert_eq!(closed(&other).await.0, code(CloseCode::Forbidden));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_over_the_limit_closes_at_once() {
    let server = Server::start();
    let mut client = server.join("/yjs/doc/large").await;
    client
        .send
        .write_all(&u32::MAX.to_be_bytes())
        .await
        .unwrap();
    assert_eq!(client.hear().await[..2], [2, 0], "it hears why");
    let (got, reason) = closed(&client.session).await;
    assert_eq!(got, code(CloseCode::TooLarge));
    assert!(reason.contains("at most"), "{reason}");
    let mut other = server.join("/yjs/doc/malformed").await;
    other.say(&[0, 9]).await;
    assert_eq!(closed(&other.session).await.0, code(CloseCode::BadMessage));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_beside_the_first_are_refused_and_the_session_goes_on() {
    let server = Server::start();
    let mut client = server.join("/yjs/doc/streams").await;
    let conflict = code(CloseCode::Conflict);
    for _ in 0..40 {
        let (mut send, mut recv) = client.session.open_bi().await.unwrap();
        // A stream is there for the peer when something came on it.
        let _ = send.write_all(b"x").await;
        let read = recv.read(&mut [0]).await;
        assert!(
            matches!(read, Err(ReadError::Reset(code)) if code == conflict),
            "{read:?}"
        );
        let mut uni = client.session.open_uni().await.unwrap();
        let _ = uni.write_all(b"x").await;
        assert_eq!(uni.stopped().await.unwrap(), Some(conflict));
        let written = uni.write_all(b"x").await;
        assert!(matches!(written, Err(WriteError::Stopped(code)) if code == conflict));
    }
    client.edit(&update(1, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_holds_up_nobody_and_is_held_back() {
    const EACH: usize = 64 << 10;
    const UPDATES: u8 = 60;
    let server = Server::start();
    let mut slow = server.join("/yjs/doc/slow").await;
    let mut writer = server.join("/yjs/doc/slow").await;
    for by in 1..=UPDATES {
        writer.edit(&update(by, EACH)).await;
    }
    // Nothing of the slow one's was read; then it takes everything, in order. Its windows are
    // quinn's own, so what is on its way is bounded by what the server sets aside.
    let mut heard = 0;
    while heard < usize::from(UPDATES) * EACH {
        heard += slow.hear().await.len();
    }
    slow.edit(&update(UPDATES + 1, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_closes_sessions_and_takes_no_more() {
    let server = Server::start();
    let mut client = server.join("/yjs/doc/drained").await;
    client.edit(&update(1, 1)).await;
    let waiting = server.connect("/yjs/doc/no-stream-yet").await;
    let draining = crate::server::drain(&server.gateway, 10 * SECOND);
    let (late, (joined, reason), (waited, _)) =
        tokio::join!(draining, closed(&client.session), closed(&waiting));
    assert!(late.is_empty());
    assert_eq!((joined, waited), (1012, 1012), "{reason}");
    let hashes = server.hashes();
    let request = request(server.door.address(), "/yjs/doc/x");
    server.serving.await.unwrap();
    let after = timeout(5 * SECOND, connect(request, &hashes)).await;
    assert!(!matches!(after, Ok(Ok(_))), "the door is shut");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_certificate_is_served_when_its_time_comes() {
    let server = Server::start();
    let before = server.hashes();
    let path = "/yjs/doc/rotation";
    let mut old = server.join(path).await;
    // Only the first one is served.
    let with = async |hash: &String| {
        let request = request(server.door.address(), path);
        connect(request, std::slice::from_ref(hash)).await
    };
    assert!(with(&before[0]).await.is_ok());
    assert!(with(&before[1]).await.is_err());

    server.door.refresh(SystemTime::now() + 11 * DAY);
    assert_eq!(server.hashes(), before, "not yet");
    server.door.refresh(SystemTime::now() + 12 * DAY + SECOND);
    let after = server.hashes();
    assert_eq!(after[0], before[1], "what was announced");
    assert!(!before.contains(&after[1]), "and the one after it is");
    let published = serde_json::to_value(server.door.published()).unwrap();
    assert_eq!(published["port"], server.door.address().port());
    assert_eq!(published["certificateHashes"][0]["algorithm"], "sha-256");
    assert_eq!(published["certificateHashes"][1]["value"], *after[1]);

    assert!(with(&before[0]).await.is_err());
    let mut new = Client::join(with(&before[1]).await.unwrap()).await;
    old.edit(&update(1, 1)).await;
    assert_eq!(
        new.hear().await,
        message(&update(1, 1)),
        "old sessions live on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_from_files_are_read_again_when_they_change() {
    let folder = tempfile::tempdir().unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    let issue = || {
        let own = self_signed::SelfSigned::open(None, SystemTime::now()).unwrap();
        let pem = own.current_pem();
        std::fs::write(&cert, &pem).unwrap();
        std::fs::write(&key, &pem).unwrap();
        own.hashes()[0].clone()
    };
    let first = issue();
    let source = Source::Files {
        cert: cert.clone(),
        key: key.clone(),
    };
    let server = Server::with(source.clone());
    assert_eq!(server.hashes(), [""; 0], "browsers ask its authority");
    let with = async |hash: String| {
        let request = request(server.door.address(), "/yjs/doc/x");
        connect(request, &[hash]).await
    };
    assert!(with(first.clone()).await.is_ok());
    std::fs::write(&cert, "half a file").unwrap();
    server.door.refresh(SystemTime::now());
    assert!(
        with(first.clone()).await.is_ok(),
        "a fault leaves the last one"
    );
    let second = issue();
    server.door.refresh(SystemTime::now());
    assert!(with(first).await.is_err());
    assert!(with(second).await.is_ok());

    std::fs::remove_file(&key).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let error = WebTransport::open(address, source, SystemTime::now()).unwrap_err();
    assert!(error.to_string().contains("key.pem"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_said() {
    let server = Server::start();
    let source = Source::SelfSigned(None);
    let error = WebTransport::open(server.door.address(), source, SystemTime::now()).unwrap_err();
    assert!(matches!(error, OpenError::Bind { .. }), "{error}");
}

/// Passes datagrams between a client and the server; a change of `from` gives it another port.
async fn proxy(server: SocketAddr, mut from: watch::Receiver<u32>) -> SocketAddr {
    let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = near.local_addr().unwrap();
    tokio::spawn(async move {
        let mut far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut client = None;
        let (mut out, mut back) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                Ok((len, peer)) = near.recv_from(&mut out) => {
                    client = Some(peer);
                    let _ = far.send_to(&out[..len], server).await;
                }
                Ok((len, _)) = far.recv_from(&mut back) => {
                    if let Some(client) = client {
                        let _ = near.send_to(&back[..len], client).await;
                    }
                }
                changed = from.changed() => match changed {
                    Ok(()) => far = UdpSocket::bind("127.0.0.1:0").await.unwrap(),
                    Err(_) => return,
                }
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_changes_its_address_keeps_its_session() {
    let server = Server::start();
    let (change, from) = watch::channel(0);
    let proxied = proxy(server.door.address(), from).await;
    let session = connect(request(proxied, "/yjs/doc/moving"), &server.hashes()).await;
    let mut moving = Client::join(session.unwrap()).await;
    let mut still = server.join("/yjs/doc/moving").await;
    for by in 1..=3 {
        change.send(u32::from(by)).unwrap();
        moving.edit(&update(by, 1)).await;
        assert_eq!(still.hear().await, message(&update(by, 1)));
        still.edit(&update(by + 10, 1)).await;
        assert_eq!(moving.hear().await, message(&update(by + 10, 1)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_nothing_is_let_go_of() {
    let server = Server::start();
    let mut roots = rustls::RootCertStore::empty();
    let certificate = server.door.certificates.lock().pair().chain[0].clone();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![web_transport_quinn::ALPN.into()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    // It has a connection and never sends a request.
    let connection = endpoint.connect_with(config, server.door.address(), "localhost");
    let connection = connection.unwrap().await.unwrap();
    let since = Instant::now();
    timeout(2 * crate::limits::ACCEPT_TIME, connection.closed())
        .await
        .unwrap();
    let held = since.elapsed();
    assert!(held < crate::limits::ACCEPT_TIME + SECOND, "{held:?}");
    server
        .join("/yjs/doc/others")
        .await
        .edit(&update(1, 1))
        .await;
}
