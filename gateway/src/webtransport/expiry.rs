//! When a certificate ends: the second time of its validity (RFC 5280, section 4.1), and nothing else of it.

/// Unix time of a certificate's `notAfter`, from its DER; `None` if it is none.
pub(crate) fn not_after(certificate: &[u8]) -> Option<u64> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut tbs, _) = element(certificate, SEQUENCE)?;
    // The version is there or not; then serial number, signature algorithm and issuer.
    if let Some((_, rest)) = element(tbs, VERSION) {
        tbs = rest;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, tbs) = element(tbs, tag)?;
    }
    let (validity, _) = element(tbs, SEQUENCE)?;
    let (_, end) = time(validity)?;
    time(end).map(|(at, _)| at)
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The contents of the element of this tag that `der` begins with, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            let length = bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// The Unix time that `der` begins with, and what follows it.
fn time(der: &[u8]) -> Option<(u64, &[u8])> {
    let (text, rest) = element(der, UTC_TIME).or_else(|| element(der, GENERALIZED_TIME))?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let numbers = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (year, text) = match text.len() {
        _ if !numbers(text) => return None,
        12 => {
            let year: u64 = text[..2].parse().ok()?;
            (year + if year < 50 { 2000 } else { 1900 }, &text[2..])
        }
        14 => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |at: usize| text[at..at + 2].parse::<u64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    let seconds = (part(4)? * 60 + part(6)?) * 60 + part(8)?;
    if year < 1970 || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    // Days by months that begin with March, so that a leap day is a year's last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    Some((days.checked_sub(719_468)? * 86_400 + seconds, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificates_end_is_read() {
        let key = KeyPair::generate().unwrap();
        for (year, month, day, at) in [
            (2026, 11, 30, 1_795_996_800),
            (2028, 2, 29, 1_835_395_200),
            (2049, 12, 31, 2_524_521_600),
            (2050, 1, 1, 2_524_608_000),
        ] {
            let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
            params.not_after = date_time_ymd(year, month, day);
            assert_eq!(params.not_after.unix_timestamp() as u64, at);
            let certificate = params.self_signed(&key).unwrap();
            let der: &[u8] = certificate.der();
            assert_eq!(not_after(der), Some(at), "{year}-{month}-{day}");
            // What is cut short is no certificate, and does no harm.
            for end in 0..der.len() {
                let _ = not_after(&der[..end]);
            }
        }
        assert_eq!(not_after(b""), None);
        assert_eq!(not_after(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
