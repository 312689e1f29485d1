//! The PROXY protocol (versions 1 and 2): what a proxy that passes connections on says before
//! their first byte of whose they are.
//!
//! It is read only from proxies that are trusted, and there each connection begins with it: else a client of
//! such a proxy could say it itself. Nothing after it is touched.

use std::io;
use std::net::IpAddr;

use ppp::{HeaderResult, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limits::PROXY_TIME;

/// What version 2 begins with; version 1 is never shorter.
const SIGNATURE: usize = 12;
/// The longest line of version 1, with its end.
const V1_BYTES: usize = 107;
/// The fixed part of version 2.
const V2_HEAD: usize = 16;
/// The longest rest of version 2 that is read: addresses, and what else a proxy tells.
const V2_REST: usize = 4096;

/// Reads what a proxy says of a connection. Gives the client's address; `None` if the connection is the
/// proxy's own, or it does not know.
///
/// # Errors
/// If it says something else, or not in time.
pub(crate) async fn client(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let header = tokio::time::timeout(PROXY_TIME, read(stream));
    let header = header
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    match HeaderResult::parse(&header) {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Unknown => None,
            v1::Addresses::Tcp4(tcp) => Some(tcp.source_address.into()),
            v1::Addresses::Tcp6(tcp) => Some(tcp.source_address.into()),
        }),
        HeaderResult::V2(Ok(header)) => Ok(match (header.command, header.addresses) {
            (v2::Command::Local, _) => None,
            (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => Some(ip.source_address.into()),
            (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => Some(ip.source_address.into()),
            (v2::Command::Proxy, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
        }),
        HeaderResult::V1(Err(error)) => Err(malformed(&error)),
        HeaderResult::V2(Err(error)) => Err(malformed(&error)),
    }
}

/// A header, and not a byte more.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut header = vec![0; SIGNATURE];
    stream.read_exact(&mut header).await?;
    if header == v2::PROTOCOL_PREFIX {
        header.resize(V2_HEAD, 0);
        stream.read_exact(&mut header[SIGNATURE..]).await?;
        let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if rest > V2_REST {
            return Err(malformed("it is too long"));
        }
        header.resize(V2_HEAD + rest, 0);
        stream.read_exact(&mut header[V2_HEAD..]).await?;
        return Ok(header);
    }
    if !header.starts_with(b"PROXY ") {
        return Err(malformed("there is none"));
    }
    while !header.ends_with(b"\r\n") {
        if header.len() == V1_BYTES {
            return Err(malformed("its line does not end"));
        }
        header.push(stream.read_u8().await?);
    }
    Ok(header)
}

fn malformed(why: impl std::fmt::Display) -> io::Error {
    let why = format!("no PROXY header of a trusted proxy: {why}");
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in a stream, and what is left in it.
    async fn found(bytes: &[u8]) -> (Result<Option<String>, String>, Vec<u8>) {
        let mut stream = bytes;
        let client = client(&mut stream).await;
        let client = client.map(|it| it.map(|it| it.to_string()));
        (client.map_err(|error| error.to_string()), stream.to_vec())
    }

    /// A header of version 2 with these addresses, and a further field.
    fn second(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let field = [4, 0, 2, b'x', b'y'];
        let rest = (addresses.len() + field.len()) as u16;
        let head = [v2::PROTOCOL_PREFIX, &[0x20 | command, family]].concat();
        [&head, &rest.to_be_bytes()[..], addresses, &field].concat()
    }

    #[tokio::test]
    async fn a_proxy_says_whose_a_connection_is() {
        let four = [203, 0, 113, 7, 10, 0, 0, 1, 0xdb, 0xba, 1, 0xbb];
        let mut six = [0; 36];
        six[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
        six[15] = 7;
        six[31] = 1;
        for (header, client) in [
            (
                b"PROXY TCP4 203.0.113.7 10.0.0.1 56250 443\r\n".to_vec(),
                Some("203.0.113.7"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 56250 443\r\n".to_vec(),
                Some("2001:db8::7"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN what ever it says\r\n".to_vec(), None),
            (second(1, 0x11, &four), Some("203.0.113.7")),
            (second(1, 0x21, &six), Some("2001:db8::7")),
            (second(0, 0x11, &four), None),
            (second(1, 0x00, &[]), None),
        ] {
            let whole = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            let (said, left) = found(&whole).await;
            let name = String::from_utf8_lossy(&header).into_owned();
            assert_eq!(said, Ok(client.map(str::to_owned)), "{name:?}");
            assert_eq!(left, b"GET / HTTP/1.1\r\n", "{name:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_ends_the_connection() {
        let mut long = second(1, 0x11, &[0; 12]);
        long[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
        let mut third = second(1, 0x11, &[0; 12]);
        third[12] = 0x31;
        for wrong in [
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 56250\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.700 10.0.0.1 56250 443\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 56250 443".to_vec(),
            [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat(),
            second(1, 0x11, &[1, 2, 3]),
            third,
            long,
            b"PROXY".to_vec(),
            vec![],
        ] {
            let (said, _) = found(&wrong).await;
            assert!(said.is_err(), "{wrong:?}: {said:?}");
        }
    }
}
