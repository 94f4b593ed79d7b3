//! A real Ceph cluster on loopback, in a temporary folder: monitors, managers and OSDs that keep
//! their data in memory, and metadata servers and a gateway where a story wants them, as children of the
//! test, on free ports; about 0.4 GB, and healthy within ten seconds of an idle machine.
//!
//! Daemons end with [`Cluster`], and with the test process however that ends: a shell that holds the
//! other end of a pipe kills them by pid when the pipe breaks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long the cluster may take to become what is waited for. It takes ten seconds on an idle
/// machine, and the manager's absence is noticed after half a minute; a machine may be busy.
const DEADLINE: Duration = Duration::from_secs(300);

/// How long one command may take, so that a monitor that is gone holds no test for ever.
const CONNECT_TIMEOUT_SECONDS: &str = "60";

/// What must be free in memory for clusters to be kept there.
const MEMORY_FREE_MIN: u64 = 4 << 30;

/// What a daemon, a client and an administrator need of Debian's packages ceph-mon, ceph-mgr,
/// ceph-osd and ceph-common.
const PROGRAMS: [&str; 6] = ["ceph", "ceph-authtool", "ceph-mgr", "ceph-mon", "ceph-osd", "rados"];

/// What metadata servers and gateways need besides, of Debian's packages ceph-mds and radosgw.
const PROGRAMS_OF_FILES: [&str; 3] = ["ceph-mds", "radosgw", "radosgw-admin"];

/// Clusters that stories share, at most: each takes 0.4 GB, and a share of a core at rest.
const SHARED_MAX: usize = 4;

/// The pool that every cluster has: a copy on each of up to three OSDs, in eight placement groups.
pub(crate) const POOL: &str = "labpool";

/// The filesystem of a cluster that has metadata servers.
pub(crate) const FILESYSTEM: &str = "labfs";

/// The gateway, as Ceph calls it.
pub(crate) const GATEWAY: &str = "client.rgw.gate";

/// What kills the daemons and removes their folder when the test process is gone: a value that all tests
/// share is never dropped. A signal to the whole process group is the tests' end and not the keeper's. A pid
/// that was taken up by another process is not ours: ours name the cluster's folder on their command line.
const KEEPER: &str = r#"
trap '' HUP INT TERM
echo ready
while read -r pid; do pids="$pids $pid"; done
for pid in $pids; do
    grep -qF "$1" "/proc/$pid/cmdline" 2>/dev/null && kill -9 "$pid"
done
# One that is dying may still write.
for try in 1 2 3 4 5; do rm -rf "$1" && break; sleep 1; done
"#;

/// What is to be started.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// Monitors, `a`, `b` and so on.
    pub(crate) mons: usize,
    /// Managers, `x`, `y` and so on; all but one stand by.
    pub(crate) mgrs: usize,
    /// OSDs, from 0.
    pub(crate) osds: usize,
    /// Metadata servers, `m`, `n` and so on, of one filesystem; all but one stand by.
    pub(crate) mdss: usize,
    /// Whether there is a gateway.
    pub(crate) has_gateway: bool,
    /// Where OSDs keep data: `memstore`, or `bluestore` on sparse files of 2 GiB.
    pub(crate) store: &'static str,
    /// Lines of the configuration for OSDs beside the usual ones.
    pub(crate) osd_conf: String,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            mons: 1,
            mgrs: 1,
            osds: 3,
            mdss: 0,
            has_gateway: false,
            store: "memstore",
            osd_conf: String::new(),
        }
    }
}

impl Plan {
    /// Names of the monitors, without `mon.`.
    fn mon_names(&self) -> Vec<String> {
        ('a'..='e').take(self.mons).map(String::from).collect()
    }

    /// Names of the managers, without `mgr.`.
    fn mgr_names(&self) -> Vec<String> {
        ('x'..='z').take(self.mgrs).map(String::from).collect()
    }

    /// Names of the metadata servers, without `mds.`.
    fn mds_names(&self) -> Vec<String> {
        ('m'..='p').take(self.mdss).map(String::from).collect()
    }

