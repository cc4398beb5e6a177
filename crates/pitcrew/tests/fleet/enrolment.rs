//! Becoming a host: once for each token, and with a certificate that is good.

use std::{fs, os::unix::fs::PermissionsExt as _};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustix::process::Signal;

use crate::{
    agents::{Agent, Fleet},
    production::wait_for,
};

#[test]
fn a_host_enrols_is_found_with_what_runs_there_and_is_healthy_by_two_observers() {
    let fleet = Fleet::served();
    let _agent = fleet.agent("web-a");
    let target = fleet.wait_for_health("web-1@web-a", "healthy");
    assert_eq!(target["target"]["run_on"], "web-a");
    assert_eq!(target["target"]["labels"]["host"], "web-a");
    let observers = wait_for("both observers", || {
        let target = fleet.target("web-1@web-a")?;
        let tests = target["tests"].as_array().ok_or("no tests")?;
        let observers: Vec<String> = tests
            .iter()
            .map(|test| {
                format!(
                    "{}: {}",
                    test["test"].as_str().unwrap_or("?"),
                    test["observer"].as_str().unwrap_or("?")
                )
            })
            .collect();
        (observers.len() == 2)
            .then_some(observers)
            .ok_or_else(|| target.to_string())
    });
    assert!(
        observers.contains(&"answers: local".to_owned()),
        "{observers:?}"
    );
    assert!(
        observers.contains(&"runs: web-a".to_owned()),
        "{observers:?}"
    );
}

#[test]
fn keys_are_for_their_owner_only_and_the_hosts_key_is_only_on_the_host() {
    let fleet = Fleet::served();
    let agent = fleet.agent("web-a");
    let server = fleet.production.data().join("agents");
    let identity = agent.directory.join("data/identity.json");
    for file in ["authority.key", "orders.key", "tokens.json"]
        .map(|name| server.join(name))
        .iter()
        .chain([&identity])
    {
        let mode = fs::metadata(file)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    let identity: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(identity).expect("text")).expect("JSON");
    let key = identity["key"].as_str().expect("a key");
    let body = key.lines().nth(1).expect("a line of it");
    for entry in fs::read_dir(server)
        .expect("a directory")
        .map_while(Result::ok)
    {
        let bytes = fs::read(entry.path()).unwrap_or_default();
        assert!(
            !String::from_utf8_lossy(&bytes).contains(body),
            "{:?}",
            entry.path()
        );
    }
}

#[test]
fn a_token_is_good_once() {
    let fleet = Fleet::served();
    let token = fleet.token("web-a");
    let mut first = Agent::new(&fleet, "web-a", &token, "");
    first.start();
    fleet.wait_until_connected("web-a", true);
    let second = Agent::new(&fleet, "web-a-again", &token, "");
    let output = second.command().output().expect("it ends by itself");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("used already"), "{said}");
    assert_eq!(fleet.refused("token"), 1);
}

#[test]
fn a_host_that_is_not_enrolled_says_what_to_do() {
    let fleet = Fleet::served();
    let nowhere = fleet.production.path().join("no-such-file");
    let agent = Agent::new(&fleet, "web-a", &nowhere, "");
    let output = agent.command().output().expect("it ends by itself");
    assert_ne!(output.status.code(), Some(0));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no-such-file"), "{said}");
}

#[test]
fn a_certificate_is_renewed_by_itself_and_an_expired_one_is_refused_until_the_host_is_enrolled_again()
 {
    let fleet = Fleet::served_with("certificate_lifetime: 24s");
    let mut agent = fleet.agent("web-a");
    agent.wait_for_log("the certificate is renewed");
    agent.kill();
    fleet.wait_until_connected("web-a", false);
    // Longer than any certificate that it can have.
    std::thread::sleep(std::time::Duration::from_secs(25));
    let refused = fleet.refused("certificate");
    agent.start();
    wait_for("the expired certificate to be refused", || {
        let now = fleet.refused("certificate");
        (now > refused).then_some(()).ok_or_else(|| agent.log())
    });
    fleet.wait_until_connected("web-a", false);
    fleet.token("web-a");
    fleet.wait_until_connected("web-a", true);
}

#[test]
fn two_agents_that_claim_one_identity_are_told_apart_and_the_second_is_refused() {
    let fleet = Fleet::served();
    let first = fleet.agent("web-a");
    let mut copy = Agent::new(
        &fleet,
        "copy",
        &fleet.production.path().join("web-a.token"),
        "",
    );
    fs::create_dir_all(copy.directory.join("data")).expect("a directory");
    let identity = "data/identity.json";
    fs::copy(
        first.directory.join(identity),
        copy.directory.join(identity),
    )
    .expect("a copied disk");
    copy.start();
    copy.wait_for_log("another agent is connected as web-a");
    assert!(fleet.refused("second_claimant") >= 1);
    wait_for("it to be reported", || {
        let log = fleet.production.log();
        let is_reported = log.contains("two agents claim to be web-a");
        is_reported.then_some(()).ok_or(log)
    });
    fleet.wait_until_connected("web-a", true);
    // The first goes; only then is the place free.
    first.signal(Signal::TERM);
    copy.wait_for_log("connected server=");
}

#[test]
fn a_host_that_is_revoked_is_gone_at_once_until_it_is_enrolled_again() {
    let fleet = Fleet::served();
    let agent = fleet.agent("web-a");
    fleet.production.says(&["hosts", "--revoke", "web-a"], 0);
    fleet.wait_until_connected("web-a", false);
    agent.wait_for_log("enrolled again or revoked");
    assert!(fleet.refused("revoked") >= 1);
    fleet.token("web-a");
    fleet.wait_until_connected("web-a", true);
}

#[test]
fn hosts_are_hosts_of_the_users_own_authority_where_there_is_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: String| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("it is written");
        path.display().to_string()
    };
    // A root that no host ever sees, and an intermediate that may sign.
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    };
    let (root_key, key) = (KeyPair::generate(), KeyPair::generate());
    let (root_key, key) = (root_key.expect("a key"), key.expect("a key"));
    let root = Issuer::new(authority("root"), root_key);
    let made = authority("for hosts").signed_by(&key, &root).expect("one");
    let certificate_file = file("ca.pem", made.pem());
    let key_file = file("ca.key", key.serialize_pem());
    let fleet = Fleet::served_with(&format!(
        "authority: {{ certificate_file: {certificate_file}, key_file: {key_file} }}"
    ));
    let agent = fleet.agent("web-a");
    fleet.wait_for_health("web-1@web-a", "healthy");
    let identity = fs::read_to_string(agent.directory.join("data/identity.json")).expect("text");
    let identity: serde_json::Value = serde_json::from_str(&identity).expect("JSON");
    assert_eq!(identity["authority"], made.pem());
    let own = fleet.production.data().join("agents/authority.key");
    assert!(!own.exists(), "the server makes none of its own");
}
