//! ZFS: the kernel's statistics (`/proc/spl/kstat/zfs`) and `zpool status`.
//!
//! Not here: which files there are, and what metrics are made of them.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_until};
use nom::character::complete::{alpha1, space1, u64 as digits};
use nom::combinator::{map, rest, value};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

use crate::ParseError;
use crate::proc::{fields, lines, number};

/// A value of a statistic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A number of any of the kernel's kinds.
    Number(f64),
    /// A word, such as the name of a dataset.
    Text(&'a str),
}

/// The kinds of value that the kernel notes by number.
const INTEGERS: [&[u8]; 4] = [b"1", b"2", b"3", b"4"];
const STRING: &[u8] = b"7";

/// Names and values of a file of named statistics: two lines of heading, then one line for each.
pub fn named(bytes: &[u8]) -> impl Iterator<Item = Result<(&str, Value<'_>), ParseError>> {
    lines(bytes).skip(2).filter_map(|(at, text)| {
        let line = String::from_utf8_lossy(text);
        let wrong = || ParseError::line("kstat", at, &line);
        let mut parts = fields(text);
        let (name, kind) = (parts.next(), parts.next());
        let (Some(name), Some(kind)) = (name.and_then(|name| std::str::from_utf8(name).ok()), kind)
        else {
            return Some(Err(wrong()));
        };
        if kind == STRING {
            // Names of datasets may have spaces within.
            let data = std::str::from_utf8(text).ok().and_then(|text| {
                let rest = text.get(name.len()..)?.trim_start().strip_prefix('7')?;
                Some(rest.trim())
            });
            return Some(data.map(|text| (name, Value::Text(text))).ok_or_else(wrong));
        }
        if !INTEGERS.contains(&kind) {
            return None;
        }
        let data = parts.next().and_then(|data| std::str::from_utf8(data).ok());
        // Some are signed: memory that may be used, by an ARC that has to shrink.
        let value = data.and_then(|data| data.parse::<i128>().ok());
        Some(value.map(|value| (name, Value::Number(value as f64))).ok_or_else(wrong))
    })
}

/// Names and numbers of a file of I/O statistics: a line of names and a line of numbers.
///
/// # Errors
/// Another number of lines, or not as many numbers as names.
pub fn io(bytes: &[u8]) -> Result<Vec<(&str, u64)>, ParseError> {
    let missing = ParseError::Missing { what: "io kstat", missing: "line of numbers" };
    let mut two = lines(bytes).skip(1);
    let (Some((_, names)), Some((at, numbers)), None) = (two.next(), two.next(), two.next()) else {
        return Err(missing);
    };
    let wrong = || ParseError::line("io kstat", at, &String::from_utf8_lossy(numbers));
    if fields(names).count() != fields(numbers).count() {
        return Err(wrong());
    }
    fields(names)
        .zip(fields(numbers))
        .map(|(name, value)| {
            let name = std::str::from_utf8(name).ok();
            name.zip(number(value)).ok_or_else(wrong)
        })
        .collect()
}

/// A pool as `zpool status -p` shows it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// The last scrub or resilver.
    pub scan: Option<Scan>,
    /// Whether it says that it was never scanned.
    pub never_scanned: bool,
    /// The pool and its devices, in the order shown.
    pub vdevs: Vec<Vdev>,
    /// Files and other data known to be damaged for good; absent when it does not say.
    pub data_errors: Option<u64>,
}

/// What goes over all data of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// It reads all and repairs what is wrong.
    Scrub,
    /// It fills a device that came in the place of another.
    Resilver,
}

/// How a scan is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanState {
    /// It came to its end.
    Finished,
    /// It was ended before.
    Canceled,
    /// It runs.
    Running,
    /// It waits for its owner.
    Paused,
}

/// A scrub or a resilver.
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    /// Which of them.
    pub function: Function,
    /// How it is doing.
    pub state: ScanState,
    /// What it could not repair; known when it is finished.
    pub errors: Option<u64>,
    /// When it ended, or else began, in seconds of the clock by which the text was made.
    pub at_s: Option<i64>,
    /// How much of it is done, from 0 to 1.
    pub done_ratio: Option<f64>,
}

/// A device of a pool, or a group of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vdev {
    /// What it is there for: `pool`, `data`, `logs`, `cache`, `spares`, `special`, `dedup`.
    pub role: &'static str,
    /// Its name.
    pub name: String,
    /// `ONLINE` and so on.
    pub state: String,
    /// Errors of reads, of writes and of checksums; absent where they are not counted.
    pub errors: Option<[u64; 3]>,
}

