//! Going on from a moment of the past: `fork` makes a new room of it, `restore` sets the room back.
//!
//! Both are new records; nothing that was written is changed or erased. Where a room came from, or
//! was set back to, stands in the event's details: `{"room", "seq", "at", "chain"}`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use broker::{Allowance, Restore, RoomError};
use protocol::limits::MAX_PAYLOAD_BYTES;
use protocol::record::Kind as RecordKind;
use protocol::{Head, RoomName, Seq, Slug};
use replay::{DocumentError, Span};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use storage::ReadError;

use super::past;
use super::problem::Problem;
use super::rooms::{PIT, RoomPath, free_pit};
use crate::Gateway;
use crate::access::caller::Caller;
use crate::access::rule::Action;
use crate::audit::What;
use crate::limits::FORK_PAGE_BYTES;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ForkRequest {
    seq: Option<u64>,
    at: Option<Value>,
    /// The new room, `space/name`.
    to: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RestoreRequest {
    seq: Option<u64>,
    at: Option<Value>,
}

/// The moment that a request's body names: a Seq, a time as text, or Unix milliseconds.
fn moment(seq: Option<u64>, at: Option<Value>) -> Result<replay::Moment, Problem> {
    match (seq, at) {
        (Some(seq), None) => Ok(replay::Moment::Seq(Seq::new(seq))),
        (None, Some(Value::String(at))) => Ok(replay::Moment::at(&at)?),
        (None, Some(at @ Value::Number(_))) => Ok(replay::Moment::at(&at.to_string())?),
        (None, None) => Err(Problem::bad_request(
            "the body names a moment: {\"seq\": 12} or {\"at\": \"2026-11-24T10:45:00Z\"}".into(),
        )),
        (Some(_), Some(_)) => Err(Problem::bad_request("give seq or at, not both".into())),
        (None, Some(_)) => Err(Problem::bad_request(
            "at is a time as text, or Unix milliseconds".into(),
        )),
    }
}

fn body<T: DeserializeOwned + Default>(query: &RawQuery, bytes: &Bytes) -> Result<T, Problem> {
    if query.0.as_ref().is_some_and(|query| !query.is_empty()) {
        return Err(Problem::bad_request(
            "this takes no query parameters: the moment stands in the body".into(),
        ));
    }
    if bytes.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::bad_request(format!("the body is not what it must be: {error}")))
}

/// What an event says of the moment that a room was set back to, or was made of.
fn details(room: &RoomName, head: Head) -> Bytes {
    let at = (head.seq > Seq::ZERO).then(|| head.at.to_string());
    json!({
        "room": room.as_str(),
        "seq": head.seq.get(),
        "at": at,
        "chain": head.chain.to_string(),
    })
    .to_string()
    .into()
}

/// `POST …/restore` with `{"seq"}` or `{"at"}`.
pub(crate) async fn restore(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    path: RoomPath,
    query: RawQuery,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let request: RestoreRequest = body(&query, &bytes)?;
    let moment = moment(request.seq, request.at)?;
    let (room, span) = past::open(&gateway, path).await?;
    let history = gateway.broker().history();
    let head = history.resolve(&room, &span, moment).await?;
    let document = history.document_at(&room, head.seq).await?.document;
    let _share = gateway.past_memory().take(document.memory_bytes())?;
    let encoding = tokio::task::spawn_blocking(move || document.encode());
    let past = encoding.await.map_err(|_| Problem::restarting())?;
    let restore = Restore {
        wanted: replay::Wanted::Past(past),
        details: Some(details(&room, head)),
        replica: fresh_replica(history.kind_of(&room))?,
        expects: None,
        allowance: gateway.allowance(&caller, &room)?,
    };
    let now = gateway.broker().restore(&room, restore).await?.head;
    let detail = format!("to seq {}", head.seq);
    gateway.note(What::Restore, &caller, Some(&room), Some(&detail));
    tracing::info!(%room, seq = %now.seq, to = %head.seq, "room set back");
    let view = json!({
        "room": room.as_str(),
        "seq": now.seq.get(),
        "at": now.at.to_string(),
        "restored": { "seq": head.seq.get(), "at": (head.seq > Seq::ZERO).then(|| head.at.to_string()) },
    });
    let mut response = Json(view).into_response();
    past::stands_at(response.headers_mut(), now);
    Ok(response)
}

