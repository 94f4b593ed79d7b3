//! One reading of a Ceph cluster, by a process that lives for it.
//!
//! [`read_cluster`] connects once, by librados ([`super::rados`]) or, where that is missing, by one
//! process of the program `ceph` that is fed with commands, and asks everything: first what monitors
//! answer, then what needs the manager. Each reply is a line of its own that goes out at once, so that
//! what came before a hang is kept; a hang ends the process itself, at its deadline.
//!
//! Where the manager's prometheus module is on, its page ([`super::page`]) may take the place of some
//! commands, unless it is not to be had, old, or of a manager that has just been started.
//!
//! It is for a process of its own: librados starts threads and keeps memory, and a reply of a large
//! cluster has megabytes. Not here: what replies mean (`labstat_parse::ceph_cluster`).

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command as Program, Stdio};
use std::time::Duration;

use labstat_parse::ceph_cluster::{osds, page, pgs, status};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, Signal, getpid, kill_process, setrlimit};

use super::OUTPUT_LEN_MAX;
use super::command::end_with_us;
use super::rados::{NoRados, Rados, To};

/// The line that says why there was no connection.
pub(crate) const CONNECT: &str = "connect";

/// The line with what the manager's page says, as a text of JSON; or why there is none though it was wanted.
pub(crate) const PAGE: &str = "page";

/// The line of a page that is passed over: how often the manager had collected when it made it, so that the
/// next can be known for another; or what is wrong with it.
pub(crate) const PAGE_LEFT: &str = "page left";

/// The line that says that all was asked.
pub(crate) const END: &str = "end";

/// The command whose reply is put together here: it has some 6 KB for each placement group.
pub(crate) const SCRUBS: &str = "pg dump pgs";

/// How long a connection, and each command, may take. A monitor that is down costs up to three
/// seconds before another is tried.
const COMMAND_SECONDS: &str = "5";

/// Bytes that all lines together may have: what is taken of a command's output, less room for the last.
const LINES_LEN_MAX: usize = OUTPUT_LEN_MAX - 64 * 1024;

/// Bytes of one reply of the program `ceph`.
const REPLY_LEN_MAX: u64 = 64 * 1024 * 1024;

/// Memory that a process may ask for which reads a cluster: librados puts a reply together before anybody can
/// see how long it is. Most of what it asks for is never used: stacks and heaps of its threads take 0.9 GB of
/// addresses, and 45 MB of memory.
const MEMORY_MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// What stands between the replies of the program `ceph`: the reply to a command that never fails.
const SEPARATOR: &str = "fsid";

/// Who answers a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// A monitor.
    Mon,
    /// The manager: without one, these commands hang.
    Mgr,
}

/// When a command is worth asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// When there is a filesystem or a metadata server.
    Filesystems,
    /// When scrubs are asked for.
    Scrubs,
    /// When the manager's page does not tell the same.
    NoPage,
}

/// One command.
#[derive(Debug)]
pub(crate) struct Command {
    /// As `ceph` takes it.
    pub(crate) name: &'static str,
    /// Who answers it.
    pub(crate) of: Of,
    /// As librados takes it, without the format.
    json: &'static str,
    when: When,
}

const fn mon(name: &'static str, json: &'static str) -> Command {
    Command { name, of: Of::Mon, json, when: When::Always }
}

const fn mgr(name: &'static str, json: &'static str) -> Command {
    Command { name, of: Of::Mgr, json, when: When::Always }
}

const fn no_page(name: &'static str, json: &'static str) -> Command {
    Command { name, of: Of::Mgr, json, when: When::NoPage }
}

