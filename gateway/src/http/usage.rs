//! `/api/v1/usage`: what has been written this month, for admins.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::page_size;
use super::problem::Problem;
use crate::Gateway;
use crate::access::caller::{Caller, Refusal};
use crate::access::rule;
use crate::limits::{USAGE_PER_PAGE, USAGE_PER_PAGE_MAX};
use crate::usage::month;

/// Which page of the accounts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// Accounts after this one: the `next` of the page before.
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Serialize)]
struct View {
    /// The month that is counted, in UTC.
    month: String,
    /// When counting begins anew, RFC 3339.
    resets_at: String,
    usage: Vec<AccountView>,
    /// What to give as `after` for the next page; null on the last one.
    next: Option<String>,
}

/// One account of a space.
#[derive(Debug, Serialize)]
struct AccountView {
    space: String,
    /// Null for what is written at the space's own cost.
    tenant: Option<String>,
    records: u64,
    bytes: u64,
    /// What the space says; tokens may say otherwise. Null where there is no limit.
    records_per_month: Option<u64>,
    bytes_per_month: Option<u64>,
}

/// `GET /usage?after=&limit=`: the accounts of spaces whose rooms an admin's token is all for.
pub(crate) async fn list(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Problem> {
    let grant = caller.grant().map_err(Refusal::from)?;
    let admin = rule::admin(grant.map(AsRef::as_ref), false).map_err(Refusal::from)?;
    let Query(page) = page.map_err(|error| Problem::bad_request(error.body_text()))?;
    let limit = page_size(page.limit, USAGE_PER_PAGE, USAGE_PER_PAGE_MAX)?;
    // A space's own account comes before those of its tenants.
    let after = page.after.as_deref();
    let after = after.map(|after| after.split_once('/').unwrap_or((after, "")));
    let now = gateway.wall_time();
    let broker = gateway.broker();
    let rows = broker.usage().rows(now).into_iter().filter(|row| {
        let tenant = row.tenant.as_ref().map_or("", |tenant| tenant.as_str());
        let covers = |space: &str| admin.rooms().iter().any(|it| it.covers_space(space));
        after.is_none_or(|after| (row.space.as_str(), tenant) > after) && covers(&row.space)
    });
    let mut rows = rows.map(|row| {
        let most = broker.monthly_of(&row.space);
        AccountView {
            space: row.space,
            tenant: row.tenant.map(|tenant| tenant.to_string()),
            records: row.records,
            bytes: row.bytes,
            records_per_month: most.records,
            bytes_per_month: most.bytes,
        }
    });
    let usage: Vec<_> = rows.by_ref().take(limit).collect();
    let next = rows.next().and(usage.last()).map(AccountView::name);
    let view = View {
        month: month(now),
        resets_at: now.month_end().to_string(),
        usage,
        next,
    };
    Ok(Json(view).into_response())
}

impl AccountView {
    fn name(&self) -> String {
        match &self.tenant {
            Some(tenant) => format!("{}/{tenant}", self.space),
            None => self.space.clone(),
        }
    }
}
