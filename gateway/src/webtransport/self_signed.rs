//! Certificates of our own, for servers that have none from an authority.
//!
//! A browser takes a certificate by its hash if it is ECDSA P-256 and valid for at most 14 days
//! (W3C WebTransport, `serverCertificateHashes`). So there are always two: the one that is served,
//! and the one that follows, whose hash is published from the start. A page that asked for the
//! hashes can connect until the second one ends.
//!
//! ```text
//! this   |<─────────────── 13 days ───────────────>|
//! next                                  |<───────────── 13 days ─────────────>
//!         at first ─▲                   |<─ 1 day ─>|
//!                   └ half a day in          ▲ from here on the next is served
//! ```
//!
//! The half days let in clients whose clocks are wrong by as much. Each certificate is a file in the
//! folder, its key and itself in PEM, named after the second in which it begins; what is over, or
//! cannot be read, is replaced. A secret that outlives them lies beside them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocol::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::certificates::{CertificateError, Pair};

/// For how long a certificate is valid; browsers allow 14 days.
const VALID: Duration = Duration::from_secs(13 * 86_400);
/// For how long two that follow each other are both valid. The second one is served from the middle.
const OVERLAP: Duration = Duration::from_secs(86_400);
/// The file of the secret.
const SECRET: &str = "secret";
const SECRET_BYTES: usize = 32;
/// Larger files than this are none of ours.
const FILE_BYTES: u64 = 64 << 10;

const _: () = assert!(VALID.as_secs() < 14 * 86_400);
const _: () = assert!(2 * OVERLAP.as_secs() < VALID.as_secs());

/// The certificate that is served and the one that follows it.
#[derive(Debug)]
pub(super) struct SelfSigned {
    folder: Option<PathBuf>,
    current: Own,
    next: Own,
}

#[derive(Debug)]
struct Own {
    /// Seconds since 1970.
    from: u64,
    pair: Pair,
}

impl SelfSigned {
    /// What is in the folder, as far as it is of use at `now`, and new ones for what is not.
    pub(super) fn open(folder: Option<PathBuf>, now: SystemTime) -> Result<Self, CertificateError> {
        let mut kept = folder.as_deref().map(load).unwrap_or_default();
        let now = seconds(now);
        let usable = |own: &Own| own.is_served_at(now);
        let current = match kept.iter().position(usable) {
            Some(at) => kept.swap_remove(at),
            None => Own::make(now.saturating_sub(OVERLAP.as_secs() / 2))?,
        };
        let from = current.next_from();
        let next = match kept.iter().position(|own| own.from == from) {
            Some(at) => kept.swap_remove(at),
            None => Own::make(from)?,
        };
        let own = Self {
            folder,
            current,
            next,
        };
        own.keep();
        Ok(own)
    }

    /// Serves the next one when its time has come. Gives whether what is served changed.
    pub(super) fn refresh(&mut self, now: SystemTime) -> Result<bool, CertificateError> {
        let second = seconds(now);
        if self.current.is_served_at(second) {
            return Ok(false);
        }
        if self.next.is_served_at(second) {
            let after = Own::make(self.next.next_from())?;
            self.current = std::mem::replace(&mut self.next, after);
            self.keep();
        } else {
            // The clock went far: neither is of use.
            *self = Self::open(self.folder.take(), now)?;
        }
        Ok(true)
    }

    pub(super) const fn current(&self) -> &Pair {
        &self.current.pair
    }

    pub(super) fn hashes(&self) -> Vec<String> {
        vec![self.current.hash(), self.next.hash()]
    }

    /// Random bytes, kept in the folder; others each time where they cannot be.
    pub(super) fn secret(&self) -> Vec<u8> {
        let path = self.folder.as_ref().map(|folder| folder.join(SECRET));
        let kept = path.as_ref().and_then(|path| fs::read(path).ok());
        if let Some(kept) = kept.filter(|kept| kept.len() == SECRET_BYTES) {
            return kept;
        }
        let mut fresh = vec![0; SECRET_BYTES];
        if let Err(error) = getrandom::fill(&mut fresh) {
            // Then it is not to be guessed from what is known of this server either.
            tracing::warn!(%error, "no randomness; resets follow from the certificate's key");
            return self.current.pair.key.secret_der().to_vec();
        }
        if let Some(Err(error)) = path.map(|path| write_secret(&path, &fresh)) {
            tracing::warn!(%error, "after a kill, QUIC clients will notice by silence alone");
        }
        fresh
    }

    pub(super) fn describe(&self) -> String {
        let until = self.current.from + VALID.as_secs();
        format!(
            "self-signed, valid until {}",
            Timestamp::from_micros(until * 1_000_000)
        )
    }

    #[cfg(test)]
    pub(super) fn current_pem(&self) -> String {
        self.current.pem()
    }

    /// Writes both to the folder and takes away what is not one of them. What goes wrong is said:
    /// the certificates serve all the same, until the server ends.
    fn keep(&self) {
        let Some(folder) = &self.folder else {
            return;
        };
        let kept = self.write(folder);
        if let Err(error) = kept {
            let folder = folder.display();
            tracing::warn!(
                %error,
                "certificates cannot be kept in {folder}; pages have to reload after a restart"
            );
        }
    }

