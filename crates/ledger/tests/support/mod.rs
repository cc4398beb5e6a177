//! Records and saved rows to write, and waiting without sleeping blindly.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod postgres;

use pitcrew_model::{
    CaseId, Ending, Fact, OrderId, Record, Saved, ServiceName, TargetId, TestName, Timestamp,
};

pub(crate) fn record(number: u64) -> Record {
    Record {
        at: Timestamp::from_millis(1_795_374_919_042 + number),
        case: Some(CaseId(number / 4 + 1)),
        order: number.is_multiple_of(4).then_some(OrderId(number / 4 + 1)),
        target: Some(target(number)),
        service: Some(ServiceName::new("web").unwrap()),
        fact: Fact::Closed {
            ending: Ending::Cured,
            why: format!("number {number}: \"quoted\", ünïcode"),
        },
    }
}

pub(crate) fn records(numbers: impl IntoIterator<Item = u64>) -> Vec<Record> {
    numbers.into_iter().map(record).collect()
}

pub(crate) fn target(number: u64) -> TargetId {
    TargetId::new(format!("web-{}", number % 3)).unwrap()
}

pub(crate) fn learned(test: &str, cured: u32) -> Saved {
    Saved::Learned {
        service: ServiceName::new("web").unwrap(),
        test: TestName::new(test).unwrap(),
        action: "restart".to_owned(),
        cured,
        failed: 1,
        seconds: 12,
    }
}

pub(crate) fn hold(until: Option<u64>) -> Saved {
    Saved::Hold {
        target: target(1),
        by: "a person".to_owned(),
        why: "replacing a disk".to_owned(),
        until: until.map(Timestamp::from_millis),
        stopped: false,
    }
}
