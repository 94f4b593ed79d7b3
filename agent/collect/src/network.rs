//! What the collectors of network interfaces share: one answer of the kernel for all of them in a round
//! ([`View`]), which interfaces the user wants, and their folders in sysfs.
//!
//! Not here: the question and the shape of its answer (`labstat_parse::rtnetlink`), the socket
//! ([`Host::netlink`]), and what is made of it, which stands with each collector.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use labstat_parse::rtnetlink::link::{self, Link};

use crate::collector::CollectError;
use crate::host::Host;
use crate::options::Interfaces;
use crate::shared::is_wanted;

/// What an answer over netlink is called in errors.
pub(crate) const NETLINK: &str = "rtnetlink";

/// How old an answer may be that another collector asked for. Those of one round run within
/// fractions of a second; whoever comes later asks anew.
const AGE_MAX_MS: i64 = 1_000;

/// The folder that has one folder for each network interface.
pub(crate) const INTERFACES: &str = "/sys/class/net";

/// Interfaces of one machine; a host of containers has hundreds.
const INTERFACES_MAX: usize = 8192;

/// Who reads a [`View`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reader {
    Links = 1,
    Netclass = 2,
    Netdev = 4,
    BridgeVlans = 8,
}

/// The kernel's last answer, for all who have not read it yet: so one question serves a whole round,
/// whichever of the collectors run, and none of them ever takes one answer for two rounds.
#[derive(Debug, Clone, Default)]
pub(crate) struct View(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    /// Whoever reads it has a share of its own: what it does with it may take its time.
    answer: Arc<Vec<u8>>,
    asked_ms: i64,
    /// The host that answered, by its place in memory.
    host: usize,
    /// The readers that have read it.
    seen: u8,
}

impl View {
    /// The kernel's answer, for which it may take `patience`, since a driver that is busy may hold it
    /// up; nothing when there is no netlink here.
    pub(crate) fn read(
        &self,
        host: &dyn Host,
        reader: Reader,
        patience: Duration,
    ) -> Result<Option<Arc<Vec<u8>>>, CollectError> {
        let mut shared = match self.0.try_lock() {
            Ok(shared) => shared,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Whoever has it waits for the kernel.
            Err(TryLockError::WouldBlock) => {
                return Err(CollectError::read(NETLINK)(ErrorKind::TimedOut.into()));
            }
        };
        let here = std::ptr::from_ref(host).addr();
        let now_ms = host.now_ms();
        let is_young = now_ms.abs_diff(shared.asked_ms) < AGE_MAX_MS.unsigned_abs();
        if shared.seen == 0 || shared.seen & reader as u8 != 0 || shared.host != here || !is_young {
            // Should it fail, the next one asks again.
            shared.seen = 0;
            // A buffer that somebody still reads is left to them.
            let mut answer =
                Arc::try_unwrap(std::mem::take(&mut shared.answer)).unwrap_or_default();
            match host.netlink(&link::request(), patience, &mut answer) {
                Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(None),
                result => result.map_err(CollectError::read(NETLINK))?,
            }
            shared.answer = Arc::new(answer);
            (shared.asked_ms, shared.host) = (now_ms, here);
        }
        shared.seen |= reader as u8;
        Ok(Some(Arc::clone(&shared.answer)))
    }
}

/// All interfaces in an answer, by name, each once: an answer during which something changed may
/// tell of one twice.
pub(crate) fn links(answer: &[u8]) -> Result<Vec<Link<'_>>, CollectError> {
    let mut links = Vec::new();
    for link in link::links(answer) {
        links.push(link.map_err(CollectError::parse(NETLINK))?);
        check_interface_count(links.len())?;
    }
    links.sort_unstable_by(|one, other| one.name.cmp(other.name));
    links.dedup_by(|one, other| one.name == other.name);
    Ok(links)
}

/// The names of all interfaces by their numbers.
pub(crate) struct Names<'a>(Vec<(u32, &'a str)>);

impl<'a> Names<'a> {
    pub(crate) fn of(links: &[Link<'a>]) -> Self {
        let mut names: Vec<_> = links.iter().map(|link| (link.index, link.name)).collect();
        names.sort_unstable();
        Self(names)
    }

    pub(crate) fn get(&self, index: u32) -> Option<&'a str> {
        let at = self.0.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        self.0.get(at).map(|(_, name)| *name)
    }
}

/// Refuses more interfaces than any machine has.
pub(crate) fn check_interface_count(count: usize) -> Result<(), CollectError> {
    if count <= INTERFACES_MAX {
        return Ok(());
    }
    Err(CollectError::Limit { what: "network interfaces", count, max: INTERFACES_MAX })
}

/// The folder of an interface, without the link that leads to it.
pub(crate) fn interface_dir(host: &dyn Host, name: &str) -> String {
    let dir = format!("{INTERFACES}/{name}");
    host.resolved(&dir).unwrap_or(dir)
}

