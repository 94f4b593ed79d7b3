//! The same asked of the real Alertmanager (Debian's `prometheus-alertmanager` and its `amtool`):
//! made-up routing trees, and configurations that are sound or not.

use std::path::Path;
use std::process::Command;

use super::super::alertmanager;
use super::*;

const AMTOOL: &str = "/usr/bin/amtool";

/// Trees that are made up in the ordinary test; `MANNERS_TREES` trees where more are wanted.
const TREES: usize = 25;

/// Numbers that look random and are the same in each run.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }

    fn one<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.roll(list.len())]
    }
}

fn amtool() -> bool {
    let there = Path::new(AMTOOL).exists();
    if !there {
        eprintln!("SKIPPED: no {AMTOOL} (Debian package prometheus-alertmanager)");
    }
    there
}

fn matcher(dice: &mut Dice) -> String {
    let name = dice.one(&["severity", "instance", "team", "x"]);
    let quote = dice.one(&["", "\""]);
    match dice.roll(8) {
        0..=3 => format!("{name}={quote}{}{quote}", dice.one(&["a", "b", "c"])),
        4 => format!("{name}!={quote}{}{quote}", dice.one(&["a", "b", "c"])),
        5 => format!("{name}=~\"{}\"", dice.one(&["a|b", "a.*", ".+", "[bc]", "(a|c)?", "^(b)$"])),
        6 => format!("{name}!~\"{}\"", dice.one(&["a|b", "a.*", ".+", "c"])),
        _ => format!("{name}=\"\""),
    }
}

/// A route as YAML in one line, at a depth.
fn route(dice: &mut Dice, depth: usize) -> String {
    let mut fields = Vec::new();
    if depth == 0 || dice.roll(4) > 0 {
        fields.push(format!("receiver: {}", dice.one(&["r1", "r2", "r3", "r4", "r5"])));
    }
    if depth > 0 {
        let list = |dice: &mut Dice| -> String {
            let list: Vec<String> =
                (0..dice.roll(3)).map(|_| format!("'{}'", matcher(dice))).collect();
            list.join(", ")
        };
        match dice.roll(5) {
            0 => fields.push(format!("match: {{team: {}}}", dice.one(&["a", "b", "c"]))),
            1 => fields.push(format!("match_re: {{x: '{}'}}", dice.one(&["a|b", "a.*", "c"]))),
            _ => fields.push(format!("matchers: [{}]", list(dice))),
        }
        if dice.roll(3) == 0 {
            fields.push("continue: true".to_owned());
        }
    }
    // Broad enough for the index to be used.
    let children = if depth < 3 { dice.roll([12, 5, 3][depth]) } else { 0 };
    if children > 0 {
        let list: Vec<String> = (0..children).map(|_| route(dice, depth + 1)).collect();
        fields.push(format!("routes: [{}]", list.join(", ")));
    }
    format!("{{{}}}", fields.join(", "))
}

fn recipients() -> Vec<Recipient> {
    ["r1", "r2", "r3", "r4", "r5"].map(|name| Recipient::new(name, true)).to_vec()
}

/// Ours, of a whole file.
fn ours(yaml: &str) -> Result<MannersConfig, String> {
    let file = alertmanager::read(yaml).map_err(|problem| problem.to_string())?;
    let names = file.receivers.iter().map(|receiver| Recipient::new(&receiver.name, true));
    let names: Vec<Recipient> = names.collect();
    let built = file.spec.build(&names, &TimeZone::UTC);
    built.map_err(|problems| problems.iter().map(|p| format!("{p}; ")).collect())
}

#[test]
fn routes_are_those_of_alertmanager() {
    if !amtool() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test may be asked to go on for longer")]
    let trees = std::env::var("MANNERS_TREES").ok().and_then(|text| text.parse().ok());
    let mut dice = Dice(0x1234_5678_9abc_def1);
    for tree in 0..trees.unwrap_or(TREES) {
        let names: String =
            recipients().iter().map(|r| format!("{{name: {}}}, ", r.name)).collect();
        let yaml = format!("route: {}\nreceivers: [{names}]\n", route(&mut dice, 0));
        let config = ours(&yaml).unwrap_or_else(|problem| panic!("{problem}: {yaml}"));
        let path = dir.path().join("theirs.yml");
        // Every other tree is the one that we write ourselves.
        let written = config.to_alertmanager_yaml();
        std::fs::write(&path, if tree % 2 == 0 { &yaml } else { &written }).unwrap();
        for _ in 0..3 {
            let mut set = BTreeMap::new();
            for name in ["severity", "instance", "team", "x"] {
                if dice.roll(3) > 0 {
                    set.insert(name.to_owned(), dice.one(&["a", "b", "c", "ab"]).to_owned());
                }
            }
            let pairs = set.iter().map(|(name, value)| format!("{name}={value}"));
            let output = Command::new(AMTOOL)
                .args(["config", "routes", "test", "--config.file"])
                .arg(&path)
                .args(pairs)
                .output()
                .unwrap();
            let theirs = String::from_utf8(output.stdout).unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let ours = config.test_route(&set).join(",");
            assert_eq!(theirs.trim(), ours, "{set:?} in {yaml}, written {written}: {said}");
        }
    }
}

const RECEIVERS: &str = "receivers: [{name: r1}, {name: r2}]";

