//! The rules of the session by name, and hostile bytes.

use proptest::prelude::*;
use prost::Message as _;

use super::wire::client_message::Message as Client;
use super::*;
use crate::chain::Chain;
use crate::ids::SessionId;
use crate::limits::MAX_ROOMS_PER_CONNECTION;
use crate::record::{Author, Draft, Kind, Record};

const WALL: Timestamp = Timestamp::from_micros(1_795_520_879_000_000);

/// A session and what it has said.
struct Bench {
    session: Session,
    now: Instant,
    actions: Vec<Action>,
    said: Vec<Server>,
    close: Option<(CloseCode, String)>,
}

impl Bench {
    fn greeting() -> Self {
        let now = Instant::now();
        let terms = Terms {
            session: 7,
            durability: "memory",
            hello_time: HELLO_TIME,
            rooms: MAX_ROOMS_PER_CONNECTION,
        };
        Self {
            session: Session::new(terms, now),
            now,
            actions: Vec::new(),
            said: Vec::new(),
            close: None,
        }
    }

    fn open() -> Self {
        let mut bench = Self::greeting();
        bench.say(Client::Hello(wire::Hello {
            versions: vec![1, 9],
            ..Default::default()
        }));
        bench.said.clear();
        bench
    }

    /// A member of one room, under the number 1.
    fn joined() -> Self {
        let mut bench = Self::open();
        bench.say(join("doc/a"));
        bench.session.accept_join(1, 77, 2);
        bench.event(Event::Joined {
            version: Bytes::new(),
            role: Role::Editor,
        });
        bench.event(Event::Entered {
            head: Seq::new(5),
            at: Timestamp::from_micros(50),
            began_anew: false,
            last_op: 3,
            content: Content::Snapshot(Bytes::from_static(b"document")),
        });
        bench.said.clear();
        bench.actions.clear();
        bench
    }

    fn say(&mut self, message: Client) {
        let message = wire::ClientMessage {
            message: Some(message),
        };
        self.say_bytes(&message.encode_to_vec().into());
    }

    fn say_bytes(&mut self, message: &Bytes) {
        let mut out = Output::default();
        self.session
            .handle_message(message, self.now, WALL, &mut out);
        self.take(out);
    }

    fn event(&mut self, event: Event) {
        let mut out = Output::default();
        self.session.handle_event(1, event, &mut out);
        self.take(out);
    }

    fn take(&mut self, out: Output) {
        self.actions.extend(out.actions);
        for message in out.messages {
            let bytes = [message.head, message.body].concat();
            let message = wire::ServerMessage::decode(&bytes[..]).unwrap();
            self.said.push(message.message.unwrap());
        }
        self.close = self.close.take().or(out.close);
    }

