//! What every request and every task shares.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use labstat_model::{Clock, WriteRequest, WriteView};
use labstat_promql::Engine;
use labstat_store::{Appended, NEVER, Stats};
use labstat_wire::remote_write::Decoder;
use tokio::sync::Semaphore;

use crate::alerting::Alerting;
use crate::config::{Config, duration_of};
use crate::disks::Disks;
use crate::gate::Gate;
use crate::http::auth::Token;
use crate::http::unsent::Unsent;
use crate::http::write;
use crate::inventory::{self, Inventory, Teller};
use crate::kept::Kept;
use crate::links::Links;
use crate::offline;
use crate::own::{Figure, Own};
use crate::presence::{self, Forgotten, NodeView, Presence, Urgent};
use crate::storage::{SharedStorage, WriteFailed, chain};
use crate::telemetry::{self, Telemetry};
use crate::wiring;

/// The key under which the store keeps who is expected.
const PRESENCE_KEY: &str = "presence";

/// The key under which the store keeps what is known of disks.
const DISKS_KEY: &str = "disks";

/// The key under which the store keeps what the lab is made of.
const INVENTORY_KEY: &str = "inventory";

/// How often it is looked at what there is beside nodes and disks: collectors that are not in a hurry
/// look as often.
pub(crate) const INVENTORY_INTERVAL_MS: i64 = 30_000;

/// How far ahead of ours the clock of a sender may be.
const AHEAD_MS: i64 = 300_000;

/// How far back somebody may ask for the last `up` of a node: shipped rules do for a day, and the last word
/// on it must be later than all that they find.
const LAST_WORD_MS: i64 = 25 * 60 * 60 * 1000;

/// Decoders kept for the next writes, each with some hundred KiB of buffers.
const DECODERS_KEPT_MAX: usize = 4;

/// The unit in which memory for writes and for answers is handed out: 1 KiB, since a semaphore counts in `u32`.
pub(crate) const PERMIT_BYTES: usize = 1024;

/// Requests that post alerts and are worked on at a time: each may hold some 100 MiB.
const POSTING_MAX: usize = 2;

/// Everything that runs, in one place.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) addr: SocketAddr,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) start_ms: i64,
    pub(crate) storage: SharedStorage,
    pub(crate) engine: Engine,
    pub(crate) token: RwLock<Option<Token>>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) alerting: Alerting,
    /// Makes the links in messages and tells its own from others.
    pub(crate) links: Arc<Links>,
    /// The places of queries and other reads.
    pub(crate) gate: Gate,
    /// The memory of answers that are not yet sent: as much as one query may hold.
    pub(crate) unsent: Unsent,
    /// One permit for each KiB that bodies of writes may hold while they arrive. Apart from the
    /// memory for their content, so that senders that stall do not keep it from others.
    pub(crate) body_memory: Arc<Semaphore>,
    /// One permit for each KiB that the content of writes may hold.
    pub(crate) write_memory: Arc<Semaphore>,
    /// The places of requests that post alerts.
    pub(crate) posting: Arc<Semaphore>,
    /// What the store set aside when it was opened.
    pub(crate) notices: Vec<String>,
    pub(crate) disks: Disks,
    presence: Kept<Presence>,
    /// Held while last words are said.
    parting: Mutex<()>,
    inventory: Kept<Inventory>,
    own: Mutex<Own>,
    decoders: Mutex<Vec<Decoder>>,
}

/// What an [`App`] is made of.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) addr: SocketAddr,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) storage: SharedStorage,
    pub(crate) engine: Engine,
    pub(crate) token: Option<Token>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) alerting: Alerting,
    pub(crate) links: Arc<Links>,
    pub(crate) notices: Vec<String>,
}

/// An engine within the limits of the configuration.
pub(crate) fn engine(config: &Config) -> Engine {
    Engine::new(labstat_promql::Options {
        lookback_ms: config.limits.lookback_ms,
        samples_max: config.limits.query_samples_max,
        memory_max: config.limits.query_memory_max,
        timeout: duration_of(config.limits.query_timeout_ms),
        ..labstat_promql::Options::default()
    })
}

fn tellers(nodes: &[NodeView]) -> BTreeMap<String, Teller> {
    nodes.iter().map(|node| (node.name.clone(), Teller::from(node))).collect()
}