    fn write(&self, folder: &Path) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let ours = [&self.current, &self.next];
        for own in ours {
            let path = folder.join(own.file_name());
            let pem = own.pem();
            // A damaged one has the name of the one that replaces it.
            if fs::read(&path).ok().as_deref() != Some(pem.as_bytes()) {
                write_secret(&path, pem.as_bytes())?;
            }
        }
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let is_ours = ours.iter().any(|own| path.ends_with(own.file_name()));
            if !is_ours && path.extension().is_some_and(|end| end == "pem") {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

impl Own {
    /// A certificate that is valid from the second `from` on.
    fn make(from: u64) -> Result<Self, CertificateError> {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names)?;
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "The Well");
        params.distinguished_name = name;
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + Duration::from_secs(from);
        params.not_after = params.not_before + VALID;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let chain = vec![params.self_signed(&key)?.der().clone()];
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Ok(Self {
            from,
            pair: Pair { chain, key },
        })
    }

    /// Whether this is the one to serve: half the overlap after its beginning, until half the
    /// overlap before its end.
    const fn is_served_at(&self, now: u64) -> bool {
        let margin = OVERLAP.as_secs() / 2;
        self.from + margin <= now && now < self.from + VALID.as_secs() - margin
    }

    /// When the one after this begins.
    const fn next_from(&self) -> u64 {
        self.from + VALID.as_secs() - OVERLAP.as_secs()
    }

    fn hash(&self) -> String {
        let provider = web_transport_quinn::crypto::default_provider();
        let certificate = self.pair.chain.first();
        certificate.map_or_else(String::new, |certificate| {
            STANDARD.encode(web_transport_quinn::crypto::sha256(&provider, certificate))
        })
    }

    fn file_name(&self) -> String {
        format!("{}.pem", self.from)
    }

    fn pem(&self) -> String {
        let mut text = pem("PRIVATE KEY", self.pair.key.secret_der());
        for certificate in &self.pair.chain {
            text.push_str(&pem("CERTIFICATE", certificate));
        }
        text
    }

    fn read(path: &Path) -> Option<Self> {
        let from = path.file_stem()?.to_str()?.parse().ok()?;
        // Far from any overflow, and from any clock.
        if from > u64::from(u32::MAX) || fs::metadata(path).ok()?.len() > FILE_BYTES {
            return None;
        }
        let text = fs::read(path).ok()?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let pair = Pair {
            chain: chain.ok()?,
            key: PrivateKeyDer::from_pem_slice(&text).ok()?,
        };
        // Serving it shows whether the two belong together.
        pair.tls().ok()?;
        Some(Self { from, pair })
    }
}

/// Every certificate of a folder that can be read.
fn load(folder: &Path) -> Vec<Own> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut kept = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|end| end != "pem") {
            continue;
        }
        match Own::read(&path) {
            Some(own) => kept.push(own),
            None => tracing::warn!(
                "{} is no certificate of ours and is replaced",
                path.display()
            ),
        }
    }
    kept
}

/// A certificate of ours and its key as PEM, to serve where another is awaited.
pub(crate) fn placeholder(now: SystemTime) -> Result<String, CertificateError> {
    Ok(Own::make(seconds(now))?.pem())
}

/// A file that only its owner may read, whole or not there.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("new");
    let _ = fs::remove_file(&aside);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(aside, path)
}

/// Text of a DER object (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn start() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    #[test]
    fn the_next_hash_is_known_before_it_is_served() {
        let mut own = SelfSigned::open(None, start()).unwrap();
        let mut published = own.hashes();
        let mut served = vec![published[0].clone()];
        for hour in 1..=24 * 60 {
            let now = start() + Duration::from_secs(3600) * hour;
            if own.refresh(now).unwrap() {
                assert_eq!(own.hashes()[0], published[1], "it was announced");
                published = own.hashes();
                served.push(published[0].clone());
            }
            let since = seconds(now) - own.current.from;
            let margin = OVERLAP.as_secs() / 2;
            assert!(since >= margin, "clocks that are behind take it");
            assert!(since + margin <= VALID.as_secs(), "and clocks ahead");
        }
        assert_eq!(served.len(), 6, "60 days, each for 12");
        served.dedup();
        assert_eq!(served.len(), 6);
    }

    #[test]
    fn a_clock_that_jumps_gets_a_certificate_too() {
        let mut own = SelfSigned::open(None, start()).unwrap();
        for now in [start() + 100 * DAY, start(), UNIX_EPOCH + DAY] {
            assert!(own.refresh(now).unwrap());
            assert!(own.current.is_served_at(seconds(now)));
            assert!(!own.refresh(now).unwrap());
        }
    }

    #[test]
    fn a_restart_serves_what_pages_know() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("webtransport");
        let open = |now| SelfSigned::open(Some(folder.clone()), now).unwrap();
        let files = || {
            let mut names: Vec<PathBuf> = fs::read_dir(&folder)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            names.sort();
            names
        };
        let first = open(start()).hashes();
        assert_eq!(open(start() + 11 * DAY).hashes(), first);
        for file in files() {
            let mode = fs::metadata(file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "the key is its owner's alone");
        }
        let second = open(start() + 12 * DAY).hashes();
        assert_eq!(second[0], first[1], "the next one has become this one");
        assert_eq!(files().len(), 2, "what is over is gone");

        fs::write(
            &files()[0],
            "-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        let third = open(start() + 12 * DAY).hashes();
        assert!(!second.contains(&third[0]), "a damaged one is replaced");
        assert_eq!(open(start() + 12 * DAY).hashes(), third);
    }
}
