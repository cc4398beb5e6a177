//! A configuration for one server, and what the ledger must tell after it was broken.

use serde_json::Value;

use crate::production::{Production, summary, wait_for};

/// One target at `port`, kept by `runs_as`, tested by `test`, repaired by `steps`; each in YAML.
pub(crate) struct Kept<'a> {
    pub(crate) port: u16,
    pub(crate) runs_as: &'a str,
    /// Of the test `answers`.
    pub(crate) test: &'a str,
    /// Before the hand-over.
    pub(crate) steps: &'a str,
}

impl Kept<'_> {
    /// Notices go to the file `told`.
    pub(crate) fn yaml(&self) -> String {
        format!(
            "
find: [{{ static: [{{ targets: ['127.0.0.1:{}'], labels: {{ service: kept }} }}] }}]
services:
  - name: kept
    select: {{ service: kept }}
    autonomy: act
    runs_as: {}
    tests: [{{ name: answers, {}, interval: 500ms, timeout: 450ms, failure_threshold: 2, success_threshold: 2 }}]
    repairs: [{{ name: repair, when: [answers], steps: [{}, {{ hand_over: {{ to: oncall }} }}] }}]
    limits: {{ cooldown: 100ms, probation: 500ms, lemon: {{ cases: 50, within: 1h }}, rate: 100/h }}
notify: [{{ name: oncall, command: [sh, -c, 'cat >> {{dir}}/told'] }}]
",
            self.port, self.runs_as, self.test, self.steps
        )
    }

    pub(crate) fn target(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

pub(crate) const RESTART: &str = "{ restart: {}, tries: 2, settle: 4s }";

pub(crate) fn healthy(production: &Production) {
    production.wait_until("it to be healthy", "/api/v1/report", |report| {
        let service = &report["services"][0];
        let is_healthy = service["targets"] == 1 && service["healthy"] == 1;
        is_healthy.then_some(()).ok_or_else(|| report.to_string())
    });
}

/// Breaks the target and waits until its case is closed as cured. Gives the orders' actions and outcomes.
pub(crate) fn cured(production: &Production, target: &str, fault: impl FnOnce()) -> Vec<Done> {
    healthy(production);
    let before = production.last_seq();
    fault();
    let closed = production.wait_for_fact_after(before, target, "closed");
    let case = closed["record"]["case"].as_str().expect("a case");
    let records = chain(production, case);
    assert_eq!(
        closed["record"]["fact"]["ending"],
        "cured",
        "{}",
        summary(&records)
    );
    told_in_order(
        &records,
        &[
            "confirmed",
            "intent",
            "outcome",
            "verified",
            "probation",
            "closed",
        ],
    );
    let listed = production.json(&["cases", "--state", "all"]);
    let listed = listed.as_array().expect("cases").iter();
    let mut of_this = listed.filter(|line| line["case"]["id"] == case);
    let line = of_this.next().expect("the case is listed");
    assert_eq!(line["case"]["phase"]["closed"], "cured", "{line}");
    healthy(production);
    done(&records)
}

/// Breaks the target beyond repair and waits until a person was told. Gives the notice.
pub(crate) fn handed_over(production: &Production, target: &str, fault: impl FnOnce()) -> Notice {
    healthy(production);
    let before = production.last_seq();
    fault();
    let record = production.wait_for_fact_after(before, target, "handed_over");
    assert_eq!(record["record"]["fact"]["to"][0], "oncall", "{record}");
    let case = record["record"]["case"]
        .as_str()
        .expect("a case")
        .to_owned();
    let records = chain(production, &case);
    told_in_order(&records, &["confirmed", "intent", "outcome", "handed_over"]);
    let delivered = production.wait_for_fact_after(before, target, "notified");
    assert_eq!(
        delivered["record"]["fact"]["delivered"], true,
        "{delivered}"
    );
    let json = wait_for("the notice", || notice_about(production, &case));
    assert_eq!(
        (&json["target"], &json["urgency"]),
        (&target.into(), &"page".into()),
        "{json}"
    );
    let evidence: Vec<&str> = json["evidence"]
        .as_array()
        .map(|lines| lines.iter().filter_map(Value::as_str).collect())
        .expect("evidence");
    let text = format!("{}\n{}", json["summary"], evidence.join("\n"));
    Notice {
        case,
        text,
        orders: done(&records),
    }
}

pub(crate) struct Notice {
    pub(crate) case: String,
    /// Summary and evidence.
    pub(crate) text: String,
    pub(crate) orders: Vec<Done>,
}

impl Notice {
    pub(crate) fn says(&self, words: &[&str]) {
        for word in words {
            assert!(
                self.text.contains(word),
                "`{word}` is missing in the notice:\n{}",
                self.text
            );
        }
    }
}

fn notice_about(production: &Production, case: &str) -> Result<Value, String> {
    let told = std::fs::read_to_string(production.path().join("told"))
        .map_err(|error| error.to_string())?;
    let notices = serde_json::Deserializer::from_str(&told).into_iter::<Value>();
    let mut about = notices
        .filter_map(Result::ok)
        .filter(|notice| notice["case"] == case);
    about.next().ok_or(told)
}

/// The case's records, as `explain` tells them.
fn chain(production: &Production, case: &str) -> Vec<Value> {
    let told = production.json(&["explain", case]);
    told["records"].as_array().expect("records").clone()
}

fn told_in_order(records: &[Value], kinds: &[&str]) {
    let mut told = records.iter().map(|entry| &entry["record"]["fact"]["kind"]);
    for kind in kinds {
        let found = told.any(|told| told == kind);
        assert!(
            found,
            "`{kind}` is missing or out of order:\n{}",
            summary(records)
        );
    }
}

/// An order and what its actuator said.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) action: String,
    pub(crate) outcome: String,
}

fn done(records: &[Value]) -> Vec<Done> {
    let facts = || records.iter().map(|entry| &entry["record"]["fact"]);
    let orders = facts().filter(|fact| fact["kind"] == "intent");
    let orders = orders
        .map(|fact| &fact["order"])
        .filter(|order| order["action"]["hand_over"].is_null());
    orders
        .map(|order| {
            let mut outcomes = facts().filter(|fact| fact["outcome"]["order"] == order["id"]);
            let outcome = outcomes
                .next()
                .unwrap_or_else(|| panic!("no outcome of {order}"));
            let name = &order["action"]["command"]["name"];
            Done {
                action: name
                    .as_str()
                    .or_else(|| order["action"].as_str())
                    .expect("an action")
                    .to_owned(),
                outcome: outcome["outcome"]["detail"]
                    .as_str()
                    .expect("its detail")
                    .to_owned(),
            }
        })
        .collect()
}

pub(crate) fn actions(orders: &[Done]) -> Vec<&str> {
    orders.iter().map(|done| &*done.action).collect()
}
