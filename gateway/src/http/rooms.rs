//! `/api/v1/rooms` and `/api/v1/pits`: what rooms there are, one room, its snapshot, its end.
//!
//! In a path a room's name is one percent-encoded segment, `/` being `%2F`.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::record::Kind;
use protocol::{RoomName, Slug};
use serde::{Deserialize, Serialize};
use storage::RoomState;

use super::page_size;
use super::problem::Problem;
use crate::Gateway;
use crate::access::caller::{Caller, Refusal};
use crate::access::rule::Action;
use crate::audit::What;
use crate::limits::{ROOMS_EXAMINED, ROOMS_PER_PAGE, ROOMS_PER_PAGE_MAX};

/// A room as the API shows it.
#[derive(Debug, Serialize)]
struct RoomView {
    /// `space/name`.
    room: String,
    space: String,
    name: String,
    /// The Seq of the last record.
    seq: u64,
    /// How many records are kept.
    records: u64,
    /// Bytes of sealed records kept.
    bytes: u64,
    /// When the first record was written, RFC 3339.
    created_at: String,
    /// When the last record was written, RFC 3339.
    updated_at: String,
    /// The chain hash of everything up to the last record, in hex.
    chain: String,
    /// Sessions that are members now.
    sessions: usize,
    /// Replicas that are present now.
    present: usize,
}

impl RoomView {
    fn new(room: &RoomName, state: &RoomState, info: broker::RoomInfo) -> Self {
        Self {
            room: room.as_str().to_owned(),
            space: room.space().to_owned(),
            name: room.name().to_owned(),
            seq: state.head.seq.get(),
            records: state.head.seq.since(state.start.seq),
            bytes: state.bytes,
            created_at: state.created.to_string(),
            updated_at: state.head.at.to_string(),
            chain: state.head.chain.to_string(),
            sessions: info.sessions,
            present: info.present,
        }
    }
}

/// Which page of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// Rooms after this one, as `space/name`: the `next` of the page before.
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Serialize)]
struct RoomsPage {
    rooms: Vec<RoomView>,
    /// What to give as `after` for the next page; null on the last one.
    next: Option<String>,
}

/// `GET /rooms?after=&limit=`: rooms by name, those that the caller may see. A page may have fewer than
/// `limit` and not be the last: what goes on says `next`.
pub(crate) async fn list(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(page) = page.map_err(|error| Problem::bad_request(error.body_text()))?;
    let limit = page_size(page.limit, ROOMS_PER_PAGE, ROOMS_PER_PAGE_MAX)?;
    gateway.check_network(&caller)?;
    let grant = caller.grant().map_err(Refusal::from)?;
    let mut after = page.after.as_deref().map(RoomName::parse).transpose()?;
    let broker = gateway.broker();
    let mut rooms = Vec::new();
    let mut examined = 0;
    let more = loop {
        let wanted = limit - rooms.len();
        let rows = broker.rooms(after.as_ref(), ROOMS_PER_PAGE_MAX).await?;
        let all = rows.len() < ROOMS_PER_PAGE_MAX;
        examined += rows.len();
        let mut rows = rows.into_iter();
        let seen = rows.by_ref().inspect(|row| after = Some(row.room.clone()));
        let seen = seen.filter(|row| gateway.lists(grant, &row.room));
        let seen = seen.map(|row| RoomView::new(&row.room, &row.state, broker.info(&row.room)));
        rooms.extend(seen.take(wanted));
        let left = rows.any(|row| gateway.lists(grant, &row.room));
        if rooms.len() == limit && left {
            break true;
        }
        if all || examined >= ROOMS_EXAMINED {
            break !all;
        }
    };
    let next = more
        .then(|| after.map(|room| room.as_str().to_owned()))
        .flatten();
    Ok(Json(RoomsPage { rooms, next }).into_response())
}

/// One room, and what the caller may be in it.
#[derive(Debug, Serialize)]
struct RoomForCaller {
    #[serde(flatten)]
    room: RoomView,
    /// The most that a session of the caller would be.
    role: String,
}

/// `GET /rooms/{space}/{name}`: one room.
pub(crate) async fn show(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    path: RoomPath,
) -> Result<Response, Problem> {
    let room = room_of(&gateway, path)?;
    let (state, info) = gateway.broker().room(&room).await?;
    exists(&room, &state)?;
    let role = gateway.role_in(&caller, &room).await?;
    let view = RoomForCaller {
        room: RoomView::new(&room, &state, info),
        role: role.to_string(),
    };
    Ok(Json(view).into_response())
}

