//! What it costs: ten thousand alerts, two hundred routes, a thousand silences.

use std::time::Instant;

use super::*;

/// Two hundred routes, half of which ask for one value and half for a pattern.
fn spec() -> MannersSpec {
    let route = |n: usize| RouteSpec {
        receiver: Some(["a", "b", "c"][n % 3].to_owned()),
        matchers: Some(Texts::Many(vec![
            if n.is_multiple_of(2) {
                format!("team=t{n}")
            } else {
                format!("team=~\"t{n}|u{n}.*\"")
            },
            "severity=~\"critical|warning\"".to_owned(),
        ])),
        group_by: Some(vec!["alertname".to_owned(), "instance".to_owned()]),
        ..RouteSpec::default()
    };
    let mut spec = by_labels("{receiver: a, group_by: [labstat_incident], group_wait: 1s}");
    if let Some(root) = &mut spec.route {
        root.routes = (0..200).map(route).collect();
    }
    spec.inhibit = (0..50)
        .map(|n| InhibitSpec {
            source_matchers: Some(Texts::One(format!("alertname=A{n},severity=critical"))),
            target_matchers: Some(Texts::One("severity=warning".to_owned())),
            equal: vec!["instance".to_owned()],
            ..InhibitSpec::default()
        })
        .collect();
    spec
}

fn alerts(count: usize) -> Vec<Notification> {
    let alert = |n: usize| {
        let severity = ["critical", "warning", "info"][n % 3];
        let (name, node, team) = (n % 97, n % 30, n % 301);
        firing(
            &format!(
                "alertname=A{name} instance=n{node} team=t{team} device=d{n} severity={severity}"
            ),
            T0,
        )
    };
    (0..count).map(alert).collect()
}

#[test]
#[ignore = "a measurement"]
fn ten_thousand_alerts() {
    let mut stage = Stage::new(spec());
    for n in 0..1000 {
        let matcher = match n % 3 {
            0 => format!("device=d{}", n * 7),
            1 => format!("instance=n{},alertname=~\"A{}.*\"", n % 30, n % 97),
            _ => format!("device=~\"d{n}|d{}\",severity!=info", n + 5000),
        };
        stage.silence(&matcher, 0, 86_400);
    }
    let all = alerts(10_000);
    // What this thread had of a processor, which others share: the kernel counts it in nanoseconds.
    let spent_ms = || -> f64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
    };
    let mut before_ms = spent_ms();
    let mut lap = |what: &str| {
        println!("{what}: {:.1} ms of a processor", spent_ms() - before_ms);
        before_ms = spent_ms();
    };
    let step = stage.manners.take(&all, T0);
    lap(&format!("take 10,000 new alerts, {} rows", step.entries.len()));
    let step = stage.manners.take(&all, T0);
    lap(&format!("take them again, {} rows", step.entries.len()));
    let lacking = all.iter().filter(|alert| stage.manners.lacks(&alert.fingerprint)).count();
    let step = stage.manners.reconcile(Vec::new(), |_| true, T0);
    lap(&format!("hold them to the rules, {lacking} lacking, {} rows", step.entries.len()));
    let step = stage.manners.advance(T0 + 1000);
    lap(&format!("first flush, {} messages, {} rows", step.messages.len(), step.entries.len()));
    let step = stage.manners.advance(T0 + 301_000);
    lap(&format!("next turn, {} messages, {} rows", step.messages.len(), step.entries.len()));
    let one = [firing("alertname=New instance=n1 team=t4 severity=critical", T0 + 302_000)];
    let step = stage.manners.take(&one, T0 + 302_000);
    lap(&format!("take one more, {} rows", step.entries.len()));
    stage.now_ms = T0 + 303_000;
    stage.silence("alertname=New", 0, 86_400);
    lap("one more silence");
    let views = stage.manners.alerts(&AlertsFilter::default(), stage.now_ms);
    lap(&format!("view of {} alerts", views.len()));
    let groups = stage.manners.groups(&AlertsFilter::default(), stage.now_ms);
    lap(&format!("view of {} groups", groups.len()));
    let step = stage.manners.advance(T0 + 601_000);
    lap(&format!("a turn after that, {} messages", step.messages.len()));
    let over: Vec<Notification> = all
        .iter()
        .map(|alert| Notification {
            status: Status::Resolved,
            ends_at_ms: Some(T0 + 700_000),
            ..alert.clone()
        })
        .collect();
    let step = stage.manners.take(&over, T0 + 700_000);
    lap(&format!("all end, {} rows", step.entries.len()));
    let step = stage.manners.advance(T0 + 901_000);
    lap(&format!("and are told, {} messages", step.messages.len()));
}

/// Doubling the alerts doubles the work: nothing is tried against everything.
#[test]
fn the_work_grows_with_the_alerts_and_no_faster() {
    let cost = |count: usize| {
        let mut stage = Stage::new(spec());
        let all = alerts(count);
        let clock = Instant::now();
        let _ = stage.manners.take(&all, T0);
        let _ = stage.manners.advance(T0 + 1000);
        clock.elapsed().as_secs_f64()
    };
    let few = (0..3).map(|_| cost(250)).fold(f64::INFINITY, f64::min);
    let many = (0..3).map(|_| cost(2000)).fold(f64::INFINITY, f64::min);
    assert!(many < few * 8.0 * 4.0, "250 alerts took {few} s, 2,000 took {many} s");
}
