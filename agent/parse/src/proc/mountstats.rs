//! `/proc/PID/mountstats`: what each mount of NFS has done and how long it took.
//!
//! Here: mounts of type `nfs` and `nfs4`. Not here: all others, of which the file has nothing but
//! their names.

use super::{bad, fields, lines, number};
use crate::ParseError;

/// Bytes, by kind: read and written, the same past the cache, and all that went over the network;
/// then pages read and written.
pub const BYTES: usize = 8;

/// Events, by kind, in the kernel's order.
pub const EVENTS: usize = 27;

/// Numbers of an operation: requests, transmissions, timeouts, bytes sent and received, and the
/// milliseconds of queueing, of answering, and of all of it.
pub const OPERATION: usize = 8;

/// Operations of one mount; version 4.2 has about seventy.
const OPERATIONS_MAX: usize = 256;

/// Connections of one mount (`nconnect` makes 16 at most, and trunking several of those).
const TRANSPORTS_MAX: usize = 256;

/// A mount of NFS.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mount<'a> {
    /// The export, as the kernel writes it.
    pub device: &'a [u8],
    /// Where it is mounted, as the kernel writes it.
    pub mount_point: &'a [u8],
    /// Seconds since it was mounted.
    pub age_s: Option<u64>,
    /// Bytes and pages.
    pub bytes: Option<[u64; BYTES]>,
    /// Events.
    pub events: Option<[u64; EVENTS]>,
    /// Its connections to the server.
    pub transports: Vec<Transport<'a>>,
    /// Its operations by name, such as `READ`.
    pub operations: Vec<(&'a [u8], [u64; OPERATION])>,
}

/// A connection; what its protocol does not count is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transport<'a> {
    /// `tcp`, `udp` or `rdma`.
    pub protocol: &'a [u8],
    /// Times it was bound to a port.
    pub binds: Option<u64>,
    /// Times it was connected.
    pub connects: Option<u64>,
    /// Seconds since it was last used.
    pub idle_s: Option<u64>,
    /// Requests sent.
    pub sends: Option<u64>,
    /// Answers received.
    pub receives: Option<u64>,
    /// Answers to what was not asked.
    pub bad_ids: Option<u64>,
    /// The sum of the requests in the backlog at each request.
    pub backlog: Option<u64>,
    /// The most requests at a time.
    pub slots_max: Option<u64>,
    /// The sum of the requests that waited to be sent at each request.
    pub sending: Option<u64>,
    /// The sum of the requests that waited for an answer at each request.
    pub pending: Option<u64>,
}

/// Hands over one mount after the other.
///
/// # Errors
/// A line of a mount that has no number where one belongs; more lines of a kind than there can be.
pub fn parse<'a>(bytes: &'a [u8], mut each: impl FnMut(&Mount<'a>)) -> Result<(), ParseError> {
    let mut mount: Option<Mount<'a>> = None;
    for (at, text) in lines(bytes) {
        if text.starts_with(b"device ") || text.starts_with(b"no device ") {
            if let Some(done) = mount.take() {
                each(&done);
            }
            mount = head(text);
        } else if let Some(mount) = &mut mount {
            line(mount, text).ok_or_else(|| bad("mountstats", at, text))?;
            let (operations, transports) = (mount.operations.len(), mount.transports.len());
            for (what, count, max) in [
                ("operations of a mount", operations, OPERATIONS_MAX),
                ("connections of a mount", transports, TRANSPORTS_MAX),
            ] {
                if count > max {
                    return Err(ParseError::Limit { what, count, max });
                }
            }
        }
    }
    if let Some(done) = mount {
        each(&done);
    }
    Ok(())
}

/// `device EXPORT mounted on PATH with fstype nfs4 statvers=1.1`; none for other types.
fn head(text: &[u8]) -> Option<Mount<'_>> {
    let mut words = fields(text).skip(1);
    let device = words.next()?;
    let mount_point = words.nth(2)?;
    let fstype = words.nth(2)?;
    let is_nfs = matches!(fstype, b"nfs" | b"nfs4");
    is_nfs.then(|| Mount { device, mount_point, ..Mount::default() })
}

/// A line within a mount; none when it makes no sense.
fn line<'a>(mount: &mut Mount<'a>, text: &'a [u8]) -> Option<()> {
    let mut words = fields(text);
    let Some(name) = words.next().and_then(|word| word.strip_suffix(b":")) else {
        // Headings, such as `per-op statistics`.
        return Some(());
    };
    match name {
        b"age" => mount.age_s = Some(number(words.next()?)?),
        b"bytes" => mount.bytes = Some(numbers(words)?),
        b"events" => mount.events = Some(numbers(words)?),
        b"xprt" => mount.transports.push(transport(words)?),
        // All others in small letters are settings.
        _ if name
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'_' | b'0'..=b'9')) =>
        {
            mount.operations.push((name, numbers(words)?));
        }
        _ => {}
    }
    Some(())
}

