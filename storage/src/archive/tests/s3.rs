//! Against a real S3 server, over HTTP: `moto_server`, started by the test on a free port.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::archive::{ArchiveError, restore};

/// A server that ends with the test.
struct Server {
    process: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Installs the server if it is not there, and starts it.
    async fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let installed = Command::new("bash")
            .args(["deploy/tools.sh", "moto"])
            .current_dir(root)
            .stderr(Stdio::inherit())
            .output()
            .expect("bash");
        assert!(
            installed.status.success(),
            "the S3 server could not be installed: run `deploy/tools.sh moto` and see"
        );
        let path = String::from_utf8(installed.stdout).unwrap();
        // Free now; a server that another process gets before fails loudly below.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let process = Command::new(path.trim())
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the S3 server starts");
        let server = Self { process, port };
        for _ in 0..300 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_ok()
            {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the S3 server does not answer on port {port}");
    }

    fn options(&self) -> Options {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let variables = [
            ("AWS_ENDPOINT", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "nobody"),
            ("AWS_SECRET_ACCESS_KEY", "nothing"),
            ("HOME", "/nowhere"),
        ];
        Options {
            variables: variables
                .map(|(name, value)| (name.into(), value.into()))
                .to_vec(),
            read_tries: 2,
            ..Options::default()
        }
    }

    /// Makes a bucket, with a request as plain as the server takes it.
    async fn make_bucket(&self, name: &str) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let address = ("127.0.0.1", self.port);
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!(
            "PUT /{name} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 0\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=nobody/20260101/us-east-1/s3/aws4_request, \
             SignedHeaders=host, Signature=0\r\nConnection: close\r\n\r\n",
            self.port
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_a_real_s3_server_is_an_archive() {
    let server = Server::start().await;
    let patience = Duration::from_secs(60);
    let mut world = World::new();
    let (a, b) = (room("doc/a"), room("pit/b"));
    let open = || Archive::open("s3://history/of/rooms", server.options());
    let options = || ArchiverOptions {
        merge_segments: 3,
        keep_local: Some(Duration::ZERO),
        trim_floor: Arc::new(|_| Seq::MAX),
        tidy_every: Duration::ZERO,
        keep_manifests: 2,
        // The server gives times in whole seconds.
        garbage_min_age: Duration::ZERO,
        clock: Arc::new(|| std::time::SystemTime::now() + Duration::from_secs(2)),
        ..small()
    };
    let start = |archive: Archive, world: &World| {
        let log: Arc<dyn Log> = Arc::new(world.log.clone());
        Archiver::start(log, archive, options(), Arc::new(()))
    };
    // A bucket that is not there is said to be missing, and nothing hangs.
    let error = open().await.unwrap_err();
    assert!(
        matches!(
            error,
            ArchiveError::Store { .. } | ArchiveError::Missing { .. }
        ),
        "{error}"
    );
    server.make_bucket("history").await;

    let mut archiver = start(open().await.unwrap(), &world);
    for step in 0..8 {
        world.write(&a, 20, 700).await;
        world.write(&b, 1, 30).await;
        let seq = world.model[&a].records.len();
        assert!(archiver.offer(world.snapshot(&a, seq - 2)));
        archiver.flush(patience).await.unwrap();
        world.check_trims(archiver.archive()).await;
        if step == 4 {
            // Another server takes over; the first one finds that out from the bucket.
            let zombie = std::mem::replace(&mut archiver, start(open().await.unwrap(), &world));
            archiver.flush(patience).await.unwrap();
            world.write(&b, 1, 30).await;
            let error = zombie.flush(patience).await.unwrap_err();
            assert_eq!(error, ArchiveError::Fenced { epoch: 1, by: 2 });
            archiver.flush(patience).await.unwrap();
        }
    }
    world.check_nothing_is_missing(archiver.archive()).await;
    assert!(archiver.status().segments < 8, "small segments were merged");
    drop(archiver);

    let archive = open().await.unwrap();
    world.check_nothing_is_missing(&archive).await;
    let report = archive.verify(|_| ()).await.unwrap();
    assert!(report.is_whole() && report.orphans == 0, "{report:?}");
    let log = MemoryLog::new();
    let restored = restore(&archive, &log, |_| ()).await.unwrap();
    assert_eq!(restored.rooms, 2);
    for name in [&a, &b] {
        assert_eq!(
            log.state(name).await.unwrap().head,
            world.model[name].head()
        );
    }
}