/// States of a device, by which the column is found: a name may have spaces within.
const STATES: [&str; 9] =
    ["ONLINE", "DEGRADED", "FAULTED", "OFFLINE", "REMOVED", "UNAVAIL", "AVAIL", "INUSE", "SPLIT"];

/// Headings of groups that hold no ordinary data.
const ROLES: [&str; 5] = ["logs", "cache", "spares", "special", "dedup"];

/// What `zpool status -p` printed.
///
/// # Errors
/// Text that begins with something else than a pool.
pub fn status(bytes: &[u8]) -> Result<Vec<Pool>, ParseError> {
    let text = String::from_utf8_lossy(bytes);
    let mut pools: Vec<Pool> = Vec::new();
    let mut role = "";
    let mut is_config = false;
    for (at, line) in text.lines().enumerate() {
        let wrong = || ParseError::line("zpool status", at + 1, line);
        if let Some((key, said)) = heading(line) {
            is_config = key == "config";
            if key == "pool" {
                pools.push(Pool { name: said.to_owned(), ..Pool::default() });
                role = "";
                continue;
            }
            let pool = pools.last_mut().ok_or_else(wrong)?;
            match key {
                "scan" => pool.take_scan(said),
                "errors" => pool.data_errors = data_errors(said),
                _ => {}
            }
        } else if line.trim().is_empty() || line.trim() == "no pools available" {
        } else if is_config {
            let pool = pools.last_mut().ok_or_else(wrong)?;
            pool.take_config(line, &mut role);
        } else if let Some(scan) = pools.last_mut().ok_or_else(wrong)?.scan.as_mut() {
            scan.done_ratio = scan.done_ratio.or_else(|| done_ratio(line));
        }
    }
    Ok(pools)
}

impl Pool {
    fn take_scan(&mut self, said: &str) {
        if said == "none requested" {
            self.never_scanned = true;
        } else if self.scan.is_none() {
            // Of what a newer version says in other words nothing is known.
            self.scan = scan(said).ok().map(|(_, scan)| scan);
        }
    }

    fn take_config(&mut self, line: &str, role: &mut &'static str) {
        let line = line.strip_prefix('\t').unwrap_or(line);
        let name = line.trim();
        if let Some(heading) = ROLES.into_iter().find(|role| *role == name) {
            *role = heading;
            return;
        }
        let fields: Vec<&str> = name.split_ascii_whitespace().collect();
        let Some(at) = fields.iter().skip(1).position(|field| STATES.contains(field)) else {
            return;
        };
        let name = fields.get(..=at).unwrap_or_default().join(" ");
        // The first row is the pool itself.
        let role = match *role {
            "" if self.vdevs.is_empty() => "pool",
            "" => "data",
            role => role,
        };
        let count = |n: usize| fields.get(at + 1 + n).and_then(|field| number(field.as_bytes()));
        let errors = match (count(1), count(2), count(3)) {
            (Some(read), Some(write), Some(checksum)) => Some([read, write, checksum]),
            _ => None,
        };
        let state = fields.get(at + 1).copied().unwrap_or_default().to_owned();
        self.vdevs.push(Vdev { role, name, state, errors });
    }
}

/// `  scan: none requested` gives both parts; what goes on from another line begins with a tab.
fn heading(line: &str) -> Option<(&str, &str)> {
    if line.starts_with('\t') {
        return None;
    }
    let (key, said) = line.trim_start().split_once(':')?;
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase());
    is_key.then(|| (key, said.trim()))
}

fn data_errors(said: &str) -> Option<u64> {
    if said == "No known data errors" {
        return Some(0);
    }
    number(said.strip_suffix(", use '-v' for a list")?.strip_suffix(" data errors")?.as_bytes())
}