    /// All daemons, in the order in which they start.
    fn daemons(&self) -> Vec<String> {
        let named = |kind: &'static str, names: Vec<String>| {
            names.into_iter().map(move |name| format!("{kind}.{name}"))
        };
        named("mon", self.mon_names())
            .chain(named("mgr", self.mgr_names()))
            .chain((0..self.osds).map(|osd| format!("osd.{osd}")))
            .chain(named("mds", self.mds_names()))
            .chain(self.has_gateway.then(|| GATEWAY.to_owned()))
            .collect()
    }

    /// The programs that it needs and that are not here.
    fn missing(&self) -> Vec<&'static str> {
        let there = |name: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
        };
        let has_files = self.mdss > 0 || self.has_gateway;
        let of_files = PROGRAMS_OF_FILES.into_iter().filter(|_| has_files);
        PROGRAMS.into_iter().chain(of_files).filter(|name| !there(name)).collect()
    }
}

/// A running cluster.
pub(crate) struct Cluster {
    plan: Plan,
    dir: TempDir,
    /// The id of the cluster.
    pub(crate) fsid: String,
    mgr_port: u16,
    gateway_port: u16,
    running: BTreeMap<String, Child>,
    stopped: BTreeSet<String>,
    /// Commands that take back what was done to the cluster.
    undo: Vec<String>,
    keeper: Child,
    keeper_pids: Option<ChildStdin>,
}

/// Clusters that outlive a story.
struct Pool {
    /// Those that no story has just now, in whatever state the last one left them.
    idle: Vec<Cluster>,
    /// All of them.
    count: usize,
}

static POOL_OF_CLUSTERS: Mutex<Pool> = Mutex::new(Pool { idle: Vec::new(), count: 0 });
static CLUSTER_IS_IDLE: Condvar = Condvar::new();

/// A cluster for one story, which the next one takes over.
pub(crate) struct Lease(Option<Cluster>);

impl Deref for Lease {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.0.as_ref().unwrap()
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Cluster {
        self.0.as_mut().unwrap()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut pool = POOL_OF_CLUSTERS.lock().unwrap_or_else(PoisonError::into_inner);
        match self.0.take() {
            Some(cluster) => pool.idle.push(cluster),
            // It could not be started.
            None => pool.count -= 1,
        }
        CLUSTER_IS_IDLE.notify_one();
    }
}

/// A usual cluster, healthy, for as long as the story lasts; one that no other story has, so that as many
/// go on beside each other as there are threads. `None`, with a line that says so, where Ceph is not
/// installed.
pub(crate) fn shared() -> Option<Lease> {
    let plan = Plan::default();
    if !plan.missing().is_empty() {
        // Said by each story, since each is skipped.
        skip(&plan);
        return None;
    }
    let mut pool = POOL_OF_CLUSTERS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut lease = loop {
        if let Some(cluster) = pool.idle.pop() {
            break Lease(Some(cluster));
        }
        if pool.count < SHARED_MAX {
            pool.count += 1;
            break Lease(None);
        }
        pool = CLUSTER_IS_IDLE.wait(pool).unwrap_or_else(PoisonError::into_inner);
    };
    drop(pool);
    match &mut lease.0 {
        Some(cluster) => cluster.mend(),
        none => *none = Cluster::start(plan),
    }
    Some(lease)
}

fn skip(plan: &Plan) {
    eprintln!("SKIPPED: no Ceph cluster without {} (see .ci/run)", plan.missing().join(", "));
}

