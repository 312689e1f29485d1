//! Every rule of the protocol by name, the vectors shared with TypeScript, and hostile bytes.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::ids::Seq;
use crate::limits::{MAX_MESSAGE_BYTES, MAX_ROOM_NAME_BYTES};
use crate::role::Role;

const UPDATE: &[u8] = &[0, 2, 3, 1, 2, 3];
const ACK_7: &[u8] = &[102, 1, 7];
const KEEP_ALIVE_BYTES: &[u8] = &[1, 1, 0];
const SECOND: Duration = Duration::from_secs(1);

/// A session with its clock, its outputs read as bytes.
struct Client {
    session: Session,
    now: Instant,
}

impl Client {
    fn joining() -> Self {
        let now = Instant::now();
        Self {
            session: Session::new(now),
            now,
        }
    }

    fn joined() -> Self {
        let mut client = Self::joining();
        client.event(joined());
        client
    }

    fn says(&mut self, message: &[u8]) -> Output {
        let mut out = Output::default();
        let message = Bytes::copy_from_slice(message);
        self.session.handle_message(&message, self.now, &mut out);
        out
    }

    fn event(&mut self, event: Event) -> Output {
        let mut out = Output::default();
        self.session.handle_event(event, self.now, &mut out);
        out
    }

    fn settled(&mut self, count: u64) -> Output {
        self.event(Event::Settled { count })
    }

    fn refused(&mut self, submission: u64, refusal: Refusal) -> Output {
        self.event(Event::Refused {
            submission,
            refusal,
        })
    }

    /// Lets time pass; the session is asked when it wants to be.
    fn waits(&mut self, time: Duration) -> Output {
        self.now += time;
        let mut out = Output::default();
        self.session.handle_timeout(self.now, &mut out);
        out
    }
}

fn joined() -> Event {
    Event::Joined {
        version: Bytes::from_static(&[0]),
        role: Role::Editor,
    }
}

fn bytes(message: &Message) -> Vec<u8> {
    [&message.head[..], &message.body[..]].concat()
}

/// The messages that were put out, and that nothing else was.
fn messages(out: &Output) -> Vec<Vec<u8>> {
    assert_eq!((&out.commands[..], &out.close), (&[][..], &None));
    out.messages.iter().map(bytes).collect()
}

/// The one command that was put out, and that nothing else was.
fn command(mut out: Output) -> Command {
    assert_eq!((&out.messages[..], &out.close), (&[][..], &None));
    assert_eq!(out.commands.len(), 1);
    out.commands.remove(0)
}

fn is_silent(out: &Output) -> bool {
    out.commands.is_empty() && out.messages.is_empty() && out.close.is_none()
}

fn denial(message: &[u8]) -> &str {
    let mut reader = Reader::new(message);
    assert_eq!(reader.var_uint(), Ok(AUTH));
    assert_eq!(reader.var_uint(), Ok(AUTH_PERMISSION_DENIED));
    reader.var_string().unwrap()
}

/// That the session ended with this code, and said why before.
fn assert_denied_and_closed(out: &Output, code: CloseCode) {
    assert!(out.commands.is_empty());
    let (closed, reason) = out.close.as_ref().unwrap();
    assert_eq!(*closed, code);
    assert_eq!(out.messages.len(), 1);
    let denied = bytes(&out.messages[0]);
    assert!(denial(&denied).starts_with(reason) && !reason.is_empty());
}

#[test]
fn the_server_sends_its_own_step_1_first() {
    let mut client = Client::joining();
    assert_eq!(
        command(client.says(&[0, 0, 1, 0])),
        Command::Sync {
            version: Bytes::from_static(&[0])
        }
    );
    assert!(is_silent(&client.says(ACK_7)));
    let out = client.event(Event::Joined {
        version: Bytes::from_static(&[1, 5, 9]),
        role: Role::Editor,
    });
    assert_eq!(messages(&out), [&[0, 0, 3, 1, 5, 9][..], ACK_7]);
}

