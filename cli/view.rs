//! What the views of the lab share: a handful of questions to the server, and a pure function
//! from the answers to a table.

use std::collections::BTreeMap;
use std::process::ExitCode;

use jiff::tz::TimeZone;

use crate::answer::{Answer, Found};
use crate::client::{Client, ServerArgs};
use crate::failure::Failure;
use crate::output;
use crate::runtime;
use crate::table::{Format, Look, Table};

/// Questions by name.
pub(crate) type Questions = [(&'static str, &'static str)];

/// The name under which every view may read the server's time, in Unix seconds.
const NOW: &str = "now";

/// Options of every view.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ViewArgs {
    /// Show this node only
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,

    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// The answers to the questions of a view.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    found: BTreeMap<String, Vec<Found>>,
}

/// Asks, makes the table, prints it.
pub(crate) fn show(
    args: &ViewArgs,
    questions: &Questions,
    table: impl FnOnce(&Answers) -> Table,
) -> Result<ExitCode, Failure> {
    let table = runtime::block_on(async {
        let client = Client::new(&args.server)?;
        let answers = Answers::ask(&client, questions).await?;
        narrowed(&client, args, answers, table).await
    })?;
    output::result(&table.render(args.format, &look()))?;
    Ok(ExitCode::SUCCESS)
}

/// The table of all answers, or of those of the node that was asked for.
pub(crate) async fn narrowed(
    client: &Client,
    args: &ViewArgs,
    answers: Answers,
    table: impl FnOnce(&Answers) -> Table,
) -> Result<Table, Failure> {
    let Some(node) = &args.node else { return Ok(table(&answers)) };
    let table = table(&answers.only(node));
    if table.is_empty() {
        must_be_known(client, node).await?;
    }
    Ok(table)
}

/// Fails for a node that was not heard of in the last week: an empty view of a mistyped name must
/// not look like a node without disks, alerts or arrays.
pub(crate) async fn must_be_known(client: &Client, node: &str) -> Result<(), Failure> {
    // JSON's strings are strings of PromQL too.
    let name = serde_json::Value::from(node);
    let query = format!(
        "count(last_over_time({{__name__=~\"up|node_time_seconds\", instance={name}}}[7d]))"
    );
    let mut answers = Answers::default();
    answers.add("known", client.instant(&query, None).await?.answer(client.base())?);
    match answers.all("known") {
        [] => Err(Failure::new(format!("no node {node:?} has been heard of in the last week"))
            .cure("`labstat nodes` lists those that were")),
        _ => Ok(()),
    }
}

/// How tables look on this standard output.
pub(crate) fn look() -> Look {
    Look {
        colour: output::result_colour(),
        width: output::result_width(),
        zone: TimeZone::system(),
    }
}

impl Answers {
    /// Asks all questions, one after the other on one connection, and the time.
    pub(crate) async fn ask(client: &Client, questions: &[(&str, &str)]) -> Result<Self, Failure> {
        let mut answers = Self::default();
        for (name, query) in questions.iter().chain(&[(NOW, "time()")]) {
            let reply = client.instant(query, None).await?;
            answers.add(name, reply.answer(client.base())?);
        }
        Ok(answers)
    }

    /// Adds one answer.
    pub(crate) fn add(&mut self, name: &str, answer: Answer) {
        let found = match answer {
            Answer::Vector(found) | Answer::Matrix(found) => found,
            Answer::Scalar(point) => {
                vec![Found { labels: BTreeMap::new(), points: vec![point] }]
            }
            Answer::Text(_) => Vec::new(),
        };
        self.found.insert(name.to_owned(), found);
    }

    /// Only what belongs to `node`, and what belongs to none.
    pub(crate) fn only(mut self, node: &str) -> Self {
        for found in self.found.values_mut() {
            found.retain(|found| !found.labels.contains_key("instance") || at(found) == node);
        }
        self
    }

    /// Whether there was an answer of this name, be it an empty one.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.found.contains_key(name)
    }

    /// All series of an answer.
    pub(crate) fn all(&self, name: &str) -> &[Found] {
        self.found.get(name).map_or(&[], Vec::as_slice)
    }

    /// The series of an answer whose labels contain `labels`.
    pub(crate) fn with<'a>(
        &'a self,
        name: &str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Found> {
        self.all(name)
            .iter()
            .filter(move |found| labels.iter().all(|(name, value)| found.label(name) == *value))
    }

    /// The first value of an answer whose labels contain `labels`. NaN is no value to show.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.with(name, labels).find_map(Found::value).filter(|value| !value.is_nan())
    }

    /// The server's time in Unix seconds.
    pub(crate) fn now(&self) -> Option<f64> {
        self.value(NOW, &[])
    }
}

/// The node a series belongs to.
pub(crate) fn at(found: &Found) -> &str {
    found.label("instance")
}

