//! What a round costs on a node with eight OSDs: questions to their sockets, answers, samples.
//!
//! `cargo bench -p labstat-collect --bench ceph`. The OSDs are another process, which answers with a
//! recording of one with BlueStore; only the time that this one computes is counted.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that fails may stop")]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use labstat_collect::{Host, Options, RealHost, Status, registry};
use labstat_model::{Batch, SystemClock};
use rustix::time::{ClockId, clock_gettime};

/// OSDs of the node.
const OSDS: usize = 8;
/// Rounds measured, after the first, in which it is asked what the counters are.
const ROUNDS: u32 = 300;

fn main() {
    if let Some(dir) = std::env::args().skip_while(|arg| arg != "--serve").nth(1) {
        serve(Path::new(&dir));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut osds = Command::new(std::env::current_exe().unwrap())
        .arg("--serve")
        .arg(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It says when all sockets are there.
    osds.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    let host = RealHost::new(Arc::new(SystemClock));
    let mut options = Options::default();
    options.ceph.run_dir = dir.path().to_str().unwrap().to_owned();
    let entry = registry().iter().find(|entry| entry.name == "ceph").unwrap();
    let mut ceph = (entry.make)(&options);
    let mut batch = Batch::new();
    let mut run = || {
        batch.clear();
        assert_eq!(ceph.collect(&host, &mut batch).unwrap(), Status::Collected);
        batch.len()
    };
    let before = cpu_seconds();
    let samples = run();
    let first = cpu_seconds() - before;
    let before = cpu_seconds();
    for _ in 0..ROUNDS {
        assert_eq!(run(), samples);
    }
    let each = (cpu_seconds() - before) * 1e3 / f64::from(ROUNDS);
    println!(
        "{OSDS} OSDs, {samples} samples: {each:.3} ms of CPU a round, the first {:.1} ms",
        first * 1e3
    );
    host.stop();
    osds.kill().unwrap();
    osds.wait().unwrap();
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Answers as OSDs do, until whoever started this is gone.
fn serve(dir: &Path) {
    for osd in 0..OSDS {
        let socket: PathBuf = dir.join(format!("ceph-osd.{osd}.asok"));
        let listener = UnixListener::bind(socket).unwrap();
        std::thread::spawn(move || {
            listener.incoming().for_each(|peer| answer(&mut peer.unwrap()));
        });
    }
    println!();
    let _ = std::io::stdin().read(&mut [0]);
}

fn answer(peer: &mut UnixStream) {
    let mut request = Vec::new();
    let mut byte = [0];
    while peer.read_exact(&mut byte).is_ok() && byte != [0] {
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../parse/fixtures/ceph");
    let body = if request.contains("perf dump") {
        std::fs::read(fixtures.join("asok-osd.0-perf-dump.json")).unwrap()
    } else if request.contains("perf schema") {
        std::fs::read(fixtures.join("perf-schema-osd.json")).unwrap()
    } else if request.contains("counter") {
        b"ERROR: (22) Invalid argument\nunknown command prefix".to_vec()
    } else if request.contains("status") {
        br#"{"whoami":0,"state":"active","num_pgs":17}"#.to_vec()
    } else if request.contains("historic") {
        // As many as are kept, as long as they are.
        let op = format!(r#"{{"age":300.5,"duration":31.5,"type_data":"{}"}}"#, "x".repeat(2_000));
        format!(r#"{{"Ops":[{}]}}"#, vec![op; 20].join(",")).into_bytes()
    } else {
        br#"{"ops":[],"num_ops":0,"num_blocked_ops":0}"#.to_vec()
    };
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    let _ = peer.write_all(&[len.as_slice(), &body].concat());
}
