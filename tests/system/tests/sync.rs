//! What a sync that is slow, or fails, means to clients: nothing is said before it has returned.

use std::collections::BTreeSet;
use std::time::Duration;

use system_tests::server::{Server, Switches};
use system_tests::socket::{Heard, Socket};
use system_tests::wire::{self, Message};
use system_tests::{http, until, within};

const ROOM: &str = "doc/synced";
/// How long nothing may be heard while a sync is held up.
const SILENCE: Duration = Duration::from_millis(700);

/// A room that holds `1:0`, its writer, and a reader who has seen it.
async fn room(server: &Server) -> (Socket, Socket) {
    let path = format!("/yjs/{ROOM}");
    let mut writer = Socket::connect(server.address(), &path)
        .await
        .expect("a writer");
    writer
        .send(&wire::update_message(&wire::update(1, 0, 10)))
        .await
        .expect("it is taken");
    writer.settle(1).await.expect("it is acked");
    let mut reader = Socket::connect(server.address(), &path)
        .await
        .expect("a reader");
    let document = reader.sync().await.expect("the document");
    assert_eq!(wire::keys([&*document]).len(), 1);
    (writer, reader)
}

/// What is heard while nothing may be, but for who is here.
async fn overheard(socket: &mut Socket) -> Option<Heard> {
    let telling = async {
        loop {
            match socket.hear().await {
                Ok(Heard::Message(Message::Awareness(_) | Message::Step1(_))) => {}
                Ok(heard) => return heard,
                Err(_) => return Heard::End,
            }
        }
    };
    tokio::time::timeout(SILENCE, telling).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn durable_before_visible_to_its_author_its_peers_and_whoever_asks() {
    let switches = Switches::new();
    let mut server = Server::new("sled");
    server.start_with_switches(&switches);
    let address = server.address();
    let (mut writer, mut reader) = room(&server).await;

    switches.hold(true);
    writer
        .send(&wire::update_message(&wire::update(1, 1, 10)))
        .await
        .expect("it is sent");
    writer
        .send(&wire::ack_request(2))
        .await
        .expect("it is sent");
    let asked = tokio::spawn(async move { http::snapshot(address, ROOM).await });
    let joining = tokio::spawn(async move {
        let mut late = Socket::connect(address, &format!("/yjs/{ROOM}")).await?;
        late.sync().await
    });
    let (acked, seen) = tokio::join!(overheard(&mut writer), overheard(&mut reader));
    assert_eq!(acked, None, "no ack before the sync has returned");
    assert_eq!(seen, None, "no peer sees it before the sync has returned");
    // Whoever asks meanwhile either waits or gets what is durable.
    let mut early = Vec::new();
    if asked.is_finished() {
        early.push(asked.await.expect("an answer").expect("a document"));
    } else {
        asked.abort();
    }
    let waits = !joining.is_finished();
    switches.hold(false);

    assert_eq!(writer.message().await.ok(), Some(Message::Ack(2)));
    let update = loop {
        match reader.message().await.expect("the update") {
            Message::Update(update) => break update,
            _ => continue,
        }
    };
    assert_eq!(wire::author_of(&update), Some((1, 1)));
    let late = within(Duration::from_secs(10), "the joiner is let in", joining).await;
    let late = late.expect("a joiner").expect("the document");
    if !waits {
        early.push(late);
    }
    for document in early {
        assert_eq!(
            wire::keys([&*document]).len(),
            1,
            "what was not durable was shown"
        );
    }
    let document = until(Duration::from_secs(15), "it is there", || async {
        let document = http::snapshot(address, ROOM).await.expect("a document");
        (wire::keys([&*document]).len() == 2).then_some(document)
    })
    .await;
    assert!(wire::keys([&*document]).contains("1:1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_while_a_sync_is_under_way_hears_everything_in_order() {
    let switches = Switches::new();
    let mut server = Server::new("sled");
    server.start_with_switches(&switches);
    let path = format!("/yjs/{ROOM}");
    let mut writer = Socket::connect(server.address(), &path)
        .await
        .expect("a writer");
    // So long that the state of a joiner before serves the next one too.
    writer
        .send(&wire::update_message(&wire::update(1, 0, 4000)))
        .await
        .expect("it is taken");
    writer.settle(1).await.expect("it is acked");
    let mut reader = Socket::connect(server.address(), &path)
        .await
        .expect("a reader");
    reader.sync().await.expect("the document");

    switches.hold(true);
    writer
        .send(&wire::update_message(&wire::update(1, 1, 10)))
        .await
        .expect("it is sent");
    writer
        .send(&wire::ack_request(2))
        .await
        .expect("it is sent");
    assert_eq!(overheard(&mut writer).await, None);
    let mut joiner = Socket::connect(server.address(), &path)
        .await
        .expect("a joiner");
    joiner.send(wire::STEP_1).await.expect("it is sent");
    let early = tokio::time::timeout(SILENCE, joiner.message()).await.ok();
    switches.hold(false);
    let first = match early {
        Some(message) => message,
        None => joiner.message().await,
    };
    let first = first.expect("the joiner is not dropped");
    assert!(
        matches!(first, Message::Step1(_)),
        "Step1 comes first, not {first:02x?}"
    );
    writer
        .send(&wire::update_message(&wire::update(1, 2, 10)))
        .await
        .expect("it is sent");
    writer.settle(3).await.expect("it is acked");
    let mut keys = BTreeSet::new();
    within(Duration::from_secs(10), "the joiner has all three", async {
        while keys.len() < 3 {
            match joiner.message().await.expect("it is not dropped") {
                Message::Step2(document) => keys.extend(wire::keys([&*document])),
                Message::Update(update) => {
                    let (client, clock) = wire::author_of(&update).expect("it is the writer's");
                    keys.insert(format!("{client}:{clock}"));
                }
                _ => {}
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_poisons_the_log_and_ends_the_process() {
    let switches = Switches::new();
    let mut server = Server::new("sled");
    server.start_with_switches(&switches);
    let (mut writer, mut reader) = room(&server).await;

    switches.fail(true);
    writer
        .send(&wire::update_message(&wire::update(1, 1, 10)))
        .await
        .expect("it is sent");
    writer
        .send(&wire::ack_request(2))
        .await
        .expect("it is sent");
    let status = server.ends(Duration::from_secs(30));
    assert!(
        status.code().is_some_and(|code| code != 0),
        "{status}\n{}",
        server.stderr()
    );
    let said = server.stderr();
    let why = said.lines().find(|line| line.starts_with("well: "));
    assert!(
        why.is_some_and(|why| why.contains("poisoned")),
        "it says why:\n{said}"
    );
    for socket in [&mut writer, &mut reader] {
        loop {
            match socket.hear().await {
                Ok(Heard::Message(Message::Ack(_))) => panic!("it was acked"),
                Ok(Heard::Message(Message::Update(_))) => panic!("it was shown"),
                Ok(Heard::Message(_)) => {}
                Ok(Heard::Close(code, reason)) => {
                    assert!(
                        (1012..=1013).contains(&code) || code >= 4500,
                        "{code} {reason}: come back"
                    );
                    break;
                }
                Ok(Heard::End) | Err(_) => break,
            }
        }
    }

    switches.fail(false);
    server.start_again();
    let document = http::snapshot(server.address(), ROOM)
        .await
        .expect("the room");
    assert!(
        wire::keys([&*document]).contains("1:0"),
        "what was acked is there"
    );
    let mut again = Socket::connect(server.address(), &format!("/yjs/{ROOM}"))
        .await
        .expect("a socket");
    again
        .send(&wire::update_message(&wire::update(2, 0, 10)))
        .await
        .expect("it is taken");
    again
        .settle(1)
        .await
        .expect("and acked: recovery has cleared the fault");
}
