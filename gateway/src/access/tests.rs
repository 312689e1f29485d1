//! Whom the server believes, and what it lets them do.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use protocol::{Role, RoomName};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use ring::hmac;
use serde_json::{Value, json};

use super::keys::{KeySet, VerifyKey, from_jwks};
use super::pattern::Pattern;
use super::revoked::{Revocation, Revocations, Revoked};
use super::rule::{Access, Action, Denied, decide, lists, observer, session_role};
use super::tickets::Tickets;
use super::token::{Audience, BadToken, Grant, Minted, SigningKey, verify};
use crate::quota::{SpaceLimits, TokenLimits};

const SECRET: &[u8] = b"a secret of more than 32 bytes, for tests";
const NOW: u64 = 1_800_000_000;

fn keys() -> KeySet {
    let audience = Audience::configured(Some("well".to_owned()));
    KeySet::new(vec![VerifyKey::from_secret(SECRET).unwrap()], audience)
}

fn minted(room: &str, role: Role) -> Minted {
    Minted {
        room: vec![Pattern::parse(room).unwrap()],
        role,
        iat: NOW,
        exp: NOW + 60,
        aud: "well".to_owned(),
        jti: "t1".to_owned(),
        sub: Some("ada".to_owned()),
        tenant: None,
        limits: TokenLimits::default(),
    }
}

