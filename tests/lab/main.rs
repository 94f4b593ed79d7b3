//! The real binary in a virtual machine with disks of all kinds: NVMe, SATA, SCSI, USB, behind a RAID
//! controller, in a mirror. Disks are pulled, plugged in and made to fail while it watches. So are the
//! cables of a bond with VLANs on it, units of systemd, guests, pools of LVM and btrfs, and a server of NFS.
//!
//! It costs minutes on a small machine, so it runs only where `LABSTAT_LAB=1` asks for it: `.ci/lab`
//! does. Wear and failing attributes cannot be had of emulated disks: those are tested with
//! captured reports elsewhere.
//!
//! The guest runs the agent and what a person runs beside it; the aggregator runs outside, and
//! what a person asks it. `LABSTAT_LAB_BINARY` names another binary for the guest, where the one
//! just built does not run on Debian 12 (one with `-C target-feature=+crt-static` does).

// Marked as a test, so that the lints allow its helpers what tests may do.
#[cfg(test)]
mod machine;
#[cfg(test)]
mod receiver;

#[cfg(test)]
mod tests {
    mod network;
    mod raid;
    mod storage;
    mod units;

    use std::collections::{BTreeMap, BTreeSet};
    use std::io::Write;
    use std::net::TcpListener;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Output, Stdio};
    use std::time::{Duration, Instant};

    use serde_json::{Value, json};
    use tempfile::TempDir;

    use crate::machine::{Disk, First, Image, Kind, Machine};

    /// How long to wait for something to be seen: readings are taken every ten seconds, and each
    /// takes a second or two in a machine without hardware help, more beside other work.
    const DEADLINE: Duration = Duration::from_secs(180);

    /// SATA comes first, since its ports are numbered.
    const DISKS: [Disk; 10] = [
        Disk { kind: Kind::Sata { turns: true }, serial: "LABHDD00" },
        Disk { kind: Kind::Sata { turns: false }, serial: "LABSSD00" },
        Disk { kind: Kind::Nvme, serial: "LABNVME0" },
        Disk { kind: Kind::Nvme, serial: "LABNVME1" },
        Disk { kind: Kind::Scsi, serial: "LABSCSI0" },
        Disk { kind: Kind::Scsi, serial: "LABSCSI1" },
        Disk { kind: Kind::Scsi, serial: "LABMD000" },
        Disk { kind: Kind::Scsi, serial: "LABMD001" },
        Disk { kind: Kind::Usb, serial: "LABUSB00" },
        Disk { kind: Kind::MegaRaid, serial: "LABMR000" },
    ];

    /// One that is plugged in later.
    const LATE: Disk = Disk { kind: Kind::Scsi, serial: "LABLATE0" };

    /// The guest's smartctl: the real one, but for the disk that `/tmp/hang` names.
    const SMARTCTL: &str = r#"#!/bin/sh
[ -e /tmp/hang ] && case "$*" in *--attributes*"$(cat /tmp/hang)") exec sleep 1000 ;; esac
exec /usr/sbin/smartctl "$@"
"#;

    const AGENT: &str = r#"
