//! What an aggregator with one node costs in memory. A process of its own, since the figure is
//! that of the whole process.
//!
//! What is measured is the memory it takes for itself. The pages of the program come on top (some
//! 8 MiB of a release build), and of a debug build they are many times as large.

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use labstat_aggregator::{Aggregator, Config};
    use labstat_model::{Clock, Labels, ManualClock, Sample, TimeSeries, WriteRequest};
    use labstat_wire::remote_write;

    /// With the program's own pages this stays well under the promised 40 MB.
    const ANONYMOUS_MAX_KIB: usize = 28 * 1024;

    /// Series of a well-filled node: all collectors, a dozen disks, many interfaces.
    const SERIES: usize = 1_500;

    /// Rounds in one request, to keep the test short.
    const ROUNDS: usize = 6;

    const START_MS: i64 = 1_700_000_000_000;

    fn rounds(clock: &ManualClock) -> Vec<u8> {
        let start_ms = clock.now_ms();
        clock.advance_ms(i64::try_from(ROUNDS).unwrap() * 10_000);
        let series = (0..SERIES).map(|at| {
            let device = format!("device-{at}");
            let name = format!("node_metric_{}_bytes_total", at % 100);
            let labels = [
                ("__name__", name.as_str()),
                ("device", device.as_str()),
                ("instance", "vertex"),
                ("job", "node"),
            ];
            let sample = |time_ms: i64| {
                #[expect(clippy::cast_precision_loss, reason = "any growing number will do")]
                let value = (time_ms - START_MS) as f64 * 3.7 + at as f64;
                Sample { time_ms, value }
            };
            let times = (start_ms..clock.now_ms()).step_by(10_000);
            TimeSeries { labels: Labels::new(labels), samples: times.map(sample).collect() }
        });
        let request = WriteRequest { series: series.collect(), metadata: Vec::new() };
        remote_write::encode(&request).unwrap()
    }

    /// KiB that the process has taken for itself and that are in memory.
    fn anonymous_kib() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn one_node_with_its_dashboard_open_stays_under_the_promise() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: dir.path().to_owned(),
            rules: Vec::new(),
            ..Config::default()
        };
        let clock = Arc::new(ManualClock::new(START_MS));
        let runtime = labstat_aggregator::runtime().unwrap();
        let running = Aggregator::start(config, Arc::<ManualClock>::clone(&clock));
        let running = runtime.block_on(running).unwrap();
        let url = running.url();
        // Two hours at 10 s: as much as the head holds before it is sealed.
        for _ in 0..720 / ROUNDS {
            let body = rounds(&clock);
            let sent = ureq::post(format!("{url}/api/v1/write")).send(&body[..]).unwrap();
            assert_eq!(sent.status().as_u16(), 204);
        }
        let end = clock.now_ms() / 1000;
        for metric in 0..20 {
            let query = format!(
                "query=rate(node_metric_{metric}_bytes_total[5m])&start={}&end={end}&step=30",
                end - 7_200
            );
            let kind = "application/x-www-form-urlencoded";
            let sent = ureq::post(format!("{url}/api/v1/query_range")).header("content-type", kind);
            assert_eq!(sent.send(query).unwrap().status().as_u16(), 200);
        }
        let taken_kib = anonymous_kib();
        println!("one node of {SERIES} series takes {taken_kib} KiB");
        runtime.block_on(running.shutdown()).unwrap();
        assert!(taken_kib < ANONYMOUS_MAX_KIB, "{taken_kib} KiB");
    }
}
