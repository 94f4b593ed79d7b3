//! Ceph daemons of this node, by their admin sockets.
//!
//! - Asks: every `*.asok` in the run folder for `perf dump`, and now and then for `perf schema`.
//! - Needs: the rights of the `ceph` user. Absent when there is no socket.
//! - Emits: `ceph_*` as Ceph's own exporter names and chooses them, with `ceph_daemon`; [`UP`] per
//!   socket.
//! - A daemon that does not answer is down, and no failure of the others.
//! - Not here: the state of the cluster, which no single node knows.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use labstat_model::{Batch, Family, Kind};
use labstat_parse::ceph::{self, Counter, CounterKind, Schema, Value};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::{Framing, Host};
use crate::options;

/// Whether a daemon answers.
pub static UP: Family =
    Family::gauge("labstat_ceph_daemon_up", "Whether the daemon answers on its admin socket.");

/// Daemons of one node; the densest have some sixty OSDs.
const DAEMONS_MAX: usize = 256;

/// Daemons whose counters are wanted; clients have sockets too, and come and go.
const DAEMONS: [&str; 4] = ["osd.", "mon.", "mgr.", "mds."];

/// What stands in the name of a section that is called after an object in memory, such as
/// `objecter-0x7fe9b4054480`: it has another name after each start.
const ADDRESS: &str = "-0x";

/// How long it is believed what a daemon's counters are: it may have been restarted unseen, as
/// another version.
const SCHEMA_KEPT_MS: i64 = 600_000;

/// What the counters of a daemon are, and when it said so.
#[derive(Debug)]
struct Learned {
    schema: Schema,
    at_ms: i64,
}

/// Daemons of this node.
#[derive(Debug)]
pub struct Ceph {
    options: options::Ceph,
    schemas: HashMap<String, Learned>,
}

impl Ceph {
    /// One with these settings.
    pub fn new(options: &options::Ceph) -> Self {
        Self { options: options.clone(), schemas: HashMap::new() }
    }

    /// The folder of the sockets: what the configuration file says, if it does.
    fn run_dir(&self, host: &dyn Host) -> String {
        let conf = self.options.conf.as_ref().and_then(|path| host.text(path).ok());
        conf.and_then(|text| socket_dir(&text)).unwrap_or_else(|| self.options.run_dir.clone())
    }
}

impl Collector for Ceph {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let dir = self.run_dir(host);
        let daemons = match sockets(host, &dir) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(&dir))?,
        };
        if daemons.len() > DAEMONS_MAX {
            let count = daemons.len();
            return Err(CollectError::Limit { what: "ceph daemons", count, max: DAEMONS_MAX });
        }
        self.schemas.retain(|name, _| daemons.iter().any(|(daemon, _)| daemon == name));
        for (daemon, socket) in &daemons {
            let deadline = self.options.deadline;
            let counters = ask(host, socket, "perf dump", deadline, ceph::perf_dump);
            let up = match &counters {
                Ok(counters) => {
                    self.learn(host, daemon, socket);
                    let schema = self.schemas.get(daemon).map(|learned| &learned.schema);
                    for counter in counters {
                        push_counter(daemon, counter, schema, out);
                    }
                    1.0
                }
                Err(error) => {
                    tracing::debug!(daemon, %error, "ceph daemon not read");
                    // It may come back as another version.
                    self.schemas.remove(daemon);
                    0.0
                }
            };
            out.push(&UP, &[("ceph_daemon", daemon)], up);
        }
        Ok(if daemons.is_empty() { Status::Absent } else { Status::Collected })
    }
}

impl Ceph {
    /// Asks what the counters are, unless that is known. A daemon that does not say has all its
    /// counters, of unknown kind.
    fn learn(&mut self, host: &dyn Host, daemon: &str, socket: &str) {
        let now_ms = host.now_ms();
        let known = self.schemas.get(daemon).map(|learned| learned.at_ms);
        if known.is_some_and(|at_ms| (at_ms..at_ms + SCHEMA_KEPT_MS).contains(&now_ms)) {
            return;
        }
        let deadline = self.options.deadline;
        if let Ok(mut schema) = ask(host, socket, "perf schema", deadline, ceph::perf_schema) {
            schema.keep_useful();
            self.schemas.insert(daemon.to_owned(), Learned { schema, at_ms: now_ms });
        }
    }
}

/// Asks a daemon and parses what it answers.
fn ask<T>(
    host: &dyn Host,
    socket: &str,
    command: &str,
    deadline: Duration,
    parse: impl FnOnce(&str) -> Result<T, labstat_parse::ParseError>,
) -> Result<T, CollectError> {
    let request = ceph::request(command);
    let answer = host
        .socket_request(socket, &request, Framing::LengthPrefix, deadline)
        .map_err(CollectError::read(socket))?;
    ceph::reply(&answer).and_then(parse).map_err(CollectError::parse("answer of a ceph daemon"))
}

