//! TCP's sockets in a network namespace of our own, counted in both ways there are: over netlink, and
//! by the kernel's files.
//!
//! Needs root, `unshare` and `ip`; without them the test says `SKIPPED`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use labstat_collect::{Host, Options, RealHost, ReplayHost, registry};
use labstat_model::{Batch, ManualClock};

use super::namespace::{is_outside, shell};

/// Long enough for any answer on a busy machine.
const LONG: Duration = Duration::from_secs(20);

type States = BTreeMap<String, f64>;

fn states(host: &dyn Host) -> States {
    let entry = registry().iter().find(|entry| entry.name == "tcpstat").unwrap();
    let mut batch = Batch::new();
    (entry.make)(&Options::default()).collect(host, &mut batch).unwrap();
    let named = batch.iter().map(|sample| {
        let state = sample.labels.to_string();
        (state.trim_matches(|c| "{}".contains(c)).to_owned(), sample.value)
    });
    named.collect()
}

/// What the files say at this moment.
fn by_files() -> States {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("proc/net")).unwrap();
    for name in ["proc/net/tcp", "proc/net/tcp6"] {
        fs::write(dir.path().join(name), fs::read(format!("/{name}")).unwrap()).unwrap();
    }
    states(&ReplayHost::open(dir.path(), Arc::new(ManualClock::new(0))).unwrap())
}

fn by_netlink() -> States {
    let host = RealHost::new(Arc::new(ManualClock::new(0)));
    host.tcp_sockets(LONG).unwrap();
    let states = states(&host);
    assert_eq!(host.counts().reads, 0, "no file is read");
    states
}

/// Sockets in several states; they stay so while the streams live.
fn make(address: IpAddr) -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let pair = || {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    };
    let end = |mut stream: &TcpStream| assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    // Both established, and five bytes that nobody takes.
    let (mut writer, reader) = pair();
    writer.write_all(b"bytes").unwrap();
    // One that still may read, and one that is gone altogether: both wait for the other to close.
    let (half, other) = pair();
    half.shutdown(Shutdown::Write).unwrap();
    let (gone, left) = pair();
    drop(gone);
    end(&other);
    end(&left);
    // Closed in turn; who was first waits.
    let (first, second) = pair();
    first.shutdown(Shutdown::Write).unwrap();
    end(&second);
    drop(second);
    end(&first);
    drop(first);
    // One that nobody accepts, which is in the queue of the one that listens.
    let waiting = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener, vec![writer, reader, half, other, left, waiting])
}

#[test]
fn netlink_and_files_count_the_same_sockets() {
    if is_outside("tests::tcp::netlink_and_files_count_the_same_sockets") {
        return;
    }
    shell("ip link set lo up");
    let _sockets = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()].map(make);
    let wanted: States = [
        ("established", 8),
        ("fin_wait2", 4),
        ("close_wait", 4),
        ("time_wait", 2),
        ("listen", 2),
        ("rx_queued_bytes", 10),
        ("tx_queued_bytes", 0),
    ]
    .map(|(state, count)| (format!("state=\"{state}\""), f64::from(count)))
    .into();
    let host = RealHost::new(Arc::new(ManualClock::new(0)));
    if let Err(error) = host.tcp_sockets(LONG) {
        println!("SKIPPED: no sock_diag here: {error}");
        assert_eq!(states(&host), by_files(), "then the files are read");
        return;
    }
    let until = Instant::now() + LONG;
    loop {
        // What was sent may still be on its way.
        let (netlink, files) = (by_netlink(), by_files());
        if netlink == wanted && files == wanted {
            return;
        }
        assert!(Instant::now() < until, "{netlink:#?}\n{files:#?}\nwanted {wanted:#?}");
    }
}

/// The CPU of both ways, of the whole process.
#[test]
#[ignore = "a measurement"]
fn what_both_ways_cost() {
    let cpu = || {
        let schedstat = |task: fs::DirEntry| {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap();
            text.split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        fs::read_dir("/proc/self/task").unwrap().map(|task| schedstat(task.unwrap())).sum::<u64>()
    };
    let host = RealHost::new(Arc::new(ManualClock::new(0)));
    let rounds = 20;
    let measure = |name: &str, once: &dyn Fn()| {
        once();
        let start = cpu();
        for _ in 0..rounds {
            once();
        }
        println!("{name}: {} µs a round", (cpu() - start) / rounds / 1000);
    };
    measure("netlink", &|| assert!(host.tcp_sockets(LONG).is_ok()));
    let mut bytes = Vec::new();
    let bytes = std::cell::RefCell::new(&mut bytes);
    measure("files", &|| {
        for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
            host.read_into(path, &mut bytes.borrow_mut()).unwrap();
        }
    });
}
