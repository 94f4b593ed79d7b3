//! UPSes: of a real server, of recorded ones, and what no server should say.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use labstat_collect::{Collector, Host, Options, RealHost, ReplayHost, Status, registry};
use labstat_model::{Batch, ManualClock};

const SERVER: &str = "127.0.0.1:3493";
const LIST: &str = "LIST UPS%0aLOGOUT%0a";

fn make(ups: &[&str]) -> Box<dyn Collector> {
    let mut options = Options::default();
    options.nut.ups = ups.iter().map(|&text| text.to_owned()).collect();
    let entry = registry().iter().find(|entry| entry.name == "nut").unwrap();
    (entry.make)(&options)
}

fn collect(collector: &mut dyn Collector, host: &dyn Host) -> (Status, Batch) {
    let mut batch = Batch::new();
    let status = collector.collect(host, &mut batch).unwrap();
    (status, batch)
}

fn replay(root: &Path) -> ReplayHost {
    ReplayHost::open(root, Arc::new(ManualClock::new(0))).unwrap()
}

/// Records what the server of this machine answers to a request.
fn record(root: &Path, request: &str, answer: impl AsRef<[u8]>) {
    let dir = root.join("sockets").join(SERVER);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(request), answer).unwrap();
}

/// A machine whose server has one UPS, `labups`, with these variables.
fn one(variables: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), LIST, "BEGIN LIST UPS\nUPS labups \"lab\"\nEND LIST UPS\nOK Goodbye\n");
    record(dir.path(), "LIST VAR labups%0aLOGOUT%0a", variables);
    dir
}

fn listed<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let lines = variables.into_iter();
    let lines: String =
        lines.map(|(name, value)| format!("VAR labups {name} \"{}\"\n", quoted(value))).collect();
    format!("BEGIN LIST VAR labups\n{lines}END LIST VAR labups\nOK Goodbye\n")
}

fn flag(batch: &Batch, flag: &str) -> Option<f64> {
    batch.value("labstat_ups_status", &[("flag", flag)])
}

#[test]
fn a_machine_without_a_server_has_no_ups() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(collect(&mut *make(&[]), &replay(dir.path())).0, Status::Absent);
    let (status, batch) = collect(&mut *make(&["rack@127.0.0.1"]), &replay(dir.path()));
    assert_eq!(status, Status::Collected, "one that is configured is expected");
    assert_eq!(batch.value("labstat_ups_server_up", &[("server", SERVER)]), Some(0.0));
    assert_eq!(batch.value("labstat_ups_up", &[("ups", "rack")]), Some(0.0));
    assert_eq!(batch.len(), 2);
}

#[test]
fn numbers_are_in_base_units_and_those_that_cannot_be_are_absent() {
    let dir = one(&listed([
        ("battery.charge", "72"),
        ("battery.runtime", "1100"),
        ("battery.voltage", "27.3"),
        ("input.voltage", "0.0"),
        ("ups.load", "118"),
        ("ups.realpower", "-1"),
        ("ups.temperature", "31,5"),
        ("output.voltage", ""),
        ("battery.charge.low", "255"),
        ("device.model", "Back-UPS \"RS\" 800"),
        ("ups.mfr", "APC"),
        ("ups.status", "OB DISCHRG LB"),
    ]));
    let batch = collect(&mut *make(&[]), &replay(dir.path())).1;
    let value = |name: &str| batch.value(&format!("labstat_ups_{name}"), &[("ups", "labups")]);
    assert_eq!(value("up"), Some(1.0));
    assert_eq!(value("battery_charge_ratio"), Some(0.72));
    assert_eq!(value("battery_runtime_seconds"), Some(1100.0));
    assert_eq!(value("battery_volts"), Some(27.3));
    assert_eq!(value("input_volts"), Some(0.0), "there is no mains");
    assert_eq!(value("load_ratio"), Some(1.18));
    for absent in ["power_watts", "temperature_celsius", "output_volts", "battery_charge_low_ratio"]
    {
        assert_eq!(value(absent), None, "{absent}");
    }
    let model = [("model", "Back-UPS \"RS\" 800"), ("manufacturer", "APC")];
    assert_eq!(batch.value("labstat_ups_info", &model), Some(1.0));
    let flags = ["OB", "LB", "DISCHRG", "OL", "RB"].map(|name| flag(&batch, name));
    assert_eq!(flags, [Some(1.0), Some(1.0), Some(1.0), Some(0.0), Some(0.0)]);
}