/// All commands, in the order they are asked.
pub(crate) const COMMANDS: &[Command] = &[
    mon("status", r#""prefix":"status""#),
    mon("quorum_status", r#""prefix":"quorum_status""#),
    mon("osd dump", r#""prefix":"osd dump""#),
    mon("osd tree", r#""prefix":"osd tree""#),
    mon("mon metadata", r#""prefix":"mon metadata""#),
    mon("mgr dump", r#""prefix":"mgr dump""#),
    mon("mgr metadata", r#""prefix":"mgr metadata""#),
    mon("osd metadata", r#""prefix":"osd metadata""#),
    mon("df detail", r#""prefix":"df","detail":"detail""#),
    Command { when: When::Filesystems, ..mon("fs dump", r#""prefix":"fs dump""#) },
    Command { when: When::Filesystems, ..mon("mds metadata", r#""prefix":"mds metadata""#) },
    mgr("osd df", r#""prefix":"osd df""#),
    no_page("osd perf", r#""prefix":"osd perf""#),
    no_page("osd pool stats", r#""prefix":"osd pool stats""#),
    no_page("pg dump pools", r#""prefix":"pg dump","dumpcontents":["pools"]"#),
    mgr("pg dump pgs_brief", r#""prefix":"pg dump","dumpcontents":["pgs_brief"]"#),
    mgr("crash ls-new", r#""prefix":"crash ls-new""#),
    Command { when: When::Scrubs, ..mgr(SCRUBS, r#""prefix":"pg dump","dumpcontents":["pgs"]"#) },
];

/// What the page of the manager's prometheus module is good for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PageUse {
    /// Nothing: it is not fetched.
    Never,
    /// It takes the place of commands, if the manager has collected anew since it had so many times; where
    /// that is not known yet, it is only looked at.
    Renewed(Option<f64>),
    /// It always does.
    Always,
}

/// How a cluster is to be asked.
#[derive(Debug, Clone)]
pub struct ClusterQuestion {
    /// The configuration file.
    pub conf: String,
    /// The user, such as `client.admin`.
    pub user: String,
    /// The file of its key, where the configuration does not say it.
    pub keyring: Option<String>,
    /// Whether the age of scrubs is wanted.
    pub scrubs: bool,
    /// What the manager's page is good for.
    pub page: PageUse,
    /// Whether the library may be used, and not only the program.
    pub library: bool,
    /// When the process is ended, if it has not ended by itself.
    pub deadline: Duration,
}

/// A way to the cluster.
trait Line {
    /// The reply, or a negative error number and words.
    fn ask(&mut self, command: &Command) -> Result<Vec<u8>, (i32, String)>;
}

/// Bounds what this process, which is to read a cluster and end, may take of the machine: one that wants more
/// is ended, and leaves no dump of its memory behind.
///
/// # Errors
/// The kernel's.
pub fn confine_reader() -> io::Result<()> {
    let to = |max: u64| Rlimit { current: Some(max), maximum: Some(max) };
    setrlimit(Resource::As, to(MEMORY_MAX_BYTES))?;
    Ok(setrlimit(Resource::Core, to(0))?)
}

/// Asks a cluster everything and writes the replies to `out`.
///
/// Ends the process when the deadline has come: whatever hangs then, hangs for good.
///
/// # Errors
/// Those of `out`.
pub fn read_cluster(question: &ClusterQuestion, out: &mut dyn Write) -> io::Result<()> {
    let deadline = question.deadline;
    let watch = move || {
        std::thread::sleep(deadline);
        let _ = kill_process(getpid(), Signal::KILL);
    };
    std::thread::Builder::new().name("labstat-deadline".to_owned()).spawn(watch)?;
    let mut out = Lines { out, len: 0 };
    match connect(question) {
        Ok(mut line) => ask_all(&mut *line, question, &super::page::fetch, &mut out)?,
        Err((code, words)) => out.write(CONNECT, code, words.as_bytes())?,
    }
    out.write(END, 0, b"")
}

fn connect(question: &ClusterQuestion) -> Result<Box<dyn Line>, (i32, String)> {
    let mut settings = vec![
        ("client_mount_timeout", COMMAND_SECONDS),
        ("rados_mon_op_timeout", COMMAND_SECONDS),
        ("rados_osd_op_timeout", COMMAND_SECONDS),
        // What a client may be told to leave on the machine, and what nobody would read.
        ("admin_socket", ""),
        ("log_file", ""),
        ("log_to_stderr", "false"),
        ("err_to_stderr", "false"),
    ];
    settings.extend(question.keyring.as_deref().map(|path| ("keyring", path)));
    let by_library = if question.library {
        Rados::connect(&question.conf, &question.user, &settings)
    } else {
        Err(NoRados::Missing)
    };
    match by_library {
        Ok(rados) => Ok(Box::new(rados)),
        Err(NoRados::Refused { code, what }) => {
            let why = io::Error::from_raw_os_error(code.saturating_neg());
            Err((code, format!("librados refused {what} as {}: {why}", question.user)))
        }
        Err(NoRados::Missing) => match ByProgram::start(question) {
            Ok(program) => Ok(Box::new(program)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let words = "neither librados2 nor ceph-common is installed".to_owned();
                Err((-Errno::NOENT.raw_os_error(), words))
            }
            Err(error) => {
                Err((-Errno::IO.raw_os_error(), format!("failed to start ceph: {error}")))
            }
        },
    }
}

/// What is learned of the cluster while it is asked, by which more is asked or less.
#[derive(Debug)]
struct Learned {
    has_manager: bool,
    has_filesystems: bool,
    page_url: Option<String>,
    pools: Vec<i64>,
    /// Whether the page tells what commands would; absent before it was looked at.
    page_tells: Option<bool>,
}

impl Learned {
    fn from(&mut self, command: &str, reply: &[u8]) {
        let Ok(text) = std::str::from_utf8(reply) else { return };
        match command {
            "status" => {
                let Ok(status) = status::status(text) else { return };
                self.has_manager = status.mgr_available != Some(false);
                self.has_filesystems = status.has_filesystems;
                self.page_url = status.prometheus_url;
            }
            "osd dump" => {
                let pools = osds::dump(text).map(|map| map.pools).unwrap_or_default();
                self.pools = pools.iter().map(|pool| pool.id).collect();
            }
            _ => {}
        }
    }
}

/// Fetches the page of the module that is at an address; words when that fails.
type Fetch = dyn Fn(&str) -> Result<String, String>;

fn ask_all(
    line: &mut dyn Line,
    question: &ClusterQuestion,
    fetch: &Fetch,
    out: &mut Lines<'_>,
) -> io::Result<()> {
    const TIMED_OUT: i32 = -(Errno::TIMEDOUT.raw_os_error());
    let mut learned = Learned {
        has_manager: true,
        has_filesystems: false,
        page_url: None,
        pools: Vec::new(),
        page_tells: None,
    };
    for command in COMMANDS {
        if command.of == Of::Mgr && learned.has_manager && learned.page_tells.is_none() {
            learned.page_tells = Some(take_page(&learned, question.page, fetch, out)?);
        }
        let is_wanted = match command.when {
            When::Always => true,
            When::Filesystems => learned.has_filesystems,
            When::Scrubs => question.scrubs,
            When::NoPage => learned.page_tells != Some(true),
        };
        if !is_wanted || (command.of == Of::Mgr && !learned.has_manager) {
            continue;
        }
        match line.ask(command).and_then(in_time).and_then(|reply| shortened(command, reply)) {
            Ok(reply) => {
                learned.from(command.name, &reply);
                out.write(command.name, 0, &reply)?;
            }
            Err((code, words)) => {
                out.write(command.name, code, words.as_bytes())?;
                // Those that would wait for the same in vain.
                match command.of {
                    Of::Mon if code == TIMED_OUT => return Ok(()),
                    Of::Mgr if code == TIMED_OUT => learned.has_manager = false,
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

/// Looks at the manager's page, and says whether it takes the place of commands.
fn take_page(
    learned: &Learned,
    usage: PageUse,
    fetch: &Fetch,
    out: &mut Lines<'_>,
) -> io::Result<bool> {
    let is_needed = usage == PageUse::Always;
    let url = match (usage, &learned.page_url) {
        (PageUse::Never, _) | (PageUse::Renewed(_), None) => return Ok(false),
        (PageUse::Always, None) => Err("the manager's prometheus module is off"),
        (_, Some(url)) => Ok(url),
    };
    let fetched = url.map_err(str::to_owned).and_then(|url| fetch(url)).and_then(|text| {
        let kept = page::kept(&text);
        let page = page::read(&kept).map_err(|error| format!("the manager's page: {error}"))?;
        match page.tells_of(&learned.pools) {
            true => Ok((kept, page.collected)),
            false => Err("the manager's page does not tell of all pools yet".to_owned()),
        }
    });
    let (name, code, body) = match (fetched, usage) {
        (Ok((_, Some(collected))), PageUse::Renewed(known))
            if known.is_none_or(|n| n == collected) =>
        {
            (PAGE_LEFT, 0, collected.to_string())
        }
        (Ok((_, None)), PageUse::Renewed(_)) => {
            let words = "the manager's page does not say how often it was made".to_owned();
            (PAGE_LEFT, -Errno::NODATA.raw_os_error(), words)
        }
        (Ok((kept, _)), _) => match serde_json::to_string(&kept) {
            Ok(text) => (PAGE, 0, text),
            Err(error) => (PAGE_LEFT, -Errno::INVAL.raw_os_error(), error.to_string()),
        },
        (Err(words), _) => {
            (if is_needed { PAGE } else { PAGE_LEFT }, -Errno::IO.raw_os_error(), words)
        }
    };
    out.write(name, code, body.as_bytes())?;
    Ok(name == PAGE)
}

/// The reply. One without anything in it is none: the librados of Ceph 16 gives that, and no error, when
/// a manager has not answered in its time.
fn in_time(reply: Vec<u8>) -> Result<Vec<u8>, (i32, String)> {
    match reply.is_empty() {
        false => Ok(reply),
        true => Err((-Errno::TIMEDOUT.raw_os_error(), "no reply came in time".to_owned())),
    }
}

/// What is told of a reply: all but of the longest, of which only the oldest times matter.
fn shortened(command: &Command, reply: Vec<u8>) -> Result<Vec<u8>, (i32, String)> {
    if command.name != SCRUBS {
        return Ok(reply);
    }
    let odd = |error: &dyn std::error::Error| (-Errno::INVAL.raw_os_error(), error.to_string());
    let text = std::str::from_utf8(&reply).map_err(|error| odd(&error))?;
    let oldest = pgs::oldest_scrubs(text).map_err(|error| odd(&error))?;
    serde_json::to_vec(&oldest).map_err(|error| odd(&error))
}

/// Where lines go.
struct Lines<'a> {
    out: &'a mut dyn Write,
    len: usize,
}

impl Lines<'_> {
    /// Writes one line, at once. A reply that would be too much is told as an error.
    fn write(&mut self, command: &str, code: i32, body: &[u8]) -> io::Result<()> {
        let words = format!("the reply has {} bytes", body.len());
        // The room that is left beyond takes all such words.
        let is_too_long = !body.is_empty() && self.len + body.len() > LINES_LEN_MAX;
        let (code, body) = match is_too_long {
            true => (-Errno::FBIG.raw_os_error(), words.as_bytes()),
            false => (code, body),
        };
        let mut line = format!("{command}\t{code}\t").into_bytes();
        // JSON has no line ends but between values.
        line.extend(body.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
        line.push(b'\n');
        self.len += line.len();
        self.out.write_all(&line)?;
        self.out.flush()
    }
}

impl Line for Rados {
    fn ask(&mut self, command: &Command) -> Result<Vec<u8>, (i32, String)> {
        let to = match command.of {
            Of::Mon => To::Mon,
            Of::Mgr => To::Mgr,
        };
        let json = format!("{{{},\"format\":\"json\"}}", command.json);
        self.command(to, &json).map_err(|(code, words)| {
            let why = io::Error::from_raw_os_error(code.saturating_neg());
            (code, if words.is_empty() { why.to_string() } else { words })
        })
    }
}

/// The program `ceph`, which takes commands a line and gives replies a line.
struct ByProgram {
    child: Child,
    commands: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl ByProgram {
    fn start(question: &ClusterQuestion) -> io::Result<Self> {
        let mut program = Program::new("ceph");
        program.args(["--conf", &question.conf, "--name", &question.user]);
        if let Some(path) = &question.keyring {
            program.args(["--keyring", path]);
        }
        // However this process ends, nobody would end that one.
        end_with_us(&mut program);
        let mut child = program
            .args(["--connect-timeout", COMMAND_SECONDS, "--format", "json"])
            // It would keep replies back until it has many.
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let commands = child.stdin.take().ok_or_else(gone)?;
        let replies = BufReader::new(child.stdout.take().ok_or_else(gone)?);
        Ok(Self { child, commands, replies })
    }

    fn reply(&mut self, command: &str) -> io::Result<Option<Vec<u8>>> {
        self.commands.write_all(format!("{command}\n{SEPARATOR}\n").as_bytes())?;
        self.commands.flush()?;
        reply_of(&mut self.replies)
    }
}

/// All lines up to the separator, as one: some replies have line ends in them. Nothing when there is none.
fn reply_of(replies: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut reply = Vec::new();
    loop {
        let mut line = Vec::new();
        let mut limited = replies.take(REPLY_LEN_MAX.saturating_sub(reply.len() as u64));
        if limited.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if is_separator(line.trim_ascii()) {
            return Ok((!reply.trim_ascii().is_empty()).then_some(reply));
        }
        reply.append(&mut line);
    }
}

/// `{"fsid":"…"}` and nothing else, which no other reply is.
fn is_separator(line: &[u8]) -> bool {
    line.strip_prefix(b"{\"fsid\":\"").is_some_and(|rest| {
        let is_id = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b'-';
        rest.strip_suffix(b"\"}").is_some_and(|id| id.iter().all(is_id))
    })
}

impl Line for ByProgram {
    fn ask(&mut self, command: &Command) -> Result<Vec<u8>, (i32, String)> {
        match self.reply(command.name) {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err((-Errno::PERM.raw_os_error(), "ceph printed no reply".to_owned())),
            Err(error) => {
                let words = format!("ceph ended without a word: {error}");
                Err((-Errno::TIMEDOUT.raw_os_error(), words))
            }
        }
    }
}

impl Drop for ByProgram {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A cluster that is made up: replies by command; what is not there is refused.
    struct Told(BTreeMap<&'static str, Result<&'static str, i32>>, Vec<&'static str>);

    impl Line for Told {
        fn ask(&mut self, command: &Command) -> Result<Vec<u8>, (i32, String)> {
            self.1.push(command.name);
            match self.0.get(command.name) {
                Some(Ok(reply)) => Ok(reply.as_bytes().to_vec()),
                Some(Err(code)) => Err((*code, "words".to_owned())),
                None => Err((-13, "access denied".to_owned())),
            }
        }
    }

    fn question(scrubs: bool, page: PageUse) -> ClusterQuestion {
        ClusterQuestion {
            conf: "/nonexistent/ceph.conf".to_owned(),
            user: "client.nobody".to_owned(),
            keyring: None,
            scrubs,
            page,
            library: true,
            deadline: Duration::from_secs(86_400),
        }
    }

    fn told(
        replies: &[(&'static str, Result<&'static str, i32>)],
        scrubs: bool,
    ) -> (Vec<&'static str>, String) {
        let none = |url: &str| panic!("nobody wants {url}");
        told_with(replies, &question(scrubs, PageUse::Never), &none)
    }

    fn told_with(
        replies: &[(&'static str, Result<&'static str, i32>)],
        question: &ClusterQuestion,
        fetch: &Fetch,
    ) -> (Vec<&'static str>, String) {
        let mut line = Told(replies.iter().copied().collect(), Vec::new());
        let mut out = Vec::new();
        ask_all(&mut line, question, fetch, &mut Lines { out: &mut out, len: 0 }).unwrap();
        (line.1, String::from_utf8(out).unwrap())
    }

    const HERE: (&str, Result<&str, i32>) =
        ("status", Ok("{\"mgrmap\": {\"available\": true},\n\"fsmap\": {}}"));

    #[test]
    fn each_reply_is_a_line() {
        let (asked, lines) = told(&[HERE], false);
        assert_eq!(asked.len(), COMMANDS.len() - 3, "neither filesystems nor scrubs");
        let first = "status\t0\t{\"mgrmap\": {\"available\": true}, \"fsmap\": {}}\n";
        assert!(lines.starts_with(first), "{lines}");
        assert_eq!(lines.lines().count(), asked.len());
        assert!(lines.contains("osd df\t-13\taccess denied\n"));
    }

    #[test]
    fn nobody_waits_for_a_manager_that_is_not_there() {
        let gone = ("status", Ok("{\"mgrmap\": {\"available\": false}}"));
        let (asked, _) = told(&[gone], true);
        assert!(asked.contains(&"osd dump") && !asked.contains(&"osd df"), "{asked:?}");
        let (asked, lines) = told(&[HERE, ("osd df", Err(-110))], true);
        assert_eq!(asked.last(), Some(&"osd df"), "once in vain is enough");
        assert!(lines.ends_with("osd df\t-110\twords\n"), "{lines}");
    }

    #[test]
    fn a_manager_that_says_nothing_has_not_answered() {
        let (asked, lines) = told(&[HERE, ("osd df", Ok(""))], true);
        assert_eq!(asked.last(), Some(&"osd df"), "once in vain is enough");
        assert!(lines.ends_with("osd df\t-110\tno reply came in time\n"), "{lines}");
    }

    #[test]
    fn nobody_waits_for_monitors_that_do_not_answer() {
        let (asked, lines) = told(&[("status", Err(-110))], true);
        assert_eq!(asked, ["status"]);
        assert_eq!(lines, "status\t-110\twords\n");
    }

    #[test]
    fn what_is_too_much_is_said_and_not_sent() {
        let mut out = Vec::new();
        let mut lines = Lines { out: &mut out, len: 0 };
        lines.write("osd dump", 0, &vec![b'x'; LINES_LEN_MAX + 1]).unwrap();
        lines.write(END, 0, b"").unwrap();
        let text = String::from_utf8(out).unwrap();
        let wanted =
            format!("osd dump\t-27\tthe reply has {} bytes\nend\t0\t\n", LINES_LEN_MAX + 1);
        assert_eq!(text, wanted);
    }

    #[test]
    fn also_when_there_is_no_room_left_at_all() {
        let mut out = Vec::new();
        let mut lines = Lines { out: &mut out, len: 0 };
        lines.write("osd dump", 0, &vec![b'x'; LINES_LEN_MAX]).unwrap();
        lines.write("osd tree", 0, b"{}").unwrap();
        lines.write(END, 0, b"").unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("\nosd tree\t-27\tthe reply has 2 bytes\nend\t0\t\n"));
    }

    #[test]
    fn of_a_long_dump_the_oldest_scrubs_are_told() {
        let dump =
            "{\"pg_stats\":[{\"pgid\":\"2.0\",\"last_scrub_stamp\":\"2026-11-21T03:06:11Z\"}]}";
        let (_, lines) = told(&[HERE, (SCRUBS, Ok(dump))], true);
        let wanted = "pg dump pgs\t0\t{\"2\":{\"scrub_seconds\":1795230371.0,\"deep_scrub_seconds\":null}}\n";
        assert!(lines.ends_with(wanted), "{lines}");
        let (_, lines) = told(&[HERE, (SCRUBS, Ok("[3]"))], true);
        assert!(lines.contains("pg dump pgs\t-22\t"), "{lines}");
    }

    const WITH_PAGE: [(&str, Result<&str, i32>); 2] = [
        (
            "status",
            Ok(
                "{\"mgrmap\":{\"available\":true,\"services\":{\"prometheus\":\"http://apex:9283/\"}}}",
            ),
        ),
        ("osd dump", Ok("{\"pools\":[{\"pool\":1,\"pool_name\":\"x\"}]}")),
    ];

    fn page_of(collected: &str, pool: &str) -> String {
        let count = "ceph_prometheus_collect_duration_seconds_count{method=\"get_df\"}";
        format!(
            "\nceph_pg_total{{pool_id=\"{pool}\"}} 8\n{count} {collected}\nceph_health_status 0\n"
        )
    }

    #[test]
    fn a_page_that_was_made_anew_takes_the_place_of_commands() {
        let fetch = |url: &str| {
            assert_eq!(url, "http://apex:9283/");
            Ok(page_of("19", "1"))
        };
        let of = |page| told_with(&WITH_PAGE, &question(false, page), &fetch);
        for page in [PageUse::Renewed(Some(18.0)), PageUse::Renewed(Some(300.0)), PageUse::Always] {
            let (asked, lines) = of(page);
            let line = lines.lines().find(|line| line.starts_with("page\t0\t\"")).unwrap();
            assert!(
                line.contains("ceph_pg_total") && !line.contains("ceph_health_status"),
                "{line}"
            );
            assert!(!asked.contains(&"osd perf") && !asked.contains(&"pg dump pools"), "{asked:?}");
            assert!(asked.contains(&"osd df") && asked.contains(&"pg dump pgs_brief"), "{asked:?}");
        }
        // The first is only remembered, and one that is the same as before is old.
        for page in [PageUse::Renewed(None), PageUse::Renewed(Some(19.0))] {
            let (asked, lines) = of(page);
            assert!(lines.contains("page left\t0\t19\n"), "{lines}");
            assert!(asked.contains(&"osd perf"), "{asked:?}");
        }
    }

    #[test]
    fn a_page_that_is_not_to_be_had_or_says_too_little_is_passed_over() {
        for (page, why) in [
            (Err("the manager's page at x: refused"), "the manager's page at x: refused"),
            (Ok(page_of("19", "2")), "the manager's page does not tell of all pools yet"),
            (Ok(page_of("", "1")), "the manager's page: failed to parse metrics"),
            (
                Ok("ceph_pg_total{pool_id=\"1\"} 8\n".to_owned()),
                "the manager's page does not say how often it was made",
            ),
        ] {
            let fetch = move |_: &str| page.clone().map_err(str::to_owned);
            let renewed = question(false, PageUse::Renewed(Some(18.0)));
            let (asked, lines) = told_with(&WITH_PAGE, &renewed, &fetch);
            assert!(lines.contains("page left\t-") && lines.contains(why), "{lines}");
            assert!(asked.contains(&"osd perf"), "{asked:?}");
        }
        let fetch = |_: &str| Err("refused".to_owned());
        let (asked, lines) = told_with(&WITH_PAGE, &question(false, PageUse::Always), &fetch);
        assert!(lines.contains("page\t-5\trefused\n"), "{lines}");
        assert!(!asked.contains(&"osd perf"), "what is not wanted is not asked: {asked:?}");
        let (_, lines) = told_with(&[HERE], &question(false, PageUse::Always), &fetch);
        assert!(lines.contains("page\t-5\tthe manager's prometheus module is off\n"), "{lines}");
    }

    #[test]
    fn nobody_fetches_a_page_of_a_manager_that_is_gone() {
        let gone = (
            "status",
            Ok("{\"mgrmap\":{\"available\":false,\"services\":{\"prometheus\":\"http://x/\"}}}"),
        );
        let fetch = |url: &str| panic!("{url}");
        told_with(&[gone], &question(false, PageUse::Always), &fetch);
    }

    #[test]
    fn separators() {
        assert!(is_separator(b"{\"fsid\":\"94eb40f1-c2a4-4bb7-ac8b-19ab984662ac\"}"));
        for line in ["{\"fsid\":\"94eb\",\"health\":{}}", "{}", "", "{\"fsid\":\"x\"}x"] {
            assert!(!is_separator(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn a_reply_has_as_many_lines_as_it_has() {
        let mut printed: &[u8] =
            b"\n{\"a\":\n[1]\n}\n{\"fsid\":\"94eb\"}\n\n{\"fsid\":\"94eb\"}\n{\"b\"";
        let reply = reply_of(&mut printed).unwrap().unwrap();
        assert_eq!(reply.trim_ascii(), b"{\"a\":\n[1]\n}");
        assert_eq!(reply_of(&mut printed).unwrap(), None, "refused");
        assert!(reply_of(&mut printed).is_err(), "it ended");
    }

    #[test]
    fn a_configuration_that_is_not_there_is_told() {
        let question = question(false, PageUse::Never);
        let mut out = Vec::new();
        read_cluster(&question, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("end\t0\t\n"), "{text}");
        assert!(text.starts_with("connect\t-") || text.starts_with("status\t-"), "{text}");
    }
}