impl App {
    /// Puts the parts together. Reads the store, so it must be called from a blocking thread.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            config,
            addr,
            clock,
            storage,
            engine,
            token,
            telemetry,
            alerting,
            links,
            notices,
        } = parts;
        let now_ms = clock.now_ms();
        let known = |key, what| {
            storage.document_get(key).unwrap_or_else(|error| {
                tracing::warn!(error = chain(&error), "{what} must be learned anew");
                None
            })
        };
        let presence = known(PRESENCE_KEY, "who is expected");
        let disks = known(DISKS_KEY, "which disks there are");
        let inventory = known(INVENTORY_KEY, "what the lab is made of");
        let permits = |bytes: usize| {
            Arc::new(Semaphore::new((bytes / PERMIT_BYTES).min(Semaphore::MAX_PERMITS)))
        };
        let (body_bytes, write_bytes) = write::shares(config.limits.write_bytes_max);
        Self {
            gate: Gate::new(&config.limits, &telemetry.queries.running, &telemetry.queries.waiting),
            unsent: Unsent::new(config.limits.query_memory_max, &telemetry.queries.unsent_bytes),
            body_memory: permits(body_bytes),
            write_memory: permits(write_bytes),
            posting: Arc::new(Semaphore::new(POSTING_MAX)),
            disks: Disks::restore(disks.as_deref(), now_ms),
            presence: Kept::new(Presence::restore(presence.as_deref(), now_ms)),
            parting: Mutex::default(),
            inventory: Kept::new(Inventory::restore(inventory.as_deref())),
            own: Mutex::default(),
            decoders: Mutex::new(Vec::new()),
            token: RwLock::new(token),
            start_ms: now_ms,
            config,
            addr,
            clock,
            storage,
            engine,
            telemetry,
            alerting,
            links,
            notices,
        }
    }

    /// Who is expected. Held for moments only, never over a read or a write.
    pub(crate) fn presence(&self) -> MutexGuard<'_, Presence> {
        // A panic cannot leave a half-made change behind: each change is one map operation.
        self.presence.known()
    }

    /// What the lab is made of. Held for moments only, never over a read or a write.
    pub(crate) fn inventory(&self) -> MutexGuard<'_, Inventory> {
        // A panic leaves at the worst a part of what one look says.
        self.inventory.known()
    }

    /// Runs `work` with a decoder, whose buffers the next write will have.
    pub(crate) fn with_decoder<T>(&self, work: impl FnOnce(&mut Decoder) -> T) -> T {
        let decoders = || self.decoders.lock().unwrap_or_else(PoisonError::into_inner);
        let mut decoder = decoders().pop().unwrap_or_default();
        let result = work(&mut decoder);
        decoder.trim();
        let mut decoders = decoders();
        if decoders.len() < DECODERS_KEPT_MAX {
            decoders.push(decoder);
        }
        result
    }

    /// Stores a write from outside and takes note of who was heard, stored or not. Blocks.
    pub(crate) fn ingest(&self, write: &dyn WriteView) -> Result<Appended, WriteFailed> {
        let appended = self.storage.append(write).inspect_err(|error| {
            let reason = match error {
                WriteFailed::Full(_) => "full",
                WriteFailed::Closed => "closed",
                WriteFailed::Failed(_) => "failed",
            };
            self.telemetry.ingest.failures.with_label_values(&[reason]).inc();
            self.presence().observe_refused(write, self.clock.now_ms());
        })?;
        let (ends, urgent, late) = {
            let mut presence = self.presence();
            let ends = presence.observe(write, self.clock.now_ms());
            (ends, presence.take_urgent(), presence.take_late())
        };
        self.alerting.hear(urgent, late);
        self.append_own(&ends, "the ends of presence zeros");
        self.part_with_forgotten();
        let ingest = &self.telemetry.ingest;
        ingest.samples.inc_by(u64::try_from(appended.accepted).unwrap_or(0));
        ingest.duplicates.inc_by(u64::try_from(appended.duplicates).unwrap_or(0));
        Ok(appended)
    }

    /// Stores what the aggregator itself has to say, and gives whether it could. Blocks; a failure is
    /// told in the log, since the next round says the same again.
    pub(crate) fn append_own(&self, request: &WriteRequest, what: &str) -> bool {
        if request.series.is_empty() {
            return true;
        }
        let appended = self.storage.append(request).inspect_err(|error| {
            tracing::error!(error = chain(error), "{what} could not be stored");
        });
        appended.is_ok()
    }

    /// One look at who is silent. Blocks.
    pub(crate) fn look_for_silence(&self) {
        let now_ms = self.clock.now_ms();
        let (zeros, vouched, changed) = {
            let mut presence = self.presence();
            presence.look(now_ms, self.config.presence_interval_ms);
            (presence.tick(now_ms), presence.vouch(now_ms), presence.take_changed())
        };
        self.alerting.forget_held(now_ms);
        self.alerting.hold(&vouched);
        if !self.append_own(&zeros, "the silence of nodes") {
            self.alerting.hold(&zeros);
        }
        if changed {
            let _told = self.keep_presence();
        }
        self.part_with_forgotten();
    }

    /// Says the last words of whom nobody waits for any more. Blocks. What cannot be written now is tried
    /// again with the next look for silence: without it a rule that asks for the last word of a day takes
    /// who was taken out for one who fell silent.
    pub(crate) fn part_with_forgotten(&self) {
        if !self.presence().has_forgotten() {
            return;
        }
        // One at a time, so that nothing is said twice.
        let _turn = self.parting.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = self.clock.now_ms();
        let forgotten = self.presence().forgotten();
        for gone in &forgotten {
            if !self.part_with(gone, now_ms) {
                // The others would fare no better.
                break;
            }
            self.presence().forgotten_said(gone);
        }
    }

    /// Whether the last words of one could be said.
    fn part_with(&self, gone: &Forgotten, now_ms: i64) -> bool {
        let matchers = presence::matchers_of(gone);
        let from_ms = now_ms.saturating_sub(LAST_WORD_MS);
        match self.storage.newest(&matchers, from_ms, now_ms + AHEAD_MS, NEVER) {
            Ok(known) => {
                let words = presence::last_words(gone, known, now_ms);
                self.append_own(&words, "the end of a forgotten node")
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "it could not be looked at a forgotten node");
                false
            }
        }
    }

    /// One look at what is new of disks, and at which are silent. Blocks.
    pub(crate) fn look_at_disks(&self) {
        let now_ms = self.clock.now_ms();
        let nodes = self.presence().nodes();
        // A disk is not missing because what its node says of it cannot be stored.
        let nodes =
            nodes.into_iter().map(|node| (node.name.clone(), !node.is_recorded())).collect();
        let interval_ms = self.config.disks_interval_ms;
        let _turn = self.disks.writing();
        match self.disks.look(&self.storage, &nodes, interval_ms, now_ms) {
            Ok(looked) => {
                self.append_own(&looked.samples, "the verdicts on disks");
                if let Some(document) = looked.document {
                    let _told = self.put_disks(&document);
                    let metrics = [Arc::from("labstat_disk_verdict")].into();
                    self.alerting.hear(Some(Urgent { metrics, newest_ms: now_ms }), None);
                }
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "it could not be looked at the disks");
            }
        }
    }

    /// Keeps what is known of disks across a restart. Blocks until it is on disk.
    pub(crate) fn keep_disks(&self) -> Result<(), WriteFailed> {
        let _turn = self.disks.writing();
        self.put_disks(&self.disks.document())
    }

    fn put_disks(&self, document: &[u8]) -> Result<(), WriteFailed> {
        self.storage.document_put(DISKS_KEY, document).inspect_err(|error| {
            tracing::error!(error = chain(error), "what is known of disks could not be stored");
            // The next look tries again.
            self.disks.registry().changed = true;
        })
    }

    /// One look at what hangs on what. Blocks.
    pub(crate) fn look_at_wiring(&self) {
        match wiring::look(&self.storage, self.clock.now_ms()) {
            Ok(topology) => self.alerting.set_topology(topology),
            Err(error) => {
                tracing::warn!(error = chain(&error), "it could not be seen what hangs on what");
            }
        }
    }

    /// One look at what there is beside nodes and disks, and at what of it is missing. Blocks.
    pub(crate) fn look_at_inventory(&self) {
        let now_ms = self.clock.now_ms();
        let Ok(matcher) = inventory::matchers() else { return };
        // Before the samples are read: a write is stored first, and then its sender is heard.
        let nodes = tellers(&self.presence().nodes());
        let from_ms = inventory::from_ms(&nodes, now_ms);
        let newest = self.storage.newest(&[matcher], from_ms, now_ms + AHEAD_MS, NEVER);
        let newest = match newest {
            Ok(newest) => newest,
            Err(error) => {
                tracing::warn!(error = chain(&error), "it could not be looked at the inventory");
                return;
            }
        };
        let changed = {
            let mut inventory = self.inventory();
            inventory.look(&newest, &nodes, INVENTORY_INTERVAL_MS, now_ms);
            inventory.take_changed()
        };
        if changed {
            let _told = self.keep_inventory();
            // What has gone or come is told at once.
            self.tell_own();
        }
    }

    /// Keeps what the lab is made of across a restart. Blocks.
    pub(crate) fn keep_inventory(&self) -> Result<(), WriteFailed> {
        let put = |document: &[u8]| self.storage.document_put(INVENTORY_KEY, document);
        self.inventory.keep(Inventory::snapshot, put).inspect_err(|error| {
            tracing::error!(error = chain(error), "what the lab is made of could not be stored");
            // The next look tries again.
            self.inventory().note_unkept();
        })
    }

    /// Keeps our own figures in the history. Blocks.
    pub(crate) fn tell_own(&self) {
        if self.config.own_metrics_interval_ms.is_none() {
            return;
        }
        let families = match self.measured() {
            Ok(stats) => self.telemetry.families(&stats, self.storage.delivery().as_ref()),
            Err(error) => Err(error),
        };
        let families = families.unwrap_or_else(|error| {
            tracing::error!(error = chain(&error), "our own figures cannot be told");
            Vec::new()
        });
        let now_ms = self.clock.now_ms();
        let nodes = self.presence().nodes();
        let mut figures = self.inventory().figures(&tellers(&nodes), now_ms);
        let skew = |node: NodeView| Some((node.name, node.skew_ms?, node.down));
        let skews = nodes.into_iter().filter_map(skew);
        figures.extend(skews.filter(|(_, _, down)| !down).map(|(node, skew_ms, _)| Figure {
            family: "labstat_node_clock_skew_seconds",
            help: "How far the newest sample of a node's last write was ahead of the aggregator's clock.",
            labels: vec![("instance", node)],
            value: telemetry::seconds(skew_ms),
        }));
        // Held over the write, so that two looks are not put down in the wrong order.
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let write = own.tell(&families, &figures, now_ms);
        if !self.append_own(&write, "our own figures") {
            self.alerting.hold(&write);
        }
    }

    /// labstat's own figures as text exposition. Blocks.
    pub(crate) fn own_metrics(&self) -> prometheus::Result<Vec<u8>> {
        let stats = self.measured()?;
        self.telemetry.text(&stats, self.storage.delivery().as_ref())
    }

    /// Brings all figures up to date.
    fn measured(&self) -> prometheus::Result<Stats> {
        let nodes = self.presence().nodes();
        let down = nodes.iter().filter(|node| node.down).count();
        for (state, count) in [("down", down), ("up", nodes.len() - down)] {
            self.telemetry.nodes.with_label_values(&[state]).set(telemetry::whole(count));
        }
        for (verdict, count) in self.disks.registry().counts() {
            self.telemetry.disks.with_label_values(&[verdict]).set(telemetry::whole(count));
        }
        self.alerting.measure();
        let dir = &self.config.data_dir;
        if let Some(backup_ms) = offline::backup_ms(dir) {
            let backup = self.telemetry.backup_seconds.with_label_values::<&str>(&[]);
            backup.set(telemetry::seconds(backup_ms));
        }
        if let Ok(disk) = rustix::fs::statvfs(dir.as_path()) {
            for (of, blocks) in [("avail", disk.f_bavail), ("size", disk.f_blocks)] {
                let bytes = telemetry::whole(blocks.saturating_mul(disk.f_frsize));
                self.telemetry.filesystem(of).set(bytes);
            }
        }
        Ok(self.storage.stats())
    }

    /// Keeps who is expected across a restart. Blocks.
    pub(crate) fn keep_presence(&self) -> Result<(), WriteFailed> {
        let put = |document: &[u8]| self.storage.document_put(PRESENCE_KEY, document);
        self.presence.keep(Presence::snapshot, put).inspect_err(|error| {
            tracing::error!(error = chain(error), "who is expected could not be stored");
            // The next look tries again.
            self.presence().note_unkept();
        })
    }
}
