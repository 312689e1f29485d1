//! A room's past: `state`, `timeline` and `diff` under `/api/v1/rooms/{space}/{name}/`.
//!
//! A moment is a Seq (`seq=`) or a time (`at=`: RFC 3339, Unix milliseconds, `now`). Where both ends
//! of a stretch are asked for (`from=`, `to=`), a number below 100,000,000,000 is a Seq and a larger
//! one is Unix milliseconds. Every answer says in `Well-Seq` and `Well-At` where it really stands.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::{Head, RoomName, Seq};
use replay::limits::MAX_BUCKETS;
use replay::timeline::{Authors, MarkKind, Timeline};
use replay::{Folded, Moment, Shown, Span};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use storage::archive::Who;

use super::answer::{Cut, watched};
use super::problem::Problem;
use super::rooms::{RoomPath, matches_etag, room_of};
use crate::Gateway;
use crate::access::caller::Caller;

/// Answers about a moment that lies behind the log's end never change …
const FOR_EVER: &str = "private, max-age=31536000, immutable";
/// … and all others do.
const ASK_AGAIN: &str = "private, no-cache";
/// How many buckets a timeline has unless it is asked for others.
const BUCKETS: usize = 120;

/// Which moment.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MomentQuery {
    seq: Option<String>,
    at: Option<String>,
}

impl MomentQuery {
    pub(crate) fn moment(&self) -> Result<Moment, Problem> {
        match (&self.seq, &self.at) {
            (None, None) => Ok(Moment::Now),
            (Some(seq), None) => Ok(Moment::seq(seq)?),
            (None, Some(at)) => Ok(Moment::at(at)?),
            (Some(_), Some(_)) => Err(Problem::bad_request(
                "give seq or at, not both: each names a moment".into(),
            )),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StateQuery {
    seq: Option<String>,
    at: Option<String>,
    #[serde(default)]
    format: Format,
}

/// How a document is written.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// As one binary update.
    #[default]
    Update,
    /// As JSON.
    Json,
    /// Its plain text.
    Text,
}

impl Format {
    const fn name(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Json => "json",
            Self::Text => "text",
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Update => "application/octet-stream",
            Self::Json => "application/json",
            Self::Text => "text/plain; charset=utf-8",
        }
    }
}

/// A room that is there, and what there is of it.
pub(crate) async fn open(gateway: &Gateway, path: RoomPath) -> Result<(RoomName, Span), Problem> {
    let room = room_of(gateway, path)?;
    let span = gateway.broker().history().span(&room).await?;
    if span.is_empty() {
        return Err(Problem::no_room(room.as_str()));
    }
    Ok((room, span))
}

/// How long an answer may be kept that is `settled`: about a moment behind the log's end, which the
/// address names. A room that is forgotten begins anew with other records under the same Seqs.
fn caching(gateway: &Gateway, room: &RoomName, settled: bool) -> &'static str {
    if settled && !gateway.broker().forgets(room) {
        FOR_EVER
    } else {
        ASK_AGAIN
    }
}

