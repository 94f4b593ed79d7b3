//! Disks of a made-up machine: how each is found and asked, to the very arguments; what sleeps,
//! hangs, hides behind a bridge, is pulled, or is reached in two ways, and what is known of disks
//! after a restart.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use labstat_collect::host::{FilesystemSize, Framing, Uname};
use labstat_collect::{
    Begun, Collector, Counts, Ended, Host, Memory, NvmePage, Options, Output, RunError, Status,
    registry,
};
use labstat_model::Batch;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const T0: i64 = 1_700_000_000_000;

/// All that a call for a disk says before its type and path.
const READ: &str = "--json --info --health --capabilities --attributes --tolerance=verypermissive \
                    --format=brief --log=error --log=selftest --log=scttempsts";

/// What a call gives.
#[derive(Debug, Clone)]
enum Answer {
    Json(i32, String),
    Hangs,
    TimedOut,
    NotInstalled,
}

/// A machine whose files are a map and whose commands are a list.
#[derive(Debug, Default)]
struct Machine(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    now_ms: i64,
    files: BTreeMap<String, String>,
    links: BTreeMap<String, String>,
    /// Ends of argument lists, and what those calls give; the first that fits.
    answers: Vec<(String, Answer)>,
    calls: Vec<(i64, String)>,
    /// Pages of NVMe controllers, by device; no bytes are no rights.
    pages: BTreeMap<String, [Vec<u8>; 2]>,
    /// Keeps calls that hang under way.
    hanging: Vec<SyncSender<Ended>>,
}

