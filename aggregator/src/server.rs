//! Starting and stopping: from a configuration to a listener and its tasks, and back.
//!
//! What is checked before anything is promised: the token, the data folder, the address. A
//! problem with any of them is a [`StartError`] that names the cure. After that nothing ends the
//! aggregator but [`Running::shutdown`].

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use labstat_model::Clock;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::http;

/// Threads that run tasks. Two keep a slow moment on one from delaying a write; more would only
/// cost memory, since all long work is on the blocking threads.
const WORKER_THREADS: usize = 2;

/// Threads for blocking work (store, queries). Bounded, since each brings its own allocator arena.
const BLOCKING_THREADS_MAX: usize = 8;

/// A runtime of the size an aggregator wants: two workers and a few blocking threads.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("labstat")
        .enable_all()
        .build()
}

/// Why an aggregator did not start. Each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Open to the network and without a token.
    #[error(
        "refusing to listen on {listen} without a bearer token: name a file that holds one \
         (token_file, --token-file), or listen on 127.0.0.1"
    )]
    TokenMissing {
        /// The address asked for.
        listen: SocketAddr,
    },
    /// The token file could not be read.
    #[error("failed to read the token file {path}")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The token file holds no usable token.
    #[error(
        "{path} holds no token: its first line must have {min} or more visible ASCII characters"
    )]
    TokenUnfit {
        /// The file.
        path: PathBuf,
        /// The least length of a token.
        min: usize,
    },
    /// Somebody else listens there.
    #[error("{listen} is already in use: stop what listens there, or choose another with --listen")]
    AddressInUse {
        /// The address asked for.
        listen: SocketAddr,
    },
    /// The address cannot be listened on for another reason.
    #[error("failed to listen on {listen}")]
    Listen {
        /// The address asked for.
        listen: SocketAddr,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The data folder cannot be made or written to.
    #[error(
        "the data folder {path} cannot be written to: make it writable, or choose another with --data"
    )]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

/// Why stopping was not clean. What was acknowledged is on disk all the same.
#[derive(Debug, thiserror::Error)]
pub enum ShutdownError {}

/// Starts aggregators.
#[derive(Debug)]
pub struct Aggregator;

impl Aggregator {
    /// Opens the store, loads the rules, listens, and starts everything that runs beside. Must be
    /// called within a tokio runtime with timers and I/O, such as [`runtime`] makes.
    pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Running, StartError> {
        let _ = clock;
        let listener = bind(config.listen).await?;
        let addr = listener
            .local_addr()
            .map_err(|cause| StartError::Listen { listen: config.listen, cause })?;
        let (stop, stopped) = watch::channel(false);
        let router = axum::Router::new();
        let limits = config.limits;
        let server = tokio::spawn(http::listen::serve(listener, router, limits, stopped));
        Ok(Running { addr, stop, server })
    }
}

/// A rule file that could not be taken; the rules it had before stay in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleProblem {
    /// The file.
    pub file: String,
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

/// Which rules are in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RulesStatus {
    /// Rule files in force, the shipped ones included.
    pub files: usize,
    /// Rules in force.
    pub rules: usize,
    /// Files of the last load that were not taken, and why.
    pub problems: Vec<RuleProblem>,
}

/// An aggregator that runs. Dropping it without [`Running::shutdown`] ends it abruptly, which
/// loses nothing that was acknowledged.
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Running {
    /// The address it listens on, with the real port where 0 was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL under which this machine reaches it, without a slash at the end.
    pub fn url(&self) -> String {
        let ip = match self.addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
            ip => ip,
        };
        format!("http://{}", SocketAddr::new(ip, self.addr.port()))
    }

    /// What the store set aside when it was opened, and why, one sentence each.
    pub fn notices(&self) -> &[String] {
        &[]
    }

    /// Which rules are in force, and which files could not be taken.
    pub fn rules(&self) -> RulesStatus {
        RulesStatus::default()
    }

    /// Reads the rule files and the token file again; a file that is bad changes nothing.
    pub async fn reload(&self) -> RulesStatus {
        self.rules()
    }

    /// Stops accepting, finishes what was begun, and closes the store.
    pub async fn shutdown(self) -> Result<(), ShutdownError> {
        let _ = self.stop.send(true);
        let _ = self.server.await;
        Ok(())
    }
}

async fn bind(listen: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(listen).await.map_err(|cause| match cause.kind() {
        io::ErrorKind::AddrInUse => StartError::AddressInUse { listen },
        _ => StartError::Listen { listen, cause },
    })
}