/// A replica id that nobody has: for Yjs as its clients draw them, 32 random bits; else 53, as many as
/// a JavaScript number holds.
pub(crate) fn fresh_replica(kind: replay::Kind) -> Result<u64, Problem> {
    let bits = match kind {
        replay::Kind::Yjs => getrandom::u32().map(u64::from),
        replay::Kind::Text | replay::Kind::Opaque => getrandom::u64().map(|bits| bits >> 11),
    };
    bits.map(|bits| bits.max(1))
        .map_err(|error| Problem::from(broker::RoomError::Log(format!("no randomness: {error}"))))
}

/// `POST …/fork` with `{"seq"}` or `{"at"}`, and `{"to"}` unless any new name will do.
pub(crate) async fn fork(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    path: RoomPath,
    query: RawQuery,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let request: ForkRequest = body(&query, &bytes)?;
    let moment = moment(request.seq, request.at)?;
    let (room, span) = past::open(&gateway, path).await?;
    let broker = gateway.broker();
    let history = broker.history();
    let target = match request.to {
        Some(to) => {
            let to = RoomName::parse(&to)?;
            let to = gateway.room(to.space(), to.name())?;
            if to.space() == PIT && !Slug::has_page(to.name()) {
                return Err(Problem::bad_request(format!(
                    "no page would lead to {to}: a pit is named by its code, or by letters, digits \
                     and _ . - that do not read like another pit's code; leave out \"to\" for a new \
                     code"
                )));
            }
            to
        }
        None if room.space() == PIT => free_pit(&gateway).await?,
        None => copy_name(&room)?,
    };
    gateway.authorize(&caller, Action::Create, &target).await?;
    gateway.count_new_room(&caller, &target).await?;
    if history.kind_of(&target) != history.kind_of(&room) {
        return Err(Problem::bad_request(format!(
            "{target} would hold another kind of document than {room}"
        )));
    }
    let (state, info) = broker.room(&target).await?;
    if state.head != Head::EMPTY || info.sessions > 0 {
        return Err(Problem::room_exists(target.as_str()));
    }
    let head = history.resolve(&room, &span, moment).await?;
    let source = Source::of(&gateway, &room, &span, head).await?;
    let mut items = vec![(RecordKind::Forked, details(&room, head))];
    items.extend(source.first.map(|update| (RecordKind::Update, update)));
    let allowance = gateway.allowance(&caller, &target)?;
    let begun = broker.begin(&target, items, allowance.clone()).await;
    let begun = begun.map_err(|error| match error {
        // Somebody was faster.
        RoomError::Exists => Problem::room_exists(target.as_str()),
        error => error.into(),
    })?;
    let copied = copy(
        &gateway,
        &room,
        &target,
        (source.after, head.seq),
        allowance,
    )
    .await;
    let now = match copied {
        Ok(last) => last.unwrap_or(begun),
        Err(problem) => {
            // Half of it would look like all of it.
            if let Err(error) = broker.delete(&target).await {
                tracing::warn!(%target, %error, "a fork that failed is left behind");
            }
            return Err(problem);
        }
    };
    tracing::info!(%room, seq = %head.seq, to = %target, "room forked");
    let path = match target.space() {
        PIT => format!("/pit/{}", percent(target.name())),
        space => format!("/replay/{space}/{}", percent(target.name())),
    };
    let view = json!({
        "room": target.as_str(),
        "space": target.space(),
        "name": target.name(),
        "url": path,
        "seq": now.seq.get(),
        "origin": { "room": room.as_str(), "seq": head.seq.get() },
    });
    let location = (header::LOCATION, path);
    Ok((StatusCode::CREATED, [location], Json(view)).into_response())
}

