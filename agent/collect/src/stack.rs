//! The network stack as a whole: protocol counters, sockets, neighbours, packets per CPU.
//!
//! - Reads: `/proc/net/{netstat,snmp,snmp6,sockstat,sockstat6,softnet_stat,arp,udp,udp6}`.
//! - Each collector is absent when its files are.
//! - Emits: `node_netstat_*` (those that dashboards use), `node_sockstat_*`, `node_softnet_*`,
//!   `node_arp_entries`, `node_udp_queues`.
//! - Not here: single connections.

use std::collections::BTreeMap;

use labstat_model::{Batch, Family, Kind};
use labstat_parse::proc::{fields_of, float};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;

/// Neighbours of one machine; the kernel's own limit is far lower.
const NEIGHBOURS_MAX: usize = 65_536;

/// Counters that dashboards use, of the four hundred there are.
static WANTED: [Family; 43] = [
    counter("node_netstat_Icmp6_InErrors"),
    counter("node_netstat_Icmp6_InMsgs"),
    counter("node_netstat_Icmp6_OutMsgs"),
    counter("node_netstat_Icmp_InErrors"),
    counter("node_netstat_Icmp_InMsgs"),
    counter("node_netstat_Icmp_OutMsgs"),
    counter("node_netstat_Ip6_InOctets"),
    counter("node_netstat_Ip6_OutOctets"),
    counter("node_netstat_IpExt_InOctets"),
    counter("node_netstat_IpExt_OutOctets"),
    counter("node_netstat_Ip_Forwarding"),
    counter("node_netstat_TcpExt_ListenDrops"),
    counter("node_netstat_TcpExt_ListenOverflows"),
    counter("node_netstat_TcpExt_SyncookiesFailed"),
    counter("node_netstat_TcpExt_SyncookiesRecv"),
    counter("node_netstat_TcpExt_SyncookiesSent"),
    counter("node_netstat_TcpExt_TCPOFOQueue"),
    counter("node_netstat_TcpExt_TCPRcvQDrop"),
    counter("node_netstat_TcpExt_TCPSynRetrans"),
    counter("node_netstat_TcpExt_TCPTimeouts"),
    counter("node_netstat_Tcp_ActiveOpens"),
    counter("node_netstat_Tcp_CurrEstab"),
    counter("node_netstat_Tcp_InErrs"),
    counter("node_netstat_Tcp_InSegs"),
    counter("node_netstat_Tcp_MaxConn"),
    counter("node_netstat_Tcp_OutRsts"),
    counter("node_netstat_Tcp_OutSegs"),
    counter("node_netstat_Tcp_PassiveOpens"),
    counter("node_netstat_Tcp_RetransSegs"),
    counter("node_netstat_Udp6_InDatagrams"),
    counter("node_netstat_Udp6_InErrors"),
    counter("node_netstat_Udp6_NoPorts"),
    counter("node_netstat_Udp6_OutDatagrams"),
    counter("node_netstat_Udp6_RcvbufErrors"),
    counter("node_netstat_Udp6_SndbufErrors"),
    counter("node_netstat_UdpLite6_InErrors"),
    counter("node_netstat_UdpLite_InErrors"),
    counter("node_netstat_Udp_InDatagrams"),
    counter("node_netstat_Udp_InErrors"),
    counter("node_netstat_Udp_NoPorts"),
    counter("node_netstat_Udp_OutDatagrams"),
    counter("node_netstat_Udp_RcvbufErrors"),
    counter("node_netstat_Udp_SndbufErrors"),
];

const fn counter(name: &'static str) -> Family {
    Family::untyped(name, "A counter of the network stack, by the kernel's own name.")
}