/// The daemons that have a socket in `dir`, with their sockets. Where daemons run in containers
/// the sockets lie one folder deeper, in one named by the cluster's id. Of two daemons of one name,
/// in two clusters, only the first is taken: their samples could not be told apart.
fn sockets(host: &dyn Host, dir: &str) -> io::Result<Vec<(String, String)>> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut add = |dir: &str, names: &[String]| {
        for name in names {
            if let Some(daemon) = daemon(name)
                && !found.iter().any(|(known, _)| known == daemon)
            {
                found.push((daemon.to_owned(), format!("{dir}/{name}")));
            }
        }
    };
    let names = host.list(dir)?;
    add(dir, &names);
    for cluster in names.iter().filter(|name| is_cluster_id(name)) {
        let dir = format!("{dir}/{cluster}");
        add(&dir, &host.list(&dir).unwrap_or_default());
    }
    Ok(found)
}

/// A UUID, as clusters have one.
fn is_cluster_id(name: &str) -> bool {
    let is_hex = name.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_hex && name.split('-').map(str::len).eq([8, 4, 4, 4, 12])
}

/// `ceph-osd.3.asok` gives `osd.3`, and so does `osd.3.asok`: what stands before is the name of
/// the cluster, if it is there at all.
fn daemon(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".asok")?;
    let starts = name.match_indices('-').map(|(at, _)| at + 1);
    std::iter::once(0)
        .chain(starts)
        .filter_map(|at| name.get(at..))
        .find(|rest| DAEMONS.iter().any(|kind| rest.starts_with(kind)))
        .filter(|_| !name.contains("client."))
}

/// The folder of `admin socket = …` in a configuration file, unless it varies by daemon.
fn socket_dir(conf: &str) -> Option<String> {
    let path = conf.lines().rev().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        let key = key.trim().replace(['_', '-'], " ");
        (key == "admin socket").then(|| value.trim().trim_matches('"'))
    })?;
    let (dir, _) = path.rsplit_once('/')?;
    (dir.starts_with('/') && !dir.contains('$')).then(|| dir.to_owned())
}

fn push_counter(daemon: &str, counter: &Counter, schema: Option<&Schema>, out: &mut Batch) {
    let about = schema.map(|schema| schema.get(&counter.section, &counter.name));
    if matches!(about, Some(None)) || counter.section.contains(ADDRESS) {
        return;
    }
    let about = about.flatten();
    let name = ceph::metric_name(&counter.section, &counter.name);
    let help = about.map(|about| about.description.clone()).unwrap_or_default();
    let labels = [("ceph_daemon", daemon)];
    match counter.value {
        Value::Number(value) => {
            let kind = match about.map(|about| about.kind) {
                Some(CounterKind::Counter) => Kind::Counter,
                Some(CounterKind::Gauge) => Kind::Gauge,
                None => Kind::Untyped,
            };
            out.push(&Family::dynamic(name, kind, help), &labels, value);
        }
        Value::Average { count, sum } => {
            let total = Family::dynamic(format!("{name}_sum"), Kind::Counter, help.clone());
            out.push(&total, &labels, sum);
            let often = Family::dynamic(format!("{name}_count"), Kind::Counter, help);
            out.push(&often, &labels, count as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_daemons() {
        assert_eq!(daemon("ceph-osd.3.asok"), Some("osd.3"));
        assert_eq!(daemon("lab-mon.a.asok"), Some("mon.a"));
        assert_eq!(daemon("my-lab-osd.3.asok"), Some("osd.3"));
        assert_eq!(daemon("mgr.x.asok"), Some("mgr.x"));
        assert_eq!(daemon("ceph-mon.pve-1.asok"), Some("mon.pve-1"));
        assert_eq!(daemon("ceph-client.mon-osd.12.94.asok"), None);
        assert_eq!(daemon("ceph-client.admin.12.94.asok"), None);
        assert_eq!(daemon("ceph-osd.3.pid"), None);
    }

    #[test]
    fn clusters_have_folders_of_their_own() {
        assert!(is_cluster_id("9ba41170-4bf7-4b52-aa4d-bd8a54de93e3"));
        for name in
            ["9ba41170-4bf7-4b52-aa4d", "osd.1.asok", "", "xba41170-4bf7-4b52-aa4d-bd8a54de93e3"]
        {
            assert!(!is_cluster_id(name), "{name}");
        }
    }

    #[test]
    fn the_folder_of_a_configuration() {
        let conf = "[global]\nfsid = x\nadmin_socket = /tmp/run/$cluster-$name.asok\n";
        assert_eq!(socket_dir(conf).as_deref(), Some("/tmp/run"));
        assert_eq!(socket_dir("admin socket = /run/$name/x.asok"), None);
        assert_eq!(socket_dir("fsid = x"), None);
    }
}
