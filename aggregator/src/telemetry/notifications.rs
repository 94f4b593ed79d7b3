//! Figures of messages to receivers: under Alertmanager's names where it has them, so that rules and
//! dashboards made for it work, and under ours for what it does not count.

use std::time::Duration;

use labstat_alerts::delivery::{Observer, ReceiverMetrics};
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts};

use super::{Make, opts, seconds, whole};
use crate::http::v2::{API_REVISION, API_VERSION};

/// Upper bounds of the time an attempt takes, in seconds, as Alertmanager has them.
const ATTEMPT_BUCKETS: [f64; 5] = [1.0, 5.0, 10.0, 15.0, 20.0];

/// How messages fare.
#[derive(Debug, Clone)]
pub(crate) struct Notifications {
    total: IntCounterVec,
    failed: IntCounterVec,
    requests: IntCounterVec,
    requests_failed: IntCounterVec,
    latency: HistogramVec,
    outcomes: IntCounterVec,
    refused_addresses: IntCounterVec,
    queued: IntGaugeVec,
    oldest_age: GaugeVec,
    failing: GaugeVec,
    last_delivered: GaugeVec,
}

impl Notifications {
    pub(super) fn new(make: &Make<'_>) -> prometheus::Result<Self> {
        let theirs = |name: &str, help: &str| Opts::new(name, help).namespace("alertmanager");
        let counters = |name: &str, help: &str, by: &[&str]| {
            make.register(IntCounterVec::new(theirs(name, help), by)?)
        };
        let gauges =
            |name: &str, help: &str| make.register(GaugeVec::new(opts(name, help), &["receiver"])?);
        // karma reads here which Alertmanager it asks, and asks none without.
        let build = theirs("build_info", "The Alertmanager whose API this is.");
        let build = make.register(IntGaugeVec::new(build, &["version", "revision"])?)?;
        build.with_label_values(&[API_VERSION, API_REVISION]).set(1);
        let kind = &["integration", "receiver"];
        let latency = "Time of an attempt to deliver a message.";
        let latency = HistogramOpts::new("notification_latency_seconds", latency)
            .namespace("alertmanager")
            .buckets(ATTEMPT_BUCKETS.to_vec());
        Ok(Self {
            total: counters("notifications_total", "Messages that ended, well or not.", kind)?,
            failed: counters(
                "notifications_failed_total",
                "Messages given up, by reason: clientError when they were refused for good, \
                 contextDeadlineExceeded when they became too old.",
                &["integration", "receiver", "reason"],
            )?,
            requests: counters("notification_requests_total", "Attempts to deliver.", kind)?,
            requests_failed: counters(
                "notification_requests_failed_total",
                "Attempts to deliver that failed.",
                kind,
            )?,
            latency: make.register(HistogramVec::new(latency, kind)?)?,
            outcomes: make.counters(
                "notifications_total",
                "Messages to receivers by how they ended (sent, presumed to be delivered, dropped, \
                 summarized), and attempts that failed.",
                &["receiver", "outcome"],
            )?,
            refused_addresses: make.counters(
                "notifications_refused_addresses_total",
                "Addresses that refused for good, or did not take in time, a message that others of the \
                 receiver have.",
                &["receiver"],
            )?,
            queued: make.gauges(
                "notifications_queued",
                "Messages that wait to be delivered.",
                &["receiver"],
            )?,
            oldest_age: gauges(
                "notifications_oldest_age_seconds",
                "How long the oldest message that waits has waited; 0 when none does.",
            )?,
            failing: gauges(
                "notifications_failing_seconds",
                "For how long every attempt has failed; 0 when the last one did not.",
            )?,
            last_delivered: gauges(
                "notifications_last_delivered_timestamp_seconds",
                "When a message was last delivered since the start.",
            )?,
        })
    }

    /// Takes over the figures of all receivers.
    pub(crate) fn set(&self, receivers: &[ReceiverMetrics]) {
        // Receivers may have gone since.
        self.queued.reset();
        self.oldest_age.reset();
        self.failing.reset();
        self.last_delivered.reset();
        receivers.iter().for_each(|figures| self.set_receiver(figures));
    }