fn grant(room: &str, role: Role) -> Grant {
    let signing = SigningKey::from_secret(SECRET).unwrap();
    let token = signing.mint(&minted(room, role)).unwrap();
    verify(&keys(), &token, NOW).unwrap()
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token with any header and claims, rightly signed with HMAC-SHA-256 by `secret`.
fn forged(header: &Value, claims: &str, secret: &[u8]) -> String {
    let head = format!("{}.{}", part(header), URL_SAFE_NO_PAD.encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mac = hmac::sign(&key, head.as_bytes());
    format!("{head}.{}", URL_SAFE_NO_PAD.encode(mac.as_ref()))
}

fn good_claims() -> Value {
    json!({"exp": NOW + 60, "aud": "well", "room": "pit/*", "role": "editor"})
}

fn with(key: &str, value: Value) -> String {
    let mut claims = good_claims();
    claims[key] = value;
    claims.to_string()
}

fn without(key: &str) -> String {
    let mut claims = good_claims();
    claims.as_object_mut().unwrap().remove(key);
    claims.to_string()
}

#[test]
fn a_token_says_who_may_do_what_where_and_until_when() {
    let grant = grant("pit/team-*", Role::Creator);
    assert_eq!(grant.role(), Role::Creator);
    assert_eq!(grant.subject().unwrap().as_str(), "ada");
    assert_eq!((grant.id(), grant.issued()), (Some("t1"), Some(NOW)));
    assert_eq!(grant.expires(), NOW + 60);
    assert!(grant.covers(&RoomName::parse("pit/team-a").unwrap()));
    assert!(!grant.covers(&RoomName::parse("pit/other").unwrap()));
}

#[test]
fn a_token_says_at_whose_cost_and_how_much() {
    let hs256 = json!({"alg": "HS256"});
    let limits = json!({"updates_per_minute": 7, "bytes_per_minute": 1000, "records_per_month": 0});
    let mut claims = good_claims();
    claims["tenant"] = json!("acme");
    claims["limits"] = limits;
    let token = forged(&hs256, &claims.to_string(), SECRET);
    let grant = verify(&keys(), &token, NOW).unwrap();
    assert_eq!(grant.tenant().map(broker::Tenant::as_str), Some("acme"));
    assert_eq!(grant.limits().monthly().records, Some(0));
    let limits = SpaceLimits::PIT.with(grant.limits());
    let seven = std::num::NonZeroU32::new(7);
    assert_eq!(limits.updates_per_minute, seven);
    assert_eq!(limits.max_update, 1000, "a larger one would never be taken");
    let rest = SpaceLimits::PIT.joins_per_ip_per_minute;
    assert_eq!(limits.joins_per_ip_per_minute, rest);
    let huge = TokenLimits {
        max_update: std::num::NonZeroUsize::new(usize::MAX),
        ..TokenLimits::default()
    };
    let most = protocol::limits::MAX_PAYLOAD_BYTES;
    assert_eq!(SpaceLimits::NONE.with(&huge).max_update, most);
    // What is minted says the same again.
    let minted = Minted {
        tenant: Some("acme".to_owned()),
        limits: *grant.limits(),
        ..minted("pit/*", Role::Editor)
    };
    let token = SigningKey::from_secret(SECRET).unwrap().mint(&minted);
    let again = verify(&keys(), &token.unwrap(), NOW).unwrap();
    assert_eq!(
        (again.tenant(), again.limits()),
        (grant.tenant(), grant.limits())
    );
}

#[test]
fn every_kind_of_key_signs_and_is_believed_for_its_own_kind_only() {
    let audience = || Audience::configured(None);
    for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P256_SHA256] {
        let pair = KeyPair::generate_for(algorithm).unwrap();
        let private = pem("PRIVATE KEY", &pair.serialize_der());
        let public = pem("PUBLIC KEY", pair.public_key_der_for_tests().as_slice());
        let signing = SigningKey::from_pem(private.as_bytes()).unwrap();
        let token = signing.mint(&minted("pit/*", Role::Viewer)).unwrap();
        let read = VerifyKey::from_pem(public.as_bytes()).unwrap();
        for key in [read, signing.verify_key()] {
            let keys = KeySet::new(vec![key], audience());
            assert_eq!(verify(&keys, &token, NOW).unwrap().role(), Role::Viewer);
        }
        // The classic confusion: a public key is no secret, so a MAC by it proves nothing.
        let claims = good_claims().to_string();
        let confused = forged(&json!({"alg": "HS256"}), &claims, public.as_bytes());
        let keys = KeySet::new(vec![signing.verify_key()], audience());
        assert_eq!(verify(&keys, &confused, NOW), Err(BadToken::Signature));
        let other = KeyPair::generate_for(algorithm).unwrap();
        let other = SigningKey::from_pem(pem("PRIVATE KEY", &other.serialize_der()).as_bytes());
        let foreign = other.unwrap().mint(&minted("*/*", Role::Admin)).unwrap();
        assert_eq!(verify(&keys, &foreign, NOW), Err(BadToken::Signature));
        assert!(
            VerifyKey::from_pem(private.as_bytes()).is_err(),
            "a private key is not asked for"
        );
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

/// The public half as X.509 writes it.
trait PublicKeyDer {
    fn public_key_der_for_tests(&self) -> Vec<u8>;
}

impl PublicKeyDer for KeyPair {
    fn public_key_der_for_tests(&self) -> Vec<u8> {
        use rcgen::PublicKeyData;
        self.subject_public_key_info()
    }
}

#[test]
fn forged_tokens_get_nobody_in() {
    let hs256 = json!({"alg": "HS256", "typ": "JWT"});
    let good = good_claims().to_string();
    let whole = forged(&hs256, &good, SECRET);
    assert!(
        verify(&keys(), &whole, NOW).is_ok(),
        "else nothing is shown below"
    );
    let [head, claims, mac] = whole.split('.').collect::<Vec<_>>()[..] else {
        panic!("a token has three parts");
    };
    let mut forgeries: Vec<(String, String)> = Vec::new();
    let mut forge = |what: &str, token: String| forgeries.push((what.to_owned(), token));
    for alg in [
        "none", "None", "NONE", "nOnE", "", "HS384", "HS512", "hs256", "RS256", "PS256", "ES384",
        "ES256", "EdDSA", "ES256K",
    ] {
        forge(alg, forged(&json!({"alg": alg}), &good, SECRET));
        forge(alg, format!("{}.{claims}.", part(&json!({"alg": alg}))));
    }
    forge(
        "no algorithm",
        forged(&json!({"typ": "JWT"}), &good, SECRET),
    );
    forge(
        "an algorithm that is a list",
        forged(&json!({"alg": ["HS256"]}), &good, SECRET),
    );
    for (field, value) in [
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/cert")),
        ("jwk", json!({"kty": "oct", "k": "AAAA"})),
        ("x5c", json!(["AAAA"])),
        ("crit", json!(["b64"])),
        ("crit", json!([])),
        ("crit", json!(["exp"])),
        ("zip", json!("DEF")),
        ("b64", json!(false)),
    ] {
        let mut header = hs256.clone();
        header[field] = value;
        forge(field, forged(&header, &good, SECRET));
    }
    forge("another secret", forged(&hs256, &good, b"another secret"));
    forge("an empty secret", forged(&hs256, &good, b""));
    forge("no signature", format!("{head}.{claims}."));
    forge(
        "half a signature",
        format!("{head}.{claims}.{}", &mac[..20]),
    );
    forge("a longer signature", format!("{whole}AAAA"));
    forge(
        "other claims under the signature",
        format!(
            "{head}.{}.{mac}",
            part(&json!({"exp": NOW + 60, "aud": "well", "room": "*/*", "role": "admin"}))
        ),
    );
    for (what, claims) in [
        ("expired", with("exp", json!(NOW - 1))),
        ("expires now", with("exp", json!(NOW))),
        ("no exp", without("exp")),
        ("exp as text", with("exp", json!((NOW + 60).to_string()))),
        ("exp without end", with("exp", json!(1e300))),
        ("negative exp", with("exp", json!(-1))),
        ("exp is null", with("exp", Value::Null)),
        ("not yet", with("nbf", json!(NOW + 6))),
        ("nbf as text", with("nbf", json!("now"))),
        ("iat as text", with("iat", json!("now"))),
        ("another audience", with("aud", json!("other"))),
        ("other audiences", with("aud", json!(["other", "WELL"]))),
        ("no audience", without("aud")),
        ("an audience of no kind", with("aud", json!({"well": true}))),
        ("no role", without("role")),
        ("an unknown role", with("role", json!("owner"))),
        ("a role in capitals", with("role", json!("Admin"))),
        ("a role with a space", with("role", json!("admin "))),
        ("several roles", with("role", json!(["viewer", "admin"]))),
        ("no room", without("room")),
        ("no rooms", with("room", json!([]))),
        ("an empty pattern", with("room", json!(""))),
        ("all spaces of a name", with("room", json!("*/a"))),
        ("a star inside", with("room", json!("pit/a*b"))),
        ("two stars", with("room", json!("pit/**"))),
        ("up a folder", with("room", json!("../pit/a"))),
        ("up a folder and in", with("room", json!("doc/../pit/*/x"))),
        ("an encoded slash", with("room", json!("pit%2Fa"))),
        ("encoded twice", with("room", json!("pit%252Fa"))),
        ("a full-width slash", with("room", json!("pit\u{ff0f}a"))),
        ("a full-width star", with("room", json!("pit\u{2f}\u{0}"))),
        ("a space in capitals", with("room", json!("PIT/*"))),
        ("one bad among good", with("room", json!(["pit/a", "*"]))),
        ("too many patterns", with("room", json!(vec!["pit/a"; 65]))),
        ("an empty subject", with("sub", json!(""))),
        ("a subject with a line", with("sub", json!("ada\nroot"))),
        ("a huge subject", with("sub", json!("a".repeat(200)))),
        ("an empty jti", with("jti", json!(""))),
        ("a huge jti", with("jti", json!("a".repeat(200)))),
        ("an empty tenant", with("tenant", json!(""))),
        ("a tenant with a line", with("tenant", json!("a\nb"))),
        ("a huge tenant", with("tenant", json!("a".repeat(200)))),
        ("limits of no kind", with("limits", json!("none"))),
        (
            "a misspelt limit",
            with("limits", json!({"max_updates": 1})),
        ),
        (
            "a limit of nothing",
            with("limits", json!({"updates_per_minute": 0})),
        ),
        (
            "a negative limit",
            with("limits", json!({"bytes_per_month": -1})),
        ),
        (
            "a role twice",
            good.replacen('{', "{\"role\":\"admin\",", 1),
        ),
        ("a list", "[]".to_owned()),
        ("no JSON", "exp".to_owned()),
        ("nothing", String::new()),
        ("deep", format!("{}{}", "[".repeat(3000), "]".repeat(3000))),
    ] {
        forge(what, forged(&hs256, &claims, SECRET));
    }
    forge(
        "huge",
        forged(&hs256, &with("pad", json!("a".repeat(9000))), SECRET),
    );
    for text in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "null",
        "Bearer x",
        "\u{1f511}.\u{1f511}.\u{1f511}",
    ] {
        forge("no token", text.to_owned());
    }
    forge("spaced", format!(" {whole}"));
    forge("padded", format!("{head}=.{claims}.{mac}"));
    forge("four parts", format!("{whole}.{mac}"));
    assert!(forgeries.len() >= 60, "{}", forgeries.len());
    for (what, token) in forgeries {
        let believed = verify(&keys(), &token, NOW);
        assert!(believed.is_err(), "{what}: {token}");
    }
}

#[test]
fn a_pattern_of_another_script_is_another_room() {
    // What looks alike is not the same: it gets its holder into a room of that name, and no other.
    let lookalike = grant("pit/\u{440}it", Role::Editor);
    assert!(!lookalike.covers(&RoomName::parse("pit/pit").unwrap()));
}

#[test]
fn clocks_may_differ_before_a_token_begins_and_not_after_it_ends() {
    let hs256 = json!({"alg": "HS256"});
    let early = forged(&hs256, &with("nbf", json!(NOW + 5)), SECRET);
    assert!(verify(&keys(), &early, NOW).is_ok());
    let ending = forged(&hs256, &with("exp", json!(NOW)), SECRET);
    assert!(verify(&keys(), &ending, NOW - 1).is_ok());
    assert_eq!(verify(&keys(), &ending, NOW), Err(BadToken::Expired));
}

#[test]
fn an_audience_that_is_not_configured_is_wanted_of_nobody() {
    let keys = KeySet::new(
        vec![VerifyKey::from_secret(SECRET).unwrap()],
        Audience::configured(None),
    );
    let hs256 = json!({"alg": "HS256"});
    assert!(verify(&keys, &forged(&hs256, &without("aud"), SECRET), NOW).is_ok());
    assert!(
        verify(
            &keys,
            &forged(&hs256, &with("aud", json!("well")), SECRET),
            NOW
        )
        .is_ok()
    );
    let other = forged(&hs256, &with("aud", json!("other")), SECRET);
    assert_eq!(verify(&keys, &other, NOW), Err(BadToken::Audience));
}

#[test]
fn a_set_of_keys_gives_public_keys_only() {
    let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key_raw());
    let k = URL_SAFE_NO_PAD.encode(SECRET);
    let set = json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "new", "use": "sig"},
        {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "enc", "use": "enc"},
        {"kty": "oct", "k": k, "kid": "secret"},
        {"kty": "unheard-of"},
    ]});
    let keys = from_jwks(set.to_string().as_bytes()).unwrap();
    assert_eq!(keys.len(), 1);
    let keys = KeySet::new(keys, Audience::configured(None));
    let private = pem("PRIVATE KEY", &pair.serialize_der());
    let signing = SigningKey::from_pem(private.as_bytes()).unwrap();
    let token = signing.mint(&minted("pit/*", Role::Viewer)).unwrap();
    assert!(verify(&keys, &token, NOW).is_ok());
    let by_secret = forged(&json!({"alg": "HS256"}), &good_claims().to_string(), SECRET);
    assert_eq!(verify(&keys, &by_secret, NOW), Err(BadToken::Signature));
    assert!(from_jwks(b"{}").is_err());
}