    fn submit(&mut self, operation: u64, payloads: &[&'static [u8]]) {
        self.say(Client::Submit(wire::Submit {
            number: 1,
            operation,
            base: 5,
            payloads: payloads.iter().map(|it| Bytes::from_static(it)).collect(),
        }));
    }

    fn submitted(&self) -> Vec<(u64, u64, Bytes)> {
        let submissions = self.actions.iter().filter_map(|action| match action {
            Action::Command(1, Command::Submit(it)) => {
                let id = it.op_id.unwrap();
                assert_eq!(it.base, Some(Seq::new(5)));
                Some((id.client(), id.number(), it.payload.clone()))
            }
            _ => None,
        });
        submissions.collect()
    }
}

fn join(room: &str) -> Client {
    Client::Join(wire::Join {
        request: 9,
        room: room.to_owned(),
        client: 42,
        since: Some(4),
        version: Some(Bytes::from_static(b"v")),
        ..Default::default()
    })
}

#[test]
fn what_a_client_is_part_of_is_passed_on_if_it_says_so() {
    let said = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for traceparent in [said, "whatever", ""] {
        let mut bench = Bench::greeting();
        bench.say(Client::Hello(wire::Hello {
            versions: vec![1],
            traceparent: traceparent.to_owned(),
            ..Default::default()
        }));
        assert_eq!(bench.close, None, "it is no reason to refuse anybody");
        let passed = [Action::Trace(traceparent.to_owned())];
        let expected: &[Action] = if traceparent.is_empty() { &[] } else { &passed };
        assert_eq!(bench.actions, expected);
    }
}

#[test]
fn hello_is_answered_with_what_the_server_takes() {
    let mut bench = Bench::greeting();
    bench.say(Client::Hello(wire::Hello {
        versions: vec![1],
        resume_key: vec![3; 16].into(),
        ..Default::default()
    }));
    let [Server::Welcome(welcome), Server::Ping(_)] = &bench.said[..] else {
        panic!("{:?}", bench.said);
    };
    assert_eq!(
        (welcome.version, welcome.session, welcome.server_time),
        (1, 7, WALL.micros())
    );
    assert_eq!(
        welcome.limits.as_ref().unwrap().window_operations as usize,
        WINDOW_OPERATIONS
    );
    assert_eq!(bench.actions, [Action::Resume([3; 16])]);
}

#[test]
fn whoever_does_not_say_hello_hears_why_and_is_closed() {
    for hello in [
        wire::Hello {
            versions: vec![2],
            ..Default::default()
        },
        wire::Hello {
            versions: vec![1],
            resume_key: vec![1; 15].into(),
            ..Default::default()
        },
    ] {
        let mut bench = Bench::greeting();
        bench.say(Client::Hello(hello));
        assert!(matches!(&bench.said[..], [Server::Goodbye(it)] if it.code == 4400));
        assert_eq!(bench.close.unwrap().0, CloseCode::BadMessage);
    }
    let mut early = Bench::greeting();
    early.say(join("doc/a"));
    assert_eq!(early.close.unwrap().0, CloseCode::BadMessage);

    let mut late = Bench::greeting();
    let mut out = Output::default();
    late.session
        .handle_timeout(late.now + HELLO_TIME / 2, &mut out);
    assert!(out.close.is_none());
    late.session.handle_timeout(late.now + HELLO_TIME, &mut out);
    assert_eq!(out.close.unwrap().0, CloseCode::AuthTimeout);
}

#[test]
fn a_join_asks_for_the_room_and_what_is_missing() {
    let mut bench = Bench::open();
    bench.say(join("doc/a/b"));
    let client = ClientId::new(42).unwrap();
    assert_eq!(
        bench.actions,
        [
            Action::Join {
                number: 1,
                room: RoomName::parse("doc/a/b").unwrap(),
                kind: None,
                role: Role::Editor
            },
            Action::Command(
                1,
                Command::Enter {
                    client,
                    since: Some(Since {
                        seq: Seq::new(4),
                        at: None,
                    }),
                    version: Some(Bytes::from_static(b"v"))
                }
            ),
        ]
    );
    bench.session.accept_join(1, 77, 2);
    let author = |n| Author {
        user: None,
        session: SessionId::new(n),
        site: Some(Site::new(n)),
    };
    let record = |seq, by, payload: &'static [u8]| Record {
        seq: Seq::new(seq),
        at: Timestamp::from_micros(seq * 10),
        chain: Chain::from_raw(0),
        draft: Draft {
            author: author(by),
            op_id: None,
            base: None,
            kind: Kind::Update,
            payload: Bytes::from_static(payload),
        },
    };
    bench.event(Event::Entered {
        head: Seq::new(9),
        at: Timestamp::from_micros(90),
        began_anew: false,
        last_op: 3,
        content: Content::Records(vec![
            record(5, 1, b"a"),
            record(6, 1, b"bc"),
            record(8, 1, b""),
            record(9, 2, b"d"),
        ]),
    });
    let [Server::Joined(joined)] = &bench.said[..] else {
        panic!("{:?}", bench.said);
    };
    assert_eq!(
        (
            joined.request,
            joined.number,
            joined.head,
            joined.last_operation,
            joined.session
        ),
        (9, 1, 9, 3, 77)
    );
    let Some(wire::joined::Content::Records(list)) = &joined.content else {
        panic!("{joined:?}");
    };
    let spans: Vec<_> = list
        .spans
        .iter()
        .map(|it| (it.seq, it.at, it.site, it.payloads.len(), it.later.clone()))
        .collect();
    assert_eq!(
        spans,
        [
            (5, 50, 1, 2, vec![10]),
            (8, 80, 1, 1, vec![]),
            (9, 90, 2, 1, vec![])
        ]
    );
}