#[test]
fn a_ups_that_is_silent_is_down_and_has_no_numbers() {
    for answer in [
        "ERR DATA-STALE\nOK Goodbye\n",
        "ERR DRIVER-NOT-CONNECTED\n",
        "BEGIN LIST VAR labups\nVAR labups ups.status \"WAIT\"\nEND LIST VAR labups\n",
        "BEGIN LIST VAR labups\nEND LIST VAR labups\n",
    ] {
        let batch = collect(&mut *make(&[]), &replay(one(answer).path())).1;
        assert_eq!(batch.value("labstat_ups_up", &[("ups", "labups")]), Some(0.0), "{answer:?}");
        assert_eq!(batch.value("labstat_ups_server_up", &[]), Some(1.0));
        assert_eq!(batch.len(), 2, "{answer:?}");
    }
}

#[test]
fn answers_cut_off_or_of_another_program_are_those_of_no_server() {
    let whole = listed([("ups.status", "OL"), ("battery.charge", "100")]);
    let cut = whole.split_at(60).0.to_owned();
    for answer in [cut.into_bytes(), b"\xff\xfe".repeat(9), vec![b'"'; 100]] {
        let dir = one("");
        record(dir.path(), "LIST VAR labups%0aLOGOUT%0a", &answer);
        let batch = collect(&mut *make(&[]), &replay(dir.path())).1;
        assert_eq!(batch.value("labstat_ups_up", &[("ups", "labups")]), Some(0.0));
    }
    let dir = one("");
    record(dir.path(), LIST, "HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_eq!(collect(&mut *make(&[]), &replay(dir.path())).1.len(), 1, "a server without UPSes");
    let hostile = "BEGIN LIST UPS\nUPS \"a b\" \"\"\nUPS \"x\\\\\" \"\"\nEND LIST UPS\n";
    record(dir.path(), LIST, hostile);
    assert_eq!(collect(&mut *make(&[]), &replay(dir.path())).1.len(), 1, "names are not asked");
}

#[test]
fn one_that_was_seen_is_down_when_its_server_is_gone() {
    let dir = one(&listed([("ups.status", "OL")]));
    let mut nut = make(&[]);
    let batch = collect(&mut *nut, &replay(dir.path())).1;
    assert_eq!(batch.value("labstat_ups_up", &[]), Some(1.0));
    fs::remove_dir_all(dir.path().join("sockets")).unwrap();
    let batch = collect(&mut *nut, &replay(dir.path())).1;
    assert_eq!(batch.value("labstat_ups_up", &[]), Some(0.0));
    assert_eq!(batch.value("labstat_ups_server_up", &[]), Some(0.0));
}

/// Variables of a hundred models, as a library of them has them.
#[test]
fn every_model_of_the_library_gives_sensible_numbers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/nut");
    let Ok(files) = fs::read_dir(folder) else {
        println!("SKIPPED: no captures of UPSes here");
        return;
    };
    let mut with_charge = 0;
    let mut count = 0;
    for file in files {
        let path = file.unwrap().path();
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let variables: Vec<(&str, &str)> = lines
            .filter_map(|line| line.split('#').next()?.split_once(':'))
            .map(|(name, value)| (name.trim(), value.trim()))
            .filter(|(name, _)| !name.is_empty() && !name.contains(' '))
            .collect();
        let has_status = variables.iter().any(|(name, _)| *name == "ups.status");
        let batch = collect(&mut *make(&[]), &replay(one(&listed(variables)).path())).1;
        let up = batch.value("labstat_ups_up", &[]);
        assert_eq!(up, Some(f64::from(u8::from(has_status))), "{}", path.display());
        for sample in batch.iter() {
            let highest = if sample.family.name.ends_with("charge_ratio") { 1.0 } else { 1e6 };
            let is_sensible = (0.0..=highest).contains(&sample.value);
            assert!(is_sensible, "{}: {} {}", path.display(), sample.family.name, sample.value);
        }
        with_charge += usize::from(batch.value("labstat_ups_battery_charge_ratio", &[]).is_some());
        count += 1;
    }
    assert!(count > 100 && with_charge > 70, "{with_charge} of {count}");
}

/// A server of the real thing with a UPS made of a file.
struct Upsd {
    dir: tempfile::TempDir,
    address: String,
    children: Vec<Child>,
}