#[test]
#[cfg_attr(
    debug_assertions,
    should_panic(expected = "answers after it has joined")
)]
fn a_state_before_the_room_has_joined_is_a_bug() {
    let state = Event::State {
        seq: Seq::FIRST,
        at: crate::Timestamp::default(),
        payload: Bytes::from_static(EMPTY_UPDATE),
    };
    Client::joining().event(state);
}

#[test]
fn step_1_is_answered_with_step_2_around_the_shared_state() {
    let mut client = Client::joined();
    let state = Bytes::from(vec![9; 300]);
    let out = client.event(Event::State {
        seq: Seq::FIRST,
        at: crate::Timestamp::default(),
        payload: state.clone(),
    });
    assert_eq!(out.messages[0].head[..], [0, 1, 0xac, 0x02]);
    assert_eq!(out.messages[0].body.as_ptr(), state.as_ptr());
    assert_eq!(out.messages[0].len(), 304);

    let out = client.event(Event::State {
        seq: Seq::FIRST,
        at: crate::Timestamp::default(),
        payload: Bytes::from_static(EMPTY_UPDATE),
    });
    assert_eq!(messages(&out), [[0, 1, 2, 0, 0]]);
}

#[test]
fn updates_are_submitted_without_a_copy_even_before_joining() {
    for mut client in [Client::joining(), Client::joined()] {
        for kind in [1, 2] {
            let message = Bytes::from(vec![0, kind, 3, 1, 2, 3]);
            let mut out = Output::default();
            client
                .session
                .handle_message(&message, client.now, &mut out);
            let Command::Submit(submission) = command(out) else {
                panic!("not submitted")
            };
            assert_eq!(submission.payload.as_ptr(), message[3..].as_ptr());
            assert_eq!(submission.payload.len(), 3);
        }
        assert_eq!(client.session.submitted(), 2);
    }
}

#[test]
fn the_empty_update_is_not_submitted() {
    let mut client = Client::joined();
    assert!(is_silent(&client.says(&[0, 1, 2, 0, 0])));
    assert!(is_silent(&client.says(&[0, 2, 2, 0, 0])));
    assert_eq!(client.session.submitted(), 0);
    assert_eq!(messages(&client.says(ACK_7)), [ACK_7]);
}

#[test]
fn bytes_behind_a_message_are_ignored() {
    let long = [UPDATE, &[1, 2, 3]].concat();
    assert_eq!(
        command(Client::joined().says(&long)),
        command(Client::joined().says(UPDATE))
    );
    assert_eq!(
        messages(&Client::joined().says(&[ACK_7, ACK_7].concat())),
        [ACK_7]
    );
}

#[test]
fn a_malformed_message_is_told_why_and_closed_with_4400() {
    for message in [&[][..], &[0], &[0, 2, 5, 1], &[0, 3], &[1, 2, 1, 1]] {
        for mut client in [Client::joining(), Client::joined()] {
            let out = client.says(message);
            assert_denied_and_closed(&out, CloseCode::BadMessage);
            assert!(client.session.is_closed());
            assert!(is_silent(&client.says(UPDATE)));
            assert!(is_silent(&client.event(joined())));
            assert!(is_silent(&client.waits(60 * SECOND)));
            assert_eq!(client.session.poll_timeout(), None);
        }
    }
}

#[test]
fn an_update_over_the_limit_is_closed_with_4413() {
    let payload = vec![1; MAX_PAYLOAD_BYTES + 1];
    let mut message = Vec::new();
    encode_update(&payload, &mut message);
    let out = Client::joined().says(&message);
    assert_denied_and_closed(&out, CloseCode::TooLarge);

    message.clear();
    encode_update(&payload[1..], &mut message);
    assert!(message.len() <= MAX_MESSAGE_BYTES);
    command(Client::joined().says(&message));
}

