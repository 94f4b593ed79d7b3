//! A lab that watches the cluster: an aggregator, agents, and what they show and tell.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::{Cluster, eventually};

/// An aggregator, and agents beside the cluster's monitors.
pub(crate) struct Lab {
    aggregator: Child,
    agents: Vec<Child>,
    pub(crate) url: String,
    dir: TempDir,
}

/// The program.
fn labstat(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_labstat"));
    command.args(arguments).env_remove("LABSTAT_SERVER").env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

impl Lab {
    /// One with an agent beside the cluster.
    pub(crate) fn start(cluster: &Cluster) -> Self {
        let mut lab = Self::without_agents();
        // As the cluster knows this machine.
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        lab.add_agent(host.trim(), &cluster.conf(), &cluster.run_dir());
        lab
    }

    /// The aggregator alone.
    pub(crate) fn without_agents() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut aggregator = labstat(&["aggregator", "--listen", "127.0.0.1:0", "--data"])
            .arg(dir.path().join("data"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(aggregator.stderr.take().unwrap()).lines();
        let url = loop {
            let line = lines.next().unwrap().unwrap();
            if let Some((_, rest)) = line.split_once("answering at ") {
                break rest.split(',').next().unwrap().to_owned();
            }
        };
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { aggregator, agents: Vec::new(), url, dir }
    }

    /// Adds the agent of a node that has this configuration of Ceph, and its sockets in `run_dir`.
    pub(crate) fn add_agent(&mut self, node: &str, conf: &Path, run_dir: &Path) {
        let arguments = ["agent", "--interval", "1s", "--only", "ceph", "--node", node];
        let agent = labstat(&arguments)
            .args(["--aggregator", &self.url])
            .env("LABSTAT_CEPH_INTERVAL", "10s")
            .arg("--state")
            .arg(self.dir.path().join(node))
            .arg("--ceph-conf")
            .arg(conf)
            .arg("--ceph-run")
            .arg(run_dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.agents.push(agent);
    }

    /// The only cluster, as `labstat ceph --format json` has it.
    pub(crate) fn view(&self) -> Result<Value, String> {
        let output = labstat(&["ceph", "--format", "json", "--server", &self.url]).output();
        let output = output.map_err(|error| error.to_string())?;
        let all: Vec<Value> =
            serde_json::from_slice(&output.stdout).map_err(|_| format!("{output:?}"))?;
        match <[Value; 1]>::try_from(all) {
            Ok([cluster]) => Ok(cluster),
            Err(all) => Err(format!("{} clusters", all.len())),
        }
    }

    /// Waits until the view is as it should be.
    pub(crate) fn see(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        eventually(what, || match self.view()? {
            view if is_so(&view) => Ok(()),
            view => Err(format!("{view:#}")),
        });
    }

    /// The alerts that fire, each by name and daemon.
    pub(crate) fn firing(&self) -> Result<Vec<String>, String> {
        self.alerts(|state| state == "firing")
    }

    /// Those in such a state.
    pub(crate) fn alerts(&self, is_it: impl Fn(&str) -> bool) -> Result<Vec<String>, String> {
        let answer = self.get("/api/v1/alerts", &[])?;
        let alerts = answer["data"]["alerts"].as_array().ok_or("no alerts")?;
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let these = alerts.iter().filter(|alert| is_it(&word(&alert["state"])));
        let label = |alert: &Value, name: &str| word(&alert["labels"][name]);
        Ok(these
            .map(|it| format!("{} {}", label(it, "alertname"), label(it, "ceph_daemon")))
            .collect())
    }

    /// The answer of the aggregator to a request.
    pub(crate) fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        let request = ureq::get(format!("{}{path}", self.url)).query_pairs(query.to_vec());
        let mut answer = request.call().map_err(|error| error.to_string())?;
        let text = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    /// The value of the only series that a query gives; `None` where it gives none.
    pub(crate) fn ask(&self, query: &str) -> Result<Option<f64>, String> {
        let answer = self.get("/api/v1/query", &[("query", query)])?;
        match answer["data"]["result"].as_array().map(Vec::as_slice) {
            Some([]) => Ok(None),
            Some([one]) => {
                let number = one["value"][1].as_str().and_then(|number| number.parse().ok());
                number.map(Some).ok_or_else(|| one.to_string())
            }
            _ => Err(answer.to_string()),
        }
    }

    /// Waits until a query gives this value.
    pub(crate) fn is(&self, query: &str, value: Option<f64>) {
        eventually(query, || match self.ask(query)? {
            found if found == value => Ok(()),
            found => Err(format!("{found:?}")),
        });
    }

    /// Waits until there is a series of each of these names.
    pub(crate) fn has_all(&self, names: &BTreeSet<String>) {
        eventually("every metric", || {
            let text = self.get("/api/v1/label/__name__/values", &[])?.to_string();
            let missing: Vec<_> =
                names.iter().filter(|name| !text.contains(&format!("\"{name}\""))).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} missing")) }
        });
    }

    /// Waits until an alert of this name and daemon fires.
    pub(crate) fn told(&self, wanted: &str) {
        eventually(wanted, || match self.firing()? {
            firing if firing.iter().any(|alert| alert == wanted) => Ok(()),
            firing => Err(format!("{firing:?}")),
        });
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in self.agents.iter_mut().chain([&mut self.aggregator]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An OSD in the view.
pub(crate) fn osd<'a>(view: &'a Value, name: &str) -> &'a Value {
    let osds = view["osds"].as_array();
    osds.and_then(|osds| osds.iter().find(|osd| osd["osd"] == name)).unwrap_or(&Value::Null)
}

/// A health check in the view: its severity, and of how many things it tells.
pub(crate) fn check(view: &Value, name: &str) -> Option<(String, Option<f64>)> {
    let check = view["checks"].as_array()?.iter().find(|it| it["check"] == name)?;
    Some((check["severity"].as_str()?.to_owned(), check["count"].as_f64()))
}