impl Cluster {
    /// Starts a cluster and waits until it is healthy; `None` where Ceph is not installed.
    pub(crate) fn start(plan: Plan) -> Option<Self> {
        if !plan.missing().is_empty() {
            skip(&plan);
            return None;
        }
        let dir = folder(&plan);
        let (keeper, keeper_pids) = keeper(dir.path());
        let ports = free_ports(2);
        let mut cluster = Self {
            fsid: uuid(),
            mgr_port: ports[0],
            gateway_port: ports[1],
            plan,
            dir,
            running: BTreeMap::new(),
            stopped: BTreeSet::new(),
            undo: Vec::new(),
            keeper,
            keeper_pids: Some(keeper_pids),
        };
        cluster.lay_out();
        cluster.make_monitors();
        cluster.introduce();
        cluster.make_osds();
        for daemon in cluster.plan.daemons().iter().filter(|name| !name.starts_with("mon.")) {
            cluster.start_daemon(daemon);
        }
        cluster.wait_healthy();
        Some(cluster)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The configuration file, with which any client of Ceph reaches the cluster as `client.admin`.
    pub(crate) fn conf(&self) -> PathBuf {
        self.path("ceph.conf")
    }

    /// The folder of the admin sockets, `NAME.asok`.
    pub(crate) fn run_dir(&self) -> PathBuf {
        self.path("run")
    }

    /// The admin socket of a daemon, such as `osd.0`.
    pub(crate) fn socket(&self, daemon: &str) -> PathBuf {
        self.run_dir().join(format!("{daemon}.asok"))
    }

    /// The process of a daemon that runs.
    pub(crate) fn pid(&self, daemon: &str) -> u32 {
        self.running[daemon].id()
    }

    /// Names of all daemons.
    pub(crate) fn daemons(&self) -> Vec<String> {
        self.plan.daemons()
    }

    /// Folders, keys and the configuration.
    fn lay_out(&self) {
        for name in ["run", "log", "crash"] {
            std::fs::create_dir(self.path(name)).unwrap();
        }
        for daemon in self.plan.daemons() {
            std::fs::create_dir_all(self.path(&daemon.replace('.', "/"))).unwrap();
        }
        let ports = free_ports(self.plan.mons);
        let mons: Vec<String> =
            ports.iter().map(|port| format!("[v2:127.0.0.1:{port}/0]")).collect();
        let mut map = ceph_command("monmaptool", &self.conf());
        map.args(["--create", "--fsid", &self.fsid]);
        for (name, port) in self.plan.mon_names().iter().zip(&ports) {
            map.args(["--addv", name, &format!("[v2:127.0.0.1:{port}]")]);
        }
        std::fs::write(self.conf(), self.configuration(&mons.join(","))).unwrap();
        std::fs::write(self.path("keyring"), self.keyring()).unwrap();
        run(map.arg(self.path("monmap")));
    }

    fn configuration(&self, mons: &str) -> String {
        let (dir, fsid) = (self.dir.path().display(), &self.fsid);
        let (store, names) = (self.plan.store, self.plan.mon_names().join(","));
        let more = &self.plan.osd_conf;
        let gateway_port = self.gateway_port;
        let copies = self.plan.osds.min(3);
        let copies_min = copies.saturating_sub(1).max(1);
        format!(
            "[global]\nfsid = {fsid}\nmon host = {mons}\nmon initial members = {names}\n\
             keyring = {dir}/keyring\nrun dir = {dir}/run\nlog file = {dir}/log/$name.log\n\
             crash dir = {dir}/crash\nms bind msgr1 = false\npublic addr = 127.0.0.1\n\
             cluster addr = 127.0.0.1\nauth allow insecure global id reclaim = false\n\
             osd pool default size = {copies}\nosd pool default min size = {copies_min}\n\
             osd pool default pg num = 8\nosd pool default pgp num = 8\n\
             osd pool default pg autoscale mode = off\nosd crush chooseleaf type = 0\n\
             mon allow pool delete = true\nmon allow pool size one = true\n\
             mon warn on pool no redundancy = false\nmon pg warn min per osd = 0\n\
             mon data avail warn = 0\nmon data avail crit = 0\nmon clock drift allowed = 10\n\
             mds beacon interval = 1\nmds beacon grace = 8\n\
             [mon]\nadmin socket = {dir}/run/$name.asok\nmon data = {dir}/mon/$id\n\
             mon osd down out interval = 600\nmon osd reporter subtree level = osd\n\
             mgr initial modules = prometheus\n\
             [mgr]\nadmin socket = {dir}/run/$name.asok\nmgr data = {dir}/mgr/$id\n\
             [osd]\nadmin socket = {dir}/run/$name.asok\nosd data = {dir}/osd/$id\n\
             osd objectstore = {store}\nmemstore device bytes = 1073741824\n\
             bluestore block size = 2147483648\nosd max object name len = 460\n\
             osd max object namespace len = 64\nosd heartbeat grace = 6\n\
             osd heartbeat interval = 2\nosd recovery sleep hdd = 0\n{more}\n\
             [mds]\nadmin socket = {dir}/run/$name.asok\nmds data = {dir}/mds/$id\n\
             [{GATEWAY}]\nadmin socket = {dir}/run/$name.asok\nrgw data = {dir}/client/rgw/gate\n\
             rgw frontends = beast endpoint=127.0.0.1:{gateway_port}\n"
        )
    }

    /// The keys of all, which the monitors take for theirs when they are made.
    fn keyring(&self) -> String {
        let mut text = String::new();
        let mut add = |name: &str, caps: &[(&str, &str)]| {
            let key = run(Command::new("ceph-authtool").arg("--gen-print-key"));
            writeln!(text, "[{name}]\n\tkey = {}", key.trim()).unwrap();
            for (of, cap) in caps {
                writeln!(text, "\tcaps {of} = \"{cap}\"").unwrap();
            }
        };
        let all = "allow *";
        add("mon.", &[("mon", all)]);
        add("client.admin", &["mon", "osd", "mds", "mgr"].map(|of| (of, all)));
        for mgr in self.plan.mgr_names() {
            let caps = [("mon", "allow profile mgr"), ("osd", all), ("mds", all)];
            add(&format!("mgr.{mgr}"), &caps);
        }
        for mds in self.plan.mds_names() {
            let profile = "allow profile mds";
            let caps = [("mon", profile), ("mgr", profile), ("osd", all), ("mds", all)];
            add(&format!("mds.{mds}"), &caps);
        }
        if self.plan.has_gateway {
            add(GATEWAY, &[("mon", all), ("mgr", all), ("osd", all)]);
        }
        for osd in 0..self.plan.osds {
            let profile = "allow profile osd";
            add(&format!("osd.{osd}"), &[("mon", profile), ("mgr", profile), ("osd", all)]);
        }
        text
    }

    fn make_monitors(&mut self) {
        for name in self.plan.mon_names() {
            let mut mkfs = ceph_command("ceph-mon", &self.conf());
            mkfs.args(["--mkfs", "-i", &name]);
            run(mkfs
                .arg("--monmap")
                .arg(self.path("monmap"))
                .arg("--keyring")
                .arg(self.path("keyring")));
            self.start_daemon(&format!("mon.{name}"));
        }
    }

    /// Tells the monitors of the OSDs, the manager's page, the pool and the filesystem, in one process.
    fn introduce(&self) {
        let mut lines = String::new();
        for osd in 0..self.plan.osds {
            writeln!(lines, "osd new {} {osd}", self.osd_uuid(osd)).unwrap();
        }
        let port = self.mgr_port.to_string();
        for (key, value) in
            [("server_addr", "127.0.0.1"), ("server_port", &port), ("scrape_interval", "1")]
        {
            writeln!(lines, "config set mgr mgr/prometheus/{key} {value} --force").unwrap();
        }
        writeln!(lines, "osd pool create {POOL} 8").unwrap();
        writeln!(lines, "osd pool application enable {POOL} rados").unwrap();
        if self.plan.mdss > 0 {
            writeln!(lines, "osd pool create {FILESYSTEM}-meta 8").unwrap();
            writeln!(lines, "osd pool create {FILESYSTEM}-data 8").unwrap();
            writeln!(lines, "fs new {FILESYSTEM} {FILESYSTEM}-meta {FILESYSTEM}-data").unwrap();
        }
        let mut command = ceph_command("ceph", &self.conf());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "the monitors take\n{lines}");
    }

