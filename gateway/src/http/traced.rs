//! Traces of requests, and whose work they are part of: W3C Trace Context.
//!
//! A request is traced like an update: one in so many, those whose caller traces them, and those that
//! are slow or fail on the server's side. It ends when its answer begins: one that is made as it goes
//! may go on for days. A socket's request is told of like any other, and what it then carries is part of the
//! same caller's work.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use observatory::trace::{self, Mark, Parent, Trace, Why};

/// The caller's span, if the request says one. Said twice it is said wrongly, and there is none.
pub(crate) fn parent_of(headers: &HeaderMap) -> Option<Parent> {
    let mut said = headers.get_all("traceparent").iter();
    match (said.next(), said.next()) {
        (Some(one), None) => Parent::parse(one.to_str().ok()?.trim()),
        _ => None,
    }
}

/// Traces requests.
pub(super) async fn requests(request: Request, next: Next) -> Response {
    if !trace::is_on() {
        return next.run(request).await;
    }
    let began = Instant::now();
    let parent = parent_of(request.headers());
    let marked = trace::mark(1, parent, began);
    let method = request.method().clone();
    // Named in the path, a room would be a name of its own; the route is what requests have in common.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let ended = Instant::now();
    let mark = marked.map(|marked| marked.mark);
    if let Some(mark) =
        mark.or_else(|| worth_telling(response.status(), ended - began, parent, ended))
    {
        let mut trace = Trace::new("request", mark, began);
        trace.ended = ended;
        trace.field("http.request.method", method.as_str());
        let route = route.as_ref().map_or("a page", MatchedPath::as_str);
        trace.field("http.route", route);
        let status = response.status();
        trace.field("http.response.status_code", u64::from(status.as_u16()));
        if status.is_server_error() {
            trace.fail(status.to_string());
        }
        trace::tell(trace);
    }
    response
}

fn worth_telling(
    status: StatusCode,
    took: Duration,
    parent: Option<Parent>,
    now: Instant,
) -> Option<Mark> {
    let why = if status.is_server_error() {
        Why::Failed
    } else if trace::is_slow(took) {
        Why::Slow
    } else {
        return None;
    };
    trace::may_tell(now).then_some(Mark { why, parent })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_caller_is_named_once() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut headers = HeaderMap::new();
        assert_eq!(parent_of(&headers), None);
        headers.insert("traceparent", HeaderValue::from_static(text));
        assert_eq!(parent_of(&headers), Parent::parse(text));
        headers.append("traceparent", HeaderValue::from_static(text));
        assert_eq!(parent_of(&headers), None);
        headers.insert("traceparent", HeaderValue::from_static("00-ab-01"));
        assert_eq!(parent_of(&headers), None);
    }
}
