//! `GET …/records`: a room's log as JSON lines, server-sent events or sealed records, to its end or
//! for as long as someone listens.
//!
//! The log is read by cursor, a page at a time, and the next page is only read once the last one
//! has been taken: a slow reader costs one page, and nothing waits for it. A fault on the way ends
//! the stream: as a last line or event that says why, and for sealed records by breaking off.
//!
//! A stream that follows may begin or end with what has not come yet, by Seq or by time: it leaves out
//! what comes before, and ends when its last moment has passed.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use broker::Follower;
use futures_util::stream;
use protocol::{Head, RoomName, Run, Seq, Timestamp};
use replay::lines::Line;
use replay::{FoldError, Moment, StretchError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::past;
use super::problem::Problem;
use super::rooms::RoomPath;
use crate::Gateway;
use crate::limits::{FOLLOW_GRACE, RECORDS_PAGE_BYTES, STREAM_KEEP_ALIVE};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordsQuery {
    from: Option<String>,
    to: Option<String>,
    limit: Option<u64>,
    follow: Option<bool>,
    format: Option<Format>,
}

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// One JSON object a line.
    Json,
    /// Sealed records end to end.
    Binary,
    /// Server-sent events, each with one JSON object.
    Events,
}

impl Format {
    const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/x-ndjson",
            Self::Binary => "application/octet-stream",
            Self::Events => "text/event-stream",
        }
    }
}

