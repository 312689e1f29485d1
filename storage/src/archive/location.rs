//! From a URL to a store and a prefix in it.
//!
//! The crate `object_store` retries on its own; for archives that is turned off, because they retry
//! with rules of their own and must say why they are late.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use super::{ArchiveError, Options};

const EXPECTED: &str = "expected file:///folder, s3://bucket/prefix, gs://bucket/prefix, \
                        az://container/prefix or memory://";
/// A connection that is not there after this long is tried anew.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often `object_store` tries again what failed, for those who do not do so themselves.
const RETRIES: usize = 4;

/// The store that a URL names, as an archive takes it, and the path in it; for what is kept beside
/// archives.
///
/// # Errors
/// [`ArchiveError::Url`] for a bad URL, and [`ArchiveError::Store`] for a folder that cannot be made.
pub fn open_store(
    url: &str,
    options: &Options,
) -> Result<(Arc<dyn ObjectStore>, String), ArchiveError> {
    let retry = RetryConfig {
        max_retries: RETRIES,
        ..RetryConfig::default()
    };
    locate(url, options, &retry)
}

/// The store of an archive, and the prefix in it.
pub(super) fn locate_archive(
    url: &str,
    options: &Options,
) -> Result<(Arc<dyn ObjectStore>, String), ArchiveError> {
    locate(url, options, &once())
}

fn locate(
    url: &str,
    options: &Options,
    retry: &RetryConfig,
) -> Result<(Arc<dyn ObjectStore>, String), ArchiveError> {
    let refuse = |why: String| ArchiveError::Url {
        url: without_password(url),
        why,
    };
    let parsed = Url::parse(url).map_err(|error| refuse(format!("{error}; {EXPECTED}")))?;
    let prefix = percent_decoded(parsed.path()).map_err(&refuse)?;
    let store: Arc<dyn ObjectStore> = match parsed.scheme() {
        "memory" => Arc::new(InMemory::new()),
        "file" => {
            let folder = parsed
                .to_file_path()
                .map_err(|()| refuse(format!("not a folder of this machine; {EXPECTED}")))?;
            if options.must_exist && !folder.is_dir() {
                return Err(refuse("there is no such folder".to_owned()));
            }
            return Ok((folder_store(&folder)?, String::new()));
        }
        "s3" | "s3a" => {
            use_ring();
            let mut builder = AmazonS3Builder::new()
                .with_url(url)
                .with_retry(retry.clone())
                .with_client_options(client());
            for (name, value) in settings(options, "aws_") {
                if let Ok(key) = name.parse() {
                    builder = builder.with_config(key, value);
                }
            }
            Arc::new(builder.build().map_err(|error| refuse(error.to_string()))?)
        }
        "gs" => {
            use_ring();
            let mut builder = GoogleCloudStorageBuilder::new()
                .with_url(url)
                .with_retry(retry.clone())
                .with_client_options(client());
            for (name, value) in settings(options, "google_") {
                if let Ok(key) = name.parse() {
                    builder = builder.with_config(key, value);
                }
            }
            Arc::new(builder.build().map_err(|error| refuse(error.to_string()))?)
        }
        "az" | "azure" | "abfs" | "abfss" => {
            use_ring();
            let mut builder = MicrosoftAzureBuilder::new()
                .with_url(url)
                .with_retry(retry.clone())
                .with_client_options(client());
            for (name, value) in settings(options, "azure_") {
                if let Ok(key) = name.parse() {
                    builder = builder.with_config(key, value);
                }
            }
            Arc::new(builder.build().map_err(|error| refuse(error.to_string()))?)
        }
        other => return Err(refuse(format!("no store is named {other:?}; {EXPECTED}"))),
    };
    Ok((store, prefix))
}

/// A folder, which is made if it is not there; everything written to it is synced. One that cannot
/// be made may be a disk that is not there yet.
fn folder_store(folder: &Path) -> Result<Arc<dyn ObjectStore>, ArchiveError> {
    let failed = |doing: &str, why: String| ArchiveError::Store {
        doing: format!("{doing} the folder {}", folder.display()),
        why,
    };
    std::fs::create_dir_all(folder).map_err(|error| failed("make", error.to_string()))?;
    let store = LocalFileSystem::new_with_prefix(folder)
        .map_err(|error| failed("use", error.to_string()))?;
    Ok(Arc::new(store.with_fsync(true)))
}

/// The variables with a prefix, lowercased as the builders' keys are.
fn settings<'a>(
    options: &'a Options,
    prefix: &'a str,
) -> impl Iterator<Item = (String, &'a String)> {
    options.variables.iter().filter_map(move |(name, value)| {
        let name = name.to_ascii_lowercase();
        name.starts_with(prefix).then_some((name, value))
    })
}

fn once() -> RetryConfig {
    RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    }
}

/// How long an attempt may take depends on its size, so the archive bounds it by itself.
fn client() -> ClientOptions {
    ClientOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout_disabled()
}

/// TLS needs one provider for the process; whoever is first decides.
fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn percent_decoded(path: &str) -> Result<String, String> {
    let path = object_store::path::Path::from_url_path(path)
        .map_err(|error| format!("the prefix cannot be used: {error}"))?;
    Ok(path.to_string())
}

/// A URL as it may be logged.
fn without_password(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => {
            let _ = parsed.set_password(Some("…"));
            parsed.to_string()
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(variables: &[(&str, &str)]) -> Options {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Options {
            variables: variables.iter().map(own).collect(),
            ..Options::default()
        }
    }

    #[test]
    fn each_url_names_its_store_and_prefix() {
        let variables = [
            ("AWS_REGION", "eu-north-1"),
            ("AWS_ENDPOINT", "http://127.0.0.1:9"),
            ("AWS_ALLOW_HTTP", "true"),
            ("AZURE_STORAGE_ACCOUNT_NAME", "well"),
            ("PATH", "/bin"),
        ];
        for (url, prefix, store) in [
            ("s3://bucket/some/where", "some/where", "AmazonS3(bucket)"),
            ("s3://bucket", "", "AmazonS3(bucket)"),
            ("gs://bucket/a%20b/", "a b", "GoogleCloudStorage(bucket)"),
            (
                "az://box/p",
                "p",
                "MicrosoftAzure { account: well, container: box }",
            ),
            ("memory://", "", "InMemory"),
        ] {
            let (found, at) = locate_archive(url, &options(&variables)).unwrap();
            assert_eq!(at, prefix, "{url}");
            assert_eq!(found.to_string(), store, "{url}");
        }
    }

    #[test]
    fn a_url_that_names_nothing_says_what_would() {
        for url in ["nowhere", "ftp://x/y", "file://host/x"] {
            let Err(error) = locate_archive(url, &Options::default()) else {
                panic!("{url} is no archive");
            };
            assert!(error.to_string().contains("s3://bucket/prefix"), "{error}");
        }
        let secret = locate_archive("ftp://me:secret@x/y", &Options::default());
        assert!(!format!("{:?}", secret.err()).contains("secret"));
    }
}