/// `GET /rooms/{space}/{name}/snapshot`: the document as one binary update.
pub(crate) async fn snapshot(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    path: RoomPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let room = room_of(&gateway, path)?;
    gateway.count_download(&caller, &room)?;
    let (state, _) = gateway.broker().room(&room).await?;
    exists(&room, &state)?;
    // The chain hash proves the whole prefix, so it names what a snapshot holds.
    let etag = |head: protocol::Head| format!("\"{}-{}\"", head.seq, head.chain);
    let known = headers.get(header::IF_NONE_MATCH);
    let cache = (header::CACHE_CONTROL, "no-cache");
    if known.is_some_and(|known| matches_etag(known.as_bytes(), &etag(state.head))) {
        let etag = (header::ETAG, etag(state.head));
        return Ok((StatusCode::NOT_MODIFIED, [etag], [cache]).into_response());
    }
    let snapshot = gateway.broker().read_state(&room).await?;
    Ok((
        [
            (
                header::CONTENT_TYPE.as_str(),
                "application/octet-stream".into(),
            ),
            (header::ETAG.as_str(), etag(snapshot.head)),
            ("well-seq", snapshot.head.seq.to_string()),
            ("well-at", snapshot.head.at.to_string()),
        ],
        [cache],
        snapshot.payload,
    )
        .into_response())
}

/// `DELETE /rooms/{space}/{name}`: closes its members with 4404 and forgets its log.
pub(crate) async fn delete(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    path: RoomPath,
) -> Result<StatusCode, Problem> {
    let room = room_of(&gateway, path)?;
    let (state, info) = gateway.broker().room(&room).await?;
    // A room that has members and no record yet can be closed too.
    if info.sessions == 0 {
        exists(&room, &state)?;
    }
    gateway.broker().delete(&room).await?;
    gateway.note(What::Delete, &caller, Some(&room), None);
    tracing::info!(%room, "room deleted");
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Serialize)]
struct NewPit {
    room: String,
    space: &'static str,
    name: String,
    /// The page, to be opened with `?role=creator` or `?role=viewer`.
    url: String,
}

/// `POST /pits`: a new pit with a name of its own.
pub(crate) async fn new_pit(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let room = free_pit(&gateway).await?;
    gateway.authorize(&caller, Action::Create, &room).await?;
    gateway.count_new_room(&caller, &room).await?;
    let created = vec![(Kind::Created, bytes::Bytes::new())];
    gateway.broker().write(&room, created, None).await?;
    let url = format!("/pit/{}", room.name());
    let pit = NewPit {
        room: room.as_str().to_owned(),
        space: PIT,
        name: room.name().to_owned(),
        url: url.clone(),
    };
    observatory::pit_created();
    let location = (header::LOCATION, url);
    Ok((StatusCode::CREATED, [location], Json(pit)).into_response())
}

/// The space of pits.
pub(crate) const PIT: &str = "pit";

/// A pit that has never been.
pub(crate) async fn free_pit(gateway: &Gateway) -> Result<RoomName, Problem> {
    // With 887 million slugs a taken one is rare; several in a row mean that something is wrong.
    for _ in 0..8 {
        let bits = getrandom::u64().map_err(|error| {
            Problem::from(broker::RoomError::Log(format!("no randomness: {error}")))
        })?;
        let room = gateway.room(PIT, Slug::from_random(bits).as_str())?;
        let (state, info) = gateway.broker().room(&room).await?;
        if state.head == protocol::Head::EMPTY && info.sessions == 0 {
            return Ok(room);
        }
    }
    Err(broker::RoomError::Full("no free name was found for a pit".into()).into())
}

/// `{space}/{name}` of a path, decoded once, if it could be.
pub(crate) type RoomPath = Result<Path<(String, String)>, PathRejection>;

pub(crate) fn room_of(gateway: &Gateway, path: RoomPath) -> Result<RoomName, Problem> {
    let Path((space, name)) = path.map_err(|error| Problem::bad_request(error.body_text()))?;
    gateway.room(&space, &name)
}

fn exists(room: &RoomName, state: &RoomState) -> Result<(), Problem> {
    if state.deleted || state.head == protocol::Head::EMPTY {
        return Err(Problem::no_room(room.as_str()));
    }
    Ok(())
}

/// `If-None-Match` by weak comparison (RFC 9110 §13.1.2).
pub(crate) fn matches_etag(header: &[u8], etag: &str) -> bool {
    header.split(|byte| *byte == b',').any(|candidate| {
        let candidate = candidate.trim_ascii();
        let candidate = candidate.strip_prefix(b"W/").unwrap_or(candidate);
        candidate == b"*" || candidate == etag.as_bytes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_match_in_lists_and_weakly() {
        for header in ["\"1-a\"", "W/\"1-a\"", "\"0-b\", \"1-a\"", "*"] {
            assert!(matches_etag(header.as_bytes(), "\"1-a\""), "{header}");
        }
        assert!(!matches_etag(b"\"1-ab\"", "\"1-a\""));
    }
}
