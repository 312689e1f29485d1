//! `well doctor` finds what is planted, each fault by its own check, and nothing where nothing is; and
//! `well health` tells a server that is ready from one that is not there.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::Value;
use system_tests::command::{command, well};
use system_tests::server::{Server, binary};
use tempfile::TempDir;

/// What each check said: its verdict, what was found, and the advice.
type Said = BTreeMap<String, (String, String, Option<String>)>;

struct Patient {
    folder: TempDir,
    port: u16,
}

impl Patient {
    fn new() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Self {
            folder: TempDir::new().expect("a folder"),
            port: free.local_addr().expect("its address").port(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The arguments of a healthy one, with more that say otherwise.
    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let mut arguments = vec!["doctor".to_owned(), "--json".to_owned()];
        let archive = format!("file://{}", self.path("archive"));
        for (name, value) in [
            ("--listen", format!("127.0.0.1:{}", self.port)),
            ("--data", self.path("data")),
            ("--archive", archive),
        ] {
            if !more.contains(&name) {
                arguments.extend([name.to_owned(), value]);
            }
        }
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        arguments
    }

    fn examine(&self, more: &[&str]) -> Said {
        let arguments = self.arguments(more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        said(&mut command(&arguments))
    }

    /// As with a configuration of these lines.
    fn configured(&self, lines: &str) -> Said {
        let file = self.path("well.toml");
        fs::write(&file, lines).expect("it can be written");
        self.examine(&["--config", &file])
    }
}

/// What it says; that it ends with 1 exactly when something must be mended is checked on the way.
fn said(command: &mut Command) -> Said {
    let output = command.output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("it speaks UTF-8");
    let lines = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("a line is JSON");
        let field = |name: &str| line[name].as_str().map(str::to_owned);
        let said = |name: &str| field(name).expect("a field");
        let what = (said("verdict"), said("found"), field("advice"));
        (said("check"), what)
    });
    let said: Said = lines.collect();
    let fails = said.values().any(|(verdict, ..)| verdict == "FAIL");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(i32::from(fails)),
        "{said:?}\n{stderr}"
    );
    for (verdict, found, advice) in said.values() {
        assert_eq!(verdict == "ok", advice.is_none(), "{found}: {advice:?}");
    }
    said
}

/// The verdict of one check.
fn verdict<'a>(said: &'a Said, check: &str) -> &'a str {
    let found = said.get(check);
    &found
        .unwrap_or_else(|| panic!("{check} was not looked at: {said:?}"))
        .0
}

fn failures(said: &Said) -> Vec<&str> {
    let failing = said.iter().filter(|(_, (verdict, ..))| verdict == "FAIL");
    failing.map(|(check, _)| check.as_str()).collect()
}