/// `GET …/state?seq=|at=&format=`: the document as it was.
pub(crate) async fn state(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    cut: Option<Extension<Cut>>,
    path: RoomPath,
    query: Result<Query<StateQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let format = query.format;
    let (seq, at) = (query.seq, query.at);
    let moment = MomentQuery { seq, at }.moment()?;
    let (room, span) = open(&gateway, path).await?;
    if moment == Moment::Now {
        // A moment of the past is a step of a scrubber, which takes many.
        gateway.count_download(&caller, &room)?;
    }
    let history = gateway.broker().history();
    let head = history.resolve(&room, &span, moment).await?;
    let etag = etag(head, format.name());
    let cache = caching(
        &gateway,
        &room,
        moment != Moment::Now && head.seq < span.head.seq,
    );
    let known = headers.get(header::IF_NONE_MATCH);
    let mut response = if known.is_some_and(|known| matches_etag(known.as_bytes(), &etag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let body = match format {
            Format::Update => {
                encoded(&gateway, history.document_at(&room, head.seq).await?).await?
            }
            Format::Json | Format::Text => {
                written(&gateway, history.shown_at(&room, head.seq).await?, format).await?
            }
        };
        let Extension(cut) = cut.unwrap_or_default();
        let body = watched(body, cut);
        ([(header::CONTENT_TYPE, format.content_type())], body).into_response()
    };
    stands_at(response.headers_mut(), head);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    Ok(response)
}

/// Names a state in one format: the chain hash proves the whole prefix.
pub(crate) fn etag(head: Head, format: &str) -> String {
    format!("\"{}-{}-{format}\"", head.seq, head.chain)
}

/// Encodes a document, where it holds up nothing else.
async fn encoded(gateway: &Gateway, folded: Folded) -> Result<bytes::Bytes, Problem> {
    let document = folded.document;
    let share = gateway.past_memory().take(document.memory_bytes())?;
    let encoding = tokio::task::spawn_blocking(move || document.encode());
    let encoded = encoding.await.map_err(|_| Problem::restarting())?;
    Ok(share.with(encoded)?)
}

/// Writes what a document showed, where it holds up nothing else.
async fn written(gateway: &Gateway, shown: Shown, format: Format) -> Result<bytes::Bytes, Problem> {
    let share = gateway.past_memory().take(shown.memory_bytes())?;
    let writing = tokio::task::spawn_blocking(move || {
        Ok::<_, Problem>(match format {
            Format::Text => shown.text()?.into(),
            Format::Json | Format::Update => shown.json()?.to_string().into(),
        })
    });
    let written = writing.await.map_err(|_| Problem::restarting())??;
    Ok(share.with(written)?)
}

/// Says where an answer stands. Before the first record there is no time.
pub(crate) fn stands_at(headers: &mut HeaderMap, head: Head) {
    headers.insert("well-seq", HeaderValue::from(head.seq.get()));
    if head.seq > Seq::ZERO
        && let Ok(at) = HeaderValue::from_str(&head.at.to_string())
    {
        headers.insert("well-at", at);
    }
}

/// A stretch of the past.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stretch {
    from: Option<String>,
    to: Option<String>,
    buckets: Option<usize>,
}

/// `GET …/timeline?from=&to=&buckets=`: activity over time.
pub(crate) async fn timeline(
    State(gateway): State<Gateway>,
    path: RoomPath,
    query: Result<Query<Stretch>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let buckets = query.buckets.unwrap_or(BUCKETS);
    if !(1..=MAX_BUCKETS).contains(&buckets) {
        return Err(Problem::bad_request(format!(
            "buckets is 1 to {MAX_BUCKETS}, not {buckets}"
        )));
    }
    let (room, span) = open(&gateway, path).await?;
    let history = gateway.broker().history();
    let (from, to) = (query.from.as_deref(), query.to.as_deref());
    let (after, up_to) = history.stretch(&room, &span, from, to).await?;
    let timeline = history
        .timeline(&room, &span, after, up_to, buckets)
        .await?;
    let kind = history.kind_of(&room).name();
    let cache = (header::CACHE_CONTROL, ASK_AGAIN);
    let view = TimelineView::new(&room, kind, &span, after, up_to, &timeline);
    Ok(([cache], Json(view)).into_response())
}

/// A timeline as the API shows it.
#[derive(Debug, Serialize)]
struct TimelineView<'a> {
    room: &'a str,
    /// The document's kind.
    kind: &'static str,
    /// Records before this are gone: 0, unless retention has cut the history.
    start: u64,
    /// The last record of the room.
    head: Place,
    /// Records after this are counted…
    from: u64,
    /// …up to and with this.
    to: u64,
    /// The times of the first and last record that are counted; null without any.
    from_at: Option<String>,
    to_at: Option<String>,
    records: u64,
    bytes: u64,
    authors: Vec<Value>,
    buckets: Vec<Value>,
    marks: Vec<Value>,
}

#[derive(Debug, Serialize)]
struct Place {
    seq: u64,
    at: String,
}

impl Place {
    fn new(head: Head) -> Self {
        Self {
            seq: head.seq.get(),
            at: head.at.to_string(),
        }
    }
}