/// The whole table: every role, with a token for the room, a token for another, and none, in every kind
/// of space, for every action, in rooms that exist and that do not.
#[test]
fn the_table_of_roles_and_actions() {
    use Action::{Create, Delete, Manage, Read, Restore, Share, Write};
    let room = RoomName::parse("pit/a").unwrap();
    let roles = [
        (Role::Observer, vec![]),
        (Role::Viewer, vec![Read]),
        (Role::Editor, vec![Read, Write, Create]),
        (
            Role::Creator,
            vec![Read, Write, Create, Restore, Delete, Share],
        ),
        (
            Role::Admin,
            vec![Read, Write, Create, Restore, Delete, Share, Manage],
        ),
    ];
    for access in [Access::Open, Access::CreateWithToken, Access::Token] {
        for exists in [true, false] {
            for action in Action::ALL {
                for (role, may) in &roles {
                    let here = grant("pit/*", *role);
                    let decided = decide(Some(&here), action, &room, access, exists).is_ok();
                    let said = format!("{role} {action:?} {access:?} {exists}");
                    assert_eq!(decided, may.contains(&action), "{said}");
                    let elsewhere = grant("doc/*", *role);
                    let decided = decide(Some(&elsewhere), action, &room, access, exists);
                    assert!(decided.is_err(), "{said}, elsewhere");
                }
                let anyone = decide(None, action, &room, access, exists).is_ok();
                let expected = match access {
                    Access::Open => action != Manage,
                    Access::CreateWithToken => exists && action == Read,
                    Access::Token => false,
                };
                assert_eq!(anyone, expected, "anyone {action:?} {access:?} {exists}");
            }
        }
    }
}

