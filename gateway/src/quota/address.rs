//! Whose address a request has.
//!
//! A proxy that is trusted says for whom it asks, in `Forwarded` (RFC 7239) or `X-Forwarded-For`. Each hop
//! appends to the right, so the list is read from there: the first address that is no trusted proxy's is the
//! client's. What stands left of it anybody may have written.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The client's address, of a request that came from `peer`.
#[must_use]
pub fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| {
        let address = address.to_canonical();
        trusted.iter().any(|net| net.contains(&address))
    };
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    let standard = headers.contains_key("forwarded");
    let hops = if standard {
        forwarded(headers)
    } else {
        x_forwarded_for(headers)
    };
    for hop in hops.into_iter().rev() {
        // Who cannot be read is not known; the last that is known answers for them.
        let Some(hop) = hop else {
            break;
        };
        client = hop.to_canonical();
        if !is_trusted(client) {
            break;
        }
    }
    client
}

fn values<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter();
    values.flat_map(|value| value.to_str().unwrap_or("?").split(','))
}

fn x_forwarded_for(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    values(headers, "x-forwarded-for").map(address).collect()
}

fn forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let hop = |element: &str| {
        let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
        let said = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case("for"))?;
        address(said.1.trim().trim_matches('"'))
    };
    values(headers, "forwarded").map(hop).collect()
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let bare = bare.unwrap_or(text).parse().ok();
    bare.or_else(|| text.parse::<SocketAddr>().ok().map(|it| it.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        client(peer.parse().unwrap(), &map, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_says_for_whom_it_asks() {
        for (peer, headers, client) in [
            (
                "192.0.2.9",
                vec![("x-forwarded-for", "203.0.113.1")],
                "192.0.2.9",
            ),
            ("10.0.0.1", vec![], "10.0.0.1"),
            (
                "10.0.0.1",
                vec![("x-forwarded-for", "203.0.113.1")],
                "203.0.113.1",
            ),
            // The left was written by the client itself.
            (
                "10.0.0.1",
                vec![("x-forwarded-for", "1.2.3.4, 203.0.113.1")],
                "203.0.113.1",
            ),
            (
                "10.0.0.1",
                vec![("x-forwarded-for", "203.0.113.1, 10.0.0.2")],
                "203.0.113.1",
            ),
            (
                "10.0.0.1",
                vec![
                    ("x-forwarded-for", "1.2.3.4"),
                    ("x-forwarded-for", "203.0.113.1"),
                ],
                "203.0.113.1",
            ),
            (
                "10.0.0.1",
                vec![("x-forwarded-for", "203.0.113.1, unknown")],
                "10.0.0.1",
            ),
            (
                "::ffff:10.0.0.1",
                vec![("x-forwarded-for", "203.0.113.1:99")],
                "203.0.113.1",
            ),
            (
                "10.0.0.1",
                vec![("forwarded", "for=203.0.113.1;proto=https")],
                "203.0.113.1",
            ),
            (
                "fd00::1",
                vec![("forwarded", "for=1.2.3.4, For=\"[2001:db8::7]:4711\"")],
                "2001:db8::7",
            ),
            // The standard's header counts where both are.
            (
                "10.0.0.1",
                vec![
                    ("forwarded", "for=203.0.113.1"),
                    ("x-forwarded-for", "1.2.3.4"),
                ],
                "203.0.113.1",
            ),
            ("10.0.0.1", vec![("forwarded", "for=_hidden")], "10.0.0.1"),
        ] {
            assert_eq!(of(peer, &headers), client, "{peer} {headers:?}");
        }
    }
}