/// `1 disk`, `2 disks`.
pub(crate) fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::answer::Point;

    /// Answers from lines `NAME {label="value",…} VALUE`, such as `up {instance="apex"} 1`.
    pub(crate) fn canned(lines: &str) -> Answers {
        let mut answers = Answers::default();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, rest) = line.split_once(' ').unwrap();
            let (labels, value) = rest.rsplit_once(' ').unwrap();
            let labels = labels.trim().trim_start_matches('{').trim_end_matches('}');
            let labels = labels
                .split("\",")
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (name, value) = pair.split_once("=\"").unwrap();
                    (name.trim().to_owned(), value.trim_end_matches('"').to_owned())
                })
                .collect();
            let point = Point { time: 0.0, value: value.parse().unwrap() };
            let found = Found { labels, points: vec![point] };
            answers.found.entry(name.to_owned()).or_default().push(found);
        }
        answers
    }

    /// The table as a person without a terminal reads it.
    pub(crate) fn plain(table: &Table) -> String {
        let look = Look { colour: false, width: None, zone: TimeZone::UTC };
        table.render(Format::Table, &look)
    }

    /// What the one node says that reads a cluster of Ceph; no captured machine has a cluster.
    const OF_CEPH_CLUSTERS: [&str; 56] = [
        "ceph_cluster_total_bytes",
        "ceph_cluster_total_used_raw_bytes",
        "ceph_health_status",
        "ceph_mgr_status",
        "ceph_mon_metadata",
        "ceph_mon_quorum_status",
        "ceph_num_objects_degraded",
        "ceph_num_objects_misplaced",
        "ceph_num_objects_unfound",
        "ceph_osd_apply_latency_ms",
        "ceph_osd_commit_latency_ms",
        "ceph_osd_full_ratio",
        "ceph_osd_in",
        "ceph_osd_nearfull_ratio",
        "ceph_osd_op_w_latency_count",
        "ceph_osd_op_w_latency_sum",
        "ceph_osd_up",
        "ceph_pg_clean",
        "ceph_pg_degraded",
        "ceph_pg_down",
        "ceph_pg_inconsistent",
        "ceph_pg_peering",
        "ceph_pg_total",
        "ceph_pg_undersized",
        "ceph_pool_max_avail",
        "ceph_pool_metadata",
        "ceph_pool_objects",
        "ceph_pool_percent_used",
        "ceph_pool_quota_bytes",
        "ceph_pool_quota_objects",
        "ceph_pool_rd",
        "ceph_pool_rd_bytes",
        "ceph_pool_stored",
        "ceph_pool_wr",
        "ceph_pool_wr_bytes",
        "labstat_ceph_cluster_info",
        "labstat_ceph_failures_tolerated",
        "labstat_ceph_filesystem_ranks",
        "labstat_ceph_filesystem_ranks_served",
        "labstat_ceph_health_check",
        "labstat_ceph_health_check_count",
        "labstat_ceph_mds_laggy",
        "labstat_ceph_mds_state",
        "labstat_ceph_osd_backfillfull_ratio",
        "labstat_ceph_osd_blocking_pgs",
        "labstat_ceph_osd_destroyed",
        "labstat_ceph_osd_info",
        "labstat_ceph_osd_only_copies",
        "labstat_ceph_osd_pgs",
        "labstat_ceph_osd_size_bytes",
        "labstat_ceph_osd_used_bytes",
        "labstat_ceph_reading_success",
        "labstat_ceph_reading_timestamp_seconds",
        "labstat_ceph_recovery_bytes_per_second",
        "labstat_ceph_recovery_objects_per_second",
        "labstat_ceph_recovery_remaining_seconds",
    ];

    /// Every metric that agents and aggregators of ours are known to give: those of the golden
    /// expositions of captured machines, the clock, and those that agent and aggregator make.
    fn catalogue() -> std::collections::BTreeSet<String> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let others = [
            "up",
            "ALERTS",
            "node_time_seconds",
            "node_scrape_collector_success",
            // It takes two looks at a machine to see a check end.
            "labstat_md_scrub_end_timestamp_seconds",
            // No captured machine has a bridge with ports.
            "labstat_network_bridge_port_info",
            "labstat_network_bridge_vlan_info",
            // What the aggregator makes of disks.
            "labstat_disk_verdict",
            "labstat_disk_reason",
            "labstat_disk_silent_seconds",
            "labstat_disk_finding",
            "labstat_disk_wear_out_timestamp_seconds",
        ];
        let mut names: std::collections::BTreeSet<String> = others.map(str::to_owned).into();
        names.extend(OF_CEPH_CLUSTERS.map(str::to_owned));
        // What an agent can say of disks that no captured machine has.
        names.extend(labstat_disks::families::all().map(|family| family.name.to_string()));
        let mut folders = vec![root.join("agent/collect/fixtures")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|kind| kind == "prom") {
                    let text = std::fs::read_to_string(path).unwrap();
                    let lines = text.lines().filter(|line| !line.starts_with('#'));
                    names.extend(
                        lines.filter_map(|line| line.split(['{', ' ']).next().map(str::to_owned)),
                    );
                }
            }
        }
        names
    }

    #[test]
    fn every_question_and_panel_asks_for_what_our_agents_give() {
        let views: [&Questions; 8] = [
            crate::nodes::QUESTIONS,
            crate::disks::QUESTIONS,
            crate::raid::QUESTIONS,
            crate::temps::QUESTIONS,
            crate::net::QUESTIONS,
            crate::ceph::QUESTIONS,
            crate::ups::QUESTIONS,
            crate::status::OWN_QUESTIONS,
        ];
        let asked = views.iter().flat_map(|all| all.iter().map(|(_, query)| (*query).to_owned()));
        let panels = labstat_dashboards::queries().into_iter().map(|panel| panel.query);
        let known = catalogue();
        let mut unknown = Vec::new();
        for query in asked.chain(panels) {
            let checked = labstat_promql::check(&query);
            let checked = checked.unwrap_or_else(|error| panic!("{query}: {error}"));
            let names = checked.metric_names.into_iter().filter(|name| !known.contains(name));
            unknown.extend(names.map(|name| format!("{name} in {query}")));
        }
        assert!(unknown.is_empty(), "no agent of ours gives these:\n{}", unknown.join("\n"));
    }

    #[test]
    fn one_node_only() {
        let answers = canned("up {instance=\"a\"} 1\nup {instance=\"b\"} 0\nnow {} 5").only("b");
        assert_eq!(answers.value("up", &[]), Some(0.0));
        assert_eq!(answers.all("up").len(), 1);
        assert_eq!(answers.now(), Some(5.0));
    }
}