#[test]
fn a_join_that_cannot_be_is_refused_under_its_request() {
    let long = Bytes::from(vec![0; MAX_VERSION_BYTES + 1]);
    for (bad, code) in [
        (
            wire::Join {
                room: "nowhere".into(),
                ..good_join()
            },
            4404,
        ),
        (
            wire::Join {
                client: 0,
                ..good_join()
            },
            4400,
        ),
        (
            wire::Join {
                client: 1 << 53,
                ..good_join()
            },
            4400,
        ),
        (
            wire::Join {
                role: 99,
                ..good_join()
            },
            4400,
        ),
        (
            wire::Join {
                kind: -1,
                ..good_join()
            },
            4400,
        ),
        (
            wire::Join {
                version: Some(long),
                ..good_join()
            },
            4413,
        ),
    ] {
        let mut bench = Bench::open();
        bench.say(Client::Join(bad));
        let [Server::Left(left)] = &bench.said[..] else {
            panic!("{:?}", bench.said);
        };
        assert_eq!((left.request, left.number, left.code), (9, 0, code));
        assert!(bench.actions.is_empty() && bench.close.is_none());
    }
    let mut many = Bench::open();
    for n in 0..=MAX_ROOMS_PER_CONNECTION {
        many.say(join(&format!("doc/{n}")));
    }
    assert!(
        matches!(&many.said[..], [Server::Left(it)] if it.code == 4429 && it.retry_after_ms == 0)
    );
}

fn good_join() -> wire::Join {
    wire::Join {
        request: 9,
        room: "doc/a".into(),
        client: 42,
        ..Default::default()
    }
}

#[test]
fn acks_are_cumulative_and_say_where() {
    let mut bench = Bench::joined();
    bench.submit(4, &[b"a", b"b"]);
    bench.submit(6, &[b"c"]);
    assert_eq!(
        bench.submitted(),
        [
            (42, 4, b"a"[..].into()),
            (42, 5, b"b"[..].into()),
            (42, 6, b"c"[..].into())
        ]
    );
    assert!(bench.said.is_empty());
    bench.event(Event::Settled { count: 0 });
    assert!(bench.said.is_empty(), "nothing was settled");
    bench.event(Event::Placed(Placed {
        op: 4,
        seq: Seq::new(6),
        count: 2,
        at: Some(WALL),
        stale: 1,
    }));
    assert!(bench.said.is_empty(), "settled is what counts");
    bench.event(Event::Settled { count: 2 });
    bench.event(Event::Settled { count: 3 });
    let placed = wire::Placed {
        operation: 4,
        seq: 6,
        count: 2,
        at: WALL.micros(),
        stale: 1,
    };
    let ack = |operation, placed| {
        Server::Ack(wire::Ack {
            number: 1,
            operation,
            placed,
        })
    };
    assert_eq!(bench.said, [ack(5, vec![placed]), ack(6, vec![])]);
}

#[test]
fn over_the_window_is_a_typed_error_and_ends_the_membership() {
    let mut bench = Bench::joined();
    for op in 0..WINDOW_OPERATIONS as u64 {
        bench.submit(4 + op, &[b"x"]);
    }
    assert!(bench.said.is_empty());
    bench.submit(4 + WINDOW_OPERATIONS as u64, &[b"x"]);
    let [Server::Reject(reject), Server::Left(left)] = &bench.said[..] else {
        panic!("{:?}", bench.said);
    };
    assert_eq!(reject.code(), RejectCode::Window);
    assert!(reject.retry_after_ms > 0 && left.code == 4429);
    assert_eq!(bench.submitted().len(), WINDOW_OPERATIONS);
    assert_eq!(
        bench.actions.last(),
        Some(&Action::Leave {
            number: 1,
            clean: false
        })
    );
    bench.said.clear();
    bench.submit(4, &[b"x"]);
    assert!(matches!(&bench.said[..], [Server::Error(it)] if it.code == 4404 && it.number == 1));
}