#[test]
fn the_observatory_is_for_admins_and_observers_of_everything() {
    for (role, may) in [
        (Role::Observer, true),
        (Role::Viewer, false),
        (Role::Editor, false),
        (Role::Creator, false),
        (Role::Admin, true),
    ] {
        assert_eq!(observer(Some(&grant("*/*", role))).is_ok(), may, "{role}");
        assert!(observer(Some(&grant("pit/*", role))).is_err(), "{role}");
    }
    assert_eq!(observer(None), Err(Denied::NoObserverToken));
    // It sees nothing of a room.
    let room = RoomName::parse("pit/a").unwrap();
    let of_all = grant("*/*", Role::Observer);
    assert!(!lists(Some(&of_all), &room, Access::Open));
    assert!(session_role(Some(&of_all), Role::Viewer, &room, Access::Open, true).is_err());
}

#[test]
fn a_session_is_what_it_wants_to_be_or_the_most_it_may() {
    let room = RoomName::parse("pit/a").unwrap();
    let sessions = [Role::Viewer, Role::Editor, Role::Creator];
    for wanted in sessions {
        for has in [Role::Viewer, Role::Editor, Role::Creator, Role::Admin] {
            let grant = grant("pit/a", has);
            let role = session_role(Some(&grant), wanted, &room, Access::Token, true);
            assert_eq!(role, Ok(wanted.min(has).min(Role::Creator)));
        }
        let anyone = |access, exists| session_role(None, wanted, &room, access, exists).ok();
        assert_eq!(anyone(Access::Open, false), Some(wanted));
        assert_eq!(anyone(Access::CreateWithToken, true), Some(Role::Viewer));
        assert_eq!(anyone(Access::CreateWithToken, false), None);
        assert_eq!(anyone(Access::Token, true), None);
    }
}

