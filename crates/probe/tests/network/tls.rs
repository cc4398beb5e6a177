//! The TLS test against nginx with certificates of our own authority.

use std::{fs, sync::Arc, time::Duration};

use pitcrew_model::{TestKind, TlsOptions, TlsTest, Verdict};
use pitcrew_probe::{Answer, Question, Tools, ask};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    certificates::{Authority, DAY},
    nginx::Nginx,
    support::{NoProcesses, PATIENCE, check, target, test},
};

struct Peer {
    nginx: Nginx,
    authority: Authority,
    _directory: TempDir,
}

impl Peer {
    /// nginx with a certificate for that name, valid for `days` more.
    async fn start(name: &str, days: i32) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let authority = Authority::new(directory.path());
        let (chain, key) = authority.sign(&[name], days);
        let (chain, key) = (chain.display(), key.display());
        let block = format!("ssl_certificate {chain}; ssl_certificate_key {key};");
        let nginx = Nginx::start("ssl", &block).await?;
        Some(Self {
            nginx,
            authority,
            _directory: directory,
        })
    }

    fn options(&self, name: &str) -> TlsOptions {
        TlsOptions {
            server_name: Some(name.to_owned()),
            ca_file: Some(self.authority.ca_file()),
            insecure: false,
        }
    }

    async fn ask(&self, options: TlsOptions) -> Answer {
        let tools = Tools::new(Arc::new(NoProcesses));
        self.ask_with(&tools, options, Duration::from_secs(5)).await
    }

    async fn ask_with(&self, tools: &Tools, options: TlsOptions, timeout: Duration) -> Answer {
        let tls = TlsTest {
            port: None,
            warn_before: 21 * DAY,
            fail_before: 7 * DAY,
            options,
        };
        let target = target(Some(&format!("127.0.0.1:{}", self.nginx.port)), &[]);
        let test = test(TestKind::Tls(tls), timeout);
        ask(Question::new(&target, None, &test, tools)).await
    }
}

#[tokio::test]
async fn it_warns_and_fails_as_the_certificate_runs_out() {
    for (days, verdict, words) in [
        (61, Verdict::Pass, "CN=web.test, 61 days left"),
        (
            20,
            Verdict::Warn,
            "CN=web.test, 20 days left, wanted more than 21d",
        ),
        (
            5,
            Verdict::Fail,
            "CN=web.test, 5 days left, wanted more than 7d",
        ),
        (-3, Verdict::Fail, "certificate has expired (CN=web.test)"),
    ] {
        let Some(peer) = Peer::start("web.test", days).await else {
            return;
        };
        check(&peer.ask(peer.options("web.test")).await, verdict, words);
    }
}

#[tokio::test]
async fn chain_and_name_are_checked_unless_the_test_says_not_to() {
    let Some(peer) = Peer::start("web.test", 90).await else {
        return;
    };
    let answer = peer.ask(peer.options("other.test")).await;
    check(&answer, Verdict::Fail, "certificate");
    check(&answer, Verdict::Fail, "other.test");
    let mut options = peer.options("web.test");
    options.ca_file = None;
    let answer = peer.ask(options.clone()).await;
    check(
        &answer,
        Verdict::Fail,
        "certificate is signed by an unknown issuer (CN=web.test)",
    );
    options.insecure = true;
    check(
        &peer.ask(options).await,
        Verdict::Pass,
        "CN=web.test, 90 days left",
    );
}

#[tokio::test]
async fn a_file_of_authorities_that_cannot_be_read_is_our_own_fault() {
    let Some(peer) = Peer::start("web.test", 90).await else {
        return;
    };
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("ca.pem");
    let mut options = peer.options("web.test");
    options.ca_file = Some(file.display().to_string());
    let answer = peer.ask(options.clone()).await;
    check(&answer, Verdict::Unknown, &file.display().to_string());
    fs::write(&file, "no certificate\n").unwrap();
    assert_eq!(peer.ask(options).await.verdict, Verdict::Unknown);
}

#[tokio::test]
async fn a_file_of_authorities_that_never_ends_is_waited_for_by_its_own_tests_only() {
    let Some(peer) = Peer::start("web.test", 90).await else {
        return;
    };
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("ca.pem");
    mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut hangs = peer.options("web.test");
    hangs.ca_file = Some(file.display().to_string());
    let tools = Tools::new(Arc::new(NoProcesses));
    let second = Duration::from_secs(1);
    let (first, again, other) = tokio::join!(
        peer.ask_with(&tools, hangs.clone(), second),
        peer.ask_with(&tools, hangs.clone(), second),
        peer.ask_with(&tools, peer.options("web.test"), 60 * second),
    );
    for answer in [first, again] {
        let words = "(the authorities' certificates have not been read)";
        check(&answer, Verdict::Unknown, words);
    }
    check(&other, Verdict::Pass, "CN=web.test, 90 days left");
    // One reader has it open: what it is given now, all get who ask next.
    fs::write(&file, fs::read(peer.authority.ca_file()).unwrap()).unwrap();
    let answer = peer.ask_with(&tools, hangs, 60 * second).await;
    check(&answer, Verdict::Pass, "CN=web.test, 90 days left");
}

#[tokio::test]
async fn a_file_of_authorities_that_changes_is_read_again() {
    let Some(peer) = Peer::start("web.test", 90).await else {
        return;
    };
    let (directory, tools) = (TempDir::new().unwrap(), Tools::new(Arc::new(NoProcesses)));
    let file = directory.path().join("ca.pem");
    fs::copy(peer.authority.ca_file(), &file).unwrap();
    let mut options = peer.options("web.test");
    options.ca_file = Some(file.display().to_string());
    let asked = || peer.ask_with(&tools, options.clone(), Duration::from_secs(5));
    check(&asked().await, Verdict::Pass, "90 days left");
    let other = TempDir::new().unwrap();
    fs::copy(Authority::new(other.path()).ca_file(), &file).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let answer = loop {
        let answer = asked().await;
        if answer.verdict != Verdict::Pass || Instant::now() > deadline {
            break answer;
        }
        sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(answer.verdict, Verdict::Fail, "{answer:?}");
}
