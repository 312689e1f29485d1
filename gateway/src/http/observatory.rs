//! `/api/v1/observatory`: how the Well works, for people who look after it.
//!
//! Open to everyone where every space is open, like `/metrics`; else it takes a token of role `admin` or
//! `observer` for `*/*`. Moments are Unix milliseconds. What is not known is null.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use ::observatory::Label;
use ::observatory::history::Series;
use ::observatory::live::{KEYS, Sample};
use ::observatory::ribbon::{self, Event, events_after};
use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use broker::{Activity, GuestInfo};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::problem::Problem;
use super::rooms::{RoomPath, room_of};
use crate::Gateway;
use crate::access::caller::{Caller, Refusal};
use crate::access::rule;
use crate::access::tickets::Ticket;

/// The most rooms in a list.
const ROOMS: usize = 200;
/// The most sessions of a room that are told of.
const SESSIONS: usize = 200;

const _: () = assert!(ribbon::EVENTS <= 500);

/// Lets those in who may see the Observatory, if there is anything to see.
fn enter(gateway: &Gateway, caller: &Caller) -> Result<(), Problem> {
    gateway.check_network(caller)?;
    if !gateway.is_open() {
        let grant = caller.grant().map_err(Refusal::from)?;
        rule::observer(grant.map(AsRef::as_ref)).map_err(Refusal::from)?;
    }
    if !gateway.exporter().is_on() {
        return Err(Problem::not_observed());
    }
    Ok(())
}

/// `GET /observatory/now`: the latest sample.
pub(crate) async fn now(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    enter(&gateway, &caller)?;
    let latest = next(&mut gateway.observation().live(), true).await;
    let latest = latest.ok_or_else(Problem::restarting)?;
    Ok((no_store(), Json(sample_json(&latest))).into_response())
}

/// `GET /observatory/live`: the latest sample, then one each second, as server-sent events; and what
/// happens meanwhile. Ends with the caller's token.
pub(crate) async fn live(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    enter(&gateway, &caller)?;
    let grant = caller.grant().map_err(Refusal::from)?;
    let live = Live {
        samples: gateway.observation().live(),
        ticket: grant.map(|grant| gateway.keeper().issue(grant, None)),
        draining: gateway.draining().clone(),
        seen: None,
        ready: VecDeque::new(),
    };
    let messages = stream::unfold(live, |mut live| async move {
        let message = live.next().await?;
        Some((Ok::<_, Infallible>(message), live))
    });
    let kind = HeaderValue::from_static("text/event-stream");
    let headers = [(header::CONTENT_TYPE, kind)];
    Ok((headers, no_store(), Body::from_stream(messages)).into_response())
}

/// Somebody who looks on.
struct Live {
    samples: watch::Receiver<Option<Arc<Sample>>>,
    ticket: Option<Ticket>,
    draining: tokio_util::sync::CancellationToken,
    /// The number of the last event that it was told of; none before the first sample.
    seen: Option<u64>,
    ready: VecDeque<Bytes>,
}

impl Live {
    /// The next message; none once it is over.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(message) = self.ready.pop_front() {
            return Some(message);
        }
        let over = async {
            match &self.ticket {
                Some(ticket) => ticket.until_over().await,
                None => std::future::pending().await,
            }
        };
        let sample = tokio::select! {
            biased;
            () = over => return None,
            () = self.draining.cancelled() => return None,
            sample = next(&mut self.samples, self.seen.is_none()) => sample?,
        };
        let events = events_after(self.seen.unwrap_or_default());
        // What is there at first is told by `/events`.
        let last = events.last().map(|event| event.number);
        if self.seen.is_some() {
            self.ready.extend(events.iter().map(|event| {
                let data = event_json(event);
                Bytes::from(format!("event: event\ndata: {data}\n\n"))
            }));
        }
        self.seen = last.or(self.seen).or(Some(0));
        let (at, data) = (sample.at, sample_json(&sample));
        Some(Bytes::from(format!(
            "event: sample\nid: {at}\ndata: {data}\n\n"
        )))
    }
}

