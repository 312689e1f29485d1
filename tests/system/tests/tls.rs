//! TLS over TCP: every client through a tunnel that speaks TLS to the server, whole documents and single
//! updates; what is agreed on; and another certificate without a dropped connection.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use system_tests::http;
use system_tests::server::Server;
use system_tests::socket::Socket;
use system_tests::wire;
use system_tests::{until, within};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use well_client::{Client, Join, Options, TextRoom};

const PATIENCE: Duration = Duration::from_secs(20);

/// Writes a certificate for `localhost` and its key. Gives the certificate.
fn certificate(folder: &Path) -> CertificateDer<'static> {
    certificate_until(folder, (4096, 1, 1))
}

/// The same, until a day.
fn certificate_until(folder: &Path, (year, month, day): (i32, u8, u8)) -> CertificateDer<'static> {
    let pair = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    params.not_after = date_time_ymd(year, month, day);
    let certificate = params.self_signed(&pair).expect("a certificate");
    std::fs::write(folder.join("key.pem"), pair.serialize_pem()).expect("it can be written");
    std::fs::write(folder.join("cert.pem"), certificate.pem()).expect("it can be written");
    certificate.der().clone()
}

/// A server with TLS, and the folder of its certificate.
fn server(more: &str) -> (Server, tempfile::TempDir, CertificateDer<'static>) {
    let folder = tempfile::tempdir().expect("a folder");
    let trusted = certificate(folder.path());
    (served_from(&folder, more), folder, trusted)
}

/// A server with the certificate that is in the folder.
fn served_from(folder: &tempfile::TempDir, more: &str) -> Server {
    let at = folder.path().display();
    let config = format!("[tls]\ncert = '{at}/cert.pem'\nkey = '{at}/key.pem'\n{more}");
    Server::configured("sled", config)
}

fn connector(
    trusted: &CertificateDer<'static>,
    versions: &[&'static rustls::SupportedProtocolVersion],
    alpn: &[&str],
) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("it can be trusted");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("they are known")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config).into()
}

async fn connect(
    connector: &TlsConnector,
    server: SocketAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    connector.connect(name, stream).await
}

