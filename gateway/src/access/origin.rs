//! Which pages may speak to a space.
//!
//! A browser says in `Origin` whose page sends a request, and lets any page open a web socket or send a form
//! to any server; so the server has to look. Programs that are no browsers send none and are not asked.

use std::collections::BTreeSet;

use axum::http::{HeaderMap, Uri, header};
use schemars::JsonSchema;
use serde::Deserialize;

/// The pages of a space beside those that the server itself serves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Origins {
    /// None.
    #[default]
    Own,
    /// These: `https://host` or `https://host:port`.
    These(BTreeSet<String>),
    /// `"*"`, all of them.
    All(Star),
}

/// `"*"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Star {
    /// All.
    #[serde(rename = "*")]
    Star,
}

/// Whose page sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    text: String,
    /// It is one that the server was asked as: its own page.
    own: bool,
    /// It is a page of this machine.
    loopback: bool,
}

impl Origin {
    /// The origin that a request for `uri` names; `None` if no browser sent it.
    #[must_use]
    pub fn of(headers: &HeaderMap, uri: &Uri) -> Option<Self> {
        let text = headers.get(header::ORIGIN)?;
        let text = text.to_str().unwrap_or("?").to_ascii_lowercase();
        // In HTTP/2 the host stands in the address.
        let asked = uri.authority().map(axum::http::uri::Authority::as_str);
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let asked = asked.or(host).unwrap_or_default().to_ascii_lowercase();
        let (scheme, authority) = text.split_once("://").unwrap_or(("", ""));
        let own = !authority.is_empty() && bare(scheme, authority) == bare(scheme, &asked);
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => authority,
        };
        let loopback = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        Some(Self {
            text,
            own,
            loopback,
        })
    }

    /// As the browser wrote it, in small letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is a page of the server itself.
    #[must_use]
    pub const fn is_own(&self) -> bool {
        self.own
    }

    /// Whether it may speak to a space with these `origins`. On a server that only this machine reaches,
    /// so may all pages of this machine (`local`).
    #[must_use]
    pub fn may(&self, origins: &Origins, local: bool) -> bool {
        let named = match origins {
            Origins::Own => false,
            Origins::These(these) => these.contains(&self.text),
            Origins::All(Star::Star) => true,
        };
        self.own || named || (local && self.loopback)
    }
}

/// An authority without the port that its scheme has anyway.
fn bare<'a>(scheme: &str, authority: &'a str) -> &'a str {
    let port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => "",
    };
    authority.strip_suffix(port).unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(origin: &str, host: &str) -> Origin {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, origin.parse().unwrap());
        headers.insert(header::HOST, host.parse().unwrap());
        Origin::of(&headers, &Uri::from_static("/x")).unwrap()
    }

    #[test]
    fn a_page_speaks_to_its_own_server_and_to_those_that_name_it() {
        for (said, host, own) in [
            ("https://well.example", "well.example", true),
            ("https://well.example", "WELL.example:443", true),
            ("http://well.example:80", "well.example", true),
            ("http://well.example", "well.example:443", false),
            ("http://127.0.0.1:4000", "127.0.0.1:4000", true),
            ("http://localhost:4000", "127.0.0.1:4000", false),
            ("https://evil.example", "well.example", false),
            ("https://well.example.evil.example", "well.example", false),
            ("https://evil.example/well.example", "well.example", false),
            ("null", "well.example", false),
            ("null", "null", false),
            ("", "", false),
        ] {
            let origin = origin(said, host);
            assert_eq!(origin.may(&Origins::Own, false), own, "{said} {host}");
            assert!(origin.may(&Origins::All(Star::Star), false));
        }
        let page = origin("https://app.example", "well.example");
        let these = Origins::These(BTreeSet::from(["https://app.example".to_owned()]));
        assert!(page.may(&these, false));
        assert!(!origin("https://app.example:8443", "well.example").may(&these, false));
        assert!(!origin("http://app.example", "well.example").may(&these, false));
    }

    #[test]
    fn on_this_machine_pages_of_this_machine_speak_to_it() {
        for (said, local) in [
            ("http://localhost:5173", true),
            ("http://127.0.0.1", true),
            ("http://[::1]:3000", true),
            ("http://localhost.evil.example", false),
            ("http://127.0.0.1.evil.example:80", false),
            ("https://evil.example", false),
        ] {
            let origin = origin(said, "127.0.0.1:4000");
            assert_eq!(origin.may(&Origins::Own, true), local, "{said}");
            assert!(!origin.may(&Origins::Own, false), "{said}");
        }
        assert_eq!(Origin::of(&HeaderMap::new(), &Uri::from_static("/")), None);
    }
}