#[test]
fn presence_over_its_limits_is_dropped_and_the_session_goes_on() {
    let state = format!("\"{}\"", "x".repeat(MAX_PRESENCE_STATE_BYTES - 2));
    let entry = |state| (Site::new(1), 1, Some(state));
    let mut fits = Vec::new();
    encode_presence([entry(state.as_bytes())].into_iter(), &mut fits);
    command(Client::joined().says(&fits));
    let many = std::iter::repeat_n((Site::new(1), 1, None), MAX_PRESENCE_ENTRIES);
    fits.clear();
    encode_presence(many.clone(), &mut fits);
    command(Client::joined().says(&fits));

    let mut over = [const { Vec::new() }; 4];
    encode_presence(many.chain([(Site::new(2), 1, None)]), &mut over[0]);
    let state = format!("{state} ");
    encode_presence([entry(state.as_bytes())].into_iter(), &mut over[1]);
    let state = "[".repeat(65) + &"]".repeat(65);
    encode_presence([entry(state.as_bytes())].into_iter(), &mut over[2]);
    let last = MAX_PRESENCE_CLOCK;
    let mut fits = Vec::new();
    encode_presence([(Site::new(1), last, None)].into_iter(), &mut fits);
    command(Client::joined().says(&fits));
    // One more than this clock would be no number of lib0 any more.
    let last = lib0::MAX_VAR_UINT;
    encode_presence([(Site::new(1), last, None)].into_iter(), &mut over[3]);
    for over in over {
        let mut client = Client::joined();
        let out = client.says(&over);
        assert!(denial(&messages(&out)[0]).ends_with("it was dropped"));
        command(client.says(UPDATE));
        assert!(is_silent(&client.says(&over)), "told once a second");
    }
}

#[test]
fn what_is_dropped_while_joining_is_told_after_step_1() {
    let over = [1, 3, 0x81, 0x80, 0x01];
    let mut client = Client::joining();
    assert!(is_silent(&client.says(&over)));
    assert!(is_silent(&client.says(&over)));
    let out = messages(&client.event(joined()));
    assert_eq!(out.len(), 2);
    assert_eq!(out[0], [0, 0, 1, 0]);
    assert_eq!(denial(&out[1]), "2 refused while joining");
    let mut client = Client::joining();
    assert_eq!(messages(&client.event(joined())).len(), 1);
}

#[test]
fn a_presence_state_does_not_keep_its_message() {
    let mut message = Vec::new();
    encode_presence(
        [(Site::new(1), 1, Some(&b"{}"[..]))].into_iter(),
        &mut message,
    );
    let message = Bytes::from(message);
    let mut out = Output::default();
    let mut client = Client::joined();
    client
        .session
        .handle_message(&message, client.now, &mut out);
    assert!(message.is_unique());
    drop(out);
}

#[test]
fn keep_alive_goes_out_after_15_s_of_silence_and_only_then() {
    let mut client = Client::joining();
    assert_eq!(client.session.poll_timeout(), None, "step 1 comes first");
    client.event(joined());
    let start = client.now;
    assert_eq!(client.session.poll_timeout(), Some(start + KEEP_ALIVE));
    assert!(is_silent(&client.waits(10 * SECOND)));

    client.session.note_sent(client.now);
    assert!(is_silent(&client.waits(14 * SECOND)));
    assert_eq!(messages(&client.waits(SECOND)), [KEEP_ALIVE_BYTES]);
    assert!(is_silent(&client.waits(14 * SECOND)));
    assert_eq!(messages(&client.waits(SECOND)), [KEEP_ALIVE_BYTES]);

    client.now += 10 * SECOND;
    client.event(Event::State {
        seq: Seq::FIRST,
        at: crate::Timestamp::default(),
        payload: Bytes::from_static(EMPTY_UPDATE),
    });
    let at = client.now + KEEP_ALIVE;
    assert_eq!(client.session.poll_timeout(), Some(at), "answers count too");
}

