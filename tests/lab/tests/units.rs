//! systemd as the first process: a unit that fails is told, by name, to whom it may concern; and guests
//! of all kinds by their control groups: a container of systemd's own, and groups laid out as Proxmox
//! lays them out.

use super::{Aggregator, eventually, image, impatient_rules, set_up_under, text};
use crate::machine::{First, Machine};
use crate::receiver::Receiver;

/// Slow collectors run no more often than every 15 s.
const START: &str = "setsid /tmp/labstat agent --aggregator http://10.0.2.100:8080 \
    --only systemd,guests --interval 5s > /tmp/agent.log 2>&1 < /dev/null & \
    sleep 2; kill -0 $! || { cat /tmp/agent.log; exit 1; }";

/// A service that works and one that does not. Neither may ask for what starts a whole machine: that
/// would empty `/tmp` first.
const UNITS: &str = "\
for unit in good bad; do
    printf '[Unit]\\nDefaultDependencies=no\\n[Service]\\nExecStart=/bin/sh -c \"[ %s = good ] && exec sleep 10000; exit 3\"\\n' $unit \
        > /run/systemd/system/$unit.service
done
systemctl daemon-reload; systemctl start good.service bad.service
for try in $(seq 100); do systemctl is-failed bad.service && exit 0; sleep 0.2; done; exit 1";

/// A container of systemd-nspawn, as `machinectl start box` would start it; a container of Proxmox, and a
/// virtual machine, of which there are but the groups and a process. The first two are busy, but leave
/// the only processor to others.
const GUESTS: &str = "\
mkdir -p /tmp/box/usr/bin /tmp/box/bin /tmp/box/etc && touch /tmp/box/etc/os-release
cp /usr/local/bin/busybox /tmp/box/bin/sh; cp /usr/local/bin/busybox /tmp/box/bin/sleep
cat > /run/systemd/system/systemd-nspawn@box.service <<'UNIT'
[Unit]
DefaultDependencies=no
[Service]
Slice=machine.slice
Delegate=yes
ExecStart=systemd-nspawn --quiet --keep-unit --register=no --directory=/tmp/box --as-pid2 /bin/sh -c 'while :; do /bin/sleep 1; done'
UNIT
systemctl daemon-reload; systemctl start systemd-nspawn@box.service
cd /sys/fs/cgroup
echo '+cpu +memory +io +pids' > cgroup.subtree_control
mkdir -p lxc/102/ns qemu.slice/101.scope
for group in lxc lxc/102 qemu.slice; do echo '+cpu +memory +pids' > $group/cgroup.subtree_control; done
echo 64M > lxc/102/memory.max
mkdir -p /etc/pve/qemu-server /etc/pve/lxc
echo 'hostname: web' > /etc/pve/lxc/102.conf
printf 'name: nas\\nmemory: 2048\\n' > /etc/pve/qemu-server/101.conf
mkfifo /tmp/never
setsid bash -c 'echo $$ > /sys/fs/cgroup/lxc/102/ns/cgroup.procs; exec 9<> /tmp/never; while :; do read -t 0.1 -u 9; done' < /dev/null > /dev/null 2>&1 &
setsid sh -c 'echo $$ > /sys/fs/cgroup/qemu.slice/101.scope/cgroup.procs; exec sleep 10000' < /dev/null > /dev/null 2>&1 &
sleep 2; systemctl is-active systemd-nspawn@box.service || { systemctl --no-pager status systemd-nspawn@box.service; exit 1; }
grep . lxc/102/cpu.stat qemu.slice/101.scope/pids.current";

#[test]
fn units_and_guests_are_watched() {
    let Some(image) = image() else { return };
    let receiver = Receiver::start();
    let aggregator =
        Aggregator::with(|dir| format!("{}{}", impatient_rules(dir, "node"), receiver.config()));
    let mut machine = set_up_under(First::Systemd, &image, &[], 0, &aggregator);
    let first = machine.must("cat /proc/1/comm");
    assert_eq!(first.trim(), "systemd");
    machine.must(UNITS);
    machine.must(GUESTS);
    machine.must(START);
    tells_of_a_failed_unit(&aggregator, &mut machine, &receiver);
    tells_guests_apart(&aggregator, &mut machine);
    eprintln!("done after {:.1} s", machine.age().as_secs_f64());
}

fn tells_of_a_failed_unit(aggregator: &Aggregator, machine: &mut Machine, receiver: &Receiver) {
    let failed = || aggregator.query("node_systemd_unit_state{state=\"failed\"} == 1");
    let units = eventually("the failed unit", || Some(failed()).filter(|all| !all.is_empty()));
    let names: Vec<&str> = units.iter().map(|(labels, _)| text(labels, "name")).collect();
    assert_eq!(names, ["bad.service"]);
    let active =
        aggregator.query("node_systemd_unit_state{name=\"good.service\",state=\"active\"}");
    assert!(matches!(&active[..], [(_, value)] if *value == 1.0), "{active:?}");
    // What systemd says itself.
    let said = machine.must("systemctl --no-pager show --property=NFailedUnits --value");
    assert_eq!(said.trim(), "1");
    let count = aggregator.query("node_systemd_units{state=\"failed\"}");
    assert!(matches!(&count[..], [(_, value)] if *value == 1.0), "{count:?}");
    let (_, alert) = eventually("a message", || receiver.heard("SystemdUnitFailed firing"));
    assert_eq!(alert["labels"]["name"], "bad.service", "{alert}");
    machine.must("systemctl reset-failed bad.service");
    eventually("the end of it", || receiver.heard("SystemdUnitFailed resolved"));
}

fn tells_guests_apart(aggregator: &Aggregator, machine: &mut Machine) {
    let infos = eventually("all guests", || {
        Some(aggregator.query("labstat_guest_info")).filter(|all| all.len() >= 3)
    });
    let mut told: Vec<String> = infos
        .iter()
        .map(|(labels, _)| format!("{} {}", text(labels, "guest"), text(labels, "name")))
        .collect();
    told.sort();
    assert_eq!(told, ["lxc/102 web", "nspawn/box box", "qemu/101 nas"]);
    let of = |name: &str, guest: &str| {
        let found = aggregator.query(&format!("labstat_guest_{name}{{guest=\"{guest}\"}}"));
        assert_eq!(found.len(), 1, "{name} {guest}: {found:?}");
        found[0].1
    };
    // The counters go on: what is told lies between what the kernel says before and after.
    let seconds = |machine: &mut Machine| {
        let said = machine.must("awk '/^usage_usec/ { print $2 }' /sys/fs/cgroup/lxc/102/cpu.stat");
        said.trim().parse::<f64>().expect("a number") / 1e6
    };
    let before = seconds(machine);
    let now = eventually("a later sample", || {
        Some(of("cpu_seconds_total", "lxc/102")).filter(|now| *now >= before)
    });
    assert!(now <= seconds(machine), "{now}");
    assert!(of("cpu_seconds_total", "nspawn/box") > 0.0);
    assert_eq!(of("memory_limit_bytes", "lxc/102"), 67_108_864.0);
    assert_eq!((of("tasks", "lxc/102"), of("tasks", "qemu/101")), (1.0, 1.0));
    let unlimited = aggregator.query("labstat_guest_memory_limit_bytes{guest=\"qemu/101\"}");
    assert!(unlimited.is_empty(), "what has no limit has no number: {unlimited:?}");
    eprintln!("guests: {told:?}, lxc/102 has used {now:.1} s");
}
