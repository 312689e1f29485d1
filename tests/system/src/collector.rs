//! An OpenTelemetry collector of the test's own: it takes OTLP over HTTP, in protobuf, and keeps every span.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
pub use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A collector, until it is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Collector {
    /// Listens on a free port.
    ///
    /// # Panics
    /// If there is none.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let spans = Arc::<Mutex<Vec<Span>>>::default();
        let kept = Arc::clone(&spans);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                tokio::spawn(async move { serve(stream, &kept).await });
            }
        });
        Self {
            address,
            spans,
            task,
        }
    }

    /// What a server is told of it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every span so far, in the order they came.
    ///
    /// # Panics
    /// Never: nobody panics with the lock.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a span's attribute says, as text; `None` without it.
#[must_use]
pub fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|it| it.key == key)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

/// Answers requests until the connection ends.
async fn serve(stream: TcpStream, spans: &Mutex<Vec<Span>>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            head.push(line);
        }
        assert!(head[0].starts_with("post /v1/traces "), "{head:?}");
        let header = |name: &str| head.iter().find_map(|line| line.strip_prefix(name));
        assert_eq!(header("content-type: "), Some("application/x-protobuf"));
        let length = header("content-length: ").and_then(|it| it.parse().ok());
        let mut body = vec![0; length.expect("a length")];
        stream.read_exact(&mut body).await?;
        let request = ExportTraceServiceRequest::decode(&body[..]).expect("OTLP");
        let scopes = request
            .resource_spans
            .into_iter()
            .flat_map(|it| it.scope_spans);
        let new = scopes.flat_map(|it| it.spans);
        spans.lock().expect("nobody panics with it").extend(new);
        let answer =
            "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await?;
    }
}