    fn set_receiver(&self, figures: &ReceiverMetrics) {
        let receiver = figures.receiver.as_str();
        let kind = [figures.integration, receiver];
        let raise = |counters: &IntCounterVec, labels: &[&str], total: u64| {
            let counter = counters.with_label_values(labels);
            counter.inc_by(total.saturating_sub(counter.get()));
        };
        let dropped = figures.refused + figures.expired;
        raise(&self.total, &kind, figures.sent + figures.presumed + dropped);
        let failed = |reason| [figures.integration, receiver, reason];
        raise(&self.failed, &failed("clientError"), figures.refused);
        raise(&self.failed, &failed("contextDeadlineExceeded"), figures.expired);
        raise(&self.requests, &kind, figures.sent + figures.failed);
        raise(&self.requests_failed, &kind, figures.failed);
        for (outcome, total) in [
            ("sent", figures.sent),
            ("failed", figures.failed),
            ("dropped", dropped),
            ("presumed", figures.presumed),
            ("summarized", figures.summarized),
        ] {
            raise(&self.outcomes, &[receiver, outcome], total);
        }
        raise(&self.refused_addresses, &[receiver], figures.refused_addresses);
        self.queued.with_label_values(&[receiver]).set(whole(figures.queued));
        let gauge = |gauges: &GaugeVec, ms: i64| {
            gauges.with_label_values(&[receiver]).set(seconds(ms));
        };
        gauge(&self.oldest_age, figures.oldest_age_ms);
        gauge(&self.failing, figures.failing_ms);
        if let Some(sent_ms) = figures.last_sent_ms {
            gauge(&self.last_delivered, sent_ms);
        }
    }
}

impl Observer for Notifications {
    fn attempted(&self, receiver: &str, integration: &'static str, took: Duration) {
        self.latency.with_label_values(&[integration, receiver]).observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use labstat_store::Stats;

    use super::super::Telemetry;
    use super::*;

    #[test]
    fn it_says_which_alertmanager_it_is() {
        let telemetry = Telemetry::new(0).unwrap();
        let text = String::from_utf8(telemetry.text(&Stats::default(), None).unwrap()).unwrap();
        let line = text.lines().find(|line| line.starts_with("alertmanager_build_info{")).unwrap();
        assert!(line.contains(r#"version="0.25.0""#) && line.ends_with("} 1"), "{line}");
    }

    #[test]
    fn a_receivers_figures_have_alertmanagers_names_and_ours() {
        let telemetry = Telemetry::new(0).unwrap();
        let figures = ReceiverMetrics {
            receiver: "phone".to_owned(),
            integration: "ntfy",
            sent: 5,
            failed: 3,
            refused: 1,
            refused_addresses: 7,
            expired: 2,
            presumed: 6,
            summarized: 12,
            queued: 4,
            retry_ms: None,
            held_since_ms: None,
            oldest_age_ms: 2_500,
            failing_ms: 1_500,
            last_sent_ms: Some(1_000),
            last_error: None,
        };
        telemetry.notifications.attempted("phone", "ntfy", Duration::from_millis(700));
        telemetry.notifications.set(std::slice::from_ref(&figures));
        telemetry.notifications.set(std::slice::from_ref(&figures));
        let text = || {
            let text = telemetry.text(&Stats::default(), None).unwrap();
            String::from_utf8(text).unwrap()
        };
        let told = text();
        for line in [
            "alertmanager_notifications_total{integration=\"ntfy\",receiver=\"phone\"} 14",
            "alertmanager_notifications_failed_total{integration=\"ntfy\",reason=\"clientError\",receiver=\"phone\"} 1",
            "alertmanager_notification_requests_total{integration=\"ntfy\",receiver=\"phone\"} 8",
            "alertmanager_notification_requests_failed_total{integration=\"ntfy\",receiver=\"phone\"} 3",
            "alertmanager_notification_latency_seconds_bucket{integration=\"ntfy\",receiver=\"phone\",le=\"1\"} 1",
            "labstat_notifications_total{outcome=\"summarized\",receiver=\"phone\"} 12",
            "labstat_notifications_total{outcome=\"presumed\",receiver=\"phone\"} 6",
            "labstat_notifications_total{outcome=\"dropped\",receiver=\"phone\"} 3",
            "labstat_notifications_refused_addresses_total{receiver=\"phone\"} 7",
            "labstat_notifications_queued{receiver=\"phone\"} 4",
            "labstat_notifications_oldest_age_seconds{receiver=\"phone\"} 2.5",
            "labstat_notifications_failing_seconds{receiver=\"phone\"} 1.5",
            "labstat_notifications_last_delivered_timestamp_seconds{receiver=\"phone\"} 1",
        ] {
            assert!(told.contains(&format!("\n{line}\n")), "{line} in\n{told}");
        }
        telemetry.notifications.set(&[]);
        assert!(!text().contains("labstat_notifications_queued{"), "it is gone");
    }
}
