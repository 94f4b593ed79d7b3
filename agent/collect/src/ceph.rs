//! Ceph daemons of this node, by their admin sockets.
//!
//! - Asks: every `*.asok` in the run folder for `perf dump`, and once for `perf schema`.
//! - Needs: the rights of the `ceph` user. Absent when there is no socket.
//! - Emits: `ceph_*` as Ceph's own exporter names them, with `ceph_daemon`; [`UP`] per socket.
//! - A daemon that does not answer is down, and no failure of the others.
//! - Not here: the state of the cluster, which no single node knows.

use std::collections::HashMap;
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

/// Daemons of this node.
#[derive(Debug)]
pub struct Ceph {
    options: options::Ceph,
    schemas: HashMap<String, Schema>,
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
        let names = match host.list(&dir) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(&dir))?,
        };
        let daemons: Vec<(String, String)> = names
            .iter()
            .filter_map(|name| Some((daemon(name)?.to_owned(), format!("{dir}/{name}"))))
            .collect();
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
                    let schema = self.schemas.get(daemon);
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
    /// Asks once what the counters are. A daemon that does not say has counters of unknown kind.
    fn learn(&mut self, host: &dyn Host, daemon: &str, socket: &str) {
        if self.schemas.contains_key(daemon) {
            return;
        }
        let deadline = self.options.deadline;
        if let Ok(schema) = ask(host, socket, "perf schema", deadline, ceph::perf_schema) {
            self.schemas.insert(daemon.to_owned(), schema);
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

/// `ceph-osd.3.asok` gives `osd.3`.
fn daemon(name: &str) -> Option<&str> {
    let (_cluster, daemon) = name.strip_suffix(".asok")?.split_once('-')?;
    DAEMONS.iter().any(|kind| daemon.starts_with(kind)).then_some(daemon)
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
    let name = ceph::metric_name(&counter.section, &counter.name);
    let about = schema.and_then(|schema| schema.get(&counter.section, &counter.name));
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
        assert_eq!(daemon("ceph-client.admin.12.94.asok"), None);
        assert_eq!(daemon("ceph-osd.3.pid"), None);
    }

    #[test]
    fn the_folder_of_a_configuration() {
        let conf = "[global]\nfsid = x\nadmin_socket = /tmp/run/$cluster-$name.asok\n";
        assert_eq!(socket_dir(conf).as_deref(), Some("/tmp/run"));
        assert_eq!(socket_dir("admin socket = /run/$name/x.asok"), None);
        assert_eq!(socket_dir("fsid = x"), None);
    }
}