static ARP: Family = Family::gauge("node_arp_entries", "ARP entries by device.");
static SOFTNET: [(usize, Family); 5] = [
    (0, Family::counter("node_softnet_processed_total", "Number of processed packets.")),
    (1, Family::counter("node_softnet_dropped_total", "Number of dropped packets.")),
    (
        2,
        Family::counter(
            "node_softnet_times_squeezed_total",
            "Number of times processing packets ran out of quota.",
        ),
    ),
    (
        9,
        Family::counter(
            "node_softnet_received_rps_total",
            "Number of times a CPU was woken to process packets by another.",
        ),
    ),
    (
        10,
        Family::counter(
            "node_softnet_flow_limit_count_total",
            "Number of times the flow limit was reached.",
        ),
    ),
];

fn read(host: &dyn Host, path: &str, into: &mut Vec<u8>) -> Result<bool, CollectError> {
    match host.read_into(path, into) {
        Ok(()) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(cause) => Err(CollectError::Read { from: path.to_owned(), cause }),
    }
}

fn outcome(out: &Batch) -> Status {
    if out.is_empty() { Status::Absent } else { Status::Collected }
}

fn bad(path: &'static str, line: &str) -> CollectError {
    CollectError::parse(path)(format!("not understood: {line:?}"))
}

/// Counters of protocols.
#[derive(Debug, Default)]
pub struct Netstat(Vec<u8>);

impl Collector for Netstat {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        for path in ["/proc/net/netstat", "/proc/net/snmp"] {
            if read(host, path, &mut self.0)? {
                push_pairs(path, &String::from_utf8_lossy(&self.0), out)?;
            }
        }
        let path = "/proc/net/snmp6";
        if read(host, path, &mut self.0)? {
            for line in String::from_utf8_lossy(&self.0).lines() {
                let mut parts = line.split_whitespace();
                let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
                // `Udp6InErrors` is the counter `InErrors` of `Udp6`.
                if let Some(at) = name.find('6') {
                    let (protocol, counter) = name.split_at(at + 1);
                    push_wanted(protocol, counter, value, out);
                }
            }
        }
        Ok(outcome(out))
    }
}

/// Lines in pairs: `Tcp: InSegs OutSegs`, `Tcp: 12 34`.
fn push_pairs(path: &'static str, text: &str, out: &mut Batch) -> Result<(), CollectError> {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (Some((protocol, names)), Some((same, values))) =
            (names.split_once(':'), values.split_once(':'))
        else {
            return Err(bad(path, names));
        };
        if protocol != same {
            return Err(bad(path, names));
        }
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            push_wanted(protocol, name, value, out);
        }
    }
    Ok(())
}

/// The family of a counter, if it is wanted. Most are not, which their lengths tell.
fn wanted(protocol: &str, counter: &str) -> Option<&'static Family> {
    const PREFIX: &str = "node_netstat_";
    let len = PREFIX.len() + protocol.len() + 1 + counter.len();
    let is_it = |name: &str| {
        let rest = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(protocol));
        rest.and_then(|rest| rest.strip_prefix('_')) == Some(counter)
    };
    WANTED.iter().find(|family| family.name.len() == len && is_it(&family.name))
}

fn push_wanted(protocol: &str, counter: &str, value: &str, out: &mut Batch) {
    if let Some(family) = wanted(protocol, counter)
        && let Some(value) = float(value.as_bytes())
    {
        out.push(family, &[], value);
    }
}

/// Sockets in use.
#[derive(Debug, Default)]
pub struct Sockstat(Vec<u8>);

impl Collector for Sockstat {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        for path in ["/proc/net/sockstat", "/proc/net/sockstat6"] {
            if !read(host, path, &mut self.0)? {
                continue;
            }
            for line in String::from_utf8_lossy(&self.0).lines() {
                let (protocol, rest) = line.split_once(':').ok_or_else(|| bad(path, line))?;
                let parts: Vec<&str> = rest.split_whitespace().collect();
                for pair in parts.chunks(2) {
                    let [name, value] = pair else { return Err(bad(path, line)) };
                    let value = float(value.as_bytes()).ok_or_else(|| bad(path, line))?;
                    push_gauge(format!("node_sockstat_{protocol}_{name}"), value, out);
                    if *name == "mem"
                        && let Some(page) = host.page_size_bytes()
                    {
                        let name = format!("node_sockstat_{protocol}_mem_bytes");
                        push_gauge(name, value * page as f64, out);
                    }
                }
            }
        }
        Ok(outcome(out))
    }
}