    /// An id made of the cluster's, so that it need not be kept.
    fn osd_uuid(&self, osd: usize) -> String {
        format!("{}{osd:04x}", &self.fsid[..self.fsid.len() - 4])
    }

    fn make_osds(&self) {
        std::thread::scope(|scope| {
            for osd in 0..self.plan.osds {
                scope.spawn(move || {
                    let kind = self.path(&format!("osd/{osd}/type"));
                    std::fs::write(kind, format!("{}\n", self.plan.store)).unwrap();
                    let mut mkfs = ceph_command("ceph-osd", &self.conf());
                    let id = osd.to_string();
                    run(mkfs.args(["--mkfs", "-i", &id, "--osd-uuid", &self.osd_uuid(osd)]));
                });
            }
        });
    }

    /// Starts a daemon that does not run, such as `osd.0`, and does not wait for it.
    pub(crate) fn start_daemon(&mut self, daemon: &str) {
        let mut command = match daemon.split_once('.').unwrap() {
            ("client", _) => ceph_command("radosgw", &self.conf()),
            (kind, _) => ceph_command(&format!("ceph-{kind}"), &self.conf()),
        };
        let child = command
            .args(["-f", "-n", daemon])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        if let Some(keeper) = &mut self.keeper_pids {
            writeln!(keeper, "{}", child.id()).unwrap();
        }
        assert!(self.running.insert(daemon.to_owned(), child).is_none(), "{daemon} ran");
    }

