//! An Alertmanager's file: read, and written again.

use super::super::alertmanager::read;
use super::*;

const FILE: &str = "
global:
  resolve_timeout: 10m
  smtp_smarthost: localhost:25
templates: ['/etc/alertmanager/*.tmpl']
route:
  receiver: team
  group_by: [alertname]
  routes:
    - matchers: [severity=\"critical\"]
      receiver: pager
      continue: true
    - match_re: {service: ^(a|b)$}
      mute_time_intervals: [night]
inhibit_rules:
  - source_match: {severity: critical}
    target_match: {severity: warning}
    equal: [alertname]
receivers:
  - name: team
    email_configs:
      - to: team@example.org
        send_resolved: true
        headers: {Subject: hello}
    webhook_configs:
      - url: http://127.0.0.1:1/
        max_alerts: 3
  - name: pager
    pagerduty_configs: [{routing_key: k}]
    slack_configs: [{channel: '#a'}]
mute_time_intervals:
  - name: night
    time_intervals:
      - times: [{start_time: '22:00', end_time: '24:00'}]
        days_of_month: [1, '-3:-1']
";

#[test]
fn what_is_known_is_taken_and_what_is_not_is_named() {
    let file = read(FILE).unwrap();
    let names: Vec<&str> = file.receivers.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["team", "pager"]);
    let team = &file.receivers[0];
    assert_eq!(team.webhooks[0].url.as_deref(), Some("http://127.0.0.1:1/"));
    assert_eq!(team.emails[0].to.as_deref(), Some("team@example.org"));
    assert_eq!(file.global["smtp_smarthost"], "localhost:25");
    assert_eq!(
        file.remarks(),
        [
            "receivers with kinds other than webhook and email, which are not sent to: \
             pager (pagerduty, slack)",
            "keys that mean nothing here: templates, team.webhook_configs[0].max_alerts, \
             team.email_configs[0].headers"
        ]
    );
    let recipients = names.map_recipients();
    let config = file.spec.build(&recipients, &TimeZone::UTC).unwrap();
    assert_eq!(config.resolve_timeout_ms, 600_000);
    assert_eq!(config.test_route(&labels("severity=critical service=a")), ["pager", "team"]);
    let written = config.to_alertmanager_yaml();
    let again = read(&written).unwrap().spec.build(&recipients, &TimeZone::UTC).unwrap();
    assert_eq!(again.to_alertmanager_yaml(), written);
    assert!(written.contains("group_wait: 30s"), "{written}");
}

trait MapRecipients {
    fn map_recipients(&self) -> Vec<Recipient>;
}

impl MapRecipients for Vec<&str> {
    fn map_recipients(&self) -> Vec<Recipient> {
        self.iter().map(|name| Recipient::new(*name, true)).collect()
    }
}

#[test]
fn what_is_no_configuration_is_refused() {
    for bad in ["", "route: [", "- a", "route: {receiver: r}\nnonsense: 1", "receivers: []"] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_default_routes_are_each_receivers_own() {
    let mut phone = Recipient::new("phone", true);
    phone.severity = Some(crate::notify::Severity::Critical);
    let mut mail = Recipient::new("mail", false);
    mail.matchers = Matchers::parse("instance=~\"nas|pve\"").unwrap().iter().cloned().collect();
    let config = MannersSpec::default().build(&[phone, mail], &TimeZone::UTC).unwrap();
    let route = |text: &str| config.test_route(&labels(text));
    assert_eq!(route("severity=critical instance=nas"), ["phone", "mail"]);
    assert_eq!(route("severity=WARNING instance=nas"), ["mail"]);
    assert_eq!(route("severity=odd instance=vps"), ["phone"], "an unknown severity is told");
    assert_eq!(route("severity=info instance=vps"), ["nobody"]);
    let written = config.to_alertmanager_yaml();
    assert!(written.contains("labstat_incident") && written.contains("name: nobody"), "{written}");
}

#[test]
fn all_that_is_wrong_is_named() {
    let mut spec = by_labels(
        "{receiver: a, group_by: [x, x], routes: [{receiver: who, group_wait: soon},
          {matchers: ['=']}, {mute_time_intervals: [never]}]}",
    );
    spec.escalation = Some(EscalationSpec { after: "0s".to_owned(), receiver: "whom".to_owned() });
    spec.maintenance = vec![MaintenanceSpec {
        node: Texts::One("nas".to_owned()),
        every: None,
        from: None,
        to: None,
        location: None,
        comment: String::new(),
    }];
    let problems = spec.build(&[Recipient::new("a", true)], &TimeZone::UTC).unwrap_err();
    let places: Vec<&str> = problems.iter().map(|problem| problem.place.as_str()).collect();
    assert_eq!(
        places,
        [
            "escalation.after",
            "maintenance[0]",
            "route",
            "route.routes[0]",
            "route.routes[0].group_wait",
            "route.routes[1]",
            "route.routes[2]"
        ]
    );
}
