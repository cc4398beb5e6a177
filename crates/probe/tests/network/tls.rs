//! The TLS test against nginx with certificates of our own authority.

use std::{fs, time::Duration};

use pitcrew_model::{TestKind, TlsOptions, TlsTest, Verdict};
use pitcrew_probe::Answer;
use tempfile::TempDir;

use crate::{
    certificates::{Authority, DAY},
    nginx::Nginx,
    support::{ask_port, check},
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
        let tls = TlsTest {
            port: None,
            warn_before: 21 * DAY,
            fail_before: 7 * DAY,
            options,
        };
        ask_port(self.nginx.port, TestKind::Tls(tls), Duration::from_secs(5)).await
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