#[test]
fn while_an_ack_is_awaited_keep_alive_comes_before_y_sweet_leaves() {
    let mut client = Client::joined();
    client.says(UPDATE);
    client.says(ACK_7);
    assert_eq!(messages(&client.waits(2 * SECOND)), [KEEP_ALIVE_BYTES]);
    assert_eq!(messages(&client.settled(1)), [ACK_7]);
    assert!(is_silent(&client.waits(2 * SECOND)));
}

#[test]
fn an_ack_is_echoed_once_when_everything_before_it_is_settled() {
    let mut client = Client::joined();
    assert_eq!(messages(&client.says(ACK_7)), [ACK_7], "nothing before it");
    client.says(UPDATE);
    client.says(UPDATE);
    assert!(is_silent(&client.says(&[102, 1, 2])));
    client.says(UPDATE);
    assert!(is_silent(&client.says(&[102, 2, 0xac, 0x02])));
    assert!(is_silent(&client.says(&[102, 1, 4])));
    assert!(is_silent(&client.settled(1)));
    assert_eq!(messages(&client.settled(2)), [[102, 1, 2]]);
    assert_eq!(
        messages(&client.settled(3)),
        [&[102, 2, 0xac, 0x02][..], &[102, 1, 4]]
    );
    assert!(is_silent(&client.settled(3)));
    assert_eq!(messages(&client.says(ACK_7)), [ACK_7]);
}

#[test]
fn pending_acks_are_bounded_by_not_reading_and_never_dropped() {
    let mut client = Client::joined();
    client.says(UPDATE);
    for _ in 0..MAX_PENDING_ACKS {
        assert!(!client.session.is_full());
        assert!(is_silent(&client.says(ACK_7)));
    }
    assert!(client.session.is_full());
    client.says(&[102, 1, 8]);
    let echoes = messages(&client.settled(1));
    assert_eq!(echoes.len(), MAX_PENDING_ACKS + 1);
    assert_eq!(echoes[MAX_PENDING_ACKS], [102, 1, 8]);
    assert!(!client.session.is_full());
    client.waits(KEEP_ALIVE);
    assert_eq!(
        client.session.acks.capacity(),
        0,
        "an idle session is small"
    );
}

#[test]
fn no_ack_is_echoed_after_a_refusal() {
    let mut client = Client::joined();
    client.says(UPDATE);
    client.says(&[102, 1, 1]);
    client.says(UPDATE);
    client.says(&[102, 1, 2]);
    let out = client.refused(2, Refusal::ReadOnly);
    assert_eq!(
        denial(&messages(&out)[0]),
        "this session is a viewer and may not write"
    );
    assert_eq!(
        messages(&client.settled(2)),
        [[102, 1, 1]],
        "the one before it is true"
    );
    client.says(UPDATE);
    assert_eq!(
        messages(&client.says(&[102, 1, 3])),
        [KEEP_ALIVE_BYTES],
        "not an ack, but an answer"
    );
    assert!(is_silent(&client.settled(3)));
}

#[test]
fn a_viewer_is_told_at_most_once_a_second_and_reads_on() {
    let mut client = Client::joined();
    for _ in 0..5 {
        client.says(UPDATE);
    }
    let told = |out: &Output| denial(&messages(out)[0]).to_owned();
    let refuse = |client: &mut Client, n| client.refused(n, Refusal::ReadOnly);
    let reason = Refusal::ReadOnly.to_string();
    assert_eq!(told(&refuse(&mut client, 1)), reason);
    assert!(is_silent(&refuse(&mut client, 2)));
    client.now += SECOND / 2;
    assert!(is_silent(&refuse(&mut client, 3)));
    client.now += SECOND / 2;
    assert_eq!(
        told(&refuse(&mut client, 4)),
        format!("{reason} (2 more refused before)")
    );
    client.now += SECOND;
    assert_eq!(told(&refuse(&mut client, 5)), reason);

    command(client.says(&[0, 0, 1, 0]));
    command(client.says(&[3]));
    command(client.says(&[1, 8, 1, 5, 9, 4, b'n', b'u', b'l', b'l']));
    assert!(!client.session.is_closed());
}

