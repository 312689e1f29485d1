//! Answers that pages of other servers may read (CORS, in the Fetch standard): those of spaces that name
//! them in `origins`.

use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::Gateway;
use crate::access::origin::Origin;

/// What a page may send beside what any form may.
const HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, if-match");
/// What a page may use.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, DELETE");
/// What a page may read beside the body.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("well-seq, well-at, etag, retry-after, location");
/// For how long a browser need not ask again, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The origin of a page of another server that may speak to the space of this request.
pub(super) fn allowed<B>(
    gateway: &Gateway,
    request: &Request<B>,
    origin: Option<&Origin>,
) -> Option<HeaderValue> {
    let origin = origin.filter(|origin| !origin.is_own())?;
    let path = request.uri().path().strip_prefix("/api/v1/")?;
    let space = match path.strip_prefix("rooms/") {
        Some(room) => room.split('/').next()?,
        None => path.strip_prefix("pits").map(|_| "pit")?,
    };
    let origins = gateway.space(space)?.origins;
    let may = origin.may(&origins, gateway.is_local());
    may.then(|| HeaderValue::from_str(origin.as_str()).ok())?
}

/// The answer to a browser that asks whether a page may send a request; `None` if it does not ask.
pub(super) fn preflight<B>(
    request: &Request<B>,
    allowed: Option<&HeaderValue>,
) -> Option<Response> {
    let asks = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let origin = allowed.filter(|_| asks)?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    show_to(headers, origin.clone());
    Some(response)
}

/// Lets a page read an answer.
pub(super) fn show_to(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}