fn push_gauge(name: String, value: f64, out: &mut Batch) {
    out.push(&Family::dynamic(name, Kind::Gauge, "Number of sockets or their memory."), &[], value);
}

/// Packets that each CPU took.
#[derive(Debug, Default)]
pub struct Softnet(Vec<u8>);

impl Collector for Softnet {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        const PATH: &str = "/proc/net/softnet_stat";
        /// The column that names the CPU, since 5.10; before, lines were in the CPUs' order.
        const CPU_COLUMN: usize = 12;
        if !read(host, PATH, &mut self.0)? {
            return Ok(Status::Absent);
        }
        for (row, line) in String::from_utf8_lossy(&self.0).lines().enumerate() {
            let columns: Option<Vec<u64>> = fields_of(line.as_bytes())
                .map(|hex| u64::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok())
                .collect();
            let columns = columns.ok_or_else(|| bad(PATH, line))?;
            let cpu = columns.get(CPU_COLUMN).copied().unwrap_or(row as u64).to_string();
            for (column, family) in &SOFTNET {
                if let Some(value) = columns.get(*column) {
                    out.push(family, &[("cpu", &cpu)], *value as f64);
                }
            }
        }
        Ok(outcome(out))
    }
}

/// Neighbours by interface.
#[derive(Debug, Default)]
pub struct Arp(Vec<u8>);

impl Collector for Arp {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        const PATH: &str = "/proc/net/arp";
        if !read(host, PATH, &mut self.0)? {
            return Ok(Status::Absent);
        }
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for (at, line) in String::from_utf8_lossy(&self.0).lines().skip(1).enumerate() {
            if at >= NEIGHBOURS_MAX {
                let (what, count) = ("neighbours", at + 1);
                return Err(CollectError::Limit { what, count, max: NEIGHBOURS_MAX });
            }
            let device = line.split_whitespace().nth(5).ok_or_else(|| bad(PATH, line))?;
            *counts.entry(device.to_owned()).or_default() += 1;
        }
        for (device, count) in counts {
            out.push(&ARP, &[("device", &device)], f64::from(count));
        }
        Ok(Status::Collected)
    }
}

static UDP_QUEUES: Family = Family::gauge(
    "node_udp_queues",
    "Bytes of datagrams that wait in the queues of all UDP sockets.",
);

/// Datagrams that no program has taken yet, or no card.
#[derive(Debug, Default)]
pub struct UdpQueues(Vec<u8>);

impl Collector for UdpQueues {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        for (path, ip) in [("/proc/net/udp", "v4"), ("/proc/net/udp6", "v6")] {
            if !read(host, path, &mut self.0)? {
                continue;
            }
            let (mut sent, mut received) = (0_u64, 0_u64);
            // The first line has the headings.
            for line in self.0.split(|byte| *byte == b'\n').skip(1).filter(|line| !line.is_empty())
            {
                let bytes =
                    waiting(line).ok_or_else(|| bad(path, &String::from_utf8_lossy(line)))?;
                sent = sent.saturating_add(bytes.0);
                received = received.saturating_add(bytes.1);
            }
            for (queue, bytes) in [("tx", sent), ("rx", received)] {
                out.push(&UDP_QUEUES, &[("ip", ip), ("queue", queue)], bytes as f64);
            }
        }
        Ok(outcome(out))
    }
}

/// The bytes to be sent and those received of a socket, `00000000:00000A40` in its fifth column.
fn waiting(line: &[u8]) -> Option<(u64, u64)> {
    let field = std::str::from_utf8(fields_of(line).nth(4)?).ok()?;
    let (sent, received) = field.split_once(':')?;
    Some((u64::from_str_radix(sent, 16).ok()?, u64::from_str_radix(received, 16).ok()?))
}