fn revocation(what: Revoked, within: &str, at: u64) -> Revocation {
    let within = vec![Pattern::parse(within).unwrap()];
    Revocation { what, within, at }
}

#[test]
fn what_is_revoked_is_what_was_said_where_it_was_said() {
    let room = RoomName::parse("pit/a").unwrap();
    let other = RoomName::parse("pit/b").unwrap();
    let grant = grant("pit/*", Role::Editor);
    for (what, at, here, there) in [
        (Revoked::Jti("t1".into()), 0, true, true),
        (Revoked::Jti("t2".into()), NOW, false, false),
        (Revoked::Sub("ada".into()), NOW, true, true),
        (Revoked::Sub("ada".into()), NOW - 1, false, false),
        (Revoked::Sub("bob".into()), NOW, false, false),
        (Revoked::Room("pit/a".into()), NOW, true, false),
        (Revoked::Room("pit/a".into()), NOW - 1, false, false),
    ] {
        let revocations = Revocations::in_memory();
        let revoked = revocation(what.clone(), "*/*", at);
        revocations.add(revoked).unwrap();
        assert_eq!(
            revocations.covers(&grant, Some(&room)),
            here,
            "{what:?} {at}"
        );
        assert_eq!(
            revocations.covers(&grant, Some(&other)),
            there,
            "{what:?} {at}"
        );
        let elsewhere = Revocations::in_memory();
        elsewhere.add(revocation(what, "doc/*", at)).unwrap();
        assert!(!elsewhere.covers(&grant, Some(&room)));
    }
}

