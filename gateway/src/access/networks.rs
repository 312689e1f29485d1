//! From which networks somebody comes in without a token.
//!
//! Networks stand in files that an operator keeps, or takes from those who keep lists of data centres: one a
//! line, as an address or in CIDR notation. They are read at the start and with the configuration, and held as
//! ranges, so that an address is looked up by halving.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

/// The most networks in all files of a list.
pub const MAX_NETWORKS: usize = 1_000_000;
/// The largest file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// Networks that are let in, and those that are not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Nobody else is let in, if this is there.
    allow: Option<Ranges>,
    deny: Ranges,
}

/// Why there is no such list.
#[derive(Debug, thiserror::Error)]
pub enum NetworksError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {error}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A file is too large.
    #[error("{path} has more than {MAX_FILE_BYTES} bytes")]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// A line is no network.
    #[error(
        "{path}, line {line}: {text:?} is no network; there are 192.0.2.0/24, 2001:db8::/32 and addresses"
    )]
    NoNetwork {
        /// Where.
        path: PathBuf,
        /// In which line, from 1 on.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// There are too many.
    #[error("there are more than {MAX_NETWORKS} networks in a list")]
    TooMany,
}

impl Networks {
    /// Reads the files of networks that are let in and of those that are not. Without a file of the first kind
    /// all others are let in.
    ///
    /// # Errors
    /// [`NetworksError`] says which file is wrong, and where.
    pub fn open(allow: &[PathBuf], deny: &[PathBuf]) -> Result<Self, NetworksError> {
        let allow = (!allow.is_empty()).then(|| Ranges::open(allow));
        Ok(Self {
            allow: allow.transpose()?,
            deny: Ranges::open(deny)?,
        })
    }

    /// Whether somebody without a token comes in from there.
    #[must_use]
    pub fn admit(&self, address: IpAddr) -> bool {
        let address = number(address.to_canonical());
        let allowed = |allow: &Ranges| allow.hold(address);
        self.allow.as_ref().is_none_or(allowed) && !self.deny.hold(address)
    }
}

/// Addresses as numbers, in ranges that do not touch, by their beginnings. Those of IPv4 lie where IPv6 maps
/// them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ranges(Vec<(u128, u128)>);

impl Ranges {
    fn open(paths: &[PathBuf]) -> Result<Self, NetworksError> {
        let mut ranges = Vec::new();
        for path in paths {
            read(path, &mut ranges)?;
        }
        ranges.sort_unstable();
        ranges.dedup_by(|next, range| {
            let joins = next.0 <= range.1.saturating_add(1);
            if joins {
                range.1 = range.1.max(next.1);
            }
            joins
        });
        ranges.shrink_to_fit();
        Ok(Self(ranges))
    }

    fn hold(&self, address: u128) -> bool {
        let after = self.0.partition_point(|range| range.0 <= address);
        after
            .checked_sub(1)
            .is_some_and(|at| address <= self.0[at].1)
    }
}

fn read(path: &Path, ranges: &mut Vec<(u128, u128)>) -> Result<(), NetworksError> {
    let failed = |error| NetworksError::Read {
        path: path.to_owned(),
        error,
    };
    if fs::metadata(path).map_err(failed)?.len() > MAX_FILE_BYTES {
        let path = path.to_owned();
        return Err(NetworksError::TooLarge { path });
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    for (at, line) in text.lines().enumerate() {
        let said = line.split(['#', ';']).next().unwrap_or_default().trim();
        if said.is_empty() {
            continue;
        }
        let range = range(said).ok_or_else(|| NetworksError::NoNetwork {
            path: path.to_owned(),
            line: at + 1,
            text: protocol::close::bounded(said, 64).to_owned(),
        })?;
        if ranges.len() >= MAX_NETWORKS {
            return Err(NetworksError::TooMany);
        }
        ranges.push(range);
    }
    Ok(())
}

/// The first and the last address of a network, or of an address alone.
fn range(text: &str) -> Option<(u128, u128)> {
    let net = text.parse::<IpNet>();
    let net = net
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .ok()?;
    Some((number(net.network()), number(net.broadcast())))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(lines: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, lines).unwrap();
        file
    }

    fn open(allow: Option<&str>, deny: &str) -> Result<Networks, NetworksError> {
        let allow = allow.map(file);
        let deny = file(deny);
        let paths: Vec<PathBuf> = allow.iter().map(|file| file.path().to_owned()).collect();
        Networks::open(&paths, &[deny.path().to_owned()])
    }

    fn admitted(networks: &Networks, address: &str) -> bool {
        networks.admit(address.parse().unwrap())
    }

    #[test]
    fn who_is_in_a_denied_network_is_not_admitted() {
        let deny = "# data centres\n203.0.113.0/24\n203.0.112.0/24 ; beside it\n\n198.51.100.7\n\
                    2001:db8::/32\n203.0.113.32/30\n";
        let networks = open(None, deny).unwrap();
        assert_eq!(networks.deny.0.len(), 3, "what touches is one");
        for (address, admits) in [
            ("203.0.111.255", true),
            ("203.0.112.0", false),
            ("203.0.113.255", false),
            ("203.0.114.0", true),
            ("198.51.100.7", false),
            ("198.51.100.6", true),
            ("::ffff:203.0.113.9", false),
            ("2001:db8:ffff::1", false),
            ("2001:db9::", true),
            ("::1", true),
        ] {
            assert_eq!(admitted(&networks, address), admits, "{address}");
        }
    }

    #[test]
    fn where_some_are_allowed_others_are_not_and_denied_ones_never() {
        let networks = open(Some("10.0.0.0/8\nfd00::/8"), "10.1.0.0/16").unwrap();
        for (address, admits) in [
            ("10.2.0.1", true),
            ("10.1.0.1", false),
            ("11.0.0.1", false),
            ("fd12::1", true),
            ("::1", false),
        ] {
            assert_eq!(admitted(&networks, address), admits, "{address}");
        }
        let nobody = open(Some("# nobody yet\n"), "").unwrap();
        assert!(!admitted(&nobody, "10.0.0.1"));
        assert!(admitted(&Networks::default(), "10.0.0.1"));
    }

    #[test]
    fn all_addresses_are_as_many_as_there_are() {
        let networks = open(None, "::/0").unwrap();
        assert!(!admitted(
            &networks,
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
        ));
        assert!(!admitted(&networks, "0.0.0.0"), "IPv4 lies within");
        let networks = open(None, "0.0.0.0/0").unwrap();
        assert!(!admitted(&networks, "255.255.255.255") && admitted(&networks, "::1"));
    }

    #[test]
    fn a_line_that_is_no_network_is_named() {
        for wrong in ["10.0.0.0/33", "example.org", "10.0.0.1-10.0.0.9", "10.0.0"] {
            let error = open(None, &format!("10.0.0.0/8\n{wrong}\n"))
                .unwrap_err()
                .to_string();
            assert!(error.contains("line 2") && error.contains(wrong), "{error}");
        }
        let gone = Networks::open(&["/no/such/file".into()], &[]).unwrap_err();
        assert!(gone.to_string().contains("/no/such/file"));
    }
}
