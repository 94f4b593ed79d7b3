//! Guests of all kinds, by control groups of both versions, and what is wrong with them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use labstat_collect::{CollectError, Collector, Options, RealHost, ReplayHost, Status, registry};
use labstat_model::{Batch, ManualClock};

fn put(root: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn guests() -> Box<dyn Collector> {
    let entry = registry().iter().find(|entry| entry.name == "guests").unwrap();
    (entry.make)(&Options::default())
}

fn run(
    collector: &mut dyn Collector,
    root: &Path,
    now_ms: i64,
) -> Result<(Status, Batch), CollectError> {
    let host = ReplayHost::open(root, Arc::new(ManualClock::new(now_ms))).unwrap();
    let mut batch = Batch::new();
    let status = collector.collect(&host, &mut batch)?;
    let mut series: Vec<String> =
        batch.iter().map(|s| format!("{}{}", s.family.name, s.labels)).collect();
    series.sort();
    assert!(series.is_sorted_by(|a, b| a < b), "a series twice: {series:#?}");
    Ok((status, batch))
}

fn infos(batch: &Batch) -> Vec<String> {
    let info = |s: &labstat_model::BatchSample<'_>| s.family.name == "labstat_guest_info";
    batch.iter().filter(info).map(|s| s.labels.to_string()).collect()
}

/// An id as runtimes make them.
fn id(digit: char) -> String {
    digit.to_string().repeat(64)
}

const CPU_STAT: &str = "usage_usec 5000000\nuser_usec 3000000\nsystem_usec 2000000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 1500000\n";

/// The files of one group, as Linux 6.8 has them.
fn group(root: &Path, path: &str) {
    let file = |name: &str, text: &str| put(root, &format!("sys/fs/cgroup/{path}/{name}"), text);
    file("cgroup.procs", "1\n");
    file("cpu.stat", CPU_STAT);
    file("memory.current", "1048576\n");
    file("memory.stat", "anon 600000\nfile 400000\nkernel 48576\nslab 1\n");
    file("memory.max", "2097152\n");
    file("memory.swap.current", "4096\n");
    file("memory.events", "low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\n");
    file(
        "io.stat",
        "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n253:7 rbytes=5 wbytes=0 rios=1 wios=0\n",
    );
    file("pids.current", "17\n");
    file(
        "cpu.pressure",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n",
    );
}

fn root_of_v2(root: &Path) {
    put(root, "sys/fs/cgroup/cgroup.controllers", "cpu io memory pids\n");
    fs::create_dir_all(root.join("sys/dev/block")).unwrap();
    symlink("../../devices/pci0000:00/block/sda", root.join("sys/dev/block/8:0")).unwrap();
}

#[test]
fn all_of_a_guest_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    root_of_v2(root);
    group(root, "qemu.slice/101.scope");
    put(root, "etc/pve/qemu-server/101.conf", "name: nas\nmemory: 2048\n[old]\nname: before\n");
    let (status, batch) = run(&mut *guests(), root, 0).unwrap();
    assert_eq!(status, Status::Collected);
    assert_eq!(infos(&batch), [r#"{guest="qemu/101", id="101", kind="qemu", name="nas"}"#]);
    let guest = [("guest", "qemu/101")];
    for (name, wanted) in [
        ("cpu_seconds_total", 5.0),
        ("cpu_user_seconds_total", 3.0),
        ("cpu_system_seconds_total", 2.0),
        ("cpu_periods_total", 10.0),
        ("cpu_throttled_periods_total", 4.0),
        ("cpu_throttled_seconds_total", 1.5),
        ("memory_bytes", 1_048_576.0),
        ("memory_anon_bytes", 600_000.0),
        ("memory_file_bytes", 400_000.0),
        ("memory_kernel_bytes", 48_576.0),
        ("memory_limit_bytes", 2_097_152.0),
        ("swap_bytes", 4096.0),
        ("oom_kills_total", 1.0),
        ("tasks", 17.0),
    ] {
        assert_eq!(batch.value(&format!("labstat_guest_{name}"), &guest), Some(wanted), "{name}");
    }
    for (name, device, wanted) in [
        ("read_bytes", "sda", 10.0),
        ("written_bytes", "sda", 20.0),
        ("reads", "sda", 1.0),
        ("writes", "sda", 2.0),
        // A device that is gone has no name any more.
        ("read_bytes", "253:7", 5.0),
    ] {
        let labels = [("device", device), ("guest", "qemu/101")];
        let value = batch.value(&format!("labstat_guest_io_{name}_total"), &labels);
        assert_eq!(value, Some(wanted), "{name} {device}");
    }
    let cpu = [("guest", "qemu/101"), ("resource", "cpu")];
    let waiting = "labstat_guest_pressure_waiting_seconds_total";
    assert_eq!(batch.value(waiting, &cpu), Some(2.5));
    assert_eq!(batch.value("labstat_guest_pressure_stalled_seconds_total", &cpu), Some(0.5));
    let memory = [("guest", "qemu/101"), ("resource", "memory")];
    assert_eq!(batch.value(waiting, &memory), None, "a file that is not there says nothing");
}

#[test]
fn every_kind_of_guest_has_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    root_of_v2(root);
    let (docker, podman, plain) = (id('a'), id('b'), id('c'));
    put(root, "host.json", r#"{"uname":{"nodename":"vertex"}}"#);
    group(root, "lxc/102");
    group(root, "lxc/102/ns/system.slice/ssh.service");
    group(root, &format!("lxc/102/ns/docker/{}", id('d')));
    group(root, "lxc.monitor/102");
    put(root, "etc/pve/nodes/vertex/lxc/102.conf", "hostname: web\n");
    group(root, "lxc.payload.incus1");
    group(root, "qemu.slice/103.scope");
    group(root, &format!("system.slice/docker-{docker}.scope"));
    put(
        root,
        &format!("var/lib/docker/containers/{docker}/config.v2.json"),
        r#"{"Name":"/proxy","Config":{"Image":"caddy:2","Labels":{"com.docker.compose.project":"edge"}}}"#,
    );
    group(root, &format!("system.slice/docker-{plain}.scope"));
    group(root, &format!("machine.slice/libpod-{podman}.scope"));
    put(
        root,
        "var/lib/containers/storage/overlay-containers/containers.json",
        format!(r#"[{{"id":"{podman}","names":["db"]}}]"#),
    );
    let pods = "kubepods.slice/kubepods-burstable.slice";
    group(root, &format!("{pods}/kubepods-burstable-pod1b_2c.slice"));
    group(
        root,
        &format!("{pods}/kubepods-burstable-pod1b_2c.slice/cri-containerd-{}.scope", id('e')),
    );
    group(root, "kubepods.slice/kubepods-pod3d.slice");
    put(root, "var/log/pods/media_jellyfin-0_1b-2c/jellyfin/0.log", "");
    group(root, r"machine.slice/machine-qemu\x2d3\x2dwin11.scope");
    group(root, "machine.slice/systemd-nspawn@build.service");
    group(root, "system.slice/ssh.service");
    let (_, batch) = run(&mut *guests(), root, 0).unwrap();
    let short = |id: &str| id[..12].to_owned();
    let (a, b, c) = (short(&docker), short(&podman), short(&plain));
    let mut expected = [
        format!(
            r#"{{guest="docker/{a}", id="{docker}", image="caddy:2", kind="docker", name="proxy", project="edge"}}"#
        ),
        format!(r#"{{guest="docker/{c}", id="{plain}", kind="docker", name="{c}"}}"#),
        format!(r#"{{guest="podman/{b}", id="{podman}", kind="podman", name="db"}}"#),
        r#"{guest="lxc/102", id="102", kind="lxc", name="web"}"#.to_owned(),
        r#"{guest="lxc/incus1", id="incus1", kind="lxc", name="incus1"}"#.to_owned(),
        r#"{guest="nspawn/build", id="build", kind="nspawn", name="build"}"#.to_owned(),
        r#"{guest="pod/1b-2c", id="1b-2c", kind="pod", name="jellyfin-0", project="media"}"#
            .to_owned(),
        r#"{guest="pod/3d", id="3d", kind="pod", name="3d"}"#.to_owned(),
        r#"{guest="qemu/103", id="103", kind="qemu", name="103"}"#.to_owned(),
        r#"{guest="qemu/win11", id="win11", kind="qemu", name="win11"}"#.to_owned(),
    ];
    expected.sort();
    assert_eq!(infos(&batch), expected, "and none that runs within another");
}

#[test]
fn guests_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    root_of_v2(root);
    group(root, "lxc/102");
    let mut collector = guests();
    let mut names_at = |now_ms| infos(&run(&mut *collector, root, now_ms).unwrap().1);
    let (one, two) = (
        r#"{guest="lxc/102", id="102", kind="lxc", name="102"}"#,
        r#"{guest="lxc/103", id="103", kind="lxc", name="103"}"#,
    );
    assert_eq!(names_at(0), [one]);
    group(root, "lxc/103");
    assert_eq!(names_at(10_000), [one], "the tree is not searched in every round");
    assert_eq!(names_at(15_000), [one, two]);
    fs::remove_dir_all(root.join("sys/fs/cgroup/lxc/102")).unwrap();
    assert_eq!(names_at(16_000), [two], "an end is seen at once");
    put(root, "etc/pve/lxc/103.conf", "hostname: web\n");
    assert_eq!(names_at(40_000), [two]);
    let renamed = r#"{guest="lxc/103", id="103", kind="lxc", name="web"}"#;
    assert_eq!(names_at(300_000), [renamed]);
    assert_eq!(names_at(-5), [renamed], "a clock that is set back does no harm");
    fs::remove_dir_all(root.join("sys/fs/cgroup/lxc/103")).unwrap();
    let (status, _) = run(&mut *collector, root, 1).unwrap();
    assert_eq!(status, Status::Absent);
}

#[test]
fn version_1_is_read_too() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let id = id('a');
    let file = |controller: &str, name: &str, text: &str| {
        put(root, &format!("sys/fs/cgroup/{controller}/docker/{id}/{name}"), text);
    };
    file("memory", "memory.usage_in_bytes", "1000\n");
    file("memory", "memory.limit_in_bytes", "9223372036854771712\n");
    file("memory", "memory.stat", "cache 1\nrss 2\ntotal_cache 300\ntotal_rss 700\ntotal_swap 5\n");
    file("memory", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
    file("cpuacct", "cpuacct.usage", "2500000000\n");
    file("cpuacct", "cpuacct.stat", "user 150\nsystem 100\n");
    file(
        "blkio",
        "blkio.throttle.io_service_bytes_recursive",
        "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n",
    );
    file("blkio", "blkio.throttle.io_serviced_recursive", "Total 0\n");
    let (_, batch) = run(&mut *guests(), root, 0).unwrap();
    let guest = [("guest", "docker/aaaaaaaaaaaa")];
    for (name, wanted) in [
        ("cpu_seconds_total", Some(2.5)),
        ("cpu_user_seconds_total", Some(1.5)),
        ("cpu_system_seconds_total", Some(1.0)),
        ("memory_bytes", Some(1000.0)),
        ("memory_anon_bytes", Some(700.0)),
        ("memory_file_bytes", Some(300.0)),
        ("memory_limit_bytes", None),
        ("swap_bytes", Some(5.0)),
        ("oom_kills_total", Some(2.0)),
        ("tasks", None),
    ] {
        assert_eq!(batch.value(&format!("labstat_guest_{name}"), &guest), wanted, "{name}");
    }
    let labels = [("device", "8:0"), ("guest", "docker/aaaaaaaaaaaa")];
    assert_eq!(batch.value("labstat_guest_io_written_bytes_total", &labels), Some(20.0));
    assert_eq!(batch.value("labstat_guest_io_writes_total", &labels), None);
}

#[test]
fn files_that_make_no_sense_are_errors_and_those_that_are_not_served_are_not() {
    for (file, text) in [
        ("cpu.stat", "usage_usec\n"),
        ("memory.current", ""),
        ("memory.current", "max\n"),
        ("memory.max", "-1\n"),
        ("io.stat", "8:0 rbytes=\n"),
        ("io.stat", "../../x rbytes=1\n"),
        ("cpu.pressure", "some\n"),
        ("pids.current", "\u{0}\u{0}"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        root_of_v2(dir.path());
        group(dir.path(), "lxc/102");
        put(dir.path(), &format!("sys/fs/cgroup/lxc/102/{file}"), text);
        let error = run(&mut *guests(), dir.path(), 0).unwrap_err();
        assert!(matches!(error, CollectError::Parse { .. }), "{file} {text:?}: {error:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    root_of_v2(root);
    group(root, "lxc/102");
    group(root, "lxc/103");
    let errors = |text: &str| put(root, "errors.json", text);
    errors(r#"{"/sys/fs/cgroup/lxc/102/cpu.pressure":95,"/sys/fs/cgroup/lxc/103/memory.stat":19}"#);
    let (_, batch) = run(&mut *guests(), root, 0).unwrap();
    assert_eq!(infos(&batch).len(), 2);
    errors(r#"{"/sys/fs/cgroup/lxc/102/memory.current":13}"#);
    let error = run(&mut *guests(), root, 0).unwrap_err().to_string();
    assert_eq!(error, "failed to read /sys/fs/cgroup/lxc/102/memory.current");
    errors(r#"{"/sys/fs/cgroup/lxc":13}"#);
    let error = run(&mut *guests(), root, 0).unwrap_err().to_string();
    assert_eq!(error, "failed to read /sys/fs/cgroup/lxc");
    errors("{}");
    fs::File::create(root.join("sys/fs/cgroup/lxc/103/memory.stat"))
        .unwrap()
        .set_len(1 << 33)
        .unwrap();
    let error = run(&mut *guests(), root, 0).unwrap_err().to_string();
    assert_eq!(error, "failed to read /sys/fs/cgroup/lxc/103/memory.stat");
}

/// Names are a comfort: without them the guests are there all the same.
#[test]
fn names_that_cannot_be_had_leave_the_id() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    root_of_v2(root);
    let (docker, podman) = (id('a'), id('b'));
    group(root, &format!("system.slice/docker-{docker}.scope"));
    put(root, &format!("var/lib/docker/containers/{docker}/config.v2.json"), "{\"Name\":\"/cut o");
    group(root, &format!("machine.slice/libpod-{podman}.scope"));
    group(root, "qemu.slice/101.scope");
    put(root, "etc/pve/qemu-server/101.conf", [0xff; 64]);
    let containers = "/var/lib/containers/storage/overlay-containers/containers.json";
    put(root, "errors.json", format!(r#"{{"{containers}":13,"/etc/pve/qemu-server/101.conf":5}}"#));
    let (_, batch) = run(&mut *guests(), root, 0).unwrap();
    let names: Vec<bool> = infos(&batch)
        .iter()
        .zip(["aaaaaaaaaaaa", "bbbbbbbbbbbb", "101"])
        .map(|(info, id)| info.contains(&format!("name=\"{id}\"")))
        .collect();
    assert_eq!(names, [true; 3], "{:?}", infos(&batch));
}

#[test]
fn a_tree_without_end_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    root_of_v2(root);
    for n in 0..600 {
        put(root, &format!("sys/fs/cgroup/lxc/{n}/cpu.stat"), CPU_STAT);
    }
    let error = run(&mut *guests(), root, 0).unwrap_err().to_string();
    assert_eq!(error, "guests: 600 is over the limit of 512");
    let deep = tempfile::tempdir().unwrap();
    root_of_v2(deep.path());
    group(deep.path(), &format!("{}/docker-{}.scope", ["a.slice"; 30].join("/"), id('a')));
    assert_eq!(run(&mut *guests(), deep.path(), 0).unwrap().0, Status::Absent);
}

/// Whatever runs here: what it uses only grows.
#[test]
fn guests_of_this_machine_are_read() {
    let host = RealHost::new(Arc::new(ManualClock::new(0)));
    let mut collector = guests();
    let (mut before, mut after) = (Batch::new(), Batch::new());
    if collector.collect(&host, &mut before).unwrap() == Status::Absent {
        println!("SKIPPED: no guest runs here");
        return;
    }
    collector.collect(&host, &mut after).unwrap();
    let name = "labstat_guest_cpu_seconds_total";
    for sample in before.iter().filter(|sample| sample.family.name == name) {
        let guest = sample.labels.get("guest").unwrap();
        let later = after.value(name, &[("guest", guest)]);
        assert!(later.is_none_or(|later| later >= sample.value), "{guest}");
    }
}

/// A disk that hangs is no reason to forget a name, nor to wait five minutes once it answers.
#[test]
fn a_guest_keeps_its_name_while_nobody_answers_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (root, (web, db)) = (dir.path(), (id('a'), id('b')));
    root_of_v2(root);
    group(root, &format!("system.slice/docker-{web}.scope"));
    let config = |id: &str| format!("/var/lib/docker/containers/{id}/config.v2.json");
    let name = |id: &str, name: &str| {
        put(root, config(id).trim_start_matches('/'), format!(r#"{{"Name":"/{name}"}}"#));
    };
    name(&web, "web");
    name(&db, "db");
    let mut collector = guests();
    let mut names = |now_ms| -> Vec<bool> {
        let told = infos(&run(&mut *collector, root, now_ms).unwrap().1).concat();
        ["web", "db", "shop"].map(|n| told.contains(&format!("name=\"{n}\""))).to_vec()
    };
    assert_eq!(names(0), [true, false, false]);

    const TIMED_OUT: i32 = 110;
    let hang = |id: &str| put(root, "errors.json", format!(r#"{{"{}":{TIMED_OUT}}}"#, config(id)));
    name(&web, "shop");
    group(root, &format!("system.slice/docker-{db}.scope"));
    hang(&web);
    assert_eq!(names(300_000), [true, true, false]);
    hang(&db);
    assert_eq!(names(315_000), [false, true, true], "asked again at the next look");
    fs::remove_file(root.join(config(&web).trim_start_matches('/'))).unwrap();
    assert_eq!(names(330_000), [false, true, false], "a file that is gone says nothing any more");
}
