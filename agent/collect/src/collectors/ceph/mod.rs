//! Ceph daemons of this node, by their admin sockets.
//!
//! - Asks: every OSD, monitor, manager, MDS, gateway and mirror that has a socket, all at the same time
//!   and with one deadline: its counters, and now and then what they are; OSDs, MDSs and monitors what
//!   they work on; OSDs and monitors which state they are in.
//! - Needs: the rights of the user that Ceph runs as, or root's. Absent when there is no socket.
//! - Emits: `ceph_*` as Ceph's own exporter names and chooses them, with `ceph_daemon`; [`UP`] per
//!   socket; what else is asked (`daemon.rs`).
//! - A daemon that does not answer is down, and no failure of the others; one that may not be asked is
//!   neither up nor down.
//! - Not here: the state of the cluster, which no single daemon knows.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use labstat_model::{Batch, Family};
use labstat_parse::ParseError;
use labstat_parse::ceph::{self, Plan, Schema};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::{Framing, Host};
use crate::options;

mod daemon;
mod find;

use daemon::{Dialect, Known, push_answer, questions};
use find::{Daemon, Kind};

/// Whether a daemon answers.
pub static UP: Family =
    Family::gauge("labstat_ceph_daemon_up", "Whether the daemon answers on its admin socket.");

/// Daemons of one node; the densest have some sixty OSDs.
const DAEMONS_MAX: usize = 256;

/// The sockets of the monitors of this node; none where there is no Ceph.
///
/// # Errors
/// That of a folder that is there and cannot be read.
pub(super) fn monitors(host: &dyn Host, options: &options::Ceph) -> io::Result<Vec<String>> {
    match find::daemons(host, options) {
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(all) => {
            let monitors = all.into_iter().filter(|daemon| daemon.kind == Kind::Mon);
            Ok(monitors.map(|daemon| daemon.socket).collect())
        }
    }
}

/// The daemons of this node that have a socket, by name, and how each takes a question.
///
/// # Errors
/// That of the folder of the sockets, when it is there and cannot be read.
pub fn daemons(
    host: &dyn Host,
    options: &options::Ceph,
) -> io::Result<Vec<(String, io::Result<()>)>> {
    let daemons = match find::daemons(host, options) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        result => result?,
    };
    let request = ceph::request("version");
    let asks: Vec<(&str, &[u8])> =
        daemons.iter().map(|daemon| (daemon.socket.as_str(), request.as_slice())).collect();
    let answers = host.ask_all(&asks, Framing::LengthPrefix, options.deadline);
    let names = daemons.into_iter().map(|daemon| daemon.name);
    Ok(names.zip(answers.into_iter().map(|answer| answer.map(drop))).collect())
}

/// Daemons of this node.
#[derive(Debug)]
pub struct Ceph {
    options: options::Ceph,
    /// By socket.
    known: HashMap<String, Known>,
    /// The bytes of each request that was sent before, by its command.
    requests: HashMap<&'static str, Vec<u8>>,
    /// Room for the values of one dump.
    values: Vec<f64>,
}

impl Ceph {
    /// One with these settings.
    pub fn new(options: &options::Ceph) -> Self {
        let options = options.clone();
        Self { options, known: HashMap::new(), requests: HashMap::new(), values: Vec::new() }
    }
}

/// One question: the daemon's place in the list of all, and the command.
type Question = (usize, &'static str);

/// What came of asking a daemon.
#[derive(Debug, Default)]
enum Reached {
    /// Nothing is known yet.
    #[default]
    Unknown,
    /// It answered.
    Up,
    /// It refused the connection, or fell silent.
    Down,
    /// Its socket went away while it was looked for.
    Gone,
    /// Nobody may ask it but its own user.
    Forbidden(io::Error),
}

impl Reached {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Gone,
            io::ErrorKind::PermissionDenied => {
                Self::Forbidden(io::ErrorKind::PermissionDenied.into())
            }
            _ => Self::Down,
        }
    }

    fn is_lost(&self) -> bool {
        !matches!(self, Self::Unknown | Self::Up)
    }
}

