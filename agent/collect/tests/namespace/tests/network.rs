//! Interfaces of a network namespace of our own, asked in each way there is: over netlink, by the
//! kernel's files, and by node_exporter, where it is installed.
//!
//! Needs root, `unshare` and `ip`; without them the tests say `SKIPPED`. The kernel of the machine decides
//! what can be made: pairs and bridges nearly everywhere, VLANs and bonds where their modules are.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use labstat_collect::{Collector, Host, Options, RealHost, ReplayHost, capture, registry};
use labstat_model::{Batch, ManualClock};

use super::namespace::{is_outside, shell};

/// Long enough for any answer on a busy machine.
const LONG: Duration = Duration::from_secs(20);

/// All that any kernel can make. Quiet: nobody speaks IPv6 there.
const COMMON: &str = "
mount -t sysfs sysfs /sys
echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6
echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
ip link set lo up
ip link add br0 type bridge stp_state 1
ip link set br0 up mtu 1400
for n in 1 2 3; do
  ip link add veth$n type veth peer name peer$n
  ip link set veth$n master br0 up
  ip link set peer$n up
done
ip link set peer2 down
ip link set peer3 mtu 9000 txqueuelen 17 alias 'to the switch' group 7
ip link add link peer3 name mac0 type macvlan mode bridge
ip link set mac0 up
ip link set peer1 promisc on allmulticast on
ip link set veth3 arp off address 02:00:00:00:00:03
ip tuntap add tap0 mode tap 2>/dev/null || true
ip tuntap add tun0 mode tun 2>/dev/null || true
ip link add vx0 type vxlan id 42 dstport 4789 2>/dev/null || true
";

type Samples = BTreeMap<String, f64>;

fn collectors(options: &Options) -> Vec<Box<dyn Collector>> {
    let named = ["bridge_vlans", "links", "netclass", "netdev"];
    let entries = registry().iter().filter(|entry| named.contains(&entry.name));
    entries.map(|entry| (entry.make)(options)).collect()
}

fn round(collectors: &mut [Box<dyn Collector>], host: &dyn Host) -> Samples {
    let mut batch = Batch::new();
    for collector in collectors {
        collector.collect(host, &mut batch).unwrap();
    }
    let mut samples = Samples::new();
    for sample in batch.iter() {
        let series = format!("{}{}", sample.family.name, sample.labels);
        assert!(samples.insert(series.clone(), sample.value).is_none(), "twice: {series}");
    }
    samples
}

fn by_netlink(host: &RealHost) -> Samples {
    round(&mut collectors(&Options::default()), host)
}

/// A captured machine is read from its files.
fn by_files(host: &RealHost) -> Samples {
    let mut options = Options::default();
    options.smartctl.program = "/nonexistent/smartctl".to_owned();
    let dir = tempfile::tempdir().unwrap();
    capture(host, &options, dir.path()).unwrap();
    let replay = ReplayHost::open(dir.path(), Arc::new(ManualClock::new(0))).unwrap();
    round(&mut collectors(&Options::default()), &replay)
}

fn host() -> RealHost {
    RealHost::new(Arc::new(ManualClock::new(0)))
}

/// Asks until both are the same but for what `differs` allows; a packet may come in between.
fn same(one: impl Fn() -> Samples, other: impl Fn() -> Samples, differs: impl Fn(&str) -> bool) {
    let until = Instant::now() + LONG;
    loop {
        let strip = |samples: Samples| -> BTreeSet<(String, String)> {
            let known = samples.into_iter().filter(|(series, _)| !differs(series));
            known.map(|(series, value)| (series, value.to_string())).collect()
        };
        let (one, other) = (strip(one()), strip(other()));
        if one == other {
            assert!(one.len() > 100, "{one:#?}");
            println!("{} samples are the same", one.len());
            return;
        }
        let only: Vec<_> = one.difference(&other).collect();
        let missing: Vec<_> = other.difference(&one).collect();
        assert!(Instant::now() < until, "only in the first: {only:#?}\nin the other: {missing:#?}");
    }
}

#[test]
fn netlink_and_files_tell_the_same() {
    if is_outside("tests::network::netlink_and_files_tell_the_same") {
        return;
    }
    shell(COMMON);
    let host = host();
    // Files do not tell a pair, nor an interface that stands on another. A kernel that knows no VLANs
    // has no file for whether a bridge tells them apart.
    let is_unknown = |series: &str| {
        series.contains(", kind=\"veth\"}") || series.contains(", kind=\"macvlan\"}")
    };
    let filtering = |samples: Samples| -> Samples {
        let strip = |series: String| match series.split_once(", vlan_filtering") {
            Some((start, _)) => format!("{start}}}"),
            None => series,
        };
        samples.into_iter().map(|(series, value)| (strip(series), value)).collect()
    };
    same(|| filtering(by_netlink(&host)), || filtering(by_files(&host)), is_unknown);
    let told = by_netlink(&host);
    for series in [
        r#"labstat_network_kind_info{device="veth1", kind="veth"}"#,
        r#"labstat_network_kind_info{device="br0", kind="bridge"}"#,
        r#"labstat_network_kind_info{device="lo", kind="loopback"}"#,
        r#"labstat_network_bridge_port_info{bridge="br0", device="veth2", state="disabled"}"#,
    ] {
        assert_eq!(told.get(series), Some(&1.0), "{series}: {told:#?}");
    }
    assert_eq!(told.get("node_network_mtu_bytes{device=\"peer3\"}"), Some(&9000.0));
}