/// What a fork is made of: an update that it begins with, and the records after a Seq up to the moment.
struct Source {
    first: Option<Bytes>,
    after: Seq,
}

impl Source {
    /// One update that holds the moment; where that is more than a record holds, or nobody can make
    /// it, the records that led there, over an update for those that are gone.
    async fn of(
        gateway: &Gateway,
        room: &RoomName,
        span: &Span,
        moment: Head,
    ) -> Result<Self, Problem> {
        let history = gateway.broker().history();
        let opaque = history.kind_of(room) == replay::Kind::Opaque;
        if !opaque {
            let whole = update_at(gateway, room, moment.seq).await?;
            if whole.len() <= MAX_PAYLOAD_BYTES {
                return Ok(Self {
                    first: Some(whole),
                    after: moment.seq,
                });
            }
        }
        if span.from_nothing || moment == Head::EMPTY {
            return Ok(Self {
                first: None,
                after: span.start.seq,
            });
        }
        if let Some(away) = history.away(span) {
            return Err(away.into());
        }
        let start = span.start.seq;
        if opaque {
            return Err(Problem::forked_from(room, start));
        }
        let base = history.first_snapshot(room, span).await?;
        let base = base.map(|base| base.head.seq);
        let after = base
            .filter(|seq| *seq <= moment.seq)
            .ok_or(ReadError::Trimmed { start })?;
        let first = update_at(gateway, room, after).await?;
        if first.len() > MAX_PAYLOAD_BYTES {
            let (has, most) = (first.len(), MAX_PAYLOAD_BYTES);
            return Err(DocumentError::Unsupported(format!(
                "what stands for the records of {room} that are gone has {has} bytes, and a record \
                 holds at most {most}: it cannot be written to another room"
            ))
            .into());
        }
        Ok(Self {
            first: Some(first),
            after,
        })
    }
}

/// A room as it was after a record, as one update for a peer that has nothing.
async fn update_at(gateway: &Gateway, room: &RoomName, seq: Seq) -> Result<Bytes, Problem> {
    let history = gateway.broker().history();
    let document = history.document_at(room, seq).await?.document;
    let _share = gateway.past_memory().take(document.memory_bytes())?;
    let nothing = replay::document::new(history.kind_of(room)).version();
    let encoding = tokio::task::spawn_blocking(move || document.diff(&nothing));
    Ok(encoding.await.map_err(|_| Problem::restarting())??)
}

/// Writes the updates after one record, up to another, to a room. Gives its end, unless there are none.
async fn copy(
    gateway: &Gateway,
    from: &RoomName,
    to: &RoomName,
    (mut at, up_to): (Seq, Seq),
    allowance: Option<Allowance>,
) -> Result<Option<Head>, Problem> {
    let history = gateway.broker().history();
    let mut last = None;
    while at < up_to {
        let page = history.read(from, at, FORK_PAGE_BYTES).await?;
        if page.is_empty() {
            // Deleted meanwhile.
            return Err(Problem::no_room(from.as_str()));
        }
        let mut updates = Vec::new();
        for run in &page {
            for record in run.records() {
                let record = record.map_err(|damage| Problem::damaged(from, at.next(), damage))?;
                at = record.seq;
                if at <= up_to && record.draft.kind == RecordKind::Update {
                    updates.push((RecordKind::Update, record.draft.payload));
                }
            }
        }
        last = Some(
            gateway
                .broker()
                .write(to, updates, allowance.clone())
                .await?,
        );
    }
    Ok(last)
}

/// A new name beside the old one.
fn copy_name(room: &RoomName) -> Result<RoomName, Problem> {
    let bits = getrandom::u64().map_err(|error| {
        Problem::from(broker::RoomError::Log(format!("no randomness: {error}")))
    })?;
    let slug = Slug::from_random(bits);
    let mut end = room.name().len().min(200);
    while !room.name().is_char_boundary(end) {
        end -= 1;
    }
    let name = format!("{}-{}", &room.name()[..end], slug.as_str());
    Ok(RoomName::new(room.space(), &name)?)
}

fn percent(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}
