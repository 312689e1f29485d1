//! A log that can no longer be written: nothing more is acked, the process says why and ends, and
//! everything acked before is there at the next start.

use std::net::SocketAddr;
use std::time::Duration;

use system_tests::server::Server;
use system_tests::socket::Socket;
use system_tests::wire::{self, Message};
use system_tests::{http, within};
use tokio::task::JoinSet;

const WRITERS: u64 = 8;
const PAYLOAD: usize = 4 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_grow_ends_the_process_and_takes_back_no_ack() {
    let mut server = Server::new("sled");
    server.start_with_file_limit(16 << 10);
    let address = server.address();
    let mut writers = JoinSet::new();
    for client in 1..=WRITERS {
        writers.spawn(write(address, client));
    }
    let acked = within(
        Duration::from_secs(90),
        "the disk fills up",
        writers.join_all(),
    )
    .await;
    let status = server.ends(Duration::from_secs(30));
    let said = server.stderr();
    assert!(
        status.code().is_some_and(|code| code != 0),
        "it ends by itself and not as if all were well: {status}\n{said}"
    );
    let why = said.lines().find(|line| line.starts_with("well: "));
    assert!(
        why.is_some_and(|why| why.contains("poisoned") && why.contains("File too large")),
        "it says why it ends:\n{said}"
    );

    server.start_again();
    let mut total = 0;
    for (client, acked) in acked {
        let room = format!("doc/full/{client}");
        let document = http::snapshot(server.address(), &room).await;
        let keys = document
            .map(|document| wire::keys([&*document]))
            .unwrap_or_default();
        for clock in 0..acked {
            assert!(
                keys.contains(&format!("{client}:{clock}")),
                "{room}: {acked} were acked, and {clock} is lost of {}",
                keys.len()
            );
        }
        total += acked;
    }
    assert!(
        total > 100,
        "the disk was not full from the beginning: {total} acks"
    );
    // With space again it goes on where it stopped.
    let mut socket = Socket::connect(server.address(), "/yjs/doc/full/1")
        .await
        .expect("a socket");
    let update = wire::update(1_000, 0, 10);
    socket
        .send(&wire::update_message(&update))
        .await
        .expect("it is taken");
    socket.settle(1).await.expect("and acked");
}

/// Writes and waits for each ack until the connection ends. Gives the client and how many came.
async fn write(server: SocketAddr, client: u64) -> (u64, u64) {
    let mut acked = 0;
    let writing = async {
        let mut socket = Socket::connect(server, &format!("/yjs/doc/full/{client}")).await?;
        loop {
            let update = wire::update(client, acked, PAYLOAD);
            socket.send(&wire::update_message(&update)).await?;
            socket.send(&wire::ack_request(acked + 1)).await?;
            loop {
                if let Message::Ack(n) = socket.message().await? {
                    assert_eq!(n, acked + 1);
                    acked = n;
                    break;
                }
            }
        }
    };
    let end: std::io::Result<()> = writing.await;
    drop(end);
    (client, acked)
}