/// `GET …/records?from=&to=&limit=&follow=&format=`.
pub(crate) async fn records(
    State(gateway): State<Gateway>,
    path: RoomPath,
    query: Result<Query<RecordsQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let accepts = headers
        .get(header::ACCEPT)
        .map_or(&b""[..], HeaderValue::as_bytes);
    let events = accepts
        .windows(b"text/event-stream".len())
        .any(|part| part == b"text/event-stream");
    let format = query
        .format
        .unwrap_or(if events { Format::Events } else { Format::Json });
    let (room, span) = past::open(&gateway, path).await?;
    // Before anything is read, so that nothing is missed in between.
    let follow = query.follow.unwrap_or(format == Format::Events);
    let follower = follow.then(|| gateway.broker().follow(&room));
    let history = gateway.broker().history();
    let (from, to) = (query.from.as_deref(), query.to.as_deref());
    let to_come = ToCome::new(from, to, span.head)?;
    // Who has had some goes on after them.
    let last = last_event(&headers)?;
    let next = last.map(|last| last.next().to_string());
    let from = next.as_deref().or(from);
    let (after, up_to) = history.stretch(&room, &span, from, to).await?;
    let mut after = after.seq.max(last.unwrap_or(Seq::ZERO));
    let mut up_to = match (to, follow) {
        // Without an end it goes to the log's end, and on from there if it follows.
        (None, true) => Seq::MAX,
        (None, false) | (Some(_), _) => up_to.seq,
    };
    let (mut from, mut until) = (None, None);
    if follow {
        after = after.max(to_come.after);
        up_to = up_to.max(to_come.up_to);
        (from, until) = (to_come.from, to_come.until);
    }
    let mut reader = Reader {
        gateway,
        room,
        created: span.created,
        format,
        after,
        up_to,
        from,
        until,
        left: query.limit.unwrap_or(u64::MAX),
        follower,
        over: false,
    };
    // What fails at once has a status of its own.
    let first = match reader.next_page().await? {
        Page::Records(bytes) => Some(bytes).filter(|bytes| !bytes.is_empty()),
        Page::Nothing => None,
    };
    let rest = stream::unfold(reader, |mut reader| async move {
        let piece = reader.next_piece().await?;
        Some((piece, reader))
    });
    let first = stream::iter(first.map(Ok));
    let body = Body::from_stream(futures_util::StreamExt::chain(first, rest));
    let mut response = body.into_response();
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static(format.content_type());
    headers.insert(header::CONTENT_TYPE, kind);
    let cache = HeaderValue::from_static("no-cache");
    headers.insert(header::CACHE_CONTROL, cache);
    // Proxies that gather what is streamed would hold records back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// What a stretch asks for that has not come yet.
#[derive(Debug, Default, PartialEq, Eq)]
struct ToCome {
    /// It begins after this Seq, and ends with that one.
    after: Seq,
    up_to: Seq,
    /// It begins with the first record at this time, and ends with the last one at that.
    from: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl ToCome {
    /// Of a room that ends at `head` by now.
    fn new(from: Option<&str>, to: Option<&str>, head: Head) -> Result<Self, StretchError> {
        let from = from.map(str::parse::<Moment>).transpose()?;
        let to = to.map(str::parse::<Moment>).transpose()?;
        // Where either has yet to come both are the log's end to a reader of what there is.
        let backwards = match (from, to) {
            (Some(Moment::Seq(from)), Some(Moment::Seq(to))) => from > to,
            (Some(Moment::At(from)), Some(Moment::At(to))) => from > to,
            _ => false,
        };
        if backwards {
            return Err(StretchError::Backwards);
        }
        let mut to_come = Self::default();
        match from {
            Some(Moment::Seq(seq)) => to_come.after = seq.previous(),
            Some(Moment::At(at)) if at > head.at => to_come.from = Some(at),
            Some(Moment::At(_) | Moment::Now) | None => {}
        }
        match to {
            Some(Moment::Seq(seq)) => to_come.up_to = seq,
            // Records of one time may still come at it.
            Some(Moment::At(at)) if at >= head.at => {
                to_come.up_to = Seq::MAX;
                to_come.until = Some(at);
            }
            Some(Moment::At(_) | Moment::Now) | None => {}
        }
        Ok(to_come)
    }
}

/// Where a browser's event stream broke off.
fn last_event(headers: &HeaderMap) -> Result<Option<Seq>, Problem> {
    let Some(last) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let seq = last.to_str().ok().and_then(|text| text.parse().ok());
    match seq {
        Some(seq) => Ok(Some(Seq::new(seq))),
        None if last.is_empty() => Ok(None),
        None => Err(Problem::bad_request("Last-Event-ID is a Seq".into())),
    }
}

/// A stream of records on its way.
struct Reader {
    gateway: Gateway,
    room: RoomName,
    /// When it began: one of the same name that began at another time is another room.
    created: Timestamp,
    format: Format,
    after: Seq,
    up_to: Seq,
    /// Records before this time are left out.
    from: Option<Timestamp>,
    /// Records after this time are not waited for.
    until: Option<Timestamp>,
    left: u64,
    follower: Option<Follower>,
    over: bool,
}

enum Page {
    Records(Bytes),
    /// There is nothing more for now.
    Nothing,
}

impl Reader {
    /// What there is next; waits for it if the stream follows.
    async fn next_piece(&mut self) -> Option<Result<Bytes, Broken>> {
        loop {
            if self.over || self.left == 0 || self.after >= self.up_to {
                return None;
            }
            // Asked before reading: what is read after the end has all that came up to it.
            let left = self.time_left();
            match self.next_page().await {
                Ok(Page::Records(bytes)) if bytes.is_empty() => continue,
                Ok(Page::Records(bytes)) => return Some(Ok(bytes)),
                Ok(Page::Nothing) => {}
                Err(problem) => return Some(self.broken(&problem)),
            }
            if left.is_zero() {
                return None;
            }
            let follower = self.follower.as_mut()?;
            tokio::select! {
                () = follower.moved() => {}
                () = self.gateway.draining().cancelled() => return None,
                () = tokio::time::sleep(left.min(STREAM_KEEP_ALIVE)) => {
                    if left > STREAM_KEEP_ALIVE && self.format == Format::Events {
                        return Some(Ok(Bytes::from_static(b": still here\n\n")));
                    }
                }
            }
            // It may be the room itself that is gone, or forgotten and begun anew.
            let span = self.gateway.broker().history().span(&self.room).await;
            if span.is_ok_and(|span| span.is_empty() || span.created != self.created) {
                return None;
            }
        }
    }

    /// How long records may still come that are asked for.
    fn time_left(&self) -> Duration {
        let Some(until) = self.until else {
            return Duration::MAX;
        };
        let now = self.gateway.wall_time().micros();
        let end = until
            .micros()
            .saturating_add(FOLLOW_GRACE.as_micros() as u64);
        Duration::from_micros(end.saturating_sub(now))
    }

    async fn next_page(&mut self) -> Result<Page, Problem> {
        if self.left == 0 || self.after >= self.up_to {
            return Ok(Page::Nothing);
        }
        let history = self.gateway.broker().history();
        let page = history
            .read(&self.room, self.after, RECORDS_PAGE_BYTES)
            .await?;
        if page.is_empty() {
            return Ok(Page::Nothing);
        }
        let mut out = Vec::new();
        for run in &page {
            self.write(run, &mut out)?;
        }
        Ok(Page::Records(out.into()))
    }

    fn write(&mut self, run: &Run, out: &mut Vec<u8>) -> Result<(), FoldError> {
        for record in run.records() {
            if self.over || self.left == 0 || self.after >= self.up_to {
                return Ok(());
            }
            let seq = self.after.next();
            let damaged = |damage| FoldError::Damaged {
                room: self.room.clone(),
                seq,
                damage,
            };
            let record = record.map_err(damaged)?;
            if self.until.is_some_and(|until| record.at > until) {
                self.over = true;
                return Ok(());
            }
            if self.from.is_some_and(|from| record.at < from) {
                self.after = record.seq;
                continue;
            }
            match self.format {
                Format::Binary => record.seal(out),
                Format::Json => {
                    write_json(&Line::from(&record), out);
                    out.push(b'\n');
                }
                Format::Events => {
                    out.extend_from_slice(format!("id: {}\ndata: ", record.seq).as_bytes());
                    write_json(&Line::from(&record), out);
                    out.extend_from_slice(b"\n\n");
                }
            }
            self.after = record.seq;
            self.left -= 1;
        }
        Ok(())
    }

    /// The last thing that a stream says when it cannot go on.
    fn broken(&mut self, problem: &Problem) -> Result<Bytes, Broken> {
        self.over = true;
        tracing::warn!(room = %self.room, seq = %self.after, ?problem, "a stream of records broke");
        let line = json!({ "problem": problem }).to_string();
        match self.format {
            Format::Json => Ok(format!("{line}\n").into()),
            Format::Events => Ok(format!("event: problem\ndata: {line}\n\n").into()),
            Format::Binary => Err(Broken),
        }
    }
}

/// A stream of sealed records that has no way of saying why it ends.
#[derive(Debug, thiserror::Error)]
#[error("the records cannot be read any further")]
struct Broken;

fn write_json(value: &impl Serialize, out: &mut Vec<u8>) {
    // Writing plain values to memory cannot fail.
    let _ = serde_json::to_writer(out, value);
}
