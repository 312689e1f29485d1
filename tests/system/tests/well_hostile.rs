//! Hostile bytes on WebTransport, at `/well`: random, flipped, truncated and oversized, on the stream
//! and on datagrams. Each session gets a typed end, the honest one beside them goes on, and the
//! server's memory stays flat.
//!
//! `HOSTILE_CASES` sessions, 300 by default; `SEED` repeats them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use system_tests::server::Server;
use system_tests::{seed, setting, within};
use tokio::task::JoinSet;
use web_transport_quinn::{Client as Dialer, ClientBuilder, SessionError, WebTransportError};
use well_client::{Client, Join, Options, TextRoom};

const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(30);
/// More than what sessions at once and the allocator's slack take.
const MEMORY_BYTES: usize = 64 << 20;

/// A field of a message: bytes under a number.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    put_varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

fn number(number: u8, value: u64) -> Vec<u8> {
    let mut out = vec![number << 3];
    put_varint(value, &mut out);
    out
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes()[..], message].concat()
}

/// What an honest client says: Hello, Join, two Submits, presence, Ping.
fn honest() -> Vec<Vec<u8>> {
    let hello = field(1, &[number(1, 1), field(3, b"hostile")].concat());
    let join = [
        number(1, 1),
        field(2, b"doc/hostile"),
        number(5, 77),
        number(6, 0),
    ];
    // Yjs's own encoding of the map `m` with `k` = "v", by client 1.
    let update = [1, 1, 1, 0, 40, 1, 1, 109, 1, 107, 1, 119, 1, 118, 0];
    let submit = |n| {
        let fields = [number(1, 1), number(2, n), number(3, 0), field(4, &update)];
        field(4, &fields.concat())
    };
    let entry = [number(1, 77), number(2, 1), field(3, b"{\"at\":1}")].concat();
    let presence = field(5, &[number(1, 1), field(2, &entry)].concat());
    let ping = field(6, &number(1, 5));
    vec![
        hello,
        field(2, &join.concat()),
        submit(1),
        submit(2),
        presence,
        ping,
    ]
}

/// What is said on a stream instead, and what on datagrams.
fn hostile(random: &mut StdRng) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut messages = honest();
    let mut datagrams = Vec::new();
    for _ in 0..random.random_range(0..4) {
        let mut datagram = messages[4].clone();
        mutate(&mut datagram, random);
        datagrams.push(datagram);
    }
    let mut bytes = Vec::new();
    match random.random_range(0..5) {
        // Nothing but noise.
        0 => {
            bytes.resize(random.random_range(1..4096), 0);
            random.fill_bytes(&mut bytes);
        }
        // Whole messages that are not what they were.
        1 => {
            for message in &mut messages[1..] {
                if random.random_bool(0.5) {
                    mutate(message, random);
                }
            }
            bytes.extend(messages.iter().flat_map(|it| framed(it)));
        }
        // Bits anywhere, lengths too.
        2 => {
            bytes.extend(messages.iter().flat_map(|it| framed(it)));
            mutate(&mut bytes, random);
        }
        // The end is missing.
        3 => {
            bytes.extend(messages.iter().flat_map(|it| framed(it)));
            bytes.truncate(random.random_range(1..bytes.len()));
        }
        // More than there may be.
        _ => {
            bytes.extend(messages[..2].iter().flat_map(|it| framed(it)));
            match random.random_range(0..3) {
                0 => bytes.extend_from_slice(&u32::MAX.to_be_bytes()),
                1 => {
                    let many: Vec<u8> = (0..2_000).flat_map(|_| field(4, b"")).collect();
                    let head = [number(1, 1), number(2, 1)].concat();
                    bytes.extend(framed(&field(4, &[head, many].concat())));
                }
                _ => {
                    let state = vec![b'1'; 100_000];
                    let entry = [number(1, 77), number(2, 2), field(3, &state)].concat();
                    let entry = field(2, &entry);
                    bytes.extend(framed(&field(5, &[number(1, 1), entry].concat())));
                }
            }
        }
    }
    (bytes, datagrams)
}

