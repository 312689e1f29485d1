//! `well token`: makes keys, and tokens with them.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use broker::Tenant;
use clap::{Args, Subcommand, ValueEnum};
use gateway::access::pattern::Pattern;
use gateway::access::token::{AUDIENCE, MAX_PATTERNS, Minted, SigningKey};
use gateway::quota::TokenLimits;
use protocol::{Role, UserId};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};

use super::say;
use crate::auth::{random_secret, write_secret};

/// `well token`
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a key: a private one in FILE and its public half in FILE.pub, or a secret in FILE
    Key(KeyArgs),
    /// Make a token, and write it to standard output
    Mint(Box<MintArgs>),
}

#[derive(Debug, Args)]
struct KeyArgs {
    /// What the key signs with
    #[arg(long, value_name = "ALGORITHM", default_value = "EdDSA")]
    alg: Algorithm,
    /// The file; it must not be there yet, and only its owner will read it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Algorithm {
    /// Ed25519, a pair of keys
    #[value(name = "EdDSA")]
    EdDsa,
    /// ECDSA on P-256 with SHA-256, a pair of keys
    #[value(name = "ES256")]
    Es256,
    /// HMAC with SHA-256, a secret that the server shares
    #[value(name = "HS256")]
    Hs256,
}

#[derive(Debug, Args)]
struct MintArgs {
    /// A file that `well token key` made: a private key in PEM, or a secret. A server without keys has its
    /// own secret in `auth.secret` in its data folder
    #[arg(long, value_name = "FILE", conflicts_with = "secret")]
    key: Option<PathBuf>,
    /// The secret that the server has in `[auth]`
    #[arg(long, env = "WELL_AUTH_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// Rooms that the token is for: space/name, space/prefix*, space/* or */*; may be given several times
    #[arg(long = "room", value_name = "PATTERN", required = true, value_parser = Pattern::parse)]
    rooms: Vec<Pattern>,
    /// What its holder is there: viewer, editor, creator or admin; or observer, who sees the Observatory
    #[arg(long, value_parser = role)]
    role: Role,
    /// For how long it is valid, like 1h or 30d
    #[arg(long, value_parser = humantime::parse_duration, default_value = "1h")]
    ttl: Duration,
    /// Who its holder is
    #[arg(long, value_name = "USER")]
    sub: Option<String>,
    /// At whose cost its holder writes: the tenant whose month it is
    #[arg(long)]
    tenant: Option<String>,
    /// Limits of its holder in place of the space's, in JSON: `{"records_per_month": 1000000}`
    #[arg(long, value_name = "JSON", value_parser = limits)]
    limits: Option<TokenLimits>,
    /// Who it is for
    #[arg(long, default_value = AUDIENCE)]
    audience: String,
    /// The token's own name, to revoke it by; random unless said
    #[arg(long)]
    jti: Option<String>,
}

fn limits(json: &str) -> Result<TokenLimits, serde_json::Error> {
    serde_json::from_str(json)
}

fn role(name: &str) -> Result<Role, &'static str> {
    Role::parse(name).ok_or("a role is observer, viewer, editor, creator or admin")
}

/// Runs `well token`.
pub(crate) fn run(args: TokenArgs) -> anyhow::Result<()> {
    match args.what {
        What::Key(args) => make_key(&args),
        What::Mint(args) => mint(*args),
    }
}

fn make_key(args: &KeyArgs) -> anyhow::Result<()> {
    let out = args.out.display();
    let algorithm = match args.alg {
        Algorithm::Hs256 => {
            write_secret(&args.out, random_secret()?.as_bytes())?;
            say(&format!(
                "wrote a secret to {out}; give it to the server as WELL_AUTH_SECRET"
            ))?;
            return Ok(());
        }
        Algorithm::EdDsa => &PKCS_ED25519,
        Algorithm::Es256 => &PKCS_ECDSA_P256_SHA256,
    };
    let pair = KeyPair::generate_for(algorithm).context("the key could not be made")?;
    let mut public = args.out.clone().into_os_string();
    public.push(".pub");
    let public = PathBuf::from(public);
    write_secret(&args.out, pair.serialize_pem().as_bytes())?;
    std::fs::write(&public, pair.public_key_pem())
        .with_context(|| format!("{} cannot be written", public.display()))?;
    let public = public.display();
    say(&format!(
        "wrote a private key to {out} and its public half to {public}; the server needs the latter, \
         in [auth] public_keys"
    ))?;
    Ok(())
}

/// The key in a file: PEM, or a secret as it is.
fn signing_key(file: &[u8]) -> anyhow::Result<SigningKey> {
    if file.trim_ascii_start().starts_with(b"-----BEGIN") {
        Ok(SigningKey::from_pem(file)?)
    } else {
        Ok(SigningKey::from_secret(file.trim_ascii_end())?)
    }
}

fn mint(args: MintArgs) -> anyhow::Result<()> {
    let signing = match (&args.key, &args.secret) {
        (Some(path), _) => {
            let key = std::fs::read(path);
            let key = key.with_context(|| format!("{} cannot be read", path.display()))?;
            signing_key(&key).with_context(|| path.display().to_string())?
        }
        (None, Some(secret)) => SigningKey::from_secret(secret.as_bytes())?,
        (None, None) => bail!("give --key FILE or --secret SECRET: a token is signed with one"),
    };
    if args.rooms.len() > MAX_PATTERNS {
        bail!("a token is for {MAX_PATTERNS} patterns at most");
    }
    if args.ttl.as_secs() == 0 {
        bail!("a token is valid for a second at least");
    }
    if let Some(sub) = &args.sub {
        UserId::new(sub).context("--sub")?;
    }
    if (args.tenant.as_deref()).is_some_and(|tenant| Tenant::new(tenant).is_none()) {
        let most = Tenant::MAX_BYTES;
        bail!("--tenant has 1 to {most} bytes and no control characters");
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let jti = match args.jti {
        Some(jti) => jti,
        None => format!("{:016x}{:016x}", getrandom::u64()?, getrandom::u64()?),
    };
    let token = signing.mint(&Minted {
        room: args.rooms,
        role: args.role,
        iat: now.as_secs(),
        exp: now.as_secs().saturating_add(args.ttl.as_secs()),
        aud: args.audience,
        jti,
        sub: args.sub,
        tenant: args.tenant,
        limits: args.limits.unwrap_or_default(),
    })?;
    Ok(say(&token)?)
}