/// `…, 45.67% done, 00:12:34 to go`.
fn done_ratio(line: &str) -> Option<f64> {
    let (before, _) = line.split_once("% done")?;
    let percent: f64 = before.rsplit(' ').next()?.parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

fn scan(said: &str) -> IResult<&str, Scan> {
    let scan =
        |function, state, errors, at_s| Scan { function, state, errors, at_s, done_ratio: None };
    let finished = (
        alt((
            value(Function::Scrub, tag("scrub repaired ")),
            value(Function::Resilver, tag("resilvered ")),
        )),
        delimited((take_until(" with "), tag(" with ")), digits, tag(" errors on ")),
        map(rest, date),
    );
    let function =
        || alt((value(Function::Scrub, tag("scrub")), value(Function::Resilver, tag("resilver"))));
    let other = (
        function(),
        preceded(
            // A resilver may name the group it fills.
            alt((terminated(take_until(") "), tag(")")), tag(""))),
            alt((
                value(ScanState::Running, tag(" in progress since ")),
                value(ScanState::Paused, tag(" paused since ")),
                value(ScanState::Canceled, tag(" canceled on ")),
            )),
        ),
        map(rest, date),
    );
    alt((
        map(finished, move |(function, errors, at_s)| {
            scan(function, ScanState::Finished, Some(errors), at_s)
        }),
        map(other, move |(function, state, at_s)| scan(function, state, None, at_s)),
    ))
    .parse(said)
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Sun Nov  9 00:24:03 2025` in seconds since 1970.
fn date(text: &str) -> Option<i64> {
    let parts = (
        terminated(alpha1, space1),
        terminated(alpha1, space1),
        terminated(digits, space1),
        terminated(digits, tag(":")),
        terminated(digits, tag(":")),
        terminated(digits, space1),
        digits::<_, nom::error::Error<&str>>,
    )
        .parse(text)
        .ok();
    let (_, (_, month, day, hour, minute, second, year)) = parts?;
    let month = MONTHS.iter().position(|name| *name == month)?;
    let [day, hour, minute, second, year] =
        [day, hour, minute, second, year].map(|part| i64::try_from(part).ok());
    let (day, hour, minute, second, year) = (day?, hour?, minute?, second?, year?);
    let is_date = (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !is_date || !(1970..10_000).contains(&year) {
        return None;
    }
    // Years begin with March, so that the odd day comes last.
    let from_march = (i64::try_from(month).ok()? + 10) % 12;
    let year = year - i64::from(month < 2);
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (from_march * 153 + 2) / 5 + day;
    Some((days - 719_469) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEGRADED: &str = "  pool: rpool\n state: ONLINE\n  scan: none requested\nconfig:\n\n\tNAME        STATE     READ WRITE CKSUM\n\trpool       ONLINE       0     0     0\n\t  nvme0n1p3 ONLINE       0     0     0\n\nerrors: No known data errors\n\n  pool: tank\n state: DEGRADED\nstatus: One or more devices could not be used because the label is missing or\n\tinvalid.  Sufficient replicas exist for the pool: it goes on.\naction: Replace the device using 'zpool replace'.\n   see: https://openzfs.github.io/openzfs-docs/msg/ZFS-8000-4J\n  scan: scrub repaired 4096 in 1 days 02:03:04 with 2 errors on Sun Nov  9 00:24:03 2025\nconfig:\n\n\tNAME                      STATE     READ WRITE CKSUM\n\ttank                      DEGRADED     0     0     0\n\t  mirror-0                DEGRADED     0     0     0\n\t    ata-my disk           ONLINE       3     1    12\n\t    12345678901234567890  UNAVAIL      0     0     0  was /dev/sdb1\n\tlogs\t\n\t  nvme1n1p1               ONLINE       0     0     0\n\tcache\n\t  nvme1n1p2               ONLINE       -     -     -\n\tspares\n\t  sdz                     AVAIL   \n\nerrors: 7 data errors, use '-v' for a list\n";

    #[test]
    fn pools_with_all_they_have() {
        let pools = status(DEGRADED.as_bytes()).unwrap();
        assert_eq!((pools[0].name.as_str(), pools[0].data_errors), ("rpool", Some(0)));
        assert!(pools[0].never_scanned && pools[0].scan.is_none());
        let tank = &pools[1];
        assert_eq!((tank.name.as_str(), tank.data_errors), ("tank", Some(7)));
        let scan = Scan {
            function: Function::Scrub,
            state: ScanState::Finished,
            errors: Some(2),
            at_s: Some(1_762_647_843),
            done_ratio: None,
        };
        assert_eq!(tank.scan, Some(scan));
        let rows: Vec<_> = tank
            .vdevs
            .iter()
            .map(|v| (v.role, v.name.as_str(), v.state.as_str(), v.errors))
            .collect();
        let expected = [
            ("pool", "tank", "DEGRADED", Some([0; 3])),
            ("data", "mirror-0", "DEGRADED", Some([0; 3])),
            ("data", "ata-my disk", "ONLINE", Some([3, 1, 12])),
            ("data", "12345678901234567890", "UNAVAIL", Some([0; 3])),
            ("logs", "nvme1n1p1", "ONLINE", Some([0; 3])),
            ("cache", "nvme1n1p2", "ONLINE", None),
            ("spares", "sdz", "AVAIL", None),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn scans_in_every_state() {
        let at = Some(1_762_647_843);
        for (said, function, state, errors) in [
            (
                "resilvered 1.5G in 00:01:02 with 0 errors on",
                Function::Resilver,
                ScanState::Finished,
                Some(0),
            ),
            (
                "resilvered (mirror-0) 1.5G in 00:01:02 with 0 errors on",
                Function::Resilver,
                ScanState::Finished,
                Some(0),
            ),
            (
                "scrub repaired 0 in 3h17m with 0 errors on",
                Function::Scrub,
                ScanState::Finished,
                Some(0),
            ),
            ("scrub canceled on", Function::Scrub, ScanState::Canceled, None),
            ("scrub paused since", Function::Scrub, ScanState::Paused, None),
            ("scrub in progress since", Function::Scrub, ScanState::Running, None),
            ("resilver in progress since", Function::Resilver, ScanState::Running, None),
            ("resilver (mirror-0) in progress since", Function::Resilver, ScanState::Running, None),
        ] {
            let text = format!(
                "  pool: a\n  scan: {said} Sun Nov  9 00:24:03 2025\n\t1.2T / 3T scanned at 1G/s, 1T issued at 1G/s\n\t0B repaired, 45.50% done, 00:12:34 to go\n"
            );
            let pools = status(text.as_bytes()).unwrap();
            let scan = pools[0].scan.clone().unwrap();
            assert_eq!(
                (scan.function, scan.state, scan.errors, scan.at_s),
                (function, state, errors, at)
            );
            assert_eq!(scan.done_ratio, Some(0.455), "{said}");
        }
        for said in [
            "",
            "scrub",
            "scrubbed 3 error blocks in 00:00:01",
            "scrub repaired 0 in 1 with x errors on",
        ] {
            let pools = status(format!("  pool: a\n  scan: {said}\n").as_bytes()).unwrap();
            assert_eq!(pools[0].scan, None, "{said}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (text, wanted) in [
            ("Thu Jan  1 00:00:00 1970", Some(0)),
            ("Thu Feb 29 12:00:00 2024", Some(1_709_208_000)),
            ("Fri Mar  1 00:00:00 2024", Some(1_709_251_200)),
            ("Wed Dec 31 23:59:59 2025", Some(1_767_225_599)),
            ("Wed Foo 31 23:59:59 2025", None),
            ("Wed Dec 31 24:59:59 2025", None),
            ("Wed Dec 31 23:59:59 99999999999999999999", None),
            ("", None),
        ] {
            assert_eq!(date(text), wanted, "{text}");
        }
    }

    #[test]
    fn text_that_is_no_status_is_refused() {
        assert_eq!(status(b"").unwrap(), []);
        assert_eq!(status(b"no pools available\n").unwrap(), []);
        for text in [&b"errors: none\n"[..], b"\ttank ONLINE\n", b"Permission denied\n"] {
            assert!(status(text).is_err(), "{text:?}");
        }
        // Cut anywhere, it is read as far as it goes or refused, and never more.
        for end in 0..DEGRADED.len() {
            if let Ok(pools) = status(DEGRADED.get(..end).unwrap_or_default().as_bytes()) {
                assert!(pools.len() <= 2);
            }
        }
    }

    #[test]
    fn statistics_of_the_kernel() {
        let text = b"13 1 0x01 3 4 5 6\nname                            type data\nhits                            4    8772612\nmemory_available_bytes          3    -62914560\ndataset_name                    7    rpool/data set\nold 0 x\n";
        let all: Vec<_> = named(text).map(Result::unwrap).collect();
        let expected = [
            ("hits", Value::Number(8_772_612.0)),
            ("memory_available_bytes", Value::Number(-62_914_560.0)),
            ("dataset_name", Value::Text("rpool/data set")),
        ];
        assert_eq!(all, expected);
        for line in ["hits", "hits 4", "hits 4 x", "\u{0}"] {
            let text = format!("a\nb\n{line}\n");
            assert!(named(text.as_bytes()).any(|line| line.is_err()), "{line}");
        }
        let text = b"12 3 0x00 1 80 1 2\nnread    nwritten\n1884160  3206144\n";
        assert_eq!(io(text).unwrap(), [("nread", 1_884_160), ("nwritten", 3_206_144)]);
        for text in [&b""[..], b"a\nb\n", b"a\nb c\n1\n", b"a\nb\nx\n", b"a\nb\n1\n2\n"] {
            assert!(io(text).is_err(), "{text:?}");
        }
    }
}
