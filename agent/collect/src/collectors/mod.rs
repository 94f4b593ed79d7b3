//! One file or folder for each line of the [registry](crate::registry()), by the name it has there.
//!
//! The header of each says what it reads, when it is absent, what it emits and what it leaves out.
//! Not here: what several of them do alike ([`crate::shared`]).

pub mod arp;
pub mod btrfs;
pub mod ceph;
pub mod conntrack;
pub mod cpu;
pub mod diskstats;
pub mod entropy;
pub mod filefd;
pub mod filesystem;
pub mod guests;
pub mod hwmon;
pub mod interrupts;
pub mod kernel_hung;
pub mod links;
pub mod loadavg;
pub mod lvm;
pub mod mdadm;
pub mod meminfo;
pub mod netclass;
pub mod netdev;
pub mod netstat;
pub mod nut;
pub mod os;
pub mod powersupplyclass;
pub mod pressure;
pub mod processes;
pub mod rapl;
pub mod reboot;
pub mod schedstat;
pub mod smartctl;
pub mod sockstat;
pub mod softnet;
pub mod stat;
pub mod systemd;
pub mod tcpstat;
pub mod textfile;
pub mod thermal_zone;
pub mod throttle;
pub mod time;
pub mod timex;
pub mod topology;
pub mod udp_queues;
pub mod uname;
pub mod vmstat;
pub mod zfs;
pub mod zpool;
