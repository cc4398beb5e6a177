//! The DNS test against dnsmasq.

use std::{process::Command, time::Duration};

use pitcrew_model::{
    DnsRecord::{self, A, Aaaa, Cname, Mx, Ptr, Srv, Txt},
    DnsTest, TestKind, Verdict,
};

use crate::support::{Server, ask_port, check, free_port, is_missing, until};

fn dns(name: &str, record: DnsRecord, answers: &[&str]) -> TestKind {
    TestKind::Dns(DnsTest {
        port: None,
        name: name.to_owned(),
        record,
        answers: answers.iter().map(|answer| (*answer).to_owned()).collect(),
    })
}

#[tokio::test]
async fn every_kind_of_record_is_asked_for_and_compared() {
    if is_missing("/usr/sbin/dnsmasq", "dnsmasq-base") {
        return;
    }
    let port = free_port();
    let long: Vec<String> = (0..20)
        .map(|at| format!("--txt-record=long.test,{at}{}", "x".repeat(100)))
        .collect();
    let _server = Server::start(
        Command::new("/usr/sbin/dnsmasq")
            .args([
                "--no-daemon",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--user=root",
            ])
            .args([
                "--bind-interfaces",
                "--listen-address=127.0.0.1",
                "--pid-file=",
            ])
            .arg(format!("--port={port}"))
            .args([
                "--host-record=web.test,10.0.0.1,fd00::1",
                "--host-record=web.test,10.0.0.2",
            ])
            .args([
                "--cname=www.test,web.test",
                "--mx-host=test,mail.test,10",
                "--local=/test/",
            ])
            .args([
                "--srv-host=_web._tcp.test,web.test,8080,0,5",
                "--txt-record=test,v=spf1 -all",
            ])
            .arg("--ptr-record=1.0.0.10.in-addr.arpa,web.test")
            .args(&long),
    );
    let web = dns("web.test", A, &["10.0.0.1"]);
    check(
        &until(port, &web, Verdict::Pass).await,
        Verdict::Pass,
        "10.0.0.1",
    );
    let ask = async |kind: TestKind| ask_port(port, kind, Duration::from_secs(5)).await;
    for (name, record, answers, words) in [
        ("web.test", A, &["10.0.0.1", "10.0.0.2"][..], "10.0.0.2"),
        ("WEB.test.", Aaaa, &["fd00:0::1"], "fd00::1"),
        ("www.test", Cname, &["Web.Test"], "web.test."),
        ("test", Mx, &["10 mail.test"], "10 mail.test."),
        (
            "_web._tcp.test",
            Srv,
            &["0 5 8080 web.test"],
            "0 5 8080 web.test.",
        ),
        ("test", Txt, &["v=spf1 -all"], "v=spf1 -all"),
        ("1.0.0.10.in-addr.arpa", Ptr, &["web.test"], "web.test."),
        ("long.test", Txt, &[], "xxxx"),
    ] {
        check(&ask(dns(name, record, answers)).await, Verdict::Pass, words);
    }
    let lacking = ask(dns("web.test", A, &["10.0.0.9"])).await;
    check(&lacking, Verdict::Fail, ", lacks 10.0.0.9");
    check(
        &ask(dns("none.test", A, &[])).await,
        Verdict::Fail,
        "NXDOMAIN for none.test A",
    );
    check(
        &ask(dns("web.test", Mx, &[])).await,
        Verdict::Fail,
        "no MX record for web.test",
    );
    check(
        &ask(dns("elsewhere.example", A, &[])).await,
        Verdict::Fail,
        "REFUSED for elsewhere.example A",
    );
    check(
        &ask(dns("..", A, &[])).await,
        Verdict::Unknown,
        "`..` is not a name",
    );
}