impl Interfaces {
    /// Whether the user wants to know of this interface.
    pub(crate) fn has(&self, name: &str) -> bool {
        is_wanted(&self.include, &self.exclude, name, || false)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io;
    use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

    use super::*;
    use crate::host::{Counts, FilesystemSize, Framing, Output, RunError, Uname};

    const LONG: Duration = Duration::from_secs(20);

    /// What a kernel answers to a request.
    pub(crate) type Told = fn(&[u8]) -> io::Result<Vec<u8>>;

    /// A host that has nothing but netlink, which answers as `told` says, or with how often it was asked.
    #[derive(Debug, Default)]
    pub(crate) struct Kernel {
        pub(crate) asked: AtomicU32,
        pub(crate) now_ms: AtomicI64,
        pub(crate) fails: AtomicBool,
        pub(crate) told: Option<Told>,
    }

    fn nothing<T>() -> io::Result<T> {
        Err(ErrorKind::NotFound.into())
    }

    impl Host for Kernel {
        fn netlink(&self, request: &[u8], _: Duration, into: &mut Vec<u8>) -> io::Result<()> {
            if self.fails.load(Ordering::Relaxed) {
                return Err(ErrorKind::TimedOut.into());
            }
            *into = match self.told {
                Some(told) => told(request)?,
                None => {
                    vec![u8::try_from(self.asked.fetch_add(1, Ordering::Relaxed)).unwrap() + 1]
                }
            };
            Ok(())
        }

        fn now_ms(&self) -> i64 {
            self.now_ms.load(Ordering::Relaxed)
        }

        fn read_into(&self, _: &str, _: &mut Vec<u8>) -> io::Result<()> {
            nothing()
        }
        fn read_all(&self, paths: &[String], _: Duration) -> Vec<io::Result<Vec<u8>>> {
            paths.iter().map(|_| nothing()).collect()
        }
        fn list(&self, _: &str) -> io::Result<Vec<String>> {
            nothing()
        }
        fn link(&self, _: &str) -> io::Result<String> {
            nothing()
        }
        fn canonical(&self, _: &str) -> io::Result<String> {
            nothing()
        }
        fn run(&self, _: &str, _: &[&str], _: Duration) -> Result<Output, RunError> {
            unreachable!()
        }
        fn statvfs(&self, _: &[String], _: Duration) -> Vec<io::Result<FilesystemSize>> {
            unreachable!()
        }
        fn socket_request(
            &self,
            _: &str,
            _: &[u8],
            _: Framing,
            _: Duration,
        ) -> io::Result<Vec<u8>> {
            unreachable!()
        }
        fn uname(&self) -> io::Result<Uname> {
            unreachable!()
        }
        fn page_size_bytes(&self) -> Option<u64> {
            unreachable!()
        }
        fn counts(&self) -> Counts {
            unreachable!()
        }
        fn stop(&self) {}
    }

    #[test]
    fn one_question_serves_a_round_and_no_answer_serves_two() {
        let host = Kernel::default();
        let view = View::default();
        let read = |reader| view.clone().read(&host, reader, LONG).unwrap().unwrap()[0];
        assert_eq!([read(Reader::Links), read(Reader::Netclass), read(Reader::Netdev)], [1, 1, 1]);
        assert_eq!([read(Reader::Links), read(Reader::Netclass), read(Reader::Netdev)], [2, 2, 2]);
        assert_eq!([read(Reader::Netdev), read(Reader::Netdev)], [3, 4], "one of them alone");
        assert_eq!(read(Reader::Links), 4);
        host.now_ms.store(AGE_MAX_MS, Ordering::Relaxed);
        assert_eq!(read(Reader::Netclass), 5, "too old to be shared");
        host.now_ms.store(0, Ordering::Relaxed);
        assert_eq!(read(Reader::Links), 6, "the clock went back");
    }

    #[test]
    fn an_answer_of_one_host_is_not_shown_for_another() {
        let (one, other) = (Kernel::default(), Kernel::default());
        other.asked.store(9, Ordering::Relaxed);
        let view = View::default();
        let read = |host: &Kernel, reader| view.read(host, reader, LONG).unwrap().unwrap()[0];
        assert_eq!([read(&one, Reader::Links), read(&other, Reader::Netdev)], [1, 10]);
    }

    #[test]
    fn who_comes_while_another_waits_or_after_it_failed_gets_no_old_answer() {
        let host = Kernel::default();
        let view = View::default();
        let read = |reader| view.read(&host, reader, LONG).map(|answer| answer.unwrap()[0]);
        assert_eq!(read(Reader::Links).unwrap(), 1);
        let held = view.0.lock().unwrap();
        assert!(read(Reader::Netdev).is_err());
        drop(held);
        host.fails.store(true, Ordering::Relaxed);
        assert!(read(Reader::Links).is_err());
        assert!(read(Reader::Netdev).is_err(), "not what was true a round ago");
        host.fails.store(false, Ordering::Relaxed);
        assert_eq!(read(Reader::Netdev).unwrap(), 2);
    }

    /// One of them reads files of every interface, which may take seconds.
    #[test]
    fn who_takes_long_over_an_answer_holds_up_nobody_and_keeps_what_it_read() {
        let host = Kernel::default();
        let view = View::default();
        let read = |reader| view.read(&host, reader, LONG).unwrap().unwrap();
        let held = read(Reader::Netclass);
        assert_eq!(*read(Reader::Netdev), [1]);
        assert_eq!(*read(Reader::Netdev), [2], "the next round");
        assert_eq!(*held, [1]);
    }

    #[test]
    fn interfaces_are_wanted_by_pattern() {
        let interfaces = |include: &[&str], exclude: &[&str]| Interfaces {
            include: include.iter().map(|&name| name.to_owned()).collect(),
            exclude: exclude.iter().map(|&name| name.to_owned()).collect(),
            ..Interfaces::default()
        };
        assert!(interfaces(&[], &[]).has("tap100i0"));
        assert!(!interfaces(&[], &["tap*", "veth1"]).has("tap100i0"));
        assert!(interfaces(&[], &["tap*", "veth1"]).has("veth10"));
        assert!(interfaces(&["bond0*"], &["*.99"]).has("bond0.13"));
        assert!(!interfaces(&["bond0*"], &["*.99"]).has("bond0.99"));
        assert!(!interfaces(&["bond0*"], &[]).has("eno1"));
    }
}