#[test]
fn an_operation_that_is_not_understood_is_not_written() {
    let mut bench = Bench::joined();
    let submit = wire::Submit {
        number: 1,
        operation: 4,
        base: 5,
        payloads: vec![Bytes::from_static(b"x")],
    };
    // The field 15, a varint.
    let body = [submit.encode_to_vec(), vec![15 << 3, 1]].concat();
    let message = [vec![4 << 3 | 2, body.len() as u8], body].concat();
    bench.say_bytes(&message.into());
    assert!(
        matches!(&bench.said[..], [Server::Reject(it), Server::Left(_)] if it.code() == RejectCode::UnknownField)
    );
    assert!(bench.submitted().is_empty());

    // Elsewhere it is skipped.
    let mut bench = Bench::joined();
    let body = [wire::Ping { sent: 5 }.encode_to_vec(), vec![15 << 3, 1]].concat();
    let message = [vec![14 << 3, 1], vec![6 << 3 | 2, body.len() as u8], body].concat();
    bench.say_bytes(&message.into());
    assert_eq!(
        bench.said,
        [Server::Pong(wire::Pong {
            sent: 5,
            time: WALL.micros()
        })]
    );
    bench.say_bytes(&Bytes::from_static(&[14 << 3, 1]));
    assert!(
        matches!(&bench.said[1..], [Server::Error(_)]),
        "a kind of message that is not known"
    );
    assert!(bench.close.is_none());
}

#[test]
fn a_refusal_names_the_operation() {
    let mut bench = Bench::joined();
    bench.submit(4, &[b"a", b"b", b"c"]);
    bench.event(Event::Settled { count: 1 });
    bench.said.clear();
    bench.event(Event::Refused {
        submission: 2,
        refusal: Refusal::ReadOnly,
    });
    assert!(
        matches!(&bench.said[..], [Server::Reject(it)] if it.operation == 5 && it.code() == RejectCode::ReadOnly)
    );
    bench.event(Event::Refused {
        submission: 3,
        refusal: Refusal::Malformed("why".into()),
    });
    let [_, Server::Reject(reject), Server::Left(left)] = &bench.said[..] else {
        panic!("{:?}", bench.said);
    };
    assert_eq!(
        (reject.operation, reject.code(), left.code),
        (6, RejectCode::Malformed, 4400)
    );
    assert!(bench.close.is_none(), "the other rooms go on");
}

#[test]
fn presence_is_checked_before_anyone_else_reads_it() {
    let entry = |clock, state: &'static [u8]| wire::PresenceEntry {
        site: 42,
        clock,
        state: Some(Bytes::from_static(state)),
    };
    let set = |entry| {
        Client::Presence(wire::SetPresence {
            number: 1,
            entries: vec![entry],
        })
    };
    let mut bench = Bench::joined();
    bench.say(set(entry(1, b"{\"x\":1}")));
    assert!(
        matches!(&bench.actions[..], [Action::Command(1, Command::Presence(it))] if it.len() == 1)
    );
    bench.actions.clear();
    for bad in [
        entry(1, b"{"),
        entry(1, b"\xff"),
        entry(MAX_PRESENCE_CLOCK + 1, b"1"),
        entry(1, vec![b' '; MAX_PRESENCE_STATE_BYTES + 1].leak()),
        wire::PresenceEntry {
            site: 0,
            ..entry(1, b"1")
        },
    ] {
        bench.said.clear();
        bench.say(set(bad));
        assert!(matches!(&bench.said[..], [Server::Error(_)]));
    }
    assert!(bench.actions.is_empty() && bench.close.is_none());

    // On a datagram there is nothing but presence.
    let datagram = |message| -> Bytes {
        wire::ClientMessage {
            message: Some(message),
        }
        .encode_to_vec()
        .into()
    };
    let mut out = Output::default();
    bench
        .session
        .handle_datagram(&datagram(set(entry(2, b"2"))), bench.now, &mut out);
    assert_eq!(out.actions.len(), 1);
    bench
        .session
        .handle_datagram(&datagram(join("doc/b")), bench.now, &mut out);
    bench
        .session
        .handle_datagram(&Bytes::from_static(b"\xff"), bench.now, &mut out);
    assert_eq!((out.actions.len(), out.messages.len()), (1, 0));
}