impl Collector for Ceph {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let daemons = match find::daemons(host, &self.options) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(&self.options.run_dir))?,
        };
        if daemons.len() > DAEMONS_MAX {
            let count = daemons.len();
            return Err(CollectError::Limit { what: "ceph daemons", count, max: DAEMONS_MAX });
        }
        self.known.retain(|socket, _| daemons.iter().any(|daemon| daemon.socket == *socket));
        let mut reached: Vec<Reached> = daemons.iter().map(|_| Reached::default()).collect();
        self.learn(host, &daemons, &mut reached);
        self.read(host, &daemons, &mut reached, out);
        let mut refusal = None;
        for (daemon, reached) in daemons.iter().zip(reached) {
            let up = match reached {
                Reached::Up => 1.0,
                Reached::Down | Reached::Unknown => {
                    // It may come back as another version.
                    self.known.remove(&daemon.socket);
                    0.0
                }
                Reached::Gone => continue,
                Reached::Forbidden(cause) => {
                    refusal = refusal.or(Some((&daemon.socket, cause)));
                    continue;
                }
            };
            let cluster = self.options.name.as_deref().unwrap_or_default();
            out.push(&UP, &[("ceph_daemon", &daemon.name), ("cluster", cluster)], up);
        }
        match refusal {
            Some((socket, cause)) if out.is_empty() => Err(CollectError::read(socket)(cause)),
            _ if daemons.is_empty() => Ok(Status::Absent),
            _ => Ok(Status::Collected),
        }
    }
}

impl Ceph {
    /// Asks the daemons of which that is not known what their counters are: in the newer way first,
    /// and those that do not know it in the older.
    fn learn(&mut self, host: &dyn Host, daemons: &[Daemon], reached: &mut [Reached]) {
        let now_ms = host.now_ms();
        let is_known = |daemon: &Daemon| {
            self.known.get(&daemon.socket).is_some_and(|known| known.is_good(now_ms))
        };
        let mut asked: Vec<usize> =
            (0..daemons.len()).filter(|at| !daemons.get(*at).is_some_and(is_known)).collect();
        for dialect in [Dialect::Counter, Dialect::Perf] {
            let questions: Vec<Question> =
                asked.drain(..).map(|at| (at, dialect.schema())).collect();
            let answers = self.ask(host, daemons, &questions);
            for ((at, _), answer) in questions.into_iter().zip(answers) {
                let (Some(daemon), Some(reached)) = (daemons.get(at), reached.get_mut(at)) else {
                    continue;
                };
                let schema = match answer {
                    Err(error) => {
                        tracing::debug!(daemon = daemon.name, %error, "ceph daemon not asked");
                        *reached = Reached::of(&error);
                        continue;
                    }
                    Ok(answer) => ceph::reply(&answer).and_then(Schema::parse),
                };
                match schema {
                    Ok(mut schema) => {
                        schema.keep_useful();
                        self.remember(daemon, dialect, Some(schema), now_ms);
                    }
                    Err(ParseError::Refused { .. }) if dialect == Dialect::Counter => {
                        asked.push(at);
                    }
                    Err(error) => {
                        tracing::debug!(daemon = daemon.name, %error, "counters not described");
                        self.remember(daemon, dialect, None, now_ms);
                    }
                }
            }
        }
    }

    /// Notes what a daemon's counters are. Daemons of one kind mostly have the same: it is kept once.
    fn remember(&mut self, daemon: &Daemon, dialect: Dialect, schema: Option<Schema>, now_ms: i64) {
        let schema = schema.map(|schema| {
            let known = self.known.values().filter_map(|known| known.schema.as_ref());
            let mut alike = known.filter(|known| ***known == schema);
            alike.next().map(Arc::clone).unwrap_or_else(|| Arc::new(schema))
        });
        self.known.insert(daemon.socket.clone(), Known::new(dialect, schema, now_ms));
    }

