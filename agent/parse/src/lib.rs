//! Pure parsers: what disks, arrays, bonds, VLANs, Ceph and the kernel print, as values.
//!
//! Everything here takes bytes or text and gives values or an error; nothing here opens a file,
//! runs a command, reads a clock or panics, whatever the input. Input is hostile until parsed:
//! it comes from firmware, from files a user hands over, from sockets.
//!
//! Not here: where the bytes come from (`labstat-collect`), and what metrics are made of them,
//! but for the names of Ceph's counters, which follow from their own names ([`ceph::metric_name`]).

pub mod bonding;
pub mod ceph;
pub mod ceph_cluster;
pub mod dmsetup;
mod error;
pub mod exposition;
pub mod guest;
mod loose;
pub mod mdstat;
pub mod netlink;
pub mod nut;
pub mod nvme;
pub mod proc;
pub mod rtnetlink;
pub mod smartctl;
pub mod sock_diag;
pub mod systemctl;
pub mod udev;
pub mod vlan;
pub mod vpd;
pub mod zfs;

pub use error::{ParseError, shown};
