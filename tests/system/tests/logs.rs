//! What the server says of its work, to whoever looks for one update among many.

use std::time::Duration;

use system_tests::server::Server;
use system_tests::socket::Socket;
use system_tests::{until, wire};

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_update_is_told_with_its_room_its_session_and_its_seq() {
    let mut server = Server::new("memory");
    server.start_with_log("broker=trace");
    let mut socket = Socket::connect(server.address(), "/yjs/doc/told")
        .await
        .expect("a socket");
    for clock in 0..2 {
        let update = wire::update(1, clock, 10);
        socket
            .send(&wire::update_message(&update))
            .await
            .expect("it is taken");
    }
    socket.settle(1).await.expect("it is acked");
    let told = |line: &&str| {
        ["update durable", "room=doc/told", "session=", "seq=2"]
            .iter()
            .all(|word| line.contains(word))
    };
    until(Duration::from_secs(5), "the second update is told", || {
        let said = server.stderr();
        let found = said.lines().find(told).map(str::to_owned);
        async move { found }
    })
    .await;
}