/// Takes what speaks plainly here over TLS to the server.
async fn tunnel(server: SocketAddr, trusted: &CertificateDer<'static>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let here = listener.local_addr().expect("an address");
    let connector = connector(trusted, rustls::ALL_VERSIONS, &["http/1.1"]);
    tokio::spawn(async move {
        while let Ok((mut plain, _)) = listener.accept().await {
            let connector = connector.clone();
            tokio::spawn(async move {
                let mut encrypted = connect(&connector, server).await.expect("a handshake");
                // Either side may break off.
                let _ = copy_bidirectional(&mut plain, &mut encrypted).await;
            });
        }
    });
    here
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_works_over_tls() {
    let (server, _folder, trusted) = server("");
    let there = tunnel(server.address(), &trusted).await;
    let answer = http::get(there, "/healthz").await.expect("an answer");
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .head
            .contains("strict-transport-security: max-age=31536000"),
        "{}",
        answer.head
    );

    // A document that fills every buffer on the way, and then a lone update: nothing is left behind.
    let mut writer = Socket::connect(there, "/yjs/doc/a")
        .await
        .expect("a handshake");
    writer.sync().await.expect("it is in");
    let large = wire::update(1, 0, 4_000_000);
    writer
        .send(&wire::update_message(&large))
        .await
        .expect("it is sent");
    within(PATIENCE, "an ack", writer.settle(1))
        .await
        .expect("it is stored");
    let mut reader = Socket::connect(there, "/yjs/doc/a")
        .await
        .expect("a handshake");
    let document = within(PATIENCE, "the document", reader.sync())
        .await
        .expect("it is in");
    assert!(document.len() >= 4_000_000, "{}", document.len());
    for clock in 0..20 {
        let update = wire::update(2, clock, 10);
        writer
            .send(&wire::update_message(&update))
            .await
            .expect("it is sent");
        within(PATIENCE, "an ack", writer.settle(clock + 2))
            .await
            .expect("it is stored");
        within(PATIENCE, "the update", async {
            while reader.message().await.expect("it goes on")
                != wire::Message::Update(update.clone())
            {}
        })
        .await;
    }
    let client = Client::connect(Options::new(format!("ws://{there}/well")));
    let mut text = TextRoom::join(&client, Join::new("text/a"))
        .await
        .expect("a room");
    let ticket = text.replace(0, 0, "over TLS").await.expect("a ticket");
    within(PATIENCE, "an ack", ticket.acked())
        .await
        .expect("it is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_agreed_on() {
    let (server, _folder, trusted) = server("");
    let address = server.address();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let stream = connect(
            &connector(&trusted, &[version], &["h2", "http/1.1"]),
            address,
        )
        .await;
        let stream = stream.expect("a handshake");
        let (_, session) = stream.get_ref();
        assert_eq!(session.protocol_version(), Some(version.version));
        assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
        let suite = format!(
            "{:?}",
            session.negotiated_cipher_suite().expect("a suite").suite()
        );
        assert!(
            suite.contains("GCM") || suite.contains("CHACHA20"),
            "{suite}"
        );
        assert!(
            suite.starts_with("TLS13") || suite.contains("ECDHE"),
            "{suite}"
        );
        // Several requests on one connection of HTTP/2.
        let (mut requests, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        for path in ["/healthz", "/readyz", "/api/v1/rooms"] {
            let request = request(path);
            requests = requests.ready().await.expect("it takes requests");
            let (answer, _) = requests.send_request(request, true).expect("it is sent");
            let answer = within(PATIENCE, path, answer).await.expect("an answer");
            assert_eq!(answer.status(), 200, "{path}");
        }
    }
    // Who speaks plainly to it hears nothing it could take for an answer, and harms nobody.
    let plain = http::get(address, "/healthz").await;
    assert!(plain.is_err(), "{plain:?}");
    assert!(
        http::get(tunnel(address, &trusted).await, "/healthz")
            .await
            .is_ok()
    );
}

fn request(path: &str) -> ::http::Request<()> {
    ::http::Request::get(format!("https://localhost{path}"))
        .body(())
        .expect("a request")
}

#[tokio::test(flavor = "multi_thread")]
async fn another_certificate_is_served_without_a_dropped_connection() {
    let (server, folder, old) = server("");
    let address = server.address();
    let through_old = tunnel(address, &old).await;
    let mut open = Socket::connect(through_old, "/yjs/doc/a")
        .await
        .expect("a handshake");
    open.sync().await.expect("it is in");
    // What is no certificate is not served.
    std::fs::write(folder.path().join("cert.pem"), "nonsense").expect("it can be written");
    server.hang_up();
    within(PATIENCE, "an ack", open.settle(1))
        .await
        .expect("it goes on");
    assert!(
        http::get(through_old, "/healthz").await.is_ok(),
        "the old one is served still"
    );
    let new = certificate(folder.path());
    let connector = connector(&new, rustls::ALL_VERSIONS, &["http/1.1"]);
    server.hang_up();
    until(PATIENCE, "the new certificate", || async {
        connect(&connector, address).await.ok()
    })
    .await;
    within(PATIENCE, "an ack", open.settle(2))
        .await
        .expect("it goes on");
    let through_new = tunnel(address, &new).await;
    assert_eq!(
        http::get(through_new, "/healthz")
            .await
            .expect("an answer")
            .status,
        200
    );
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_in_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    certificate_until(folder.path(), (2021, 1, 1));
    let server = served_from(&folder, "");
    let warns_of = |over: &str| {
        let words = format!("the certificate that is served over {over} has ended");
        let said = server.stderr();
        said.lines()
            .any(|line| line.contains(&words) && line.contains("WARN"))
    };
    for over in ["TLS", "WebTransport"] {
        until(PATIENCE, "it is said", || async {
            warns_of(over).then_some(())
        })
        .await;
    }
    let (valid, _folder, _) = self::server("");
    assert!(!valid.stderr().contains("has ended"));
}