/// The first numbers of a line, which may have more.
fn numbers<'a, const N: usize>(mut words: impl Iterator<Item = &'a [u8]>) -> Option<[u64; N]> {
    let mut found = [0; N];
    for slot in &mut found {
        *slot = number(words.next()?)?;
    }
    Some(found)
}

fn transport<'a>(mut words: impl Iterator<Item = &'a [u8]>) -> Option<Transport<'a>> {
    let protocol = words.next()?;
    // The first number is the port.
    let mut words = words.skip(1);
    let mut next = || match words.next() {
        Some(word) => number(word).map(Some),
        None => Some(None),
    };
    let mut found = Transport { protocol, ..Transport::default() };
    found.binds = next()?;
    if protocol != b"udp" {
        found.connects = next()?;
        // How long connecting took.
        next()?;
        found.idle_s = next()?;
    }
    (found.sends, found.receives, found.bad_ids) = (next()?, next()?, next()?);
    // Requests in flight at each request, which nobody shows.
    next()?;
    found.backlog = next()?;
    // With RDMA something else follows.
    if protocol != b"rdma" {
        (found.slots_max, found.sending, found.pending) = (next()?, next()?, next()?);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(text: &str) -> Vec<Mount<'_>> {
        let mut found = Vec::new();
        parse(text.as_bytes(), |mount| found.push(mount.clone())).unwrap();
        found
    }

    const HEAD: &str = "device nas:/a mounted on /mnt/a with fstype nfs4 statvers=1.1\n";

    #[test]
    fn a_mount_and_all_it_says() {
        let events: Vec<String> = (1..=29).map(|n| n.to_string()).collect();
        let text = format!(
            "device proc mounted on /proc with fstype proc\nno device mounted on / with fstype rootfs\n{HEAD}\
             \topts:\trw,vers=4.2\n\tage:\t13968\n\tevents:\t{}\n\tbytes:\t1 2 3 4 5 6 7 8\n\
             \tRPC iostats version: 1.1  p/v: 100003/4 (nfs)\n\
             \txprt:\ttcp 832 1 2 3 4 5 6 7 8 9 10 11 12\n\txprt:\tudp 832 1 5 6 7 8 9\n\
             \txprt:\trdma 0 1 2 3 4 5 6 7 8 9 10 11 12\n\tper-op statistics\n\
             \t        READ: 1 2 3 4 5 6 7 8 9\n\nno device mounted on /x with fstype tmpfs\n\tage: x\n",
            events.join(" ")
        );
        let found = mounts(&text);
        let [mount] = &found[..] else { panic!("{found:?}") };
        assert_eq!((mount.device, mount.mount_point), (&b"nas:/a"[..], &b"/mnt/a"[..]));
        assert_eq!(mount.age_s, Some(13968));
        assert_eq!(mount.bytes, Some([1, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!(mount.events.map(|events| (events[0], events[26])), Some((1, 27)));
        assert_eq!(mount.operations, [(&b"READ"[..], [1, 2, 3, 4, 5, 6, 7, 8])]);
        let [tcp, udp, rdma] = &mount.transports[..] else { panic!("{mount:?}") };
        assert_eq!((tcp.binds, tcp.connects, tcp.idle_s), (Some(1), Some(2), Some(4)));
        assert_eq!((tcp.sends, tcp.bad_ids, tcp.backlog), (Some(5), Some(7), Some(9)));
        assert_eq!((tcp.slots_max, tcp.sending, tcp.pending), (Some(10), Some(11), Some(12)));
        assert_eq!((udp.connects, udp.sends, udp.backlog), (None, Some(5), Some(9)));
        assert_eq!((udp.slots_max, udp.pending), (None, None), "an old kernel has no more");
        assert_eq!((rdma.backlog, rdma.slots_max), (Some(9), None));
    }

    #[test]
    fn lines_that_make_no_sense_are_named_and_other_mounts_are_not_read() {
        for line in [
            "\tage:\tx",
            "\tage:",
            "\tbytes:\t1 2 3",
            "\tevents:\t1",
            "\txprt:",
            "\txprt:\ttcp 1 x",
            "\tREAD: 1 2 3 4 5 6 7",
        ] {
            let error = parse(format!("{HEAD}{line}\n").as_bytes(), |_| {}).unwrap_err();
            assert!(error.to_string().contains("mountstats at line 2"), "{line}: {error}");
            let other = format!("device x mounted on /x with fstype ext4\n{line}\n");
            assert_eq!(mounts(&other), []);
        }
        for cut in ["device", "device x", "device x mounted on", "device x mounted on /x with"] {
            assert_eq!(mounts(cut), [], "{cut}");
        }
    }

    #[test]
    fn lines_without_end_are_refused() {
        for line in ["\tX: 1 2 3 4 5 6 7 8\n", "\txprt:\ttcp 1\n"] {
            let text = format!("{HEAD}{}", line.repeat(300));
            let error = parse(text.as_bytes(), |_| {}).unwrap_err();
            assert!(matches!(error, ParseError::Limit { .. }), "{error}");
        }
    }
}