#[test]
fn a_restart_says_goodbye_for_the_whole_connection() {
    let mut bench = Bench::joined();
    bench.event(Event::Closed {
        code: CloseCode::Restart,
        reason: "back soon".into(),
    });
    let [Server::Left(left), Server::Goodbye(goodbye)] = &bench.said[..] else {
        panic!("{:?}", bench.said);
    };
    assert_eq!((left.code, goodbye.code), (1012, 1012));
    assert!(goodbye.retry_after_ms > 0);
    assert_eq!(bench.close.unwrap().0, CloseCode::Restart);
}

#[test]
fn silence_is_pinged_and_the_round_trip_told() {
    let mut bench = Bench::open();
    let mut out = Output::default();
    bench
        .session
        .handle_timeout(bench.now + HEARTBEAT, &mut out);
    bench.now += HEARTBEAT;
    bench.take(out);
    let [Server::Ping(ping)] = &bench.said[..] else {
        panic!("{:?}", bench.said);
    };
    let sent = ping.sent;
    bench.now += Duration::from_millis(30);
    bench.say(Client::Pong(wire::Pong { sent, time: 0 }));
    assert_eq!(
        bench.actions,
        [Action::RoundTrip(Duration::from_millis(30))]
    );
    bench.actions.clear();
    bench.say(Client::Pong(wire::Pong {
        sent: u64::MAX / 4,
        time: 0,
    }));
    assert!(bench.actions.is_empty(), "one that was never sent");
}

proptest! {
    #[test]
    fn hostile_bytes_end_in_typed_errors(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..20), open: bool) {
        let mut bench = if open { Bench::joined() } else { Bench::greeting() };
        for message in messages {
            let closed = bench.close.is_some();
            let before = bench.said.len();
            bench.say_bytes(&message.into());
            prop_assert!(!closed || bench.said.len() == before, "nothing is said after the end");
        }
    }

    #[test]
    fn a_flipped_submit_never_panics(at in 0usize..64, bits: u8, cut in 0usize..64) {
        let mut bench = Bench::joined();
        let submit = Client::Submit(wire::Submit { number: 1, operation: 4, base: 5, payloads: vec![Bytes::from_static(b"some payload"), Bytes::new()] });
        let mut bytes = wire::ClientMessage { message: Some(submit) }.encode_to_vec();
        let len = bytes.len();
        bytes[at % len] ^= bits;
        bytes.truncate(len - cut % len);
        bench.say_bytes(&bytes.into());
        let payloads: usize = bench.actions.iter().map(|action| match action {
            Action::Command(_, Command::Submit(it)) => it.payload.len(),
            _ => 0,
        }).sum();
        prop_assert!(payloads <= len);
    }
}

#[test]
fn a_join_that_the_room_does_not_take_is_answered_under_its_request() {
    let mut bench = Bench::open();
    bench.say(join("doc/a"));
    bench.session.accept_join(1, 77, 1);
    bench.said.clear();
    bench.event(Event::Closed {
        code: CloseCode::BadMessage,
        reason: "the version is malformed".to_owned(),
    });
    let [Server::Left(left)] = &bench.said[..] else {
        panic!("{:?}", bench.said);
    };
    assert_eq!((left.number, left.request, left.code), (0, 9, 4400));
}
