//! The sample of the design, minus what this release lacks, and what it must mean.

#![expect(clippy::unwrap_used, reason = "a test ends where it panics")]

use std::{sync::Arc, time::Duration};

use pitcrew_config::parse;
use pitcrew_model::*;

const SAMPLE: &str = r#"
find:
  - static:
      - targets: ["10.0.0.11:8080", "10.0.0.12:8080"]
        labels: { service: web, zone: a }
        runs_as: { unit: web.service }
  - file: { paths: ["targets/*.yaml", "targets/*.json"], refresh: 30s }   # Prometheus file_sd format
  - http: { url: "http://inventory/targets", refresh: 60s }               # Prometheus http_sd format
  - dns:  { names: ["_web._tcp.example.org"], type: SRV, refresh: 30s, labels: { service: web } }

services:
  - name: web
    select: { service: web }            # label equality; empty selects nothing
    domains: [zone, host]
    autonomy: act                       # observe | propose | approve | act   (default: observe)
    tests:
      - name: answers
        http: { path: /healthz, status: [200], body_matches: "ok" }
        interval: 5s
        timeout: 2s
        failure_threshold: 3
        success_threshold: 2
      - name: disk
        nagios: { command: ["check_disk", "-w", "20%", "-c", "10%"] }     # exit 0/1/2/3 + perfdata
        on: host                        # run by the agent on the target's host
    repairs:
      - name: restart-then-hand-over
        when: [answers]
        steps:
          - restart: {}                 # whatever runs the target: supervised process, unit, container
            tries: 2
            settle: 30s
          - hand_over: { to: oncall }
    limits:
      max_unavailable: 25%
      max_in_flight: 1
      per_domain: { zone: 1 }
      rate: 6/h
      breaker: { count: 5, percent: 20%, within: 10m, release: auto }
      cooldown: 10m
      probation: 30m
      lemon: { cases: 3, within: 7d }
    windows:
      - { name: freeze, from: "2026-12-24T00:00Z", to: "2026-12-27T00:00Z", autonomy: propose }

run:                                    # what Pitcrew itself keeps running on this host (one-machine default)
  - name: web
    instances: 3
    command: ["./web", "--port", "{port}"]
    ports: { from: 8081 }
    labels: { service: web, zone: "{zone}" }
    stop: { signal: TERM, grace: 10s }

notify:
  - name: oncall
    webhook: { url: "https://chat.example/hook/${HOOK}" }
limits: { fleet_rate: 60/h }
server: { listen: "127.0.0.1:7400", data: "./data" }
"#;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::new(pairs.iter().copied()).unwrap()
}

fn source(name: &str, kind: SourceKind, of: &[(&str, &str)]) -> Source {
    Source {
        name: SourceName::new(name).unwrap(),
        kind,
        labels: labels(of),
        runs_as: None,
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn sources() -> Vec<Source> {
    vec![
        Source {
            runs_as: Some(Runner::Unit {
                name: "web.service".into(),
                bus: None,
            }),
            ..source(
                "static-1",
                SourceKind::Static {
                    targets: vec!["10.0.0.11:8080".into(), "10.0.0.12:8080".into()],
                },
                &[("service", "web"), ("zone", "a")],
            )
        },
        source(
            "file-1",
            SourceKind::File {
                paths: vec![
                    "production/targets/*.yaml".into(),
                    "production/targets/*.json".into(),
                ],
                refresh: seconds(30),
            },
            &[],
        ),
        source(
            "http-1",
            SourceKind::Http {
                url: "http://inventory/targets".into(),
                refresh: seconds(60),
            },
            &[],
        ),
        source(
            "dns-1",
            SourceKind::Dns {
                names: vec!["_web._tcp.example.org".into()],
                record: DnsRecord::Srv,
                port: None,
                refresh: seconds(30),
                server: None,
            },
            &[("service", "web")],
        ),
    ]
}

fn tests() -> Vec<Arc<Test>> {
    let answers = Test {
        name: TestName::new("answers").unwrap(),
        kind: TestKind::Http(HttpTest {
            tls: false,
            port: None,
            method: "GET".into(),
            path: "/healthz".into(),
            headers: vec![],
            body: None,
            status: vec![200],
            body_matches: Some("ok".into()),
            body_lacks: None,
            header_matches: vec![],
            redirects_max: 0,
            version: HttpVersion::Any,
            tls_options: TlsOptions::default(),
        }),
        interval: seconds(5),
        timeout: seconds(2),
        failure_threshold: 3,
        success_threshold: 2,
        proves: Proves::Down,
        place: Place::Server,
    };
    let disk = Test {
        name: TestName::new("disk").unwrap(),
        kind: TestKind::Nagios(NagiosTest {
            command: ["check_disk", "-w", "20%", "-c", "10%"]
                .map(String::from)
                .into(),
        }),
        interval: seconds(10),
        timeout: seconds(10),
        proves: Proves::Degraded,
        place: Place::Host,
        ..answers.clone()
    };
    vec![Arc::new(answers), Arc::new(disk)]
}

fn service() -> Service {
    let step = |action, tries, settle| Step {
        action,
        tries,
        settle: seconds(settle),
    };
    Service {
        name: ServiceName::new("web").unwrap(),
        select: Selector(labels(&[("service", "web")])),
        domains: vec!["zone".into(), "host".into()],
        autonomy: Autonomy::Act,
        tests: tests(),
        repairs: vec![Repair {
            name: RepairName::new("restart-then-hand-over").unwrap(),
            when: vec![TestName::new("answers").unwrap()],
            steps: vec![
                step(Action::Restart, 2, 30),
                step(
                    Action::HandOver {
                        to: Some(ReceiverName::new("oncall").unwrap()),
                    },
                    1,
                    0,
                ),
            ],
        }],
        limits: Limits {
            per_domain: vec![("zone".into(), 1)],
            ..Limits::default()
        },
        windows: vec![Window {
            name: "freeze".into(),
            from: Timestamp::from_millis(1_798_070_400_000),
            to: Timestamp::from_millis(1_798_329_600_000),
            autonomy: Autonomy::Propose,
        }],
        runs_as: None,
        drain: None,
    }
}

#[test]
fn the_sample_of_the_design_means_what_it_says() {
    let env = |name: &str| (name == "HOOK").then(|| "s3cret".to_owned());
    let files = [("production/pitcrew.yaml".to_owned(), SAMPLE.to_owned())];
    let loaded = parse(&files, &env).unwrap();
    let expected = Production {
        sources: sources(),
        services: vec![Arc::new(service())],
        runs: vec![Run {
            name: "web".into(),
            instances: 3,
            command: vec!["production/web".into(), "--port".into(), "{port}".into()],
            ports: Some(Ports { from: 8081 }),
            zones: vec![],
            labels: labels(&[("service", "web")]),
            environment: vec![],
            directory: Some("production".into()),
            user: None,
            stop: StopPolicy::default(),
            log: LogPolicy::default(),
        }],
        receivers: vec![Receiver {
            name: ReceiverName::new("oncall").unwrap(),
            destination: Destination::Webhook {
                url: Secret::new("https://chat.example/hook/s3cret"),
                headers: vec![],
            },
        }],
        power: vec![],
        limits: FleetLimits::default(),
        server: ServerSettings {
            data: "production/data".into(),
            ..ServerSettings::default()
        },
        metrics: MetricsSettings::default(),
        scrapes: vec![],
        digest: loaded.production.digest.clone(),
    };
    assert_eq!(loaded.production, expected);
    assert_eq!(loaded.production.digest.len(), 64);
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["production/pitcrew.yaml:51:35: label `zone` is left out: this run has no zones"]
    );
}
