//! `GET …/presence`: who is in a room, and where in its text.
//!
//! A cursor in a text is a position that moves with the text, which only who has the text can read.
//! Here the server reads it, for the moment that is asked for: as an index, and as line and column.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use broker::Present;
use replay::{Kind, Shown};
use serde::Serialize;
use serde_json::{Value, json};

use super::past::{self, MomentQuery};
use super::problem::Problem;
use super::rooms::{RoomPath, room_of};
use crate::Gateway;
use crate::limits::PRESENT_NAME_CHARS;

/// Somebody who is here.
#[derive(Debug, Serialize)]
struct PresentView {
    /// The replica in the document.
    site: u64,
    /// The session, as records have it; null while its connection is gone and it may come back.
    session: Option<String>,
    /// What it calls itself; null if it does not.
    name: Option<String>,
    /// Where its cursor is; null if it has none that can be placed at this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<Option<CursorView>>,
}

/// A selection: from where it began to where its caret is.
#[derive(Debug, Serialize)]
struct CursorView {
    anchor: PlaceView,
    head: PlaceView,
}

/// A place in the text; everything counts from 0, lengths in UTF-16 units.
#[derive(Debug, Serialize)]
struct PlaceView {
    index: usize,
    line: usize,
    column: usize,
}

/// `GET …/presence?seq=|at=`: who is here now, with cursors as they stood in the text at a moment.
pub(crate) async fn presence(
    State(gateway): State<Gateway>,
    path: RoomPath,
    query: Result<Query<MomentQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let moment = query.moment()?;
    let room = room_of(&gateway, path)?;
    let broker = gateway.broker();
    let history = broker.history();
    let span = history.span(&room).await?;
    // A room that nobody has written to yet may have members.
    if span.is_empty() && broker.info(&room).sessions == 0 {
        return Err(Problem::no_room(room.as_str()));
    }
    let head = history.resolve(&room, &span, moment).await?;
    let present = broker.present(&room);
    let text = if history.kind_of(&room) == Kind::Text && !present.is_empty() {
        Some(history.shown_at(&room, head.seq).await?)
    } else {
        None
    };
    let looking = tokio::task::spawn_blocking(move || {
        let seen = present.iter().map(|it| view(it, text.as_ref()));
        seen.collect::<Vec<_>>()
    });
    let present = looking.await.map_err(|_| Problem::restarting())?;
    let view = json!({ "room": room.as_str(), "seq": head.seq.get(), "present": present });
    let mut response = Json(view).into_response();
    past::stands_at(response.headers_mut(), head);
    let never = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, never);
    Ok(response)
}

fn view(present: &Present, text: Option<&Shown>) -> PresentView {
    // What a client says of itself is its own affair: what cannot be read is not there.
    let state: Value = serde_json::from_slice(&present.state).unwrap_or_default();
    let name = state.pointer("/user/name").and_then(Value::as_str);
    PresentView {
        site: present.site.get(),
        session: present.session.map(|session| session.to_string()),
        name: name.map(|name| name.chars().take(PRESENT_NAME_CHARS).collect()),
        cursor: text.map(|text| {
            Some(CursorView {
                anchor: place(&state, "/cursor/anchor", text)?,
                head: place(&state, "/cursor/head", text)?,
            })
        }),
    }
}

fn place(state: &Value, at: &str, text: &Shown) -> Option<PlaceView> {
    let anchor = from_hex(state.pointer(at)?.as_str()?)?;
    let position = text.position(&anchor).ok()??;
    Some(PlaceView {
        index: position.index,
        line: position.line,
        column: position.column,
    })
}

/// Bytes of hexadecimal digits.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| {
        let digits = std::str::from_utf8(pair).ok()?;
        let plain = pair.len() == 2 && pair.iter().all(u8::is_ascii_hexdigit);
        plain.then(|| u8::from_str_radix(digits, 16).ok())?
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_read_whole_or_not_at_all() {
        assert_eq!(from_hex("02112A"), Some(vec![2, 0x11, 0x2a]));
        assert_eq!(from_hex(""), Some(Vec::new()));
        for wrong in ["0", "021", "+1", "0x", "zz", "é", " 1"] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }
}