fn mutate(bytes: &mut Vec<u8>, random: &mut StdRng) {
    for _ in 0..random.random_range(1..8) {
        if bytes.is_empty() {
            return;
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..3) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = random.random(),
            _ => {
                bytes.remove(at);
            }
        }
    }
}

/// Says it, and ends its stream. Gives the code that the session was closed with.
async fn attack(dialer: Dialer, server: SocketAddr, seed: u64) -> u32 {
    let mut random = StdRng::seed_from_u64(seed);
    let (bytes, datagrams) = hostile(&mut random);
    let url: web_transport_quinn::proto::ConnectRequest = format!("https://{server}/well")
        .parse::<url::Url>()
        .expect("a URL")
        .into();
    let session = dialer.connect(url).await.expect("a session");
    let (mut send, mut recv) = session.open_bi().await.expect("a stream");
    let saying = async {
        // Either fails when the server has closed the session in the middle.
        let said = send.write_all(&bytes).await;
        for datagram in datagrams {
            drop(session.send_datagram(Bytes::from(datagram)));
        }
        drop(send.finish());
        drop(said);
    };
    let reading = async {
        let mut chunk = vec![0; 16 << 10];
        while let Ok(Some(_)) = recv.read(&mut chunk).await {}
    };
    within(PATIENCE, "the end of a session", async {
        tokio::join!(saying, reading);
        match session.closed().await {
            SessionError::WebTransportError(WebTransportError::Closed(code, _)) => code,
            other => panic!("seed {seed}: it ended without a code: {other}"),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_bytes_have_typed_ends_and_harm_nobody() {
    let seed = seed();
    let cases = setting("HOSTILE_CASES", 300);
    let server = Server::start();
    let address = server.address();
    let published = system_tests::http::get(address, "/webtransport.json").await;
    let published = published.expect("an answer").json();
    let hashes = published["certificateHashes"].as_array().expect("a list");
    let hashes = hashes
        .iter()
        .map(|it| decoded(it["value"].as_str().expect("text")));
    let dialer = ClientBuilder::new()
        .with_server_certificate_hashes(hashes.collect())
        .expect("a client");
    let options = Options::new(format!("https://{address}/well"))
        .published_certificates(format!("http://{address}/webtransport.json"));
    let client = Client::connect(options);
    let mut healthy = TextRoom::join(&client, Join::new("text/healthy"))
        .await
        .expect("a room");

    let mut before = 0;
    let mut codes: BTreeMap<u32, u32> = BTreeMap::new();
    let mut attacks = JoinSet::new();
    for case in 0..cases {
        if attacks.len() >= AT_ONCE {
            let code = attacks.join_next().await.expect("one").expect("it ends");
            *codes.entry(code).or_default() += 1;
        }
        attacks.spawn(attack(dialer.clone(), address, seed + case));
        if case % 50 == 0 {
            let ticket = healthy.replace(0, 0, "x").await.expect("it is kept");
            within(PATIENCE, "an honest ack", ticket.acked())
                .await
                .expect("it is taken");
            let moment = Duration::from_millis(1);
            while let Ok(event) = tokio::time::timeout(moment, healthy.next()).await {
                event.expect("a text").expect("it goes on");
            }
        }
        if case == cases / 4 {
            before = server.resident_bytes();
        }
    }
    while let Some(code) = attacks.join_next().await {
        *codes.entry(code.expect("it ends")).or_default() += 1;
    }
    eprintln!("closed with {codes:?}");
    let typed = |code: &u32| matches!(code, 1000 | 4400..=4499);
    assert!(codes.keys().all(typed), "{codes:?}");
    assert!(codes.keys().any(|code| *code == 4400), "{codes:?}");
    assert!(codes.keys().any(|code| *code == 4413), "{codes:?}");
    let after = server.resident_bytes();
    assert!(
        after < before + MEMORY_BYTES,
        "it held {before} bytes after a quarter, and {after} at the end"
    );
    let typed = healthy.text().to_string().len() as u64;
    assert_eq!(
        typed,
        cases.div_ceil(50),
        "the honest one was never disturbed"
    );
}

/// Base64, standard alphabet.
fn decoded(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    let (mut bits, mut held) = (0_u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let value = ALPHABET.iter().position(|it| *it == byte).expect("base64");
        bits = bits << 6 | value as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    out
}