#[test]
fn a_refused_editor_is_told_why_and_closed() {
    for (refusal, code) in [
        (Refusal::Malformed("no".into()), CloseCode::BadMessage),
        (
            Refusal::TooLarge {
                what: "the document",
                bytes: 2,
                limit: 1,
            },
            CloseCode::TooLarge,
        ),
        (Refusal::NotStored("x".repeat(1000)), CloseCode::TryLater),
    ] {
        let mut client = Client::joined();
        client.says(UPDATE);
        client.says(ACK_7);
        let out = client.refused(1, refusal);
        assert_denied_and_closed(&out, code);
        assert!(is_silent(&client.settled(1)), "no ack any more");
    }
}

#[test]
fn a_closed_room_closes_the_session_and_says_why_where_that_is_final() {
    let closed = |code| Event::Closed {
        code,
        reason: "because".into(),
    };
    for mut client in [Client::joining(), Client::joined()] {
        let out = client.event(closed(CloseCode::Forbidden));
        assert_denied_and_closed(&out, CloseCode::Forbidden);
    }
    let out = Client::joined().event(closed(CloseCode::Restart));
    assert!(out.messages.is_empty());
    assert_eq!(out.close, Some((CloseCode::Restart, "because".into())));
}

#[test]
fn reasons_fit_their_frames() {
    let out = Client::joined().event(Event::Closed {
        code: CloseCode::Forbidden,
        reason: "ü".repeat(400),
    });
    let (_, reason) = out.close.unwrap();
    assert_eq!(reason.len(), 122);
    assert_eq!(denial(&bytes(&out.messages[0])).len(), MAX_REASON_BYTES);
}

#[test]
fn types_nobody_knows_and_auth_are_ignored() {
    for message in [&[4][..], &[2, 0, 1, b'x'], &[2], &[101], &[0xc8, 1, 0xff]] {
        assert!(is_silent(&Client::joined().says(message)));
    }
}

#[test]
fn a_session_is_small() {
    assert!(size_of::<Session>() <= 128, "{}", size_of::<Session>());
}

#[test]
fn room_names_hold_slashes_and_are_decoded_once() {
    let long = "x".repeat(MAX_ROOM_NAME_BYTES);
    for (raw, name) in [
        ("a", "a"),
        ("a/b/c", "a/b/c"),
        ("a%2Fb", "a/b"),
        ("a/", "a/"),
        ("//a", "//a"),
        ("a?x=1", "a"),
        ("a?x=1?y/z", "a"),
        ("a%3Fb", "a?b"),
        ("a%253F", "a%3F"),
        ("a b", "a b"),
        ("a%20b+c", "a b+c"),
        ("%C3%BC", "ü"),
        ("ü", "ü"),
        ("%zz", "%zz"),
        ("100%", "100%"),
        ("%4", "%4"),
        ("..%2f..", "../.."),
        (&long, &long),
    ] {
        let room = room_from_path("doc", raw).unwrap();
        assert_eq!((room.space(), room.name()), ("doc", name), "{raw}");
    }
}

#[test]
fn room_names_that_are_none_say_why() {
    let long = "%41".repeat(MAX_ROOM_NAME_BYTES + 1);
    for (raw, error) in [
        ("", NameError::NameLength),
        ("?a", NameError::NameLength),
        (&long, NameError::NameLength),
        ("a%00", NameError::NameCharacter),
        ("a%0Ab", NameError::NameCharacter),
        ("%ff", NameError::NotUtf8),
        ("%c3", NameError::NotUtf8),
        ("%ed%a0%80", NameError::NotUtf8),
    ] {
        assert_eq!(room_from_path("doc", raw), Err(error), "{raw}");
    }
}