    /// Asks all daemons that are not lost all that is asked in each run, and adds what they say.
    fn read(
        &mut self,
        host: &dyn Host,
        daemons: &[Daemon],
        reached: &mut [Reached],
        out: &mut Batch,
    ) {
        let mut asked: Vec<Question> = Vec::new();
        for (at, (daemon, reached)) in daemons.iter().zip(reached.iter()).enumerate() {
            if reached.is_lost() {
                continue;
            }
            let Some(known) = self.known.get(&daemon.socket) else { continue };
            asked.push((at, known.dialect.dump()));
            asked.extend(questions(daemon.kind).iter().map(|question| (at, *question)));
        }
        let answers = self.ask(host, daemons, &asked);
        let mut plans: Vec<Arc<Plan>> = Vec::new();
        for ((at, question), answer) in asked.into_iter().zip(answers) {
            let (Some(daemon), Some(reached)) = (daemons.get(at), reached.get_mut(at)) else {
                continue;
            };
            match &answer {
                Ok(_) => *reached = Reached::Up,
                // One that answered another question is not down.
                Err(error) if matches!(reached, Reached::Unknown) => *reached = Reached::of(error),
                Err(_) => {}
            }
            match answer {
                Ok(dump) if question.ends_with(" dump") => {
                    self.push_counters(daemon, &dump, &mut plans, out);
                }
                answer => {
                    let labels = own_labels(daemon, self.options.name.as_deref());
                    push_answer(daemon, &labels, question, &answer, out);
                }
            }
        }
    }

    fn push_counters(
        &mut self,
        daemon: &Daemon,
        dump: &[u8],
        plans: &mut Vec<Arc<Plan>>,
        out: &mut Batch,
    ) {
        let Some(known) = self.known.get_mut(&daemon.socket) else { return };
        let read = ceph::reply(dump).and_then(|dump| known.read(dump, plans, &mut self.values));
        let plan = match read {
            Ok(plan) => plan,
            Err(error) => {
                tracing::debug!(daemon = daemon.name, %error, "counters not read");
                self.known.remove(&daemon.socket);
                return;
            }
        };
        let mut labels = own_labels(daemon, self.options.name.as_deref());
        let own_len = labels.len();
        for (series, value) in plan.series().iter().zip(&self.values) {
            if value.is_nan() {
                continue;
            }
            labels.truncate(own_len);
            labels
                .extend(series.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            out.push(&series.family, &labels, *value);
        }
        if !plans.iter().any(|known| Arc::ptr_eq(known, &plan)) {
            plans.push(plan);
        }
    }

    /// Asks all at the same time.
    fn ask(
        &mut self,
        host: &dyn Host,
        daemons: &[Daemon],
        questions: &[Question],
    ) -> Vec<io::Result<Vec<u8>>> {
        if questions.is_empty() {
            return Vec::new();
        }
        for (_, command) in questions {
            self.requests.entry(command).or_insert_with(|| ceph::request(command));
        }
        let asks: Vec<(&str, &[u8])> = questions
            .iter()
            .map(|(at, command)| {
                let socket = daemons.get(*at).map_or("", |daemon| daemon.socket.as_str());
                (socket, self.requests.get(command).map(Vec::as_slice).unwrap_or_default())
            })
            .collect();
        host.ask_all(&asks, Framing::LengthPrefix, self.options.deadline)
    }
}

/// Whose a sample is: the daemon's, and that of the cluster that somebody gave a name.
fn own_labels<'a>(daemon: &'a Daemon, cluster: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let mut labels = vec![("ceph_daemon", daemon.name.as_str())];
    labels.extend(cluster.map(|name| ("cluster", name)));
    labels.extend(daemon.instance_id().map(|id| ("instance_id", id)));
    labels
}
