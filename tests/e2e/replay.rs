//! When rules would have fired, by a history whose ends are known.

use std::path::Path;
use std::process::Output;

use crate::support::{Labstat, command, eventually, get, post};
use labstat_model::{Clock, Labels, Sample, SystemClock, TimeSeries, WriteRequest};
use labstat_wire::remote_write;

const MINUTE_MS: i64 = 60_000;

/// The server has none of what is recorded here.
const RULES: &str = "
groups:
  - name: records
    interval: 15s
    rules:
      - { alert: Recorded, expr: 'disk:twice > 136', for: 5m }
      - { alert: RecordedAndNot, expr: 'rate(disk:twice[10m]) > 0 and on(disk) temp > 60' }
      - { record: 'disk:twice', expr: 'disk:max * 2' }
      - { record: 'disk:max', expr: 'max by (disk) (temp)', labels: { kind: '' } }
  - name: plain
    interval: 15s
    rules:
      - { alert: Kept, expr: 'temp > 68', annotations: { labstat_keep_while: 'temp > 60' } }
      - { alert: Never, expr: 'temp > 100' }
  - name: late
    interval: 30s
    query_offset: 10m
    rules:
      - { alert: Late, expr: 'temp > 68' }
";

/// 50 degrees for an hour, 70 for 20 minutes, 65 for 10, and 50 for half an hour.
fn body(start_ms: i64) -> Vec<u8> {
    let at_minute = |minute| match minute {
        60..80 => 70.0,
        80..90 => 65.0,
        _ => 50.0,
    };
    let sample = |at: i64| Sample { time_ms: start_ms + at * 15_000, value: at_minute(at / 4) };
    let labels = Labels::new([("__name__", "temp"), ("disk", "sda"), ("kind", "ssd")]);
    let series = vec![TimeSeries { labels, samples: (0..480).map(sample).collect() }];
    remote_write::encode(&WriteRequest { series, metadata: Vec::new() }).unwrap()
}

fn replay(base: &str, file: &Path) -> (Output, String) {
    let mut command = command(&["rules", "test", "--replay", "119m", "--server", base]);
    let output = command.arg(file).output().unwrap();
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    (output, said)
}

#[test]
fn a_replay_records_keeps_and_looks_back_as_the_rules_do() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let listen = ["aggregator", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let mut server = Labstat::start(&listen);
    let base = server.url();
    eventually("ready", || get(&format!("{base}/-/ready")));
    let now_ms = SystemClock.now_ms();
    let start_ms = now_ms - now_ms % MINUTE_MS - 120 * MINUTE_MS;
    let headers = [
        ("content-type", remote_write::CONTENT_TYPE),
        ("content-encoding", remote_write::CONTENT_ENCODING),
        (remote_write::VERSION_HEADER.0, remote_write::VERSION_HEADER.1),
    ];
    let answer = post(&format!("{base}/api/v1/write"), &headers, &body(start_ms));
    assert!(matches!(answer, Ok((204, _))), "{answer:?}");

    let rules = dir.path().join("rules.yml");
    std::fs::write(&rules, RULES).unwrap();
    let (output, said) = replay(&base, &rules);
    assert!(output.status.success(), "{output:?}");
    for line in [
        // From minute 60, and 5 minutes later, to minute 80.
        "Recorded: once, 15m in all",
        // They rise at minute 60 and begin anew at minute 80, each seen as long as the sample before is
        // less than ten minutes old.
        "RecordedAndNot: 2 times, 19m30s in all",
        "Kept: once, 30m in all",
        "Never: never",
        "Late: once, 20m in all",
    ] {
        assert!(said.lines().any(|it| it == line), "{line}: {said}");
    }
    let began = |name: &str| {
        let mut lines = said.lines().skip_while(|line| !line.starts_with(name));
        lines.nth(1).unwrap().trim().split(" to ").next().unwrap().to_owned()
    };
    assert_eq!(&began("Late: ")[..18], &later(&began("Kept: "), 10)[..18], "{said}");

    // One that cannot be evaluated, and what needs it, ends no other.
    let broken = "
groups:
  - name: broken
    rules:
      - { record: two, expr: 'temp or label_replace(temp, \"disk\", \"sdb\", \"\", \"\")' }
      - { record: many, expr: 'temp * on (kind) group_left sum by (kind, disk) (two)' }
      - { alert: OnMany, expr: 'many > 1' }
      - { alert: Kept, expr: 'temp > 60' }
";
    std::fs::write(&rules, broken).unwrap();
    let (output, said) = replay(&base, &rules);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said.contains("many: not replayed: "), "{said}");
    assert!(
        said.contains("OnMany: not replayed: it reads many, which is not replayed\n"),
        "{said}"
    );
    assert!(said.contains("Kept: once, 30m in all\n"), "{said}");
    server.kill();
    let (output, said) = replay(&base, &rules);
    assert!(!output.status.success() && said.is_empty(), "{output:?}");
}

/// A time as it is shown, so many minutes later.
fn later(shown: &str, minutes: i64) -> String {
    let time: jiff::civil::DateTime = shown.parse().unwrap();
    let time = time.checked_add(jiff::Span::new().minutes(minutes)).unwrap();
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}