#[test]
fn shared_vectors_mean_what_they_say() {
    let vectors = include_str!("../../../../tests/vectors/yjs.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    for vector in vectors["client"].as_array().unwrap() {
        let mut client = Client::joined();
        client.session.submitted = 1;
        let out = client.says(&hex(&vector["hex"]));
        assert_eq!(
            meaning_of_input(&mut client, out),
            vector["means"],
            "{}",
            vector["name"]
        );
    }
    for vector in vectors["server"].as_array().unwrap() {
        assert_eq!(
            server_message(&vector["means"]),
            hex(&vector["hex"]),
            "{}",
            vector["name"]
        );
    }
}

fn hex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    let byte = |i| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn meaning_of_input(client: &mut Client, out: Output) -> Value {
    if let Some((code, _)) = out.close {
        assert!(out.commands.is_empty());
        return serde_json::json!({"type": "refused", "code": code.code()});
    }
    if let Some(message) = out.messages.first() {
        denial(&bytes(message));
        return serde_json::json!({"type": "dropped"});
    }
    match out.commands.into_iter().next() {
        Some(Command::Sync { version }) => {
            serde_json::json!({"type": "sync", "version": to_hex(&version)})
        }
        Some(Command::Submit(submission)) => {
            serde_json::json!({"type": "submit", "payload": to_hex(&submission.payload)})
        }
        Some(Command::Presence(entries)) => {
            let entry = |entry: &PresenceEntry| {
                let state = entry
                    .state
                    .as_deref()
                    .map(|state| str::from_utf8(state).unwrap());
                serde_json::json!({"site": entry.site.get(), "clock": entry.clock, "state": state})
            };
            let entries: Vec<Value> = entries.iter().map(entry).collect();
            serde_json::json!({"type": "presence", "entries": entries})
        }
        Some(Command::Enter { .. }) => unreachable!("this dialect does not ask"),
        Some(Command::QueryPresence) => serde_json::json!({"type": "query"}),
        // An ack request is heard when what was submitted before it settles.
        None => match client.settled(1).messages.first() {
            Some(echo) => {
                let mut reader = Reader::new(&echo.head);
                assert_eq!(reader.var_uint(), Ok(ACK));
                let n = Reader::new(reader.var_bytes().unwrap()).var_uint().unwrap();
                serde_json::json!({"type": "ack", "n": n})
            }
            None => serde_json::json!({"type": "ignored"}),
        },
    }
}

fn server_message(means: &Value) -> Vec<u8> {
    let payload = || Bytes::from(hex(&means["payload"]));
    match means["type"].as_str().unwrap() {
        "step1" => bytes(&step1(&hex(&means["version"]))),
        "step2" => bytes(&step2(payload())),
        "update" => {
            let mut out = Vec::new();
            encode_update(&payload(), &mut out);
            let head = update_head(payload().len());
            assert_eq!([&head[..], &payload()].concat(), out);
            assert_eq!(update_len(payload().len()), out.len());
            out
        }
        "presence" => {
            let entries = means["entries"].as_array().unwrap().iter().map(|entry| {
                let number = |key: &str| entry[key].as_u64().unwrap();
                let state = entry["state"].as_str().map(str::as_bytes);
                (Site::new(number("site")), number("clock"), state)
            });
            let mut out = Vec::new();
            encode_presence(entries, &mut out);
            out
        }
        "denied" => permission_denied(means["reason"].as_str().unwrap()).to_vec(),
        "ack" => ack_message(means["n"].as_u64().unwrap()).to_vec(),
        other => panic!("{other} is not sent by the server"),
    }
}

