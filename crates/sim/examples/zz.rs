#![allow(warnings, clippy::all)]
use pitcrew_sim::{simulate_and_look, trial::Trial};
fn main() {
    let seed: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let id: String = std::env::args().nth(2).unwrap();
    let t = Trial::of(seed).unwrap();
    println!("{:#?}", t.production.services);
    let mut last = String::new();
    let plan = if let Some(w) = std::env::args().nth(3) {
        let keep: Vec<f64> = w.split(',').map(|x| x.parse().unwrap()).collect();
        t.plan
            .iter()
            .filter(|m| keep.iter().any(|k| (m.at.as_secs_f64() - k).abs() < 0.002))
            .cloned()
            .collect::<Vec<_>>()
    } else {
        t.plan.clone()
    };
    println!("{plan:#?}");
    let v = simulate_and_look(
        &t.production,
        &t.options,
        &plan,
        &mut |_| (),
        &mut |now, e| {
            let Some(e) = e else { return };
            let target = id.parse().unwrap();
            let st = e.target(now, &target);
            let cases: Vec<_> = e
                .cases()
                .filter(|c| c.target == target && c.is_open())
                .map(|c| {
                    format!(
                        "{} {:?} findings {:?} opened {:?}",
                        c.id, c.phase, c.findings, c.opened_at
                    )
                })
                .collect();
            let tests: Vec<_> = st
                .iter()
                .flat_map(|s| &s.tests)
                .map(|t| {
                    format!(
                        "{} {} {:?} {:?}",
                        t.test,
                        t.verdict,
                        t.observer,
                        t.answered_at.map(|a| a.as_millis() as i64 - 1767225600000)
                    )
                })
                .collect();
            let line = format!("{cases:?} {:?}", tests);
            if line != last {
                println!("{} {line}", (now.as_millis() - 1767225600000) / 1000);
                last = line;
            }
        },
    );
}