impl Machine {
    fn new() -> Self {
        let machine = Self::default();
        machine.state().now_ms = T0;
        machine.answers("--scan --json", 0, r#""devices":[]"#);
        machine.answers("--scan-open --json", 0, r#""devices":[]"#);
        machine
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn file(&self, path: &str, text: &str) {
        self.state().files.insert(path.to_owned(), text.to_owned());
    }

    /// A SATA disk that turns, or one behind USB with this make.
    fn disk(&self, name: &str, usb: Option<(&str, &str)>) {
        let port = name.bytes().last().unwrap();
        let dir = match usb {
            None => format!("/sys/devices/pci0/ata{port}/host{port}/block/{name}"),
            Some((vendor, product)) => {
                let device = format!("/sys/devices/pci0/usb2/2-{port}");
                self.file(&format!("{device}/idVendor"), vendor);
                self.file(&format!("{device}/idProduct"), product);
                format!("{device}/2-{port}:1.0/host{port}/block/{name}")
            }
        };
        let link = format!("..{}", dir.strip_prefix("/sys").unwrap());
        self.state().links.insert(format!("/sys/block/{name}"), link);
        self.file(&format!("{dir}/size"), "1953525168\n");
        self.file(&format!("{dir}/queue/rotational"), "1\n");
        self.file(&format!("{dir}/removable"), "0\n");
        let vendor = if usb.is_none() { "ATA     \n" } else { "Bridge\n" };
        self.file(&format!("{dir}/device/vendor"), vendor);
        self.file(&format!("{dir}/device/power/runtime_status"), "active\n");
        self.io(name, 100);
    }

    fn dir(&self, name: &str) -> String {
        self.resolved(&format!("/sys/block/{name}")).unwrap()
    }

    fn io(&self, name: &str, requests: u64) {
        let path = format!("{}/stat", self.dir(name));
        self.file(&path, &format!("{requests} 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"));
    }

    fn pull(&self, name: &str) {
        self.state().links.remove(&format!("/sys/block/{name}"));
    }

    fn answers(&self, end: &str, status: i32, inner: &str) {
        let json = format!(r#"{{"smartctl":{{"version":[7,3]}},{inner}}}"#);
        self.answer(end, Answer::Json(status, json));
    }

    fn complains(&self, end: &str, status: i32, words: &str) {
        let json = format!(
            r#"{{"smartctl":{{"version":[7,3],"messages":[{{"string":"{words}","severity":"error"}}]}}}}"#
        );
        self.answer(end, Answer::Json(status, json));
    }

    fn answer(&self, end: &str, answer: Answer) {
        self.state().answers.insert(0, (end.to_owned(), answer));
    }

    fn advance(&self, ms: i64) {
        self.state().now_ms += ms;
    }

    /// The calls since the last look, without the search for disks.
    fn calls(&self) -> Vec<String> {
        let calls = std::mem::take(&mut self.state().calls);
        calls.into_iter().map(|(_, call)| call).filter(|call| !call.contains("scan")).collect()
    }

    fn no_such(&self) -> io::Error {
        io::ErrorKind::NotFound.into()
    }
}

/// A report of a SATA disk.
fn sata(model: &str, serial: &str) -> String {
    format!(
        r#""device":{{"type":"sat","protocol":"ATA"}},"model_name":"{model}","serial_number":"{serial}","rotation_rate":7200,"smart_status":{{"passed":true}},"temperature":{{"current":40}},"ata_smart_attributes":{{"table":[]}}"#
    )
}

impl Host for Machine {
    fn read_into(&self, path: &str, into: &mut Vec<u8>) -> io::Result<()> {
        let state = self.state();
        let text = state.files.get(path).ok_or_else(|| self.no_such())?;
        into.clear();
        into.extend(text.as_bytes());
        Ok(())
    }

    fn read_all(&self, paths: &[String], _: Duration) -> Vec<io::Result<Vec<u8>>> {
        paths.iter().map(|path| self.read(path)).collect()
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let state = self.state();
        let prefix = format!("{dir}/");
        let names = state.links.keys().chain(state.files.keys());
        let names = names.filter_map(|path| path.strip_prefix(&prefix)?.split('/').next());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort();
        names.dedup();
        if names.is_empty() { Err(self.no_such()) } else { Ok(names) }
    }

    fn link(&self, path: &str) -> io::Result<String> {
        self.state().links.get(path).cloned().ok_or_else(|| self.no_such())
    }

    fn canonical(&self, path: &str) -> io::Result<String> {
        self.resolved(path)
    }

    fn run(&self, _: &str, _: &[&str], _: Duration) -> Result<Output, RunError> {
        panic!("nothing is waited for")
    }

    fn begin(&self, program: &str, args: &[&str], deadline: Duration) -> Begun {
        assert_eq!(program, "smartctl");
        let call = args.join(" ");
        let mut state = self.state();
        let now_ms = state.now_ms;
        state.calls.push((now_ms, call.clone()));
        let fits = state.answers.iter().find(|(end, _)| call.ends_with(end.as_str()));
        let answer = fits.unwrap_or_else(|| panic!("not expected: {call}")).1.clone();
        let result = match answer {
            Answer::Json(status, json) => {
                Ok(Output { status: Some(status), stdout: json.into_bytes(), stderr: Vec::new() })
            }
            Answer::TimedOut => Err(RunError::TimedOut(deadline)),
            Answer::NotInstalled => Err(RunError::NotFound),
            Answer::Hangs => {
                let (sender, begun) = Begun::under_way();
                state.hanging.push(sender);
                return begun;
            }
        };
        Begun::ended(Ended { result, took: Some(Duration::from_millis(50)) })
    }

    fn statvfs(&self, _: &[String], _: Duration) -> Vec<io::Result<FilesystemSize>> {
        Vec::new()
    }

    fn socket_request(&self, _: &str, _: &[u8], _: Framing, _: Duration) -> io::Result<Vec<u8>> {
        Err(self.no_such())
    }

    fn nvme_page(&self, device: &str, page: NvmePage, _: Duration) -> io::Result<Vec<u8>> {
        let state = self.state();
        let pages = state.pages.get(device).ok_or(io::ErrorKind::Unsupported)?;
        let page = match page {
            NvmePage::Identity => pages[0].clone(),
            NvmePage::Health => pages[1].clone(),
            NvmePage::SelfTests => panic!("it has none"),
        };
        if page.is_empty() { Err(io::Error::from_raw_os_error(13)) } else { Ok(page) }
    }

    fn uname(&self) -> io::Result<Uname> {
        Err(self.no_such())
    }

    fn page_size_bytes(&self) -> Option<u64> {
        None
    }

    fn now_ms(&self) -> i64 {
        self.state().now_ms
    }

    fn counts(&self) -> Counts {
        Counts::default()
    }

    fn stop(&self) {}
}

/// The collector as the agent runs it.
fn agent(change: impl FnOnce(&mut labstat_collect::Smartctl)) -> Box<dyn Collector> {
    let mut options = Options::default();
    options.smartctl.continuous = true;
    change(&mut options.smartctl);
    let entry = registry().iter().find(|entry| entry.name == "smartctl").unwrap();
    (entry.make)(&options)
}

/// The collector as `labstat agent --once` runs it.
fn once() -> Box<dyn Collector> {
    agent(|options| options.continuous = false)
}

fn run(collector: &mut dyn Collector, machine: &Machine) -> Batch {
    let mut batch = Batch::new();
    assert_eq!(collector.collect(machine, &mut batch).unwrap(), Status::Collected);
    let series: Vec<String> =
        batch.iter().map(|s| format!("{}{}", s.family.name, s.labels)).collect();
    let unique: std::collections::HashSet<&String> = series.iter().collect();
    assert_eq!(unique.len(), series.len(), "a series twice: {series:#?}");
    batch
}

/// Runs it every ten seconds for so long; the last batch.
fn run_for(collector: &mut dyn Collector, machine: &Machine, ms: i64) -> Batch {
    let until = machine.now_ms() + ms;
    loop {
        machine.advance(10 * SECOND);
        let batch = run(collector, machine);
        if machine.now_ms() >= until {
            return batch;
        }
    }
}

fn state(batch: &Batch, device: &str) -> Option<(String, String)> {
    let mut states = batch.iter().filter(|sample| sample.family.name == "labstat_smart_state");
    let sample = states.find(|sample| sample.labels.get("device") == Some(device))?;
    let label = |name| sample.labels.get(name).unwrap_or_default().to_owned();
    Some((label("state"), label("reason")))
}

fn is_state(batch: &Batch, device: &str, wanted: &str, reason: &str) -> bool {
    let found = state(batch, device);
    found.as_ref().is_some_and(|(state, why)| state == wanted && why == reason)
        || panic!("{device}: {found:?}")
}

fn wakeups(batch: &Batch, device: &str, by: &str) -> Option<f64> {
    batch.value("labstat_smart_wakeups_total", &[("device", device), ("by", by)])
}

fn reads(batch: &Batch, device: &str, outcome: &str) -> Option<f64> {
    batch.value("labstat_smart_reads_total", &[("device", device), ("outcome", outcome)])
}

fn temperature(batch: &Batch, device: &str) -> Option<f64> {
    let labels = [("device", device), ("temperature_type", "current")];
    batch.value("smartctl_device_temperature", &labels)
}

#[test]
fn one_round_shows_all_disks_however_each_is_found() {
    let machine = Machine::new();
    machine.disk("sda", None);
    machine.disk("sdb", Some(("0951", "1666")));
    machine.file("/sys/class/nvme/nvme0/model", "M\n");
    machine.file("/sys/block/nvme0n1/size", "1000\n");
    machine.file("/sys/block/vda/size", "1000\n");
    for left_out in ["loop0", "zram0", "dm-1", "md0", "rbd0", "sr0", "nbd1"] {
        machine.file(&format!("/sys/block/{left_out}/size"), "1000\n");
    }
    machine.file("/sys/block/sdz/size", "0\n");
    machine.file("/sys/block/sdz/removable", "1\n");
    let listed = r#""devices":[{"name":"/dev/sda","type":"scsi"},{"name":"/dev/sdz","type":"scsi"},{"name":"/dev/bus/0","type":"megaraid,4"}]"#;
    machine.answers("--scan --json", 0, listed);
    machine.answers("/dev/sda", 0, &sata("A", "AAAA1"));
    machine.answers("/dev/sdb", 0, &sata("B", "BBBB1"));
    machine.answers("/dev/bus/0", 0, &sata("C", "CCCC1"));
    machine.answers("/dev/nvme0", 0, r#""model_name":"N","serial_number":"NNNN1""#);
    let batch = run(&mut *once(), &machine);
    let mut calls = machine.state().calls.clone();
    calls.sort();
    let calls: Vec<&str> = calls.iter().map(|(_, call)| call.as_str()).collect();
    let asked =
        |check: &str, rest: &str| format!("{READ} --nocheck=standby,{check} --device={rest}");
    let mut wanted = vec![
        asked("3,5", "sat /dev/sda"),
        asked("3,5", "auto /dev/sdb"),
        asked("3", "nvme /dev/nvme0"),
        asked("3", "megaraid,4 /dev/bus/0"),
        "--scan --json".to_owned(),
    ];
    wanted.sort();
    assert_eq!(calls, wanted);
    for device in ["sda", "sdb", "nvme0", "bus_0_megaraid_4"] {
        assert!(is_state(&batch, device, "read", ""));
    }
    assert!(is_state(&batch, "vda", "unsupported", "virtual"));
    assert_eq!(batch.value("smartctl_devices", &[]), Some(4.0), "the virtual one is not asked");
    assert_eq!(
        batch.value("labstat_smart_read_duration_seconds", &[("device", "sda")]),
        Some(0.05)
    );
}

#[test]
fn a_search_opens_disks_only_where_none_can_sleep() {
    let machine = Machine::new();
    machine.file("/sys/block/sda/size", "1000\n");
    machine.file("/sys/block/sda/queue/rotational", "0\n");
    machine.answers("/dev/sda", 0, &sata("A", "AAAA1"));
    run(&mut *once(), &machine);
    assert_eq!(machine.state().calls[0].1, "--scan-open --json");
}

#[test]
fn a_search_that_gives_nothing_to_read_is_tried_in_the_other_way() {
    let machine = Machine::new();
    machine.disk("sda", None);
    machine.answers("/dev/sda", 0, &sata("A", "AAAA1"));
    machine.answers("/dev/bus/0", 0, &sata("C", "CCCC1"));
    machine.answer("--scan --json", Answer::Json(1, "unknown option".to_owned()));
    machine.answers(
        "--scan-open --json",
        0,
        r#""devices":[{"name":"/dev/bus/0","type":"megaraid,4"}]"#,
    );
    let batch = run(&mut *once(), &machine);
    assert!(is_state(&batch, "bus_0_megaraid_4", "read", ""));
    machine.answer("--scan-open --json", Answer::TimedOut);
    let batch = run(&mut *once(), &machine);
    assert!(is_state(&batch, "sda", "read", ""), "what the kernel knows is read all the same");
}

#[test]
fn patterns_take_in_and_leave_out() {
    let machine = Machine::new();
    for name in ["sda", "sdb", "sdc"] {
        machine.disk(name, None);
        machine.answers(&format!("/dev/{name}"), 0, &sata("A", &format!("AAAA{name}")));
    }
    machine.state().links.insert("/dev/disk/by-id/ata-M_B".into(), "../../sdb".into());
    let mut some = agent(|options| {
        options.continuous = false;
        options.include = vec!["/dev/disk/by-id/ata-*".into(), "sd[ac]".into(), "sdc".into()];
        options.exclude = vec!["/dev/sd?c".into(), "*c".into()];
    });
    run(&mut *some, &machine);
    let call = format!("{READ} --nocheck=standby,3,5 --device=sat /dev/sdb");
    assert_eq!(machine.calls(), [call]);
}

#[test]
fn twenty_four_disks_are_spread_over_the_interval_and_a_start_makes_no_burst() {
    let machine = Machine::new();
    for n in 0..24_u8 {
        let name = format!("sd{}", char::from(b'a' + n));
        machine.disk(&name, None);
        machine.answers(&format!("/dev/{name}"), 0, &sata("A", &format!("AAAA{n}")));
    }
    let mut collector = agent(|_| {});
    let mut io = 100;
    let mut per_run = Vec::new();
    for _ in 0..(3 * 360) {
        io += 1;
        for n in 0..24_u8 {
            machine.io(&format!("sd{}", char::from(b'a' + n)), io);
        }
        run(&mut *collector, &machine);
        per_run.push(machine.calls());
        machine.advance(10 * SECOND);
    }
    let most = per_run.iter().map(Vec::len).max().unwrap();
    assert!(most <= 2, "{most} processes at once");
    let start: usize = per_run[..13].iter().map(Vec::len).sum();
    assert_eq!(start, 24, "all known after two minutes");
    for hour in per_run.chunks(30).skip(3) {
        let calls: Vec<&String> = hour.iter().flatten().collect();
        let unique: std::collections::HashSet<&&String> = calls.iter().collect();
        assert_eq!((calls.len(), unique.len()), (24, 24), "one process a disk and interval");
    }
}

#[test]
fn a_few_disks_are_known_at_once() {
    let machine = Machine::new();
    machine.disk("sda", None);
    machine.disk("sdb", None);
    machine.answers("/dev/sda", 0, &sata("A", "AAAA1"));
    machine.answers("/dev/sdb", 0, &sata("A", "AAAA2"));
    let mut collector = agent(|_| {});
    assert!(is_state(&run(&mut *collector, &machine), "sda", "read", ""));
    machine.advance(10 * SECOND);
    let batch = run(&mut *collector, &machine);
    assert!(is_state(&batch, "sdb", "read", ""));
    assert_eq!(temperature(&batch, "sda"), Some(40.0), "what was read stays");
    let age = batch.value("labstat_smart_reading_age_seconds", &[("device", "sda")]);
    assert_eq!(age, Some(10.0));
}

#[test]
fn a_disk_that_hangs_holds_up_nobody_and_backs_off() {
    let machine = Machine::new();
    machine.disk("sda", None);
    machine.disk("sdb", None);
    machine.answers("/dev/sda", 0, &sata("A", "AAAA1"));
    machine.answer("/dev/sdb", Answer::Hangs);
    let mut collector = agent(|_| {});
    let mut io = 100;
    let mut tick = |machine: &Machine| {
        io += 1;
        machine.io("sda", io);
        machine.io("sdb", io);
        machine.advance(10 * SECOND);
        run(&mut *collector, machine)
    };
    let mut asked = 0;
    for _ in 0..61 {
        tick(&machine);
        asked += machine.calls().iter().filter(|call| call.ends_with("sda")).count();
    }
    assert!(asked >= 2, "the other one is read in its time: {asked}");
    let ended = Ended {
        result: Err(RunError::TimedOut(Duration::from_secs(45))),
        took: Some(Duration::from_secs(45)),
    };
    machine.state().hanging.remove(0).send(ended).unwrap();
    machine.answer("/dev/sdb", Answer::TimedOut);
    let batch = tick(&machine);
    assert!(is_state(&batch, "sdb", "failed", "timeout"));
    assert_eq!(reads(&batch, "sdb", "timeout"), Some(1.0));
    assert_eq!(
        batch.value("labstat_smart_read_duration_seconds", &[("device", "sdb")]),
        Some(45.0)
    );
    let mut times = Vec::new();
    for n in 0..(6 * 360) {
        tick(&machine);
        if machine.calls().iter().any(|call| call.ends_with("sdb")) {
            times.push(n / 6);
        }
    }
    let gaps: Vec<i32> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.is_sorted(), "{gaps:?}");
    assert!(times.len() <= 9 && gaps.last().is_some_and(|gap| *gap >= 59), "{gaps:?}");
}

#[test]
fn a_sleeping_disk_is_never_asked_in_a_way_that_wakes_it() {
    let machine = Machine::new();
    machine.disk("sda", None);
    machine.answers("/dev/sda", 0, &sata("A", "AAAA1"));
    let mut collector = agent(|_| {});
    run(&mut *collector, &machine);
    let plain = format!("{READ} --nocheck=standby,3 --device=sat /dev/sda");
    let careful = format!("{READ} --nocheck=standby,3,5 --device=sat /dev/sda");
    assert_eq!(machine.calls(), std::slice::from_ref(&careful), "it may have slept for long");

    // In use, it is read every five minutes.
    for n in 0..12 {
        machine.io("sda", 200 + n);
        run_for(&mut *collector, &machine, 5 * MINUTE);
    }
    let calls = machine.calls();
    assert!((11..=13).contains(&calls.len()), "{}", calls.len());
    assert!(calls.iter().all(|call| *call == plain), "{calls:?}");

    // Nobody uses it: it is left alone, and falls asleep.
    run_for(&mut *collector, &machine, 50 * MINUTE);
    assert!(machine.calls().is_empty());
    machine.complains("/dev/sda", 3, "Device is in STANDBY mode, exit(3)");
    let batch = run_for(&mut *collector, &machine, 12 * HOUR);
    assert!(is_state(&batch, "sda", "asleep", "standby"));
    let calls = machine.calls();
    assert!((2..=5).contains(&calls.len()), "rarely: {}", calls.len());
    assert!(calls.iter().all(|call| *call == careful), "{calls:?}");
    assert_eq!(temperature(&batch, "sda"), Some(40.0), "the last values stay");
    let age = batch.value("labstat_smart_reading_age_seconds", &[("device", "sda")]).unwrap();
    assert!(age > 12.0 * 3600.0, "and age: {age}");
    let standby = [("device", "sda"), ("mode", "standby")];
    assert_eq!(batch.value("labstat_smart_power_mode", &standby), Some(1.0));
    assert_eq!(wakeups(&batch, "sda", "other"), Some(0.0));

    // Somebody reads from it: now that it is awake, its values are read at once.
    machine.answers("/dev/sda", 0, &sata("A", "AAAA1"));
    machine.io("sda", 300);
    machine.advance(10 * SECOND);
    let batch = run(&mut *collector, &machine);
    assert_eq!(machine.calls(), [plain]);
    assert!(is_state(&batch, "sda", "read", ""));
    assert_eq!(
        (wakeups(&batch, "sda", "other"), wakeups(&batch, "sda", "labstat")),
        (Some(1.0), Some(0.0))
    );
}

#[test]
fn a_disk_whose_rest_cannot_be_told_is_left_alone_while_nobody_uses_it() {
    let machine = Machine::new();
    machine.disk("sdb", Some(("1234", "0001")));
    machine.answers("/dev/sdb", 0, &sata("A", "AAAA1"));
    let mut collector = agent(|_| {});
    run(&mut *collector, &machine);
    machine.calls();
    machine.complains("/dev/sdb", 5, "CHECK POWER MODE not supported, exit(5)");
    let batch = run_for(&mut *collector, &machine, 24 * HOUR);
    let careful = format!("{READ} --nocheck=standby,3,5 --device=auto /dev/sdb");
    let calls = machine.calls();
    assert!(!calls.is_empty() && calls.iter().all(|call| *call == careful), "{calls:?}");
    assert!(is_state(&batch, "sdb", "read", ""), "as it was");
    assert!(reads(&batch, "sdb", "left_alone").is_some());
    assert_eq!(batch.value("labstat_smart_read_success", &[("device", "sdb")]), Some(1.0));
}

#[test]
fn a_disk_that_the_kernel_suspended_is_not_even_opened() {
    let machine = Machine::new();
    machine.disk("sda", None);
    machine.answers("/dev/sda", 0, &sata("A", "AAAA1"));
    let status = format!("{}/device/power/runtime_status", machine.dir("sda"));
    machine.file(&status, "suspended\n");
    let mut collector = agent(|_| {});
    let batch = run_for(&mut *collector, &machine, 24 * HOUR);
    assert!(machine.calls().is_empty());
    assert!(is_state(&batch, "sda", "asleep", "suspended"));
    let mut at_once = once();
    run(&mut *at_once, &machine);
    assert!(machine.calls().is_empty(), "not even when asked for all");
    machine.file(&status, "active\n");
    let batch = run_for(&mut *collector, &machine, 5 * MINUTE);
    assert!(is_state(&batch, "sda", "read", ""));
    assert_eq!(wakeups(&batch, "sda", "other"), Some(1.0));
}

#[test]
fn who_wants_it_has_sleeping_disks_woken() {
    let machine = Machine::new();
    machine.disk("sda", None);
    machine.answers("/dev/sda", 0, &sata("A", "AAAA1"));
    let mut collector = agent(|options| options.wake = true);
    run_for(&mut *collector, &machine, 30 * MINUTE);
    let calls = machine.calls();
    assert!(calls.len() >= 5, "{}", calls.len());
    assert!(calls.iter().all(|call| *call == format!("{READ} --device=sat /dev/sda")));
}

#[test]
fn an_unknown_bridge_is_tried_once_and_what_it_speaks_is_remembered() {
    let machine = Machine::new();
    let unknown = |path: &str| format!("{path}: Unknown USB bridge [0x0bda:0x9999 (0x100)]");
    for (name, serial) in [("sdb", "BBBB1"), ("sdc", "CCCC1")] {
        machine.disk(name, Some(("0bda", "9999")));
        let path = format!("/dev/{name}");
        machine.complains(&path, 1, &unknown(&path));
        machine.complains(
            &format!("--device=sat {path}"),
            2,
            "Read Device Identity failed: scsi error unsupported scsi opcode",
        );
        machine.answers(
            &format!("--device=sntrealtek {path}"),
            0,
            &format!(
                r#""model_name":"N","serial_number":"{serial}","nvme_smart_health_information_log":{{"temperature":41}}"#
            ),
        );
    }
    let mut collector = agent(|_| {});
    run(&mut *collector, &machine);
    let asked = |kind: &str, path: &str| {
        let check = if kind == "auto" { "3,5" } else { "3" };
        format!("{READ} --nocheck=standby,{check} --device={kind} {path}")
    };
    let first = ["auto", "sat", "sntrealtek"].map(|kind| asked(kind, "/dev/sdb"));
    assert_eq!(machine.calls(), first);
    machine.advance(10 * SECOND);
    let batch = run(&mut *collector, &machine);
    let second = ["auto", "sntrealtek"].map(|kind| asked(kind, "/dev/sdc"));
    assert_eq!(machine.calls(), second, "another one of the same make");
    assert!(is_state(&batch, "sdc", "read", ""));
    run_for(&mut *collector, &machine, 10 * MINUTE);
    let calls = machine.calls();
    assert!(calls.len() >= 3 && calls.iter().all(|call| call.contains("sntrealtek")), "{calls:?}");
}

#[test]
fn a_bridge_that_speaks_nothing_is_not_tried_again_each_time() {
    let machine = Machine::new();
    machine.disk("sdb", Some(("1234", "9999")));
    machine.complains("/dev/sdb", 2, "Smartctl open device: /dev/sdb failed: Invalid argument");
    machine.complains("auto /dev/sdb", 1, "/dev/sdb: Unknown USB bridge [0x1234:0x9999 (0x1)]");
    let mut collector = agent(|_| {});
    let batch = run(&mut *collector, &machine);
    assert_eq!(machine.calls().len(), 7, "the plain call and six types");
    assert!(is_state(&batch, "sdb", "unsupported", "unknown_usb_bridge"));
    let batch = run_for(&mut *collector, &machine, 20 * HOUR);
    let calls = machine.calls();
    assert!(calls.len() <= 3 && calls.iter().all(|call| call.contains("auto")), "{calls:?}");
    assert!(is_state(&batch, "sdb", "unsupported", "unknown_usb_bridge"));
}

/// As QEMU's disks do on USB, which have no ATA behind them.
#[test]
fn a_bridge_that_fails_to_tell_its_power_mode_does_not_sleep_for_ever() {
    let machine = Machine::new();
    machine.disk("sdb", Some(("46f4", "0001")));
    machine.complains("/dev/sdb", 2, "Smartctl open device: /dev/sdb failed: Invalid argument");
    machine.complains("auto /dev/sdb", 1, "/dev/sdb: Unknown USB bridge [0x46f4:0x0001 (0x0)]");
    machine.complains("sat /dev/sdb", 3, "Device is in SLEEP mode, exit(3)");
    machine.answers(
        "scsi /dev/sdb",
        0,
        r#""model_name":"QEMU HARDDISK","serial_number":"LABUSB0""#,
    );
    let batch = run(&mut *once(), &machine);
    assert_eq!(machine.calls().len(), 7);
    assert!(is_state(&batch, "sdb", "unsupported", "virtual"));
}

#[test]
fn a_bridge_whose_disk_sleeps_is_tried_on_when_it_wakes() {
    let machine = Machine::new();
    machine.disk("sdb", Some(("1234", "9999")));
    machine.complains("/dev/sdb", 2, "Smartctl open device: /dev/sdb failed: Invalid argument");
    machine.complains("auto /dev/sdb", 1, "/dev/sdb: Unknown USB bridge [0x1234:0x9999 (0x0)]");
    machine.complains("sat /dev/sdb", 3, "Device is in STANDBY mode, exit(3)");
    let mut collector = agent(|_| {});
    let batch = run(&mut *collector, &machine);
    assert_eq!(machine.calls().len(), 2);
    assert!(is_state(&batch, "sdb", "asleep", "standby"));
    machine.io("sdb", 200);
    machine.answers("sat /dev/sdb", 0, &sata("B", "BBBB1"));
    let batch = run_for(&mut *collector, &machine, 20 * SECOND);
    assert!(is_state(&batch, "sdb", "read", ""));
    let calls = machine.calls();
    assert!(calls[0].ends_with("--nocheck=standby,3 --device=sat /dev/sdb"), "{calls:?}");
}

/// smartctl takes a failed CHECK POWER MODE for SLEEP.
#[test]
fn a_disk_that_dies_is_not_taken_for_one_that_sleeps() {
    let machine = Machine::new();
    machine.disk("sda", None);
    machine.answers("/dev/sda", 0, &sata("A", "AAAA1"));
    let mut collector = agent(|_| {});
    run(&mut *collector, &machine);
    machine.complains("/dev/sda", 2, "Read Device Identity failed: Input/output error");
    machine.complains(
        "--nocheck=standby,3 --device=sat /dev/sda",
        3,
        "Device is in SLEEP mode, exit(3)",
    );
    machine.complains(
        "--nocheck=standby,3,5 --device=sat /dev/sda",
        3,
        "Device is in SLEEP mode, exit(3)",
    );
    machine.calls();
    let insisting = format!("{READ} --device=sat /dev/sda");
    // It was used some time since, and may sleep again by now.
    machine.io("sda", 200);
    let batch = run_for(&mut *collector, &machine, 8 * MINUTE);
    assert!(is_state(&batch, "sda", "asleep", "sleep"));
    assert!(!machine.calls().contains(&insisting));
    // It is being used.
    machine.io("sda", 201);
    let batch = run_for(&mut *collector, &machine, 10 * SECOND);
    assert!(is_state(&batch, "sda", "failed", "identify_failed"));
    assert_eq!(machine.calls().iter().filter(|call| **call == insisting).count(), 1);
    // Nobody uses it any more, so nobody insists, and it is dead all the same.
    let batch = run_for(&mut *collector, &machine, 24 * HOUR);
    assert!(is_state(&batch, "sda", "failed", "identify_failed"));
    assert!(!machine.calls().contains(&insisting));
}

#[test]
fn a_bridge_that_says_standby_while_it_is_used_is_asked_at_its_time_and_read_after_a_few() {
    let machine = Machine::new();
    machine.disk("sdb", Some(("1234", "0001")));
    machine.answers("/dev/sdb", 0, &sata("B", "BBBB1"));
    for check in ["3", "3,5"] {
        let call = format!("--nocheck=standby,{check} --device=auto /dev/sdb");
        machine.complains(&call, 3, "Device is in STANDBY mode, exit(3)");
    }
    let mut collector = agent(|_| {});
    let mut io = 200;
    let mut use_for = |ms: i64| {
        let until = machine.now_ms() + ms;
        loop {
            io += 1;
            machine.io("sdb", io);
            let batch = run_for(&mut *collector, &machine, 10 * SECOND);
            if machine.now_ms() >= until {
                return batch;
            }
        }
    };
    let batch = use_for(5 * MINUTE);
    assert!(is_state(&batch, "sdb", "asleep", "standby"));
    let calls = machine.calls();
    assert!(calls.len() <= 3, "not in each round: {}", calls.len());
    let batch = use_for(15 * MINUTE);
    assert!(is_state(&batch, "sdb", "read", ""));
    assert_eq!(temperature(&batch, "sdb"), Some(40.0));
    assert!(reads(&batch, "sdb", "doubted").is_some());
    assert_eq!(wakeups(&batch, "sdb", "other"), Some(0.0));
    machine.calls();
    use_for(HOUR);
    let calls = machine.calls();
    let insisting = format!("{READ} --device=auto /dev/sdb");
    let insisted = calls.iter().filter(|call| **call == insisting).count();
    assert!((11..=13).contains(&insisted), "at each of its times: {insisted}");
    assert_eq!(calls.len(), 2 * insisted);
    // Nobody uses it any more: it may sleep in truth.
    run_for(&mut *collector, &machine, MINUTE);
    machine.calls();
    run_for(&mut *collector, &machine, 24 * HOUR);
    assert!(!machine.calls().contains(&insisting));
}

#[test]
fn a_disk_whose_rest_cannot_be_told_at_first_is_not_read_until_it_is_used() {
    let machine = Machine::new();
    machine.disk("sda", None);
    machine.answers("/dev/sda", 0, &sata("A", "AAAA1"));
    machine.complains(
        "--nocheck=standby,3,5 --device=sat /dev/sda",
        5,
        "CHECK POWER MODE not implemented, exit(5)",
    );
    let mut collector = agent(|_| {});
    let batch = run_for(&mut *collector, &machine, HOUR);
    assert!(is_state(&batch, "sda", "asleep", "unknown"));
    assert_eq!(batch.value("labstat_smart_read_success", &[("device", "sda")]), Some(0.0));
    machine.io("sda", 200);
    let batch = run_for(&mut *collector, &machine, 10 * MINUTE);
    assert!(is_state(&batch, "sda", "read", ""));
    assert_eq!(temperature(&batch, "sda"), Some(40.0));
}

#[test]
fn a_serial_number_without_end_does_not_cost_the_round() {
    let machine = Machine::new();
    machine.disk("sda", None);
    machine.answers("/dev/sda", 0, &sata("A", &"ü".repeat(10_000)));
    let batch = run(&mut *once(), &machine);
    assert!(is_state(&batch, "sda", "read", ""));
    let longest =
        batch.iter().flat_map(|sample| sample.labels.iter().map(|(_, value)| value.len()));
    assert!(longest.max() <= Some(labstat_model::limits::LABEL_VALUE_LEN_MAX));
}

#[test]
fn what_firmware_calls_a_disk_can_neither_steer_nor_turn_text() {
    let machine = Machine::new();
    machine.disk("sda", None);
    let attribute = r#""ata_smart_attributes":{"table":[{"id":5,"name":"R\u001b[2J","value":100,
                       "raw":{"value":0,"string":"0"}}]}"#;
    let disk = format!("{},{attribute}", sata(r"WDC\u202eDER", r"S1\u0007\n2"));
    machine.answers("/dev/sda", 0, &disk);
    let batch = run(&mut *once(), &machine);
    let named = batch.iter().find(|it| it.family.name == "smartctl_device").unwrap();
    assert_eq!(named.labels.get("model_name"), Some(r"WDC\u{202e}DER"));
    assert_eq!(named.labels.get("serial_number"), Some(r"S1\u{7}\n2"));
    let attribute = batch.iter().find(|it| it.labels.get("attribute_id") == Some("5")).unwrap();
    assert_eq!(attribute.labels.get("attribute_name"), Some(r"R\u{1b}[2J"));
    let mut values = batch.iter().flat_map(|sample| sample.labels.iter().map(|(_, value)| value));
    assert!(values.all(|value| !value.contains(|c: char| c.is_control() || c == '\u{202e}')));
}

#[test]
fn a_disk_in_deep_sleep_is_left_alone() {
    let machine = Machine::new();
    machine.disk("sda", None);
    machine.complains("/dev/sda", 3, "Device is in SLEEP mode, exit(3)");
    let mut collector = agent(|_| {});
    let batch = run_for(&mut *collector, &machine, 24 * HOUR);
    assert!(is_state(&batch, "sda", "asleep", "sleep"));
    assert!(machine.calls().iter().all(|call| call.contains("--nocheck=standby,3")));
}

#[test]
fn a_stick_is_not_tried_with_commands_it_may_not_survive() {
    let machine = Machine::new();
    machine.disk("sdb", Some(("1234", "9999")));
    machine.file(&format!("{}/removable", machine.dir("sdb")), "1\n");
    machine.complains("/dev/sdb", 1, "/dev/sdb: Unknown USB bridge [0x1234:0x9999 (0x1)]");
    run(&mut *once(), &machine);
    assert_eq!(machine.calls().len(), 1);
}

#[test]
fn what_a_bridge_of_a_named_disk_does_not_speak_is_not_guessed() {
    let machine = Machine::new();
    machine.disk("sdb", Some(("1234", "9999")));
    machine.complains("/dev/sdb", 1, "/dev/sdb: Unknown USB bridge [0x1234:0x9999 (0x1)]");
    let mut collector = agent(|options| {
        options.continuous = false;
        options.devices = vec![("/dev/sdb".to_owned(), "sntasmedia".to_owned())];
    });
    run(&mut *collector, &machine);
    let call = format!("{READ} --nocheck=standby,3,5 --device=sntasmedia /dev/sdb");
    assert_eq!(machine.calls(), [call]);
}

#[test]
fn a_disk_reached_in_two_ways_is_one_until_the_first_way_fails() {
    let machine = Machine::new();
    machine.disk("sda", None);
    machine.disk("sdb", None);
    let listed = r#""devices":[{"name":"/dev/bus/0","type":"megaraid,4"}]"#;
    machine.answers("--scan --json", 0, listed);
    for path in ["/dev/sda", "/dev/sdb", "/dev/bus/0"] {
        machine.answers(path, 0, &sata("A", "AAAA1"));
    }
    let mut collector = agent(|options| options.wake = true);
    let batch = run_for(&mut *collector, &machine, 30 * SECOND);
    assert_eq!(batch.value("smartctl_devices", &[]), Some(1.0));
    assert!(is_state(&batch, "sda", "read", ""));
    assert_eq!((state(&batch, "sdb"), state(&batch, "bus_0_megaraid_4")), (None, None));
    machine.calls();
    run_for(&mut *collector, &machine, 20 * MINUTE);
    assert!(machine.calls().iter().all(|call| call.ends_with("/dev/sda")), "one process");

    machine.complains("/dev/sda", 2, "Smartctl open device: /dev/sda failed: Input/output error");
    let batch = run_for(&mut *collector, &machine, 6 * MINUTE);
    assert!(is_state(&batch, "sda", "failed", "open_failed"));
    assert!(is_state(&batch, "sdb", "read", ""));
}

#[test]
fn two_bridges_that_give_one_serial_number_are_two_disks() {
    for serial in ["", "0123456789ABCDEF", "DD5641988A3C2"] {
        let machine = Machine::new();
        for name in ["sdb", "sdc"] {
            machine.disk(name, Some(("152d", "0578")));
            machine.answers(&format!("/dev/{name}"), 0, &sata("Generic", serial));
        }
        let batch = run(&mut *once(), &machine);
        assert_eq!(batch.value("smartctl_devices", &[]), Some(2.0), "{serial:?}");
        assert!(is_state(&batch, "sdb", "read", "") && is_state(&batch, "sdc", "read", ""));
    }
}

#[test]
fn a_disk_that_is_pulled_is_gone_at_once_and_one_that_comes_is_read_at_once() {
    let machine = Machine::new();
    machine.disk("sda", None);
    machine.answers("/dev/sda", 0, &sata("A", "AAAA1"));
    let mut collector = agent(|_| {});
    run(&mut *collector, &machine);
    machine.calls();
    machine.pull("sda");
    machine.disk("sdb", None);
    machine.answers("/dev/sdb", 0, &sata("B", "BBBB1"));
    machine.advance(10 * SECOND);
    let batch = run(&mut *collector, &machine);
    assert!(is_state(&batch, "sda", "gone", ""));
    assert_eq!(temperature(&batch, "sda"), None, "it has no values here any more");
    assert!(is_state(&batch, "sdb", "read", ""));
    assert_eq!(temperature(&batch, "sdb"), Some(40.0));
    let batch = run_for(&mut *collector, &machine, 61 * MINUTE);
    assert_eq!(state(&batch, "sda"), None, "told for an hour");
    assert!(machine.calls().iter().all(|call| call.ends_with("/dev/sdb")));
}

#[test]
fn a_reader_without_a_card_is_no_disk_until_there_is_one_and_a_disk_without_a_size_is_asked() {
    let machine = Machine::new();
    machine.disk("sda", None);
    machine.disk("sdb", None);
    let size = |name: &str| format!("{}/size", machine.dir(name));
    for name in ["sda", "sdb"] {
        machine.file(&size(name), "0\n");
    }
    machine.file("/sys/block/sdb/size", "0\n");
    machine.file(&format!("{}/removable", machine.dir("sdb")), "1\n");
    machine.complains("/dev/sda", 2, "Read Device Identity failed: Input/output error");
    machine.answers("/dev/sdb", 0, &sata("B", "BBBB1"));
    let mut collector = agent(|_| {});
    let batch = run_for(&mut *collector, &machine, MINUTE);
    assert!(is_state(&batch, "sda", "failed", "identify_failed"));
    assert_eq!(state(&batch, "sdb"), None);
    machine.file(&size("sdb"), "1000\n");
    machine.file("/sys/block/sdb/size", "1000\n");
    let batch = run_for(&mut *collector, &machine, 20 * SECOND);
    assert!(is_state(&batch, "sdb", "read", ""));
}

#[test]
fn another_disk_of_the_same_name_starts_anew() {
    let machine = Machine::new();
    machine.disk("sda", None);
    machine.answers("/dev/sda", 0, &sata("A", "AAAA1"));
    let mut collector = agent(|_| {});
    run(&mut *collector, &machine);
    machine.calls();
    machine.io("sda", 3);
    machine.advance(10 * SECOND);
    machine.complains("/dev/sda", 2, "Smartctl open device: /dev/sda failed: Input/output error");
    let batch = run(&mut *collector, &machine);
    assert!(!machine.calls().is_empty(), "asked at once");
    assert_eq!(temperature(&batch, "sda"), None, "what the other one said is not its");
}

#[test]
fn no_rights_are_told_and_not_asked_for_again_each_time() {
    let machine = Machine::new();
    machine.disk("sda", None);
    machine.complains("/dev/sda", 2, "Smartctl open device: /dev/sda failed: Permission denied");
    let mut collector = agent(|_| {});
    let batch = run_for(&mut *collector, &machine, HOUR);
    assert!(is_state(&batch, "sda", "denied", "permission"));
    assert_eq!(machine.calls().len(), 1);
}

#[test]
fn a_jump_of_the_clock_neither_silences_disks_nor_makes_a_burst() {
    let machine = Machine::new();
    for name in ["sda", "sdb", "sdc", "sdd"] {
        machine.disk(name, None);
        machine.answers(&format!("/dev/{name}"), 0, &sata("A", &format!("AAAA{name}")));
    }
    let mut collector = agent(|options| options.wake = true);
    run_for(&mut *collector, &machine, 10 * MINUTE);
    for jump in [-100 * HOUR, 100 * HOUR] {
        machine.calls();
        machine.advance(jump);
        run(&mut *collector, &machine);
        assert!(machine.calls().len() <= 1, "no burst");
        run_for(&mut *collector, &machine, MINUTE);
        assert!(machine.calls().len() >= 3, "soon after {jump}");
    }
}

#[test]
fn time_that_stands_still_as_in_a_capture_shows_all_disks_after_all() {
    let machine = Machine::new();
    for name in ["sda", "sdb", "sdc", "sdd"] {
        machine.disk(name, None);
        machine.answers(&format!("/dev/{name}"), 0, &sata("A", &format!("AAAA{name}")));
    }
    let mut collector = agent(|_| {});
    run(&mut *collector, &machine);
    let batch = run(&mut *collector, &machine);
    assert!(is_state(&batch, "sdd", "read", ""));
}

#[test]
fn without_smartctl_there_is_nothing_and_it_is_seen_when_it_comes() {
    let machine = Machine::new();
    machine.disk("sda", None);
    machine.answers("/dev/sda", 0, &sata("A", "AAAA1"));
    machine.answer("--scan --json", Answer::NotInstalled);
    let mut collector = agent(|_| {});
    for _ in 0..2 {
        let mut batch = Batch::new();
        assert_eq!(collector.collect(&machine, &mut batch).unwrap(), Status::Absent);
        assert!(batch.is_empty());
        machine.advance(10 * SECOND);
    }
    machine.answers("--scan --json", 0, r#""devices":[]"#);
    machine.advance(MINUTE);
    assert!(is_state(&run(&mut *collector, &machine), "sda", "read", ""));
    machine.answer("/dev/sda", Answer::NotInstalled);
    machine.io("sda", 200);
    machine.advance(11 * MINUTE);
    let mut batch = Batch::new();
    assert_eq!(collector.collect(&machine, &mut batch).unwrap(), Status::Absent);
}

/// A machine of one NVMe disk of one namespace, with these pages.
fn nvme(pages: Option<[Vec<u8>; 2]>) -> Machine {
    let machine = Machine::new();
    machine.file("/sys/class/nvme/nvme0/nvme0n1/size", "2000\n");
    machine.file("/sys/class/nvme/nvme0/nvme0n1/queue/logical_block_size", "4096\n");
    machine.file("/sys/block/nvme0n1/size", "2000\n");
    if let Some(pages) = pages {
        machine.state().pages.insert("/dev/nvme0".to_owned(), pages);
    }
    machine
}

/// Identity and health of a controller at 45 degrees, with these warnings.
fn pages(warnings: u8) -> [Vec<u8>; 2] {
    let mut identity = vec![0; 4096];
    identity[4..9].copy_from_slice(b"NNNN1");
    identity[24..27].copy_from_slice(b"SSD");
    identity[516] = 1;
    let mut health = vec![0; 512];
    health[0] = warnings;
    health[1..3].copy_from_slice(&(273_u16 + 45).to_le_bytes());
    [identity, health]
}

fn direct() -> Box<dyn Collector> {
    agent(|options| {
        options.continuous = false;
        options.nvme_direct = true;
    })
}

#[test]
fn an_nvme_disk_is_read_without_a_process() {
    for (warnings, passed, status) in [(0, 1.0, 0.0), (4, 0.0, 8.0)] {
        let machine = nvme(Some(pages(warnings)));
        let batch = run(&mut *direct(), &machine);
        assert!(machine.calls().is_empty());
        assert!(is_state(&batch, "nvme0", "read", ""));
        assert_eq!(temperature(&batch, "nvme0"), Some(45.0));
        let nvme0 = [("device", "nvme0")];
        assert_eq!(batch.value("smartctl_device_smart_status", &nvme0), Some(passed));
        assert_eq!(batch.value("smartctl_device_smartctl_exit_status", &nvme0), Some(status));
        assert_eq!(batch.value("smartctl_device_capacity_bytes", &nvme0), Some(1_024_000.0));
        let info = [("interface", "nvme"), ("protocol", "NVMe"), ("serial_number", "NNNN1")];
        assert_eq!(batch.value("smartctl_device", &info), Some(1.0));
    }
}

#[test]
fn an_nvme_disk_that_cannot_be_read_so_is_read_by_smartctl() {
    for pages in [None, Some([vec![0; 10], vec![0; 10]]), Some([Vec::new(), Vec::new()])] {
        let machine = nvme(pages);
        machine.answers("/dev/nvme0", 0, r#""model_name":"N","serial_number":"NNNN1""#);
        let batch = run(&mut *direct(), &machine);
        assert_eq!(machine.calls().len(), 1);
        assert!(is_state(&batch, "nvme0", "read", ""));
    }
}

#[test]
fn without_smartctl_nvme_disks_are_read_all_the_same() {
    let machine = nvme(Some(pages(0)));
    machine.disk("sda", None);
    machine.answer("--scan --json", Answer::NotInstalled);
    let batch = run(&mut *once(), &machine);
    assert!(is_state(&batch, "nvme0", "read", ""));
    assert_eq!(state(&batch, "sda"), None, "nothing is known of it");
    machine.state().pages.insert("/dev/nvme0".to_owned(), [Vec::new(), Vec::new()]);
    let batch = run(&mut *once(), &machine);
    assert!(is_state(&batch, "nvme0", "denied", "permission"));
    assert!(machine.calls().is_empty());
}

/// A state folder: what was kept last, and how often.
#[derive(Debug, Default)]
struct Folder(Mutex<(Option<Vec<u8>>, usize, bool)>);

impl Folder {
    fn writes(&self) -> usize {
        self.0.lock().unwrap().1
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().0.clone().unwrap_or_default()).unwrap()
    }

    fn put(&self, text: &str) {
        self.0.lock().unwrap().0 = Some(text.as_bytes().to_vec());
    }
}

impl Memory for Folder {
    fn recall(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        assert_eq!(name, "disks");
        Ok(self.0.lock().unwrap().0.clone())
    }

    fn keep(&self, name: &str, document: &[u8]) -> io::Result<()> {
        assert_eq!(name, "disks");
        let mut state = self.0.lock().unwrap();
        if state.2 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        (state.0, state.1) = (Some(document.to_vec()), state.1 + 1);
        Ok(())
    }
}

/// An agent that was just started and has this state folder.
fn started(folder: &Arc<Folder>) -> Box<dyn Collector> {
    let mut options = Options::default();
    options.smartctl.continuous = true;
    options.memory = Some(Arc::clone(folder) as Arc<dyn Memory>);
    let entry = registry().iter().find(|entry| entry.name == "smartctl").unwrap();
    (entry.make)(&options)
}

impl Machine {
    /// What udev knows of a disk, and where it is plugged in.
    fn known(&self, name: &str, serial: &str, path: &str) {
        let number = format!("8:{}", name.bytes().last().unwrap());
        self.file(&format!("{}/dev", self.dir(name)), &number);
        let text = format!(
            "E:ID_ATA=1\nE:ID_BUS=ata\nE:ID_MODEL_ENC=A\nE:ID_SERIAL_SHORT={serial}\nE:ID_PATH={path}\n"
        );
        self.file(&format!("/run/udev/data/b{number}"), &text);
    }

    fn boots(&self, id: &str) {
        self.file("/proc/sys/kernel/random/boot_id", &format!("{id}\n"));
    }

    /// A known disk that says who it is.
    fn answering(&self, name: &str, serial: &str, path: &str) {
        self.disk(name, None);
        self.known(name, serial, path);
        self.answers(&format!("/dev/{name}"), 0, &sata("A", serial));
    }

    fn sleeping(&self, name: &str) {
        self.complains(&format!("/dev/{name}"), 3, "Device is in STANDBY mode, exit(3)");
    }
}

/// A machine with `sda` of serial AAAA1, which an agent read and saw fall asleep; the age of that
/// reading.
fn asleep(folder: &Arc<Folder>) -> (Machine, f64) {
    let machine = Machine::new();
    machine.boots("one");
    machine.answering("sda", "AAAA1", "pci-1-ata-1");
    let mut collector = started(folder);
    run(&mut *collector, &machine);
    machine.sleeping("sda");
    let batch = run_for(&mut *collector, &machine, 2 * HOUR);
    assert!(is_state(&batch, "sda", "asleep", "standby"));
    machine.calls();
    (machine, age(&batch, "sda").unwrap())
}

fn age(batch: &Batch, device: &str) -> Option<f64> {
    batch.value("labstat_smart_reading_age_seconds", &[("device", device)])
}

#[test]
fn a_sleeping_disk_keeps_its_values_over_a_restart_and_is_not_asked_for_them() {
    let folder = Arc::default();
    let (machine, before) = asleep(&folder);
    machine.advance(10 * MINUTE);
    let mut collector = started(&folder);
    let batch = run(&mut *collector, &machine);
    assert!(is_state(&batch, "sda", "asleep", "standby"));
    assert_eq!(temperature(&batch, "sda"), Some(40.0));
    assert_eq!(age(&batch, "sda"), Some(before + 600.0), "the true age");
    run_for(&mut *collector, &machine, 20 * MINUTE);
    assert!(machine.calls().is_empty(), "it sleeps, and has had no I/O");
    // Its next look is at its usual time, in the way that wakes nothing.
    run_for(&mut *collector, &machine, 2 * HOUR);
    assert_eq!(machine.calls(), [format!("{READ} --nocheck=standby,3,5 --device=sat /dev/sda")]);
}

#[test]
fn a_disk_that_sleeps_after_its_machine_was_started_again_shows_its_last_values() {
    let folder = Arc::default();
    let (machine, before) = asleep(&folder);
    machine.boots("two");
    // Its name is another one now.
    machine.pull("sda");
    machine.disk("sdb", None);
    machine.known("sdb", "AAAA1", "pci-1-ata-5");
    machine.sleeping("sdb");
    machine.io("sdb", 3);
    machine.advance(MINUTE);
    let mut collector = started(&folder);
    let batch = run(&mut *collector, &machine);
    assert_eq!(machine.calls(), [format!("{READ} --nocheck=standby,3,5 --device=sat /dev/sdb")]);
    assert!(is_state(&batch, "sdb", "asleep", "standby"));
    assert_eq!((temperature(&batch, "sdb"), state(&batch, "sda")), (Some(40.0), None));
    assert_eq!(age(&batch, "sdb"), Some(before + 60.0));
    let labels = [("device", "sdb"), ("serial_number", "AAAA1")];
    assert_eq!(batch.value("smartctl_device", &labels), Some(1.0));
}

#[test]
fn what_a_disk_said_is_never_shown_for_another_one() {
    let another = |serial: &str| {
        let folder = Arc::default();
        let (machine, _) = asleep(&folder);
        match serial {
            "" => machine.file("/run/udev/data/b8:97", ""),
            _ => machine.known("sda", serial, "pci-1-ata-1"),
        }
        let batch = run_for(&mut *started(&folder), &machine, MINUTE);
        (state(&batch, "sda"), temperature(&batch, "sda"), age(&batch, "sda"))
    };
    let nothing = (Some(("asleep".to_owned(), "standby".to_owned())), None, None);
    assert_eq!(another("BBBB2"), nothing, "in its place");
    assert_eq!(another(""), nothing, "nobody knows who it is");
    assert_eq!(another("AAAA1").1, Some(40.0), "it itself");
}

#[test]
fn two_disks_of_one_serial_number_keep_their_own_values_when_their_names_swap() {
    let folder = Arc::default();
    let machine = Machine::new();
    for (name, path, celsius) in [("sda", "pci-1-ata-1", 31), ("sdb", "pci-1-ata-2", 52)] {
        machine.answering(name, "TWIN1", path);
        let capacity = format!(r#","user_capacity":{{"bytes":{celsius}}}"#);
        let report =
            sata("A", "TWIN1").replace("\"current\":40", &format!("\"current\":{celsius}"));
        machine.answers(&format!("/dev/{name}"), 0, &(report + &capacity));
    }
    let mut collector = started(&folder);
    run_for(&mut *collector, &machine, MINUTE);
    let asleep = |machine: &Machine| ["sda", "sdb"].iter().for_each(|name| machine.sleeping(name));
    asleep(&machine);
    let batch = run_for(&mut *collector, &machine, 2 * HOUR);
    assert_eq!((temperature(&batch, "sda"), temperature(&batch, "sdb")), (Some(31.0), Some(52.0)));

    machine.boots("two");
    machine.known("sda", "TWIN1", "pci-1-ata-2");
    machine.known("sdb", "TWIN1", "pci-1-ata-1");
    let batch = run_for(&mut *started(&folder), &machine, MINUTE);
    assert_eq!((temperature(&batch, "sda"), temperature(&batch, "sdb")), (Some(52.0), Some(31.0)));
    // Nothing tells which is which.
    machine.boots("three");
    machine.known("sda", "TWIN1", "");
    machine.known("sdb", "TWIN1", "");
    let batch = run_for(&mut *started(&folder), &machine, MINUTE);
    assert_eq!((temperature(&batch, "sda"), temperature(&batch, "sdb")), (None, None));
}

#[test]
fn wake_ups_are_counted_on_over_a_restart() {
    let folder = Arc::default();
    let (machine, _) = asleep(&folder);
    // Somebody used it while no agent ran, and it fell asleep again.
    machine.io("sda", 500);
    let mut collector = started(&folder);
    let batch = run_for(&mut *collector, &machine, MINUTE);
    assert!(is_state(&batch, "sda", "asleep", "standby"));
    assert_eq!(wakeups(&batch, "sda", "other"), Some(1.0));
    let careful = format!("{READ} --nocheck=standby,3,5 --device=sat /dev/sda");
    assert_eq!(machine.calls(), [careful], "it may sleep again");
    run_for(&mut *collector, &machine, 2 * MINUTE);
    let batch = run(&mut *started(&folder), &machine);
    assert_eq!(wakeups(&batch, "sda", "other"), Some(1.0));
}

#[test]
fn what_is_kept_is_written_rarely_and_in_time() {
    let folder = Arc::<Folder>::default();
    let machine = Machine::new();
    machine.answering("sda", "AAAA1", "p1");
    machine.answering("sdb", "BBBB1", "p2");
    let mut collector = started(&folder);
    let use_for = |collector: &mut dyn Collector, hours: u64| {
        for n in 0..(hours * 12) {
            let io = machine.now_ms().unsigned_abs() / 1_000 + n;
            machine.io("sda", io);
            machine.io("sdb", io);
            run_for(collector, &machine, 5 * MINUTE);
        }
    };
    use_for(&mut *collector, 24);
    let writes = folder.writes();
    assert!((20..=30).contains(&writes), "about hourly: {writes}");
    machine.sleeping("sda");
    machine.sleeping("sdb");
    run_for(&mut *collector, &machine, 12 * HOUR);
    let writes = folder.writes() - writes;
    assert!((1..=8).contains(&writes), "what changed: {writes}");
    let batch = run(&mut *started(&folder), &machine);
    assert!(age(&batch, "sda").unwrap() < 13.0 * 3600.0, "its very last reading was written");

    // A disk that has no state folder, and one run of its own.
    let text = folder.text();
    let memory = Some(Arc::clone(&folder) as Arc<dyn Memory>);
    let options = Options { memory, ..Options::default() };
    let entry = registry().iter().find(|entry| entry.name == "smartctl").unwrap();
    machine.boots("other");
    let batch = run(&mut *(entry.make)(&options), &machine);
    assert_eq!(temperature(&batch, "sda"), None, "one run knows what it reads");
    assert_eq!(folder.text(), text);
}

#[test]
fn a_state_folder_that_cannot_be_written_costs_nothing_else() {
    let folder = Arc::<Folder>::default();
    folder.0.lock().unwrap().2 = true;
    let machine = Machine::new();
    machine.answering("sda", "AAAA1", "p1");
    let mut collector = started(&folder);
    let batch = run_for(&mut *collector, &machine, 10 * MINUTE);
    assert!(is_state(&batch, "sda", "read", ""));
    folder.0.lock().unwrap().2 = false;
    run_for(&mut *collector, &machine, 2 * MINUTE);
    assert_eq!(folder.writes(), 1);
}

#[test]
fn what_somebody_wrote_into_the_state_folder_does_no_harm() {
    let folder = Arc::default();
    let (machine, _) = asleep(&folder);
    let good = folder.text();
    assert!(good.starts_with(r#"{"version":1,"#), "{good}");
    let odd = good.replace(r#""learned":"sat""#, r#""learned":"sat --set=standby,now""#);
    let broken = [
        String::new(),
        "[]".repeat(3),
        good[..good.len() / 2].to_owned(),
        good.replace(r#""version":1"#, r#""version":2"#),
        good.replace(r#""at_ms":17"#, r#""at_ms":97"#),
        good.replace(r#""disks":[{"#, r#""disks":[7,{"who":{"serial":5}},{"#),
        good.replace("AAAA1", &"9".repeat(100_000)),
        odd,
    ];
    for text in &broken {
        folder.put(text);
        let batch = run_for(&mut *started(&folder), &machine, 2 * MINUTE);
        assert!(is_state(&batch, "sda", "asleep", "standby"));
        assert!(age(&batch, "sda").is_none_or(|age| age > 0.0));
        assert!(machine.calls().iter().all(|call| !call.contains("--set")));
    }
    folder.put(&good.replace(r#""disks":[{"#, r#""disks":[7,{"who":{"serial":5}},{"#));
    let batch = run_for(&mut *started(&folder), &machine, MINUTE);
    assert_eq!(temperature(&batch, "sda"), Some(40.0), "a record costs only itself");
}

/// A disk behind a bridge that smartctl does not know and that speaks nothing but `speaks`.
fn bridged(machine: &Machine, name: &str, speaks: &str) {
    machine.disk(name, Some(("1234", "9999")));
    let path = format!("/dev/{name}");
    let failed = format!("Smartctl open device: {path} failed: Invalid argument");
    machine.complains(&path, 2, &failed);
    let unknown = format!("{path}: Unknown USB bridge [0x1234:0x9999 (0x1)]");
    machine.complains(&format!("auto {path}"), 1, &unknown);
    if !speaks.is_empty() {
        machine.answers(&format!("{speaks} {path}"), 0, &sata("A", "BBBB1"));
    }
}

#[test]
fn what_a_bridge_speaks_is_remembered_over_a_restart() {
    let folder = Arc::default();
    let machine = Machine::new();
    bridged(&machine, "sdb", "usbjmicron");
    machine.known("sdb", "BBBB1", "usb-1");
    run(&mut *started(&folder), &machine);
    assert_eq!(machine.calls().len(), 6, "one type after the other");
    let batch = run(&mut *started(&folder), &machine);
    assert_eq!(
        machine.calls(),
        [format!("{READ} --nocheck=standby,3,5 --device=usbjmicron /dev/sdb")]
    );
    assert!(is_state(&batch, "sdb", "read", ""));
    // Where the kernel cannot tell who it is, at least the type that works comes first.
    machine.known("sdb", "", "usb-1");
    run(&mut *started(&folder), &machine);
    let kinds: Vec<bool> = machine.calls().iter().map(|call| call.contains("usbjmicron")).collect();
    assert_eq!(kinds, [false, true], "the plain call, and what works");
}

#[test]
fn a_bridge_that_speaks_nothing_is_not_tried_again_after_a_restart() {
    let folder = Arc::default();
    let machine = Machine::new();
    bridged(&machine, "sdb", "");
    machine.known("sdb", "BBBB1", "usb-1");
    run(&mut *started(&folder), &machine);
    assert_eq!(machine.calls().len(), 7);
    for _ in 0..3 {
        machine.advance(30 * HOUR);
        let batch = run_for(&mut *started(&folder), &machine, 30 * HOUR);
        assert!(is_state(&batch, "sdb", "unsupported", "unknown_usb_bridge"));
        let calls = machine.calls();
        assert!(calls.iter().all(|call| call.contains("auto")), "{calls:?}");
    }
    // Another disk in the same dock, and another smartctl.
    machine.known("sdb", "CCCC1", "usb-1");
    run(&mut *started(&folder), &machine);
    assert_eq!(machine.calls().len(), 7);
}

#[test]
fn a_bridge_that_is_reset_by_a_type_is_not_asked_with_it_again() {
    let machine = Machine::new();
    let mut collector = agent(|_| {});
    let mut tried = Vec::new();
    for _ in 0..10 {
        bridged(&machine, "sdb", "");
        machine.complains(
            "sat /dev/sdb",
            2,
            "Smartctl open device: /dev/sdb failed: No such device",
        );
        machine.complains(
            "sntasmedia /dev/sdb",
            2,
            "Smartctl open device: /dev/sdb failed: No such device",
        );
        run_for(&mut *collector, &machine, 10 * SECOND);
        tried.extend(machine.calls().into_iter().filter(|call| !call.contains("auto")));
        machine.pull("sdb");
        run_for(&mut *collector, &machine, 10 * SECOND);
    }
    let count =
        |kind: &str| tried.iter().filter(|call| call.contains(&format!("={kind} "))).count();
    let counts = ["sat", "sntasmedia", "sntjmicron", "scsi"].map(count);
    assert_eq!(counts, [1, 1, 1, 1], "{tried:#?}");
}

#[test]
fn a_bridge_that_hangs_is_asked_no_more_of_the_like() {
    let machine = Machine::new();
    bridged(&machine, "sdb", "scsi");
    machine.answer("sat /dev/sdb", Answer::TimedOut);
    let mut collector = agent(|_| {});
    let batch = run_for(&mut *collector, &machine, 24 * HOUR);
    assert!(is_state(&batch, "sdb", "unsupported", "unknown_usb_bridge"));
    let calls = machine.calls();
    assert_eq!(calls.iter().filter(|call| !call.contains("auto")).count(), 1, "{calls:?}");
}

#[test]
fn a_dock_may_hold_disks_of_two_kinds() {
    let machine = Machine::new();
    bridged(&machine, "sdb", "sntrealtek");
    machine.known("sdb", "BBBB1", "usb-1");
    bridged(&machine, "sdc", "sat");
    machine.known("sdc", "CCCC1", "usb-2");
    let batch = run(&mut *once(), &machine);
    assert!(is_state(&batch, "sdb", "read", "") && is_state(&batch, "sdc", "read", ""));
}

#[test]
fn members_behind_a_controller_are_asked_whether_they_sleep() {
    let machine = Machine::new();
    let members =
        [("/dev/bus/0", "sat+megaraid,4"), ("/dev/sda", "cciss,1"), ("/dev/sg2", "areca,3/1")];
    let listed = members.map(|(path, kind)| format!(r#"{{"name":"{path}","type":"{kind}"}}"#));
    machine.answers("--scan-open --json", 0, &format!(r#""devices":[{}]"#, listed.join(",")));
    for (at, (path, kind)) in members.iter().enumerate() {
        machine.answers(&format!("{kind} {path}"), 0, &sata("A", &format!("AAAA{at}")));
    }
    let mut collector = agent(|_| {});
    run_for(&mut *collector, &machine, MINUTE);
    let wanted =
        members.map(|(path, kind)| format!("{READ} --nocheck=standby,3 --device={kind} {path}"));
    assert_eq!(machine.calls(), wanted);
    for (path, kind) in members {
        let words = "Device is in STANDBY mode, exit(3)";
        machine.complains(&format!("{kind} {path}"), 3, words);
    }
    let batch = run_for(&mut *collector, &machine, 12 * HOUR);
    for device in ["bus_0_sat+megaraid_4", "sda_cciss_1", "sg2_areca_3/1"] {
        assert!(is_state(&batch, device, "asleep", "standby"));
        assert_eq!(temperature(&batch, device), Some(40.0), "its last values");
        assert_eq!(wakeups(&batch, device, "other"), None, "nobody can know");
    }
    assert!(machine.calls().iter().all(|call| call.contains("--nocheck=standby,3 ")));
}