#[test]
fn revocations_survive_and_a_torn_line_does_not_harm_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revocations.jsonl");
    let grant = grant("pit/*", Role::Editor);
    let room = RoomName::parse("pit/a").unwrap();
    let revocations = Revocations::open(&path).unwrap();
    let of_other = revocation(Revoked::Jti("t0".into()), "*/*", NOW);
    revocations.add(of_other).unwrap();
    assert!(!revocations.covers(&grant, Some(&room)));
    revocations
        .add(revocation(Revoked::Jti("t1".into()), "*/*", NOW))
        .unwrap();
    drop(revocations);
    let mut torn = std::fs::read(&path).unwrap();
    torn.extend_from_slice(b"{\"jti\":\"t9\",\"wit");
    std::fs::write(&path, torn).unwrap();
    let revocations = Revocations::open(&path).unwrap();
    assert!(revocations.covers(&grant, Some(&room)));
    revocations
        .add(revocation(Revoked::Sub("bob".into()), "*/*", NOW))
        .unwrap();
    drop(revocations);
    assert!(
        Revocations::open(&path).is_ok(),
        "what came after the torn line is a line"
    );
    std::fs::write(&path, "{\"jti\":1}\n").unwrap();
    assert!(
        Revocations::open(&path).is_err(),
        "damage is not passed over"
    );
}

#[tokio::test]
async fn a_session_ends_with_its_token() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    let tickets = Arc::new(Tickets::default());
    let clock = Arc::new(AtomicU64::new(NOW));
    let (watched, time) = (Arc::clone(&tickets), Arc::clone(&clock));
    let watching = tokio::spawn(async move {
        watched
            .watch(move || time.load(Ordering::SeqCst) as f64)
            .await;
    });
    let room = RoomName::parse("pit/a").unwrap();
    let grant = Arc::new(grant("pit/*", Role::Editor));
    let expiring = tickets.issue(Arc::clone(&grant), Some(room.clone()));
    assert_eq!(expiring.ended(), None);
    clock.store(NOW + 60, Ordering::SeqCst);
    expiring.until_over().await;
    assert!(expiring.ended().unwrap().1.contains("expired"));
    clock.store(NOW, Ordering::SeqCst);
    let elsewhere = RoomName::parse("pit/b").unwrap();
    let here = tickets.issue(Arc::clone(&grant), Some(room));
    let there = tickets.issue(Arc::clone(&grant), Some(elsewhere));
    let revoked = revocation(Revoked::Room("pit/a".into()), "*/*", NOW);
    assert_eq!(tickets.revoke(&revoked), 1);
    assert!(here.ended().unwrap().1.contains("revoked"));
    assert_eq!(there.ended(), None);
    drop(here);
    assert_eq!(
        tickets.revoke(&revoked),
        0,
        "a ticket that is given back is forgotten"
    );
    watching.abort();
}
