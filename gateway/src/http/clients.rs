//! `GET …/clients`: what the log has of each client that numbers its operations, and what that client
//! had seen when it wrote last. For operators: who is far behind, and whether an operation arrived.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use protocol::Seq;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::page_size;
use super::past;
use super::problem::Problem;
use super::rooms::RoomPath;
use crate::Gateway;
use crate::limits::{CLIENTS_PER_PAGE, CLIENTS_PER_PAGE_MAX};

/// Which page of the table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// Clients with greater ids than this: the `next` of the page before.
    after: Option<u64>,
    limit: Option<usize>,
}

/// What is known of one client.
#[derive(Debug, Serialize)]
struct ClientView {
    client: u64,
    /// The number of its last operation in the log.
    operation: u64,
    /// That operation's Seq.
    seq: u64,
    /// The last Seq that it had seen then; null if it did not say.
    base: Option<u64>,
}

/// `GET …/clients?after=&limit=`: the clients by id.
pub(crate) async fn clients(
    State(gateway): State<Gateway>,
    path: RoomPath,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(page) = page.map_err(|error| Problem::bad_request(error.body_text()))?;
    let limit = page_size(page.limit, CLIENTS_PER_PAGE, CLIENTS_PER_PAGE_MAX)?;
    let (room, span) = past::open(&gateway, path).await?;
    let history = gateway.broker().history();
    let folded = history.document_at(&room, span.head.seq).await?;
    let after = page.after.unwrap_or(0);
    let known = folded.clients.iter().filter(|(id, _)| *id > after);
    let mut clients: Vec<ClientView> = known
        .map(|(id, client)| ClientView {
            client: id,
            operation: client.last(),
            seq: client.seq.get(),
            base: client.base.map(Seq::get),
        })
        .collect();
    clients.sort_unstable_by_key(|client| client.client);
    let more = clients.len() > limit;
    clients.truncate(limit);
    let next = clients.last().filter(|_| more).map(|last| last.client);
    let view = json!({
        "room": room.as_str(),
        "seq": folded.head.seq.get(),
        "complete": folded.clients.is_complete(),
        "clients": clients,
        "next": next,
    });
    let mut response = Json(view).into_response();
    past::stands_at(response.headers_mut(), folded.head);
    Ok(response)
}