    /// Ends a daemon as a power cut would; its socket stays.
    pub(crate) fn kill(&mut self, daemon: &str) {
        let mut child = self.running.remove(daemon).unwrap_or_else(|| panic!("no {daemon}"));
        child.kill().unwrap();
        child.wait().unwrap();
        self.stopped.remove(daemon);
    }

    /// Has a daemon end in good order, as when its unit is stopped.
    pub(crate) fn end(&mut self, daemon: &str) {
        let mut child = self.running.remove(daemon).unwrap_or_else(|| panic!("no {daemon}"));
        signal(child.id(), "TERM");
        eventually("the daemon ends", || match child.try_wait() {
            Ok(Some(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// Stops a daemon in its tracks: it takes connections and answers none.
    pub(crate) fn stop(&mut self, daemon: &str) {
        let pid = self.pid(daemon);
        signal(pid, "STOP");
        self.stopped.insert(daemon.to_owned());
        eventually("the daemon is stopped", || {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            if state.contains(") T ") { Ok(()) } else { Err(state) }
        });
    }

    /// Lets a stopped daemon go on.
    pub(crate) fn cont(&mut self, daemon: &str) {
        if self.stopped.remove(daemon) {
            signal(self.pid(daemon), "CONT");
        }
    }

    /// Runs `ceph ARGUMENTS -f json`; `null` for an answer of nothing.
    pub(crate) fn ceph(&self, arguments: &[&str]) -> Value {
        let text = run(ceph_command("ceph", &self.conf()).args(arguments).args(["-f", "json"]));
        match text.trim() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
        }
    }

    /// Runs a command whose effect `undo` takes back before the next story.
    pub(crate) fn ceph_until_mended(&mut self, command: &str, undo: &str) {
        self.undo.push(undo.to_owned());
        let arguments: Vec<&str> = command.split_whitespace().collect();
        self.ceph(&arguments);
    }

    /// Takes an OSD's data from it.
    pub(crate) fn out(&mut self, osd: usize) {
        self.ceph_until_mended(&format!("osd out {osd}"), &format!("osd in {osd}"));
    }

    /// Gives an OSD its data again.
    pub(crate) fn r#in(&mut self, osd: usize) {
        self.ceph(&["osd", "in", &osd.to_string()]);
    }

    /// Sets the share of an OSD's size above which the cluster warns.
    pub(crate) fn set_nearfull_ratio(&mut self, ratio: f64) {
        let command = format!("osd set-nearfull-ratio {ratio}");
        self.ceph_until_mended(&command, "osd set-nearfull-ratio 0.85");
    }

    /// Sets a flag of the whole cluster, such as `noout`.
    pub(crate) fn set_flag(&mut self, flag: &str) {
        self.ceph_until_mended(&format!("osd set {flag}"), &format!("osd unset {flag}"));
    }

    /// Mutes a health check for an hour.
    pub(crate) fn mute(&mut self, check: &str) {
        self.ceph_until_mended(
            &format!("health mute {check} 1h"),
            &format!("health unmute {check}"),
        );
    }

    /// Writes objects of 4 KiB into the pool for `seconds`, `at_once` of them at a time; they stay until
    /// the cluster is mended. The writer goes on beside the test.
    pub(crate) fn write_load(&mut self, seconds: u32, at_once: u32) -> Load {
        let child = ceph_command("rados", &self.conf())
            .args(["-p", POOL, "bench", &seconds.to_string(), "write"])
            .args(["-b", "4096", "-t", &at_once.to_string()])
            .args(["--no-cleanup", "--run-name", "labstat"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        if let Some(keeper) = &mut self.keeper_pids {
            writeln!(keeper, "{}", child.id()).unwrap();
        }
        Load(child)
    }

    /// Writes an object into the pool and takes most of it away again from one OSD, behind Ceph's back;
    /// until it is mended. The other copies stay whole, and only a scrub sees it. Gives the placement
    /// group.
    pub(crate) fn damage_a_copy(&mut self) -> String {
        let object = "labstat-damaged";
        let contents = self.path("contents");
        std::fs::write(&contents, "what three of three OSDs keep").unwrap();
        run(ceph_command("rados", &self.conf()).args(["-p", POOL, "put", object]).arg(&contents));
        let place = self.ceph(&["osd", "map", POOL, object]);
        let group = place["pgid"].as_str().unwrap().to_owned();
        let last = place["acting"].as_array().unwrap().last().unwrap();
        self.ceph(&["tell", &format!("osd.{last}"), "truncobj", POOL, object, "4"]);
        self.undo.push(format!("pg repair {group}"));
        group
    }

    /// The page of the manager's prometheus module; it is made anew every second.
    pub(crate) fn mgr_metrics(&self) -> Result<String, String> {
        let url = format!("http://127.0.0.1:{}/metrics", self.mgr_port);
        let mut answer = ureq::get(&url).call().map_err(|error| error.to_string())?;
        answer.body_mut().read_to_string().map_err(|error| error.to_string())
    }

    /// The names of the health checks that are not muted.
    pub(crate) fn checks(&self) -> BTreeSet<String> {
        let health = self.ceph(&["health", "detail"]);
        let checks = health["checks"].as_object().cloned().unwrap_or_default();
        let loud = checks.into_iter().filter(|(_, check)| check["muted"] != Value::Bool(true));
        loud.map(|(name, _)| name).collect()
    }

    /// Waits until a health check is raised.
    pub(crate) fn wait_check(&self, name: &str) {
        eventually(name, || {
            let checks = self.checks();
            if checks.contains(name) { Ok(()) } else { Err(format!("{checks:?}")) }
        });
    }

    /// Where the gateway answers.
    pub(crate) fn gateway_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.gateway_port)
    }

    /// Makes a user of the gateway, `lab:swift` with the password `secret`.
    pub(crate) fn add_gateway_user(&self) {
        let admin = |arguments: &[&str]| {
            run(ceph_command("radosgw-admin", &self.conf()).args(arguments));
        };
        admin(&["user", "create", "--uid=lab", "--display-name=lab"]);
        let user = ["--uid=lab", "--subuser=lab:swift", "--access=full", "--secret=secret"];
        admin(&[&["subuser", "create"], &user[..]].concat());
    }

    /// Waits until all daemons are up, all data is whole and no check is raised.
    pub(crate) fn wait_healthy(&self) {
        eventually("the cluster is healthy", || {
            let status = self.ceph(&["status"]);
            let osds = self.plan.osds as u64;
            let up = &status["osdmap"]["num_up_osds"];
            let states = status["pgmap"]["pgs_by_state"].as_array().cloned().unwrap_or_default();
            let clean = states.iter().all(|state| state["state_name"] == "active+clean");
            let quorum = status["quorum"].as_array().map_or(0, Vec::len);
            let whole = up.as_u64() == Some(osds) && clean && !states.is_empty();
            let ok = status["health"]["status"] == "HEALTH_OK" && quorum == self.plan.mons;
            let files = &status["fsmap"];
            let serving = files["by_rank"].as_array().map_or(0, Vec::len);
            let waiting = usize::try_from(files["up:standby"].as_u64().unwrap_or(0)).unwrap_or(0);
            let rgws = status["servicemap"]["services"]["rgw"]["daemons"].as_object();
            // Beside the gateways stands a summary.
            let has_gateway = rgws.is_some_and(|rgws| rgws.len() > 1) == self.plan.has_gateway;
            let has_files = serving == self.plan.mdss.min(1) && serving + waiting == self.plan.mdss;
            if whole && ok && has_files && has_gateway && status["mgrmap"]["available"] == true {
                // The module answers later than its manager.
                return self.mgr_metrics().map(drop);
            }
            Err(status.to_string())
        });
    }

    /// Takes back all that was done to the cluster and waits until it is healthy.
    pub(crate) fn mend(&mut self) {
        for daemon in self.plan.daemons() {
            self.cont(&daemon);
            if !self.running.contains_key(&daemon) {
                self.start_daemon(&daemon);
            }
        }
        while let Some(undo) = self.undo.pop() {
            let arguments: Vec<&str> = undo.split_whitespace().collect();
            self.ceph(&arguments);
        }
        self.wait_healthy();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // The keeper ends when it is told of no more.
        self.keeper_pids = None;
        let _ = self.keeper.wait();
    }
}

/// A writer that is ended with this value.
pub(crate) struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks `probe` until it gives something; fails the test with its last refusal at the deadline.
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match probe() {
            Ok(found) => return found,
            Err(why) => assert!(Instant::now() < deadline, "not in time: {what}: {why}"),
        }
        // A command of Ceph's costs as much time as this, of a processor that the cluster could do with.
        std::thread::sleep(Duration::from_millis(700));
    }
}

/// A folder for a cluster: in memory, where there is room. Monitors wait for their disk with each step, so
/// that beside somebody who writes much they take one another for gone.
fn folder(plan: &Plan) -> TempDir {
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map(|it| it.f_bavail.saturating_mul(it.f_frsize));
    let mut builder = tempfile::Builder::new();
    builder.prefix("labstat-ceph-");
    // BlueStore wants a filesystem that takes direct I/O.
    let has_room = plan.store == "memstore" && free.is_ok_and(|free| free >= MEMORY_FREE_MIN);
    let in_memory = has_room.then(|| builder.tempdir_in(memory).ok()).flatten();
    in_memory.unwrap_or_else(|| builder.tempdir().unwrap())
}

fn keeper(dir: &Path) -> (Child, ChildStdin) {
    let mut keeper = Command::new("sh")
        .args(["-c", KEEPER, "keeper"])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pids = keeper.stdin.take().unwrap();
    (keeper, pids)
}

/// Daemons are named by their configuration too, by which the keeper knows them.
fn ceph_command(program: &str, conf: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("CEPH_CONF", conf).env_remove("CEPH_ARGS");
    if program != "monmaptool" {
        command.arg("-c").arg(conf);
    }
    if program == "ceph" {
        command.args(["--connect-timeout", CONNECT_TIMEOUT_SECONDS]);
    }
    command
}

/// What a command prints; it must succeed.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

fn signal(pid: u32, name: &str) {
    run(Command::new("kill").args(["-s", name, &pid.to_string()]));
}

fn uuid() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim().to_owned()
}

/// Ports that nobody listens on just now, all of them different.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}
