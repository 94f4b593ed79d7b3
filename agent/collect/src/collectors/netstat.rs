//! Counters of the network protocols.
//!
//! - Reads: `/proc/net/{netstat,snmp,snmp6}`. Absent when none of them is there.
//! - Emits: `node_netstat_*`, by the kernel's own names: those that dashboards use.
//! - Not here: sockets ([`super::sockstat`]), single connections.

use labstat_model::{Batch, Family};
use labstat_parse::proc::float;

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::shared::{not_understood, outcome, read_if_there};

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

/// Counters of protocols.
#[derive(Debug, Default)]
pub struct Netstat(Vec<u8>);

impl Collector for Netstat {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        for path in ["/proc/net/netstat", "/proc/net/snmp"] {
            if read_if_there(host, path, &mut self.0)? {
                push_pairs(path, &String::from_utf8_lossy(&self.0), out)?;
            }
        }
        let path = "/proc/net/snmp6";
        if read_if_there(host, path, &mut self.0)? {
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
            return Err(not_understood(path, names));
        };
        if protocol != same {
            return Err(not_understood(path, names));
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