aggregator = "http://10.0.2.100:8080"
interval = "5s"
[smartctl]
program = "/lab/smartctl"
interval = "10s"
deadline = "20s"
rescan = "1m"
"#;

    /// The image, where this stage is wanted and can be had.
    fn image() -> Option<Image> {
        let skip = |why: &str| {
            // Past the test harness, which shows what a passing test prints to nobody.
            let _ = writeln!(std::io::stderr(), "SKIPPED: the virtual machine: {why}");
            None
        };
        if std::env::var_os("LABSTAT_LAB").is_none_or(|value| value != "1") {
            return skip("LABSTAT_LAB=1 asks for it, and .ci/lab does");
        }
        match Image::get() {
            Ok(image) => Some(image),
            Err(why) => skip(&why),
        }
    }

    /// The binary for the guest, without what only a debugger reads.
    fn binary(dir: &TempDir) -> PathBuf {
        if let Some(path) = std::env::var_os("LABSTAT_LAB_BINARY") {
            return path.into();
        }
        let fresh = PathBuf::from(env!("CARGO_BIN_EXE_labstat"));
        let small = dir.path().join("labstat");
        let stripped = Command::new("strip").arg("-o").arg(&small).arg(&fresh).status();
        if stripped.is_ok_and(|status| status.success()) { small } else { fresh }
    }

    /// An aggregator on this side; it ends with this value.
    struct Aggregator {
        process: Child,
        port: u16,
        dir: TempDir,
    }

    impl Aggregator {
        fn start() -> Self {
            Self::with(|_| String::new())
        }

        /// One with more in its configuration, which `more` may put files beside.
        fn with(more: impl FnOnce(&Path) -> String) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let config = dir.path().join("aggregator.toml");
            std::fs::write(&config, more(dir.path())).unwrap();
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let process = Command::new(env!("CARGO_BIN_EXE_labstat"))
                .args(["aggregator", "--listen", &format!("127.0.0.1:{port}"), "--data"])
                .arg(dir.path().join("data"))
                .arg("--config")
                .arg(config)
                .env("LABSTAT_DISKS_INTERVAL", "1s")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the binary starts");
            let aggregator = Self { process, port, dir };
            eventually("the aggregator answers", || aggregator.get("/-/ready", &[]));
            aggregator
        }

        fn url(&self) -> String {
            format!("http://127.0.0.1:{}", self.port)
        }

        fn get(&self, path: &str, query: &[(&str, &str)]) -> Option<String> {
            let mut request = ureq::get(format!("{}{path}", self.url()));
            for (name, value) in query {
                request = request.query(*name, *value);
            }
            request.call().ok()?.body_mut().read_to_string().ok()
        }

        /// All disks, as they are told now.
        fn disks(&self) -> Vec<Value> {
            let text = self.get("/api/labstat/v1/disks", &[]).expect("it answers");
            let all: Value = serde_json::from_str(&text).expect("JSON");
            all["data"].as_array().cloned().unwrap_or_default()
        }

        /// The one disk with this serial number; none when there is none, or more than one.
        fn disk(&self, serial: &str) -> Option<Value> {
            let mut disks = self.disks();
            disks.retain(|disk| disk["serialNumber"] == serial);
            if disks.len() == 1 { disks.pop() } else { None }
        }

        /// The answer to a query: labels and value of each series.
        fn query(&self, query: &str) -> Vec<(Value, f64)> {
            let text = self.get("/api/v1/query", &[("query", query)]).expect("it answers");
            let answer: Value = serde_json::from_str(&text).expect("JSON");
            let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
            let value = |one: &Value| one["value"][1].as_str()?.parse().ok();
            series.iter().filter_map(|one| Some((one["metric"].clone(), value(one)?))).collect()
        }

        /// What a person would type on this side.
        fn labstat(&self, arguments: &[&str]) -> Output {
            let mut command = Command::new(env!("CARGO_BIN_EXE_labstat"));
            command.args(arguments).args(["--server", &self.url()]).env("NO_COLOR", "1");
            command.output().expect("the binary runs")
        }

        fn says(&self, arguments: &[&str]) -> String {
            let output = self.labstat(arguments);
            assert!(output.status.success(), "{arguments:?}: {output:?}");
            String::from_utf8(output.stdout).expect("text")
        }
    }

    impl Drop for Aggregator {
        fn drop(&mut self) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    /// Asks until there is an answer; none when the time is over.
    fn eventually_or<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
        let until = Instant::now() + DEADLINE;
        while Instant::now() < until {
            if let Some(found) = ask() {
                return Some(found);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        None
    }

    fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
        eventually_or(ask).unwrap_or_else(|| panic!("not in time: {what}"))
    }

    fn text<'a>(disk: &'a Value, key: &str) -> &'a str {
        disk[key].as_str().unwrap_or_default()
    }

    /// The settings for an aggregator with the rules of one file as they are shipped, but that they look
    /// every two seconds and do not wait for minutes.
    fn impatient_rules(dir: &Path, file: &str) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let shipped = std::fs::read_to_string(root.join(format!("alerts/rules/{file}.yml")));
        let hurry = |line: &str| {
            let (key, _) = line.split_once(':')?;
            let value = match key.trim() {
                "interval" => "2s",
                "for" => "5s",
                "keep_firing_for" => "10s",
                _ => return None,
            };
            Some(format!("{key}: {value}"))
        };
        let shipped = shipped.expect("a part of the project");
        let lines = shipped.lines().map(|line| hurry(line).unwrap_or_else(|| line.to_owned()));
        let path = dir.join("impatient.yml");
        std::fs::write(&path, lines.collect::<Vec<_>>().join("\n")).expect("room");
        format!("[rules]\nshipped = false\npaths = ['{}']\n", path.display())
    }

    /// Boots the guest and puts in it what an agent needs.
    fn set_up(image: &Image, disks: &[Disk], cables: usize, aggregator: &Aggregator) -> Machine {
        set_up_under(First::Scripts, image, disks, cables, aggregator)
    }

    /// The same with a first process of its own.
    fn set_up_under(
        first: First,
        image: &Image,
        disks: &[Disk],
        cables: usize,
        aggregator: &Aggregator,
    ) -> Machine {
        let mut machine = Machine::boot(first, image, disks, cables, aggregator.port);
        eprintln!("booted after {:.1} s", machine.age().as_secs_f64());
        machine.share(&binary(&aggregator.dir), "labstat");
        machine.must(&format!(
            "cp /host/labstat /tmp/labstat && mkdir -p /etc/labstat\n\
             cat > /lab/smartctl <<'END'\n{SMARTCTL}END\nchmod +x /lab/smartctl\n\
             cat > /etc/labstat/agent.toml <<'END'\n{AGENT}END\n\
             /tmp/labstat --version"
        ));
        machine
    }

    const START: &str = "setsid /tmp/labstat agent --config /etc/labstat/agent.toml \
                         > /tmp/agent.log 2>&1 < /dev/null & sleep 1; kill -0 $!";

    #[test]
    fn disks_of_a_machine_are_found_judged_lost_and_found_again() {
        let Some(image) = image() else { return };
        let aggregator = Aggregator::start();
        let mut machine = set_up(&image, &DISKS, 0, &aggregator);
        machine.must(
            "modprobe raid1; for d in /sys/block/sd*; do \
               s=$(tr -d '\\0' < $d/device/vpd_pg80 | grep -ao 'LABMD...'); \
               [ \"$s\" ] && m=\"$m /dev/${d##*/}\"; done; \
             mdadm -q --create /dev/md0 --run --level=1 --raid-devices=2 --bitmap=none $m && \
             cat /proc/mdstat",
        );
        machine.must(START);
        finds_each_once(&aggregator);
        knows_what_stands_on_them(&aggregator);
        reads_nvme_alike_in_both_ways(&mut machine);
        sees_a_warning_and_takes_an_acknowledgement(&aggregator, &mut machine);
        kills_what_hangs(&aggregator, &mut machine);
        misses_what_is_pulled_and_sees_what_comes(&aggregator, &mut machine);
        answers_people(&aggregator, &mut machine);
        eprintln!("done after {:.1} s", machine.age().as_secs_f64());
    }

    /// Every disk is there once, with its serial number, its type and its state.
    fn finds_each_once(aggregator: &Aggregator) {
        let start = Instant::now();
        let wanted = [
            ("LABHDD00", "read", "ok"),
            ("LABSSD00", "read", "ok"),
            ("LABNVME0", "read", "ok"),
            ("LABNVME1", "read", "ok"),
            ("LABSCSI0", "unsupported", "silent"),
            ("LABSCSI1", "unsupported", "silent"),
            ("LABMD000", "unsupported", "silent"),
            ("LABMD001", "unsupported", "silent"),
            // A bridge that smartctl does not know, and one way of two to a disk of a controller.
            ("LABUSB00", "unsupported", "silent"),
            ("LABMR000", "unsupported", "silent"),
        ];
        for (serial, state, verdict) in wanted {
            let mut last = None;
            let is_so = eventually_or(|| {
                last = aggregator.disk(serial);
                let disk = last.as_ref()?;
                let told = (text(disk, "state"), text(disk, "verdict"));
                (told == (state, verdict)).then_some(())
            });
            assert!(is_so.is_some(), "{serial} is to be {state} and {verdict}: {last:#?}");
        }
        eprintln!("all disks after {:.1} s", start.elapsed().as_secs_f64());
        let failed = aggregator.query("labstat_smart_state{state=~\"failed|denied\"}");
        assert!(failed.is_empty(), "{failed:?}");
        let types = aggregator.query("smartctl_device");
        let kind = |serial: &str| {
            let of = |labels: &Value| labels["serial_number"] == serial;
            let found: Vec<_> = types.iter().filter(|(labels, _)| of(labels)).collect();
            assert_eq!(found.len(), 1, "{serial}: {found:?}");
            (text(&found[0].0, "interface").to_owned(), text(&found[0].0, "protocol").to_owned())
        };
        assert_eq!(kind("LABHDD00"), ("sat".into(), "ATA".into()));
        assert_eq!(kind("LABNVME1"), ("nvme".into(), "NVMe".into()));
        assert_eq!(kind("LABSCSI1"), ("scsi".into(), "SCSI".into()));
        assert_eq!(kind("LABUSB00"), ("scsi".into(), "SCSI".into()));
    }

    /// The mirror's two disks are told as such.
    fn knows_what_stands_on_them(aggregator: &Aggregator) {
        for serial in ["LABMD000", "LABMD001"] {
            let device = text(&aggregator.disk(serial).unwrap(), "device").to_owned();
            let uses = aggregator.query(&format!("labstat_disk_use_info{{device=\"{device}\"}}"));
            let told = serde_json::to_string(&uses.iter().map(|(l, _)| l).collect::<Vec<_>>());
            assert!(told.unwrap().contains("md0"), "{serial} {device}: {uses:?}");
        }
    }

    /// What the kernel gives by ioctl is what smartctl reads.
    fn reads_nvme_alike_in_both_ways(machine: &mut Machine) {
        let mut read = |direct: bool| {
            let output = machine.must(&format!(
                "LABSTAT_SMARTCTL_NVME_DIRECT={direct} LABSTAT_SMARTCTL_INCLUDE='nvme*' \
                 /tmp/labstat agent --once --only smartctl --config /etc/labstat/agent.toml"
            ));
            let moves = ["_duration_seconds", "_timestamp_seconds", "_age_seconds"];
            let lines = output.lines().filter(|line| {
                line.contains("device=\"nvme") && !moves.iter().any(|name| line.contains(name))
            });
            lines.map(str::to_owned).collect::<BTreeSet<String>>()
        };
        let (by_smartctl, direct) = (read(false), read(true));
        assert!(direct.len() > 40, "{direct:#?}");
        let differ: Vec<&String> = by_smartctl.difference(&direct).collect();
        assert!(differ.is_empty(), "{differ:#?}");
        // smartctl tells the limits of temperature from version 7.4 on.
        let mut more = direct.difference(&by_smartctl);
        assert!(more.all(|line| line.contains("limit")), "{direct:#?}\n{by_smartctl:#?}");
        eprintln!("{} samples of two NVMe disks are the same in both ways", by_smartctl.len());
    }

    fn sees_a_warning_and_takes_an_acknowledgement(aggregator: &Aggregator, machine: &mut Machine) {
        let start = Instant::now();
        let warning = json!({"path": "/machine/peripheral/LABNVME0",
            "property": "smart_critical_warning", "value": 4});
        machine.qmp("qom-set", &warning);
        let verdict = |serial: &str| {
            let disk = aggregator.disk(serial)?;
            Some(text(&disk, "verdict").to_owned())
        };
        eventually("a verdict on the warning", || {
            verdict("LABNVME0").filter(|verdict| verdict == "act")
        });
        eprintln!("a critical warning is act after {:.1} s", start.elapsed().as_secs_f64());
        assert_eq!(verdict("LABNVME1").as_deref(), Some("ok"), "the other one is well");
        let said = aggregator.says(&["disk", "ack", "LABNVME0", "--note", "looked into"]);
        assert!(said.contains("watch"), "{said}");
        assert_eq!(verdict("LABNVME0").as_deref(), Some("watch"));
    }

    /// A smartctl that hangs is killed at its deadline, and the other disks are read meanwhile.
    fn kills_what_hangs(aggregator: &Aggregator, machine: &mut Machine) {
        let device = text(&aggregator.disk("LABSSD00").unwrap(), "device").to_owned();
        let reads = |aggregator: &Aggregator| -> f64 {
            let query = "sum(labstat_smart_reads_total{device=~\"nvme.*\",outcome=\"read\"})";
            aggregator.query(query).first().map_or(0.0, |(_, value)| *value)
        };
        machine.must(&format!("echo /dev/{device} > /tmp/hang"));
        let before = reads(aggregator);
        let timed_out = format!(
            "labstat_smart_state{{device=\"{device}\",state=\"failed\",reason=\"timeout\"}}"
        );
        eventually("the one that hangs", || aggregator.query(&timed_out).pop());
        let after = reads(aggregator);
        assert!(after > before, "the others were read: {before} before, {after} after");
        let left = machine.must("rm /tmp/hang; pgrep -c sleep || true");
        assert!(left.trim().parse::<u32>().unwrap() <= 1, "it was killed: {left}");
        let read = format!("labstat_smart_state{{device=\"{device}\",state=\"read\"}}");
        eventually("it is read again", || aggregator.query(&read).pop());
    }

    fn misses_what_is_pulled_and_sees_what_comes(aggregator: &Aggregator, machine: &mut Machine) {
        let device = text(&aggregator.disk("LABSCSI0").unwrap(), "device").to_owned();
        let start = Instant::now();
        machine.qmp("device_del", &json!({"id": "LABSCSI0"}));
        let gone = format!("labstat_smart_state{{device=\"{device}\",state=\"gone\"}}");
        eventually("what was pulled is gone", || aggregator.query(&gone).pop());
        eprintln!("a disk that is pulled is gone after {:.1} s", start.elapsed().as_secs_f64());
        let still = aggregator.query("smartctl_device{serial_number=\"LABSCSI0\"}");
        assert!(still.is_empty(), "no values of a disk that is not there: {still:?}");
        assert!(aggregator.disk("LABSCSI0").is_some(), "and yet it is not forgotten");
        let said = aggregator.says(&["disk", "forget", "LABSCSI0"]);
        assert!(said.contains("LABSCSI0"), "{said}");
        assert!(aggregator.disk("LABSCSI0").is_none());
        let start = Instant::now();
        machine.plug(&LATE);
        eventually("what was plugged in", || aggregator.disk(LATE.serial));
        eprintln!("a disk that comes is read after {:.1} s", start.elapsed().as_secs_f64());
    }

    /// Seconds over which rounds are looked at.
    const WHILE: u64 = 90;

    /// How long the fast collectors of a round take together, in seconds: the median and the 95th
    /// percentile of the last rounds. All that runs in the guest has one emulated core, so these
    /// tell what a shelf adds, not what a round costs elsewhere.
    fn rounds(aggregator: &Aggregator) -> (f64, f64) {
        let all = "sum(node_scrape_collector_duration_seconds{collector!~\"smartctl|ceph\"})";
        let quantile = |q: f64| {
            let query = format!("quantile_over_time({q}, {all}[{WHILE}s:2s])");
            aggregator.query(&query).first().map(|(_, value)| *value).expect("rounds")
        };
        (quantile(0.5), quantile(0.95))
    }

    #[test]
    fn a_shelf_of_disks_holds_no_round_up() {
        let Some(image) = image() else { return };
        let aggregator = Aggregator::start();
        let shelf: Vec<Disk> = (0..24)
            .map(|n| Disk { kind: Kind::Flash, serial: format!("SHELF{n:03}").leak() })
            .collect();
        let mut machine = set_up(&image, &shelf, 0, &aggregator);
        machine.must(
            "sed -i 's/^interval = \"5s\"/interval = \"2s\"/; s/\"10s\"/\"1m\"/' \
             /etc/labstat/agent.toml",
        );
        let pause = Duration::from_secs(WHILE);
        machine.must(&START.replace("agent ", "agent --exclude smartctl "));
        std::thread::sleep(pause);
        let alone = rounds(&aggregator);
        machine.must("pkill labstat; while pgrep labstat; do sleep 0.2; done");

        machine.must(START);
        let known = "count(labstat_smart_reads_total{outcome=\"read\"}) == 24";
        eventually("all are read once", || aggregator.query(known).pop());
        let reads = || aggregator.query("sum(labstat_smart_reads_total)")[0].1;
        let before = reads();
        std::thread::sleep(pause);
        let read = reads() - before;
        let beside = rounds(&aggregator);
        let ms = |seconds: f64| seconds * 1000.0;
        eprintln!(
            "fast round, median and 95 %: alone {:.1} and {:.1} ms, beside 24 disks {:.1} and {:.1} \
             ms; {read} reads in {WHILE} s",
            ms(alone.0),
            ms(alone.1),
            ms(beside.0),
            ms(beside.1)
        );
        // One short process a disk and minute, and not more; fewer where the machine is too busy.
        assert!((12.0..=42.0).contains(&read), "{read} reads");
        // One core has to do it all here; a round that waited for a disk would take a second.
        assert!(beside.0 < alone.0 * 2.0 + 0.05, "{alone:?} {beside:?}");
    }

    fn answers_people(aggregator: &Aggregator, machine: &mut Machine) {
        let table = aggregator.says(&["disks"]);
        for serial in ["LABHDD00", "LABNVME1", "LABMD001"] {
            let device = text(&aggregator.disk(serial).unwrap(), "device").to_owned();
            assert!(table.contains(&device), "{serial} {device}:\n{table}");
        }
        let disk = aggregator.says(&["disk", "LABHDD00"]);
        assert!(disk.contains("LABHDD00") && disk.contains("Reallocated_Sector_Ct"), "{disk}");

        let (status, said) = machine.run("/tmp/labstat disk selftest LABSSD00 --every 1s");
        assert_eq!(status, 0, "{said}");
        assert!(said.contains("short self-test passed"), "{said}");
        let device = text(&aggregator.disk("LABSSD00").unwrap(), "device").to_owned();
        let by_link = format!(
            "ln -s /dev/{device} /tmp/link && /tmp/labstat disk selftest /tmp/link --every 1s"
        );
        let (status, said) = machine.run(&by_link);
        assert_eq!(status, 0, "a second test of one hour, by a link: {said}");
        let (status, said) = machine.run("/tmp/labstat disk selftest LABSCSI1");
        assert_eq!(status, 1, "{said}");
        assert!(said.contains("failed to start a self-test"), "{said}");
        let (status, said) = machine.run("/tmp/labstat disk selftest labnode/nvme1n1");
        assert_eq!(status, 1, "{said}");
        assert!(said.contains("cannot test NVMe disks") || said.contains("self-test"), "{said}");
        let (status, said) = machine.run("/tmp/labstat disk selftest elsewhere/sda --long");
        assert_eq!(status, 1, "{said}");
        assert!(said.contains("run on elsewhere"), "{said}");

        let (_, said) = machine.run("/tmp/labstat doctor --format json 2>/tmp/doctor.log");
        let lines: Vec<Value> = serde_json::from_str(&said).expect(&said);
        let about: BTreeMap<&str, &Value> =
            lines.iter().map(|line| (text(line, "what"), line)).collect();
        for name in ["disk nvme0", "disk nvme1", "disk sda", "disk vda"] {
            assert!(about.contains_key(name), "{name}: {said}");
        }
        let count = about.keys().filter(|what| what.starts_with("disk ")).count();
        assert!(count >= DISKS.len(), "each disk has its line: {said}");
        assert_eq!(text(about["rights"], "state"), "ok", "{said}");
        assert_eq!(text(about["smartctl"], "state"), "ok", "{said}");
    }
}