impl Upsd {
    fn start(variables: &str) -> Option<Self> {
        let programs = ["/lib/nut/dummy-ups", "/lib/nut/upsd"];
        if let Some(missing) = programs.iter().find(|path| !Path::new(path).exists()) {
            println!("SKIPPED: no {missing} here (Debian package nut-server)");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let etc = dir.path().join("etc");
        let run = dir.path().join("run");
        fs::create_dir(&etc).unwrap();
        fs::create_dir(&run).unwrap();
        let ups = "[labups]\n driver = dummy-ups\n port = labups.dev\n mode = dummy-once\n pollinterval = 1\n desc = \"lab\"\n";
        fs::write(etc.join("ups.conf"), ups).unwrap();
        fs::write(etc.join("upsd.conf"), format!("LISTEN 127.0.0.1 {port}\nMAXAGE 15\n")).unwrap();
        fs::write(etc.join("upsd.users"), "").unwrap();
        let mut upsd = Self { dir, address: format!("127.0.0.1:{port}"), children: Vec::new() };
        upsd.set(variables);
        upsd.spawn(programs[0], &["-a", "labups", "-u", "root", "-F"]);
        let until = Instant::now() + Duration::from_secs(20);
        while !run.join("dummy-ups-labups").exists() && Instant::now() < until {
            std::thread::yield_now();
        }
        upsd.spawn(programs[1], &["-u", "root", "-F"]);
        Some(upsd)
    }

    fn spawn(&mut self, program: &str, args: &[&str]) {
        let run = self.dir.path().join("run");
        let child = Command::new(program)
            .args(args)
            .env("NUT_CONFPATH", self.dir.path().join("etc"))
            .envs(["NUT_STATEPATH", "NUT_ALTPIDPATH", "NUT_PIDPATH"].map(|name| (name, &run)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.children.push(child.unwrap());
    }

    /// The driver sees the file replaced within a second.
    fn set(&self, variables: &str) {
        let etc = self.dir.path().join("etc");
        let mut file = fs::File::create(etc.join("new")).unwrap();
        file.write_all(variables.as_bytes()).unwrap();
        fs::rename(etc.join("new"), etc.join("labups.dev")).unwrap();
    }

    /// Asks until `wanted` holds.
    fn wait(&self, nut: &mut dyn Collector, wanted: impl Fn(&Batch) -> bool) -> Batch {
        let host = RealHost::new(Arc::new(ManualClock::new(0)));
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let batch = collect(nut, &host).1;
            if wanted(&batch) {
                return batch;
            }
            let said: Vec<String> = batch
                .iter()
                .map(|s| format!("{}{} {}", s.family.name, s.labels, s.value))
                .collect();
            assert!(Instant::now() < until, "{said:#?}");
        }
    }
}

impl Drop for Upsd {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_real_server_on_mains_then_on_battery_then_without_its_driver() {
    let text = "ups.status: OL\nbattery.charge: 100\nbattery.runtime: 2400\nups.load: 23\nups.model: Test 1500\n";
    let Some(mut upsd) = Upsd::start(text) else { return };
    let mut nut = make(&[&upsd.address]);
    let value = |batch: &Batch, name: &str| batch.value(name, &[("ups", "labups")]);
    // The driver takes in its file line by line.
    let model = |batch: &Batch| batch.value("labstat_ups_info", &[("model", "Test 1500")]);
    let batch = upsd.wait(&mut *nut, |batch| model(batch).is_some());
    assert_eq!(flag(&batch, "OL"), Some(1.0));
    assert_eq!(value(&batch, "labstat_ups_battery_charge_ratio"), Some(1.0));
    assert_eq!(value(&batch, "labstat_ups_load_ratio"), Some(0.23));
    upsd.set("battery.charge: 15\nbattery.runtime: 220\nups.status: OB LB\n");
    let batch = upsd.wait(&mut *nut, |batch| flag(batch, "LB") == Some(1.0));
    assert_eq!(flag(&batch, "OL"), Some(0.0));
    assert_eq!(value(&batch, "labstat_ups_battery_charge_ratio"), Some(0.15));
    upsd.children.first_mut().unwrap().kill().unwrap();
    let batch = upsd.wait(&mut *nut, |batch| value(batch, "labstat_ups_up") == Some(0.0));
    assert_eq!(batch.value("labstat_ups_server_up", &[]), Some(1.0));
    assert_eq!(flag(&batch, "OB"), None, "nothing is known of it any more");
    upsd.children.last_mut().unwrap().kill().unwrap();
    let gone = |batch: &Batch| batch.value("labstat_ups_server_up", &[]) == Some(0.0);
    let batch = upsd.wait(&mut *nut, gone);
    assert_eq!(value(&batch, "labstat_ups_up"), Some(0.0), "it was there, and is missed");
}
