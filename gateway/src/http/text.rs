//! `PUT …/text`: a whole text for a room, from an editor or script without the CRDT.
//!
//! The room's owner compares it with the text as it is at that moment, and commits the difference as
//! edits of a new client, so that it merges with what others do meanwhile. `If-Match` names the Seq
//! that the text was made from, so that nothing is lost that its writer had not seen.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use broker::{Restore, RoomError};
use protocol::Seq;
use replay::Wanted;
use serde_json::json;

use super::change::fresh_replica;
use super::past;
use super::problem::Problem;
use super::rooms::{RoomPath, room_of};
use crate::Gateway;
use crate::access::caller::Caller;
use crate::limits::TEXT_BYTES;

/// `PUT …/text` with the whole text as `text/plain`, UTF-8.
pub(crate) async fn put(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    path: RoomPath,
    query: RawQuery,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let room = room_of(&gateway, path)?;
    if gateway.broker().history().kind_of(&room) != replay::Kind::Text {
        return Err(Problem::not_text(room.as_str()));
    }
    if query.0.is_some_and(|query| !query.is_empty()) {
        return Err(Problem::bad_request(
            "this takes no query parameters".into(),
        ));
    }
    is_plain_text(&headers)?;
    let expects = expected(&headers)?;
    let body = body.map_err(|error| match error.status() {
        axum::http::StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(TEXT_BYTES),
        _ => Problem::bad_request(error.body_text()),
    })?;
    let text = String::from_utf8(body.into()).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Problem::bad_request(format!("the body is not UTF-8 from byte {at} on"))
    })?;
    gateway.count_new_room(&caller, &room).await?;
    let restore = Restore {
        wanted: Wanted::Text(text),
        details: None,
        replica: fresh_replica(replay::Kind::Text)?,
        expects,
        allowance: gateway.allowance(&caller, &room)?,
    };
    let done = gateway.broker().restore(&room, restore).await;
    let edited = done.map_err(|error| match error {
        RoomError::Moved(seq) => Problem::moved_on(room.as_str(), seq),
        error => error.into(),
    })?;
    let (head, size) = (edited.head, edited.size);
    let view = json!({
        "room": room.as_str(),
        "seq": head.seq.get(),
        "at": (head.seq > Seq::ZERO).then(|| head.at.to_string()),
        "edits": size.edits,
        "inserted": size.inserted,
        "deleted": size.deleted,
    });
    let mut response = Json(view).into_response();
    past::stands_at(response.headers_mut(), head);
    if let Ok(etag) = HeaderValue::from_str(&past::etag(head, "text")) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

/// Anything but plain text in UTF-8 is refused; no content type at all is taken for it.
fn is_plain_text(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let kind = kind.to_str().unwrap_or_default().to_ascii_lowercase();
    let mut parts = kind.split(';').map(str::trim);
    let plain = parts.next() == Some("text/plain");
    let utf8 = parts.all(|part| match part.strip_prefix("charset=") {
        Some(charset) => matches!(charset.trim_matches('"'), "utf-8" | "utf8" | "us-ascii"),
        None => true,
    });
    if plain && utf8 {
        Ok(())
    } else {
        Err(Problem::media_type(format!(
            "the body is text/plain in UTF-8, not {kind:?}"
        )))
    }
}

/// The Seq of `If-Match`: `"41"`, or an entity tag of the room's state, which begins with it.
/// `If-None-Match: *` wants a room that has never been written to.
fn expected(headers: &HeaderMap) -> Result<Option<Seq>, Problem> {
    if let Some(none) = headers.get(header::IF_NONE_MATCH) {
        if none.as_bytes() == b"*" && !headers.contains_key(header::IF_MATCH) {
            return Ok(Some(Seq::ZERO));
        }
        return Err(Problem::bad_request(
            "here If-None-Match is *, and stands without If-Match".into(),
        ));
    }
    let Some(tag) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let tag = tag.to_str().unwrap_or_default().trim();
    let inner = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    let seq = inner.and_then(|inner| inner.split('-').next());
    let digits = seq.filter(|seq| !seq.is_empty() && seq.bytes().all(|b| b.is_ascii_digit()));
    let seq = digits.and_then(|seq| seq.parse().ok());
    seq.map(|seq| Some(Seq::new(seq))).ok_or_else(|| {
        Problem::bad_request(format!(
            "If-Match is one entity tag of this room, like \"41\", not {tag:?}"
        ))
    })
}