/// Messages near the protocol: right ones, cut short, with a flipped bit or bytes behind, and noise.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let sync = (0..4_u8, any::<Vec<u8>>()).prop_map(|(kind, body)| {
        let mut out = vec![0, kind];
        put_var_bytes(&mut out, &body);
        out
    });
    let entry = (
        0..=lib0::MAX_VAR_UINT,
        0..=lib0::MAX_VAR_UINT,
        prop::option::of("[\\[\\]{}\"a1,:]{0,6}"),
    );
    let presence = prop::collection::vec(entry, 0..4).prop_map(|entries| {
        let entries = entries.iter().map(|(site, clock, state)| {
            let state = state.as_deref().map(str::as_bytes);
            (Site::new(*site), *clock, state)
        });
        let mut out = Vec::new();
        encode_presence(entries, &mut out);
        out
    });
    let ack = (0..=lib0::MAX_VAR_UINT).prop_map(|n| ack_message(n).to_vec());
    let noise = any::<Vec<u8>>();
    let message = prop_oneof![3 => sync, 2 => presence, 1 => ack, 1 => noise];
    (message, any::<prop::sample::Index>(), 0..4_u8).prop_map(|(mut bytes, at, change)| {
        match change {
            1 => bytes.truncate(at.index(bytes.len() + 1)),
            2 if !bytes.is_empty() => {
                let bit = at.index(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            3 => bytes.extend_from_slice(&[0xff; 3]),
            _ => {}
        }
        bytes
    })
}

proptest! {
    #[test]
    fn hostile_messages_never_panic_and_never_grow(
        inputs in prop::collection::vec((any_message(), 0..3_u64, 0..4_u8), 0..40)
    ) {
        let mut client = Client::joined();
        let (mut acks_asked, mut echoes) = (0, 0);
        for (message, settled, wait) in inputs {
            acks_asked += usize::from(message.first() == Some(&(ACK as u8)));
            let was_closed = client.session.is_closed();
            let out = client.says(&message);
            prop_assert!(!was_closed || is_silent(&out));
            prop_assert!(out.commands.len() + out.messages.len() <= 1);
            prop_assert!(out.commands.is_empty() || out.close.is_none());
            match out.commands.first() {
                Some(Command::Submit(submission)) => {
                    prop_assert!(submission.payload.len() < message.len());
                }
                Some(Command::Presence(entries)) => {
                    let states: usize = entries.iter().flat_map(|e| e.state.as_deref()).map(<[u8]>::len).sum();
                    prop_assert!(entries.len() + states < message.len());
                }
                Some(Command::Sync { version }) => prop_assert!(version.len() < message.len()),
                Some(Command::Enter { .. }) => prop_assert!(false, "this dialect does not ask"),
                Some(Command::QueryPresence) | None => {}
            }
            let is_echo = |m: &&Message| m.head.first() == Some(&(ACK as u8));
            echoes += out.messages.iter().filter(is_echo).count();
            prop_assert!(out.messages.iter().all(|m| m.len() <= MAX_REASON_BYTES + 4));
            let count = (client.session.settled + settled).min(client.session.submitted);
            let out = client.settled(count);
            echoes += out.messages.iter().filter(is_echo).count();
            prop_assert!(out.commands.is_empty() && out.close.is_none());
            client.waits(u32::from(wait) * SECOND);
        }
        prop_assert!(echoes <= acks_asked);
        if !client.session.is_closed() {
            let left = client.settled(client.session.submitted).messages.len();
            prop_assert_eq!(left + echoes, acks_asked, "no ack is lost");
        }
    }

    #[test]
    fn what_a_client_encodes_is_read_back(
        entries in prop::collection::vec((0..=lib0::MAX_VAR_UINT, 0..=MAX_PRESENCE_CLOCK, any::<Option<u32>>()), 1..20),
        payload in prop::collection::vec(any::<u8>(), 3..300),
    ) {
        let entries: Vec<PresenceEntry> = entries.into_iter().map(|(site, clock, state)| PresenceEntry {
            site: Site::new(site),
            clock,
            state: state.map(|n| format!("{{\"n\":{n}}}").into()),
        }).collect();
        let mut message = Vec::new();
        encode_presence(entries.iter().map(|e| (e.site, e.clock, e.state.as_deref())), &mut message);
        prop_assert_eq!(command(Client::joined().says(&message)), Command::Presence(entries));

        message.clear();
        encode_update(&payload, &mut message);
        prop_assert_eq!(message.len(), update_len(payload.len()));
        let submission = Submission { payload: payload.into(), op_id: None, base: None };
        prop_assert_eq!(command(Client::joined().says(&message)), Command::Submit(submission));
    }
}