#[test]
fn a_change_is_seen_at_once_and_one_round_asks_the_kernel_once() {
    if is_outside("tests::network::a_change_is_seen_at_once_and_one_round_asks_the_kernel_once") {
        return;
    }
    shell(COMMON);
    let clock = Arc::new(ManualClock::new(0));
    let host = RealHost::new(Arc::clone(&clock) as _);
    let mut collectors = collectors(&Options::default());
    let speed = "node_network_speed_bytes{device=\"veth1\"}";
    let carrier = "node_network_carrier{device=\"veth1\"}";
    let first = round(&mut collectors, &host);
    assert_eq!((first.get(speed), first.get(carrier)), (Some(&1.25e9), Some(&1.0)));
    let reads = host.counts().reads;
    round(&mut collectors, &host);
    assert_eq!(host.counts().reads, reads, "nothing changed, so no file is read");
    clock.set_ms(60_000);
    round(&mut collectors, &host);
    assert!(host.counts().reads > reads, "a minute later they are");
    shell("ip link set peer1 down");
    let down = round(&mut collectors, &host);
    assert_eq!(down.get(carrier), Some(&0.0));
    // Another interface of the name, and one that is gone.
    shell("ip link del veth1; ip link del veth2; ip link add veth1 type bridge");
    let other = round(&mut collectors, &host);
    assert_eq!(
        other.get(r#"labstat_network_kind_info{device="veth1", kind="bridge"}"#),
        Some(&1.0)
    );
    assert_eq!(other.get(speed), None, "not that of the one before");
    assert!(!other.keys().any(|series| series.contains("\"veth2\"")), "{other:#?}");
    shell("ip link set veth1 name renamed");
    let renamed = round(&mut collectors, &host);
    assert!(renamed.contains_key("node_network_up{device=\"renamed\"}"));
    assert!(!renamed.contains_key("node_network_up{device=\"veth1\"}"));
}

#[test]
fn a_namespace_whose_files_are_not_shown_has_none_of_the_others() {
    if is_outside("tests::network::a_namespace_whose_files_are_not_shown_has_none_of_the_others") {
        return;
    }
    // Here `/sys` still shows the namespace that the test was started in, which has a `lo` too.
    shell("ip link set lo up; ip link add x0 type veth peer name x1");
    let told = by_netlink(&host());
    assert!(told.contains_key("node_network_receive_bytes_total{device=\"x0\"}"));
    assert!(told.contains_key("node_network_up{device=\"x0\"}"));
    assert!(!told.contains_key("node_network_address_assign_type{device=\"x0\"}"), "{told:#?}");
}

struct Exporter(Child);

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What node_exporter says of interfaces, as our series are written.
fn by_node_exporter() -> Option<Samples> {
    let mut stream = TcpStream::connect("127.0.0.1:9100").ok()?;
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let mut samples = Samples::new();
    for line in text.lines().filter(|line| line.starts_with("node_network_")) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap();
        // Labels without a value are left out by us, as they are absent to Prometheus.
        let labels = labels.split("\",").map(|label| label.trim_end_matches('"'));
        let labels = labels.filter(|label| !label.ends_with('='));
        let labels: Vec<String> = labels.map(|label| format!("{label}\"")).collect();
        samples.insert(format!("{name}{{{}}}", labels.join(", ")), value.parse().unwrap());
    }
    Some(samples)
}

#[test]
fn node_exporter_tells_the_same() {
    if is_outside("tests::network::node_exporter_tells_the_same") {
        return;
    }
    let program = "prometheus-node-exporter";
    if Command::new(program).arg("--version").output().is_err() {
        println!("SKIPPED: {program} is not installed");
        return;
    }
    shell(COMMON);
    let flags = ["--collector.disable-defaults", "--collector.netdev", "--collector.netclass"];
    let exporter = Command::new(program)
        .args(flags)
        .args(["--web.listen-address=127.0.0.1:9100"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _exporter = Exporter(exporter);
    let until = Instant::now() + LONG;
    while by_node_exporter().is_none() {
        assert!(Instant::now() < until, "it does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
    let host = host();
    let ours = || {
        let samples = by_netlink(&host).into_iter();
        let samples = samples.filter(|(series, _)| series.starts_with("node_network_"));
        // Newer versions have this label, as we have it; Debian's does not.
        let old = |series: String| {
            series.replace("adminstate=\"up\", ", "").replace("adminstate=\"down\", ", "")
        };
        samples.map(|(series, value)| (old(series), value)).collect()
    };
    // The question itself goes through the loopback interface.
    let moves = |series: &str| series.contains("device=\"lo\"") && series.contains("_total{");
    let theirs = || {
        let mut samples = by_node_exporter().unwrap();
        for (series, value) in &mut samples {
            // The alias has spaces, which the text format keeps.
            assert!(value.is_finite(), "{series}");
        }
        samples
    };
    same(ours, theirs, moves);
}
