//! What a limit is set to in a configuration, in words; and how it differs between two.

use pitcrew_model::{Production, Release, Service, ServiceName, TestName, format_duration};

/// `1 → 2`; `None`: it is the same in both, or no setting.
pub(super) fn change(
    then: Option<&Production>,
    now: &Production,
    service: Option<&ServiceName>,
    limit: &str,
) -> Option<String> {
    let [then, now] = [then?, now].map(|production| setting(production, service, limit));
    let (then, now) = (then?, now?);
    (then != now).then(|| format!("{then} → {now}"))
}

fn setting(production: &Production, service: Option<&ServiceName>, limit: &str) -> Option<String> {
    if limit == "fleet_rate" {
        return Some(production.limits.fleet_rate.to_string());
    }
    let service = find(production, service)?;
    let limits = &service.limits;
    Some(match limit {
        "autonomy" => service.autonomy.to_string(),
        "max_in_flight" => limits.max_in_flight.to_string(),
        "max_unavailable" => limits.max_unavailable.to_string(),
        "per_domain" => {
            let each = limits.per_domain.iter();
            let each: Vec<String> = each
                .map(|(label, count)| format!("{label} {count}"))
                .collect();
            each.join(", ")
        }
        "rate" => limits.rate.to_string(),
        "cooldown" => format_duration(limits.cooldown),
        "lemon" => format!(
            "{} within {}",
            limits.lemon.cases,
            format_duration(limits.lemon.within)
        ),
        "breaker" => format!(
            "{} and {}% within {}{}",
            limits.breaker.count,
            limits.breaker.percent,
            format_duration(limits.breaker.within),
            match limits.breaker.release {
                Release::Auto => "",
                Release::Manual => ", released by a person",
            }
        ),
        _ => return None,
    })
}

/// `failure_threshold of answers 3 → 10`: of these tests, the first that differs.
pub(super) fn threshold_change<'a>(
    then: Option<&Production>,
    now: &Production,
    service: Option<&ServiceName>,
    tests: impl IntoIterator<Item = &'a TestName>,
) -> Option<String> {
    let (then, now) = (find(then?, service)?, find(now, service)?);
    tests.into_iter().find_map(|name| {
        let Some(test) = now.test(name) else {
            return Some(format!("without the test {name}"));
        };
        let before = then.test(name)?.failure_threshold;
        (before != test.failure_threshold).then(|| {
            format!(
                "failure_threshold of {name} {before} → {}",
                test.failure_threshold
            )
        })
    })
}

fn find<'a>(production: &'a Production, service: Option<&ServiceName>) -> Option<&'a Service> {
    let service = service?;
    let mut services = production.services.iter();
    services.find(|one| one.name == *service).map(|one| &**one)
}