/// The next sample, or the present one if that will do.
async fn next(
    samples: &mut watch::Receiver<Option<Arc<Sample>>>,
    present: bool,
) -> Option<Arc<Sample>> {
    if present {
        let latest = samples.borrow_and_update().clone();
        if latest.is_some() {
            return latest;
        }
    }
    samples.changed().await.ok()?;
    samples.borrow_and_update().clone()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    range: Range,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum Range {
    #[serde(rename = "1h")]
    Hour,
    #[serde(rename = "7d")]
    Week,
}

/// `GET /observatory/history?range=1h|7d`: the samples of an hour, or a week of minutes.
pub(crate) async fn history(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    uri: axum::http::Uri,
) -> Result<Response, Problem> {
    enter(&gateway, &caller)?;
    let query = uri.query().unwrap_or_default();
    let HistoryQuery { range } = serde_urlencoded::from_str(query)
        .map_err(|_| Problem::bad_request("range is 1h or 7d".to_owned()))?;
    let series = gateway.observation().with_history(|history| match range {
        Range::Hour => history.hour(),
        Range::Week => history.week(),
    });
    Ok((no_store(), Json(series_json(&series))).into_response())
}

/// `GET /observatory/events`: what happened lately, the newest last.
pub(crate) async fn events(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    enter(&gateway, &caller)?;
    let events: Vec<Value> = events_after(0).iter().map(event_json).collect();
    Ok((no_store(), Json(json!({ "events": events }))).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoomsQuery {
    #[serde(default)]
    by: By,
    limit: Option<usize>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    #[default]
    Updates,
    Bytes,
    Sessions,
    Lag,
}

/// `GET /observatory/rooms?by=updates|bytes|sessions|lag&limit=50`: the loaded rooms with most of it.
pub(crate) async fn rooms(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    uri: axum::http::Uri,
) -> Result<Response, Problem> {
    enter(&gateway, &caller)?;
    let query: RoomsQuery = serde_urlencoded::from_str(uri.query().unwrap_or_default())
        .map_err(|error| Problem::bad_request(error.to_string()))?;
    let limit = query.limit.unwrap_or(50);
    if !(1..=ROOMS).contains(&limit) {
        return Err(Problem::bad_request(format!("limit is 1 to {ROOMS}")));
    }
    let mut rooms = gateway.broker().activity();
    let loaded = rooms.len();
    rooms.sort_unstable_by(|a, b| {
        let most = |room: &Activity| match query.by {
            By::Updates => Reverse(room.updates_per_second),
            By::Bytes => Reverse(room.bytes_per_second),
            By::Sessions => Reverse(room.sessions as u64),
            By::Lag => Reverse(room.lag_records.unwrap_or(0)),
        };
        most(a).cmp(&most(b)).then_with(|| a.room.cmp(&b.room))
    });
    let rooms = rooms.iter().take(limit);
    let rooms: Vec<Value> = rooms.map(|room| room_json(&gateway, room).into()).collect();
    Ok((
        no_store(),
        Json(json!({ "rooms": rooms, "loaded": loaded })),
    )
        .into_response())
}

/// `GET /observatory/rooms/{space}/{name}`: a loaded room, its last minutes and its sessions.
pub(crate) async fn room(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    path: RoomPath,
) -> Result<Response, Problem> {
    enter(&gateway, &caller)?;
    let room = room_of(&gateway, path)?;
    let broker = gateway.broker();
    let Some(activity) = broker.activity_of(&room) else {
        return Err(Problem::not_loaded(&room));
    };
    let now = gateway.wall_time().micros() / 1000;
    let (start, updates) = gateway.observation().look_at(&room, now);
    let (total, guests) = broker.guests(&room, SESSIONS);
    let mut row = room_json(&gateway, &activity);
    let history = json!({ "step_ms": 1000, "start": start, "updates_per_second": updates });
    row.insert("history".to_owned(), history);
    row.insert("sessions_total".to_owned(), total.into());
    let guests: Vec<Value> = guests.iter().map(guest_json).collect();
    row.insert("sessions".to_owned(), guests.into());
    Ok((no_store(), Json(row)).into_response())
}

const fn no_store() -> [(header::HeaderName, &'static str); 1] {
    [(header::CACHE_CONTROL, "no-store")]
}

/// What is not a number is not known.
fn number(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number)
}

fn sample_json(sample: &Sample) -> Value {
    let values = KEYS.iter().zip(&sample.values);
    let values: Map<String, Value> = values
        .map(|(key, value)| (key.name.to_owned(), number(*value)))
        .collect();
    let stages = sample.stages.iter().map(|times| {
        json!({
            "stage": times.stage.name(),
            "count": times.count,
            "p50": number(times.p50),
            "p99": number(times.p99),
        })
    });
    let stages: Vec<Value> = stages.collect();
    json!({ "at": sample.at, "values": values, "stages": stages, "not_ready": sample.not_ready })
}

fn series_json(series: &Series) -> Value {
    let columns = KEYS.iter().zip(&series.columns);
    let columns: Map<String, Value> = columns
        .map(|(key, column)| {
            let column = column.iter().map(|value| number((*value).into()));
            (key.name.to_owned(), column.collect())
        })
        .collect();
    json!({ "step_ms": series.step_ms, "start": series.start, "series": columns })
}

fn event_json(event: &Event) -> Value {
    json!({
        "at": event.at,
        "kind": event.kind.name(),
        "text": event.text,
        "severity": event.severity.name(),
    })
}

const fn kind_name(kind: replay::Kind) -> &'static str {
    match kind {
        replay::Kind::Yjs => "yjs",
        replay::Kind::Text => "text",
        replay::Kind::Opaque => "opaque",
    }
}

fn room_json(gateway: &Gateway, room: &Activity) -> Map<String, Value> {
    let kind = gateway.kind_of(room.room.space());
    let row = [
        ("room", room.room.as_str().into()),
        (
            "kind",
            kind.map_or(Value::Null, |kind| kind_name(kind).into()),
        ),
        ("updates_per_second", room.updates_per_second.into()),
        ("bytes_per_second", room.bytes_per_second.into()),
        ("sessions", room.sessions.into()),
        ("lag_records", room.lag_records.into()),
        ("head", room.head.get().into()),
        ("document_bytes", room.document_bytes.into()),
    ];
    row.map(|(key, value)| (key.to_owned(), value))
        .into_iter()
        .collect()
}

fn guest_json(guest: &GuestInfo) -> Value {
    json!({
        "session": guest.session.to_string(),
        "user": guest.user.as_ref().map(protocol::UserId::as_str),
        "dialect": guest.via.dialect.text(),
        "transport": guest.via.transport.text(),
        "role": guest.role.to_string(),
        "rtt_seconds": guest.round_trip.map(|took| took.as_secs_f64()),
        "lag_records": guest.lag_records,
        "sent_bytes": guest.sent_bytes,
        "received_bytes": guest.received_bytes,
        "since": guest.since.micros() / 1000,
    })
}
