//! The `well` dialect on a stream and on datagrams.

use bytes::{Buf, Bytes, BytesMut};
use prost::Message as _;
use protocol::dialect::well::wire::{
    self, client_message::Message as Say, server_message::Message as Heard,
};

use super::*;

/// A client of the `well` dialect in one room.
struct Client {
    session: Session,
    send: SendStream,
    recv: RecvStream,
    read: BytesMut,
    number: u32,
}

impl Client {
    async fn join(server: &Server, room: &str, id: u64) -> Self {
        let session = server.connect("/well").await;
        let (send, recv) = session.open_bi().await.unwrap();
        let mut client = Self {
            session,
            send,
            recv,
            read: BytesMut::new(),
            number: 0,
        };
        client
            .say(Say::Hello(wire::Hello {
                versions: vec![1],
                ..wire::Hello::default()
            }))
            .await;
        client
            .say(Say::Join(wire::Join {
                request: 1,
                room: room.to_owned(),
                client: id,
                ..wire::Join::default()
            }))
            .await;
        loop {
            if let Heard::Joined(joined) = client.hear().await {
                client.number = joined.number;
                return client;
            }
        }
    }

    async fn say(&mut self, message: Say) {
        let message = encode(message);
        let framed = [&(message.len() as u32).to_be_bytes()[..], &message].concat();
        self.send.write_all(&framed).await.unwrap();
    }

    /// The next message on the stream.
    async fn hear(&mut self) -> Heard {
        timeout(10 * SECOND, async {
            loop {
                if let Some(len) = self.read.first_chunk() {
                    let len = u32::from_be_bytes(*len) as usize;
                    if self.read.len() >= 4 + len {
                        self.read.advance(4);
                        return decode(self.read.split_to(len).freeze());
                    }
                }
                let mut chunk = [0; 4096];
                let read = self.recv.read(&mut chunk).await.unwrap().unwrap();
                self.read.extend_from_slice(&chunk[..read]);
            }
        })
        .await
        .expect("a message on the stream")
    }

    /// The next presence on the stream: clocks and states.
    async fn presence(&mut self) -> Vec<wire::PresenceEntry> {
        loop {
            if let Heard::Presence(presence) = self.hear().await {
                return presence.entries;
            }
        }
    }

    /// The next datagram.
    async fn datagram(&mut self) -> Vec<wire::PresenceEntry> {
        let datagram = timeout(5 * SECOND, self.session.read_datagram()).await;
        match decode(datagram.expect("a datagram").unwrap()) {
            Heard::Presence(presence) => presence.entries,
            other => panic!("{other:?}"),
        }
    }

    fn be_at(&self, site: u64, clock: u64, state: &str) {
        let message = encode(Say::Presence(wire::SetPresence {
            number: self.number,
            entries: vec![entry(site, clock, state)],
        }));
        self.session.send_datagram(message).unwrap();
    }
}

fn entry(site: u64, clock: u64, state: &str) -> wire::PresenceEntry {
    let state = Some(Bytes::copy_from_slice(state.as_bytes()));
    wire::PresenceEntry { site, clock, state }
}

fn encode(message: Say) -> Bytes {
    let message = Some(message);
    wire::ClientMessage { message }.encode_to_vec().into()
}

fn decode(message: Bytes) -> Heard {
    wire::ServerMessage::decode(message)
        .unwrap()
        .message
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_comes_on_a_datagram_and_within_a_second_on_the_stream() {
    let server = Server::start();
    let a = Client::join(&server, "doc/presence", 7).await;
    let mut b = Client::join(&server, "doc/presence", 8).await;
    a.be_at(7, 1, "\"first\"");
    // Whoever joins hears of everyone on the stream.
    assert_eq!(b.presence().await, [entry(7, 1, "\"first\"")]);
    for clock in 2..=4 {
        let said = Instant::now();
        a.be_at(7, clock, "\"moved\"");
        assert_eq!(b.datagram().await, [entry(7, clock, "\"moved\"")]);
        // As if the datagram had been lost.
        assert_eq!(b.presence().await, [entry(7, clock, "\"moved\"")]);
        let after = said.elapsed();
        assert!(after < SECOND + SECOND / 2, "{after:?}");
    }
    // Many changes within a second are one on the stream, the latest.
    for clock in 5..=20 {
        a.be_at(7, clock, "\"quick\"");
        b.datagram().await;
    }
    assert_eq!(b.presence().await, [entry(7, 20, "\"quick\"")]);
    // What is late or from a room that it is not in changes nothing.
    a.be_at(7, 19, "\"old\"");
    a.session
        .send_datagram(Bytes::from_static(b"\xff\x00 no message"))
        .unwrap();
    let elsewhere = encode(Say::Presence(wire::SetPresence {
        number: 99,
        entries: vec![entry(7, 21, "\"elsewhere\"")],
    }));
    a.session.send_datagram(elsewhere).unwrap();
    a.be_at(7, 22, "\"new\"");
    assert_eq!(b.datagram().await, [entry(7, 22, "\"new\"")]);
    assert_eq!(b.presence().await, [entry(7, 22, "\"new\"")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_too_large_for_a_datagram_comes_on_the_stream_at_once() {
    let server = Server::start();
    let mut a = Client::join(&server, "doc/large-presence", 7).await;
    let mut b = Client::join(&server, "doc/large-presence", 8).await;
    a.be_at(7, 1, "1");
    b.presence().await;
    let large = format!("\"{}\"", "x".repeat(8_000));
    let said = Instant::now();
    let number = a.number;
    a.say(Say::Presence(wire::SetPresence {
        number,
        entries: vec![entry(7, 2, &large)],
    }))
    .await;
    assert_eq!(b.presence().await, [entry(7, 2, &large)]);
    assert!(said.elapsed() < SECOND / 2, "{:?}", said.elapsed());
    a.be_at(7, 3, "3");
    assert_eq!(
        b.datagram().await,
        [entry(7, 3, "3")],
        "and small ones do not"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_are_acked_and_seen_and_a_goodbye_has_its_code() {
    let server = Server::start();
    let mut a = Client::join(&server, "blob/operations", 7).await;
    let mut b = Client::join(&server, "blob/operations", 8).await;
    for operation in 1..=3 {
        let number = a.number;
        a.say(Say::Submit(wire::Submit {
            number,
            operation,
            base: operation - 1,
            payloads: vec![Bytes::from_static(b"anything")],
        }))
        .await;
        let ack = loop {
            if let Heard::Ack(ack) = a.hear().await {
                break ack;
            }
        };
        assert_eq!((ack.operation, ack.placed[0].seq), (operation, operation));
        let records = loop {
            if let Heard::Records(records) = b.hear().await {
                break records;
            }
        };
        assert_eq!(records.through, operation);
        assert_eq!(records.spans[0].payloads, [&b"anything"[..]]);
    }
    a.send.write_all(&[0, 0, 0, 1, 0xff]).await.unwrap();
    loop {
        if let Heard::Goodbye(goodbye) = a.hear().await {
            assert_eq!(goodbye.code, code(CloseCode::BadMessage));
            break;
        }
    }
    assert_eq!(closed(&a.session).await.0, code(CloseCode::BadMessage));
    let number = b.number;
    b.say(Say::Submit(wire::Submit {
        number,
        operation: 1,
        base: 3,
        payloads: vec![Bytes::from_static(b"goes on")],
    }))
    .await;
    loop {
        if let Heard::Ack(_) = b.hear().await {
            break;
        }
    }
}