impl<'a> TimelineView<'a> {
    fn new(
        room: &'a RoomName,
        kind: &'static str,
        span: &Span,
        after: Head,
        up_to: Head,
        timeline: &Timeline,
    ) -> Self {
        let some = timeline.records > 0;
        let buckets = timeline.buckets.iter().map(|bucket| {
            json!({
                "at": bucket.from.to_string(),
                "records": bucket.records,
                "bytes": bucket.bytes,
                "authors": authors(&bucket.authors),
            })
        });
        let marks = timeline.marks.iter().map(|mark| {
            let (kind, details) = match &mark.kind {
                MarkKind::Snapshot => ("snapshot", None),
                MarkKind::Event(kind, details) => (kind.name(), Some(details)),
            };
            let details = details.filter(|details| !details.is_empty());
            // What we wrote ourselves is JSON; a title is a title.
            let details =
                details.map(|text| serde_json::from_str(text).unwrap_or_else(|_| json!(text)));
            json!({
                "seq": mark.seq.get(),
                "at": mark.at.to_string(),
                "kind": kind,
                "details": details,
            })
        });
        Self {
            room: room.as_str(),
            kind,
            start: if span.from_nothing {
                0
            } else {
                span.start.seq.get()
            },
            head: Place::new(span.head),
            from: after.seq.get(),
            to: up_to.seq.get(),
            from_at: some.then(|| timeline.from.to_string()),
            to_at: some.then(|| timeline.to.to_string()),
            records: timeline.records,
            bytes: timeline.bytes,
            authors: authors(&timeline.authors),
            buckets: buckets.collect(),
            marks: marks.collect(),
        }
    }
}

/// Who wrote how much; the last one without a name stands for all others.
fn authors(authors: &Authors) -> Vec<Value> {
    let named = authors.named.iter().map(|(who, records)| {
        let who = who_name(who);
        json!({ "author": who, "records": records })
    });
    let more = (authors.more > 0).then(|| json!({ "author": null, "records": authors.more }));
    named.chain(more).collect()
}

/// One name for an author: the user, else the replica, else the session.
pub(crate) fn who_name(who: &Who) -> String {
    match who {
        Who::User(user) => format!("user:{}", user.as_str()),
        Who::Site(site) => format!("site:{}", site.get()),
        Who::Session(session) => format!("session:{session}"),
    }
}

/// `GET …/diff?from=&to=`: what changed between two moments.
pub(crate) async fn diff(
    State(gateway): State<Gateway>,
    path: RoomPath,
    query: Result<Query<Stretch>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let (room, span) = open(&gateway, path).await?;
    let history = gateway.broker().history();
    let moment = |text: &Option<String>, default| match text {
        Some(text) => text.parse::<Moment>(),
        None => Ok(default),
    };
    let from = moment(&query.from, Moment::Seq(span.start.seq))?;
    if query.from.is_none()
        && let Some(away) = history.away(&span)
    {
        return Err(away.into());
    }
    let to = moment(&query.to, Moment::Now)?;
    let from = history.resolve(&room, &span, from).await?;
    let to = history.resolve(&room, &span, to).await?;
    if from.seq > to.seq {
        return Err(Problem::bad_request(
            "the stretch ends before it begins: from is later than to".into(),
        ));
    }
    let memory = gateway.past_memory();
    let now = history.shown_at(&room, to.seq).await?;
    let _now = memory.take(now.memory_bytes())?;
    let past = history.shown_at(&room, from.seq).await?;
    let _past = memory.take(past.memory_bytes())?;
    let comparing = tokio::task::spawn_blocking(move || now.changes_since(&past));
    let changes = comparing.await.map_err(|_| Problem::restarting())??;
    let place = |head: Head| {
        let at = (head.seq > Seq::ZERO).then(|| head.at.to_string());
        json!({ "seq": head.seq.get(), "at": at })
    };
    let view = json!({
        "room": room.as_str(),
        "from": place(from),
        "to": place(to),
        "records": to.seq.since(from.seq),
        "changes": changes,
    });
    // Without a beginning it is that of what is kept, which retention moves.
    let given = query.from.is_some() && query.to.is_some();
    let cache = caching(&gateway, &room, given && to.seq < span.head.seq);
    let mut response = ([(header::CACHE_CONTROL, cache)], Json(view)).into_response();
    stands_at(response.headers_mut(), to);
    Ok(response)
}