/// Configurations that Alertmanager takes or refuses, each for one reason. (A thirteenth month is
/// taken by it alone: it comes never.)
const VERDICTS: [&str; 43] = [
    "route: {receiver: r1}",
    "route: {}",
    "route: {receiver: r9}",
    "route: {receiver: r1, matchers: ['a=b']}",
    "route: {receiver: r1, match: {a: b}}",
    "route: {receiver: r1, mute_time_intervals: [t]}",
    "route: {receiver: r1, group_by: [a, '...']}",
    "route: {receiver: r1, group_by: [a, a]}",
    "route: {receiver: r1, group_by: ['a-b']}",
    "route: {receiver: r1, group_by: []}",
    "route: {receiver: r1, group_by: ['...']}",
    "route: {receiver: r1, group_wait: 0s}",
    "route: {receiver: r1, group_interval: 0s}",
    "route: {receiver: r1, repeat_interval: 0s}",
    "route: {receiver: r1, repeat_interval: 1x}",
    "route: {receiver: r1, repeat_interval: 1d12h}",
    "route: {receiver: r1, unknown: 1}",
    "route: {receiver: r1, routes: [{receiver: r9}]}",
    "route: {receiver: r1, routes: [{matchers: ['a']}]}",
    "route: {receiver: r1, routes: [{matchers: ['a=~\"(\"']}]}",
    "route: {receiver: r1, routes: [{match: {'a-b': c}}]}",
    "route: {receiver: r1, routes: [{match_re: {a: '('}}]}",
    "route: {receiver: r1, routes: [{match: {a: 1}}]}",
    "route: {receiver: r1, routes: [{matchers: ['{a=b,c=~\"d|e\"}', f!=g]}]}",
    "route: {receiver: r1, routes: [{mute_time_intervals: [nothing]}]}",
    "route: {receiver: r1, routes: [{mute_time_intervals: [t]}]}\ntime_intervals: [{name: t, time_intervals: []}]",
    "route: {receiver: r1, routes: [{active_time_intervals: [t]}]}\nmute_time_intervals: [{name: t, time_intervals: [{weekdays: ['monday:friday', sunday]}]}]",
    "route: {receiver: r1}\ntime_intervals: [{name: t, time_intervals: [{weekdays: ['friday:monday']}]}]",
    "route: {receiver: r1}\ntime_intervals: [{name: t, time_intervals: [{days_of_month: ['0']}]}]",
    "route: {receiver: r1}\ntime_intervals: [{name: t, time_intervals: [{days_of_month: ['1:5', '-3:-1', '20:-5']}]}]",
    "route: {receiver: r1}\ntime_intervals: [{name: t, time_intervals: [{days_of_month: ['-1:5']}]}]",
    "route: {receiver: r1}\ntime_intervals: [{name: t, time_intervals: [{days_of_month: ['5:-30']}]}]",
    "route: {receiver: r1}\ntime_intervals: [{name: t, time_intervals: [{months: ['january:march', '5', 'December']}]}]",
    "route: {receiver: r1}\ntime_intervals: [{name: t, time_intervals: [{years: ['2026:2025']}]}]",
    "route: {receiver: r1}\ntime_intervals: [{name: t, time_intervals: [{years: ['2025:2027', '2030']}]}]",
    "route: {receiver: r1}\ntime_intervals: [{name: t, time_intervals: [{times: [{start_time: '09:00', end_time: '24:00'}]}]}]",
    "route: {receiver: r1}\ntime_intervals: [{name: t, time_intervals: [{times: [{start_time: '9:00', end_time: '17:00'}]}]}]",
    "route: {receiver: r1}\ntime_intervals: [{name: t, time_intervals: [{times: [{start_time: '17:00', end_time: '09:00'}]}]}]",
    "route: {receiver: r1}\ntime_intervals: [{name: t, time_intervals: [{location: 'Europe/Berlin'}]}]",
    "route: {receiver: r1}\ntime_intervals: [{name: t, time_intervals: [{location: 'Middle/Earth'}]}]",
    "route: {receiver: r1}\ntime_intervals: [{name: t, time_intervals: []}, {name: t, time_intervals: []}]",
    "route: {receiver: r1}\ninhibit_rules: [{source_matchers: ['a=b'], target_match: {c: d}, equal: [e, f]}]",
    "route: {receiver: r1}\ninhibit_rules: [{source_match_re: {a: '('}}]",
];

#[test]
fn configurations_are_taken_and_refused_as_by_alertmanager() {
    if !amtool() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut differ = Vec::new();
    for yaml in VERDICTS {
        let yaml = format!("{yaml}\n{RECEIVERS}\n");
        let path = dir.path().join("theirs.yml");
        std::fs::write(&path, &yaml).unwrap();
        let output = Command::new(AMTOOL).arg("check-config").arg(&path).output().unwrap();
        let ours = ours(&yaml);
        if output.status.success() != ours.is_ok() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            differ.push(format!("{yaml}theirs: {said}\nours: {:?}\n", ours.err()));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// Debian's example is a real file: what it says is understood, and written so that it is again.
#[test]
fn debians_own_configuration_is_taken() {
    const THEIRS: &str = "/etc/prometheus/alertmanager.yml";
    let Ok(yaml) = std::fs::read_to_string(THEIRS) else {
        eprintln!("SKIPPED: no {THEIRS} (Debian package prometheus-alertmanager)");
        return;
    };
    let config = ours(&yaml).unwrap();
    let of = |config: &MannersConfig, text: &str| config.test_route(&labels(text));
    let again = ours(&config.to_alertmanager_yaml()).unwrap();
    for set in ["service=foo1 severity=critical", "service=files", "service=database owner=team-Y"]
    {
        assert!(!of(&config, set).is_empty());
        assert_eq!(of(&config, set), of(&again, set), "{set}");
    }
}