#[test]
fn where_nothing_is_wrong_nothing_is_found() {
    let patient = Patient::new();
    let said = patient.examine(&[]);
    assert_eq!(failures(&said), Vec::<&str>::new(), "{said:?}");
    for check in [
        "configuration",
        "version",
        "clock",
        "data folder",
        "medium",
        "TCP port",
        "UDP port",
        "archive",
    ] {
        assert_eq!(verdict(&said, check), "ok", "{check}: {said:?}");
    }
    for check in [
        "disk space",
        "sync",
        "open files",
        "memory",
        "backlog",
        "UDP buffers",
    ] {
        verdict(&said, check);
    }
    let left: Vec<_> = fs::read_dir(patient.folder.path())
        .unwrap()
        .flatten()
        .collect();
    let left: Vec<_> = left.iter().map(fs::DirEntry::file_name).collect();
    assert!(
        left.iter().all(|name| name == "archive"),
        "it left {left:?}"
    );
    assert!(
        fs::read_dir(patient.path("archive"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn a_misspelt_key_is_found() {
    let said = Patient::new().configured("[spaces.pit]\nmax_updat = \"64KB\"\n");
    assert_eq!(failures(&said), ["configuration"]);
    assert!(said["configuration"].1.contains("max_updat"), "{said:?}");
}

#[test]
fn a_data_folder_that_is_a_file_is_found() {
    let patient = Patient::new();
    fs::write(patient.path("data"), "").unwrap();
    assert_eq!(failures(&patient.examine(&[])), ["data folder"]);
}

#[test]
fn a_data_folder_in_memory_is_found() {
    let memory = TempDir::new_in("/dev/shm").expect("a folder in memory");
    let data = memory.path().join("data").display().to_string();
    let said = Patient::new().examine(&["--data", &data]);
    assert_eq!(verdict(&said, "medium"), "FAIL", "{said:?}");
}

#[test]
fn syncs_that_are_made_a_lie_are_found() {
    let patient = Patient::new();
    let arguments = patient.arguments(&[]);
    let mut command = Command::new(binary());
    command.args(arguments).env("LD_PRELOAD", "libeatmydata.so");
    let said = said(&mut command);
    assert_eq!(failures(&said), ["sync"]);
}

#[test]
fn a_clock_behind_the_data_is_found() {
    let patient = Patient::new();
    fs::create_dir(patient.path("data")).unwrap();
    let file = fs::File::create(Path::new(&patient.path("data")).join("db")).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(3600))
        .unwrap();
    assert_eq!(failures(&patient.examine(&[])), ["clock"]);
}

#[test]
fn too_few_open_files_are_found() {
    let patient = Patient::new();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 512 && exec \"$0\" \"$@\""]);
    shell.arg(binary()).args(patient.arguments(&[]));
    assert_eq!(failures(&said(&mut shell)), ["open files"]);
}

#[test]
fn ports_that_are_taken_are_found() {
    let patient = Patient::new();
    let address = format!("127.0.0.1:{}", patient.port);
    let _tcp = TcpListener::bind(&address).expect("it is free");
    let _udp = UdpSocket::bind(&address).expect("it is free");
    let said = patient.examine(&[]);
    assert_eq!(
        (verdict(&said, "TCP port"), verdict(&said, "UDP port")),
        ("warn", "warn")
    );
    let elsewhere = patient.examine(&["--listen", "192.0.2.1:4000", "--allow-open"]);
    assert_eq!(
        failures(&elsewhere),
        ["TCP port", "UDP port"],
        "{elsewhere:?}"
    );
}

#[test]
fn certificates_that_end_or_are_another_keys_are_found() {
    let patient = Patient::new();
    let files = format!(
        "[tls]\ncert = {:?}\nkey = {:?}\n",
        patient.path("cert.pem"),
        patient.path("key.pem")
    );
    let write = |until: (i32, u8, u8), own: bool| {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        let certificate = params.self_signed(&key).expect("a certificate");
        let other = KeyPair::generate().expect("a key");
        let kept = if own { &key } else { &other };
        fs::write(patient.path("cert.pem"), certificate.pem()).unwrap();
        fs::write(patient.path("key.pem"), kept.serialize_pem()).unwrap();
    };
    let tells = || {
        let said = patient.configured(&files);
        (
            verdict(&said, "certificate").to_owned(),
            said["certificate"].1.clone(),
        )
    };
    write((2099, 1, 1), true);
    assert_eq!(
        tells(),
        (
            "ok".to_owned(),
            "it holds until 2099-01-01T00:00:00Z".to_owned()
        )
    );
    write((2021, 1, 1), true);
    assert_eq!(
        tells(),
        (
            "FAIL".to_owned(),
            "it ended at 2021-01-01T00:00:00Z".to_owned()
        )
    );
    write((2099, 1, 1), false);
    assert_eq!(tells().0, "FAIL");
    fs::remove_file(patient.path("key.pem")).unwrap();
    assert_eq!(tells().0, "FAIL");
}

#[test]
fn an_archive_that_cannot_be_written_is_found() {
    let patient = Patient::new();
    fs::write(patient.path("file"), "").unwrap();
    let within = format!("file://{}/archive", patient.path("file"));
    assert_eq!(
        failures(&patient.examine(&["--archive", &within])),
        ["archive"]
    );
    let unheard_of = patient.examine(&["--archive", "ftp://bucket"]);
    assert_eq!(failures(&unheard_of), ["archive"]);
}

#[test]
fn records_that_end_with_the_process_are_said_to() {
    let said = Patient::new().examine(&["--store", "memory"]);
    assert_eq!(verdict(&said, "store"), "warn");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_that_of_the_server() {
    let server = Server::start();
    let url = format!("http://{}", server.address());
    let ready = tokio::task::spawn_blocking({
        let url = url.clone();
        move || well(&["health", "--url", &url]).ok()
    });
    let ready: Value = serde_json::from_str(&ready.await.expect("it ran")).expect("JSON");
    assert_eq!(ready["ready"], true);
    drop(server);
    let gone = tokio::task::spawn_blocking(move || well(&["health", "--url", &url]).fails());
    assert!(gone.await.expect("it ran").contains("does not answer"));
}
