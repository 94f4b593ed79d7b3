//! One reading of the cluster: what [`crate::host::read_cluster`] printed, parsed.
//!
//! Each line is one reply: the command, its error number (0 for none), and the JSON or the words that
//! came back, with tabs between. The last says that the reading is whole: where it is missing, a
//! command has hung, and what came before it is still good.

use std::collections::BTreeMap;

use labstat_model::error_chain;
use labstat_parse::ParseError;
use labstat_parse::ceph_cluster::daemons::{self, About, Filesystems, Mgrs, Quorum};
use labstat_parse::ceph_cluster::osds::{self, Latency, Leaf, OsdMap, Usage};
use labstat_parse::ceph_cluster::page::{self, Page};
use labstat_parse::ceph_cluster::pgs::{self, Oldest, Pg};
use labstat_parse::ceph_cluster::pools::{self, Df, Figures, Objects};
use labstat_parse::ceph_cluster::status::{self, Status};

use crate::host::{COMMANDS, CONNECT, END, Of, PAGE, PAGE_LEFT, SCRUBS};

/// Characters kept of one failure: enough for a sentence, too little to fill a log.
const REASON_LEN_MAX: usize = 200;

/// What the cluster said; absent where it did not, or not to be understood.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) status: Option<Status>,
    pub(super) quorum: Option<Quorum>,
    pub(super) mons: Option<Vec<About>>,
    pub(super) mgrs: Option<Mgrs>,
    pub(super) mgrs_about: Option<Vec<About>>,
    pub(super) map: Option<OsdMap>,
    pub(super) tree: Option<Vec<Leaf>>,
    pub(super) osds_about: Option<Vec<osds::About>>,
    pub(super) df: Option<Df>,
    pub(super) filesystems: Option<Filesystems>,
    pub(super) mds_about: Option<Vec<About>>,
    pub(super) usage: Option<Vec<Usage>>,
    pub(super) latency: Option<Vec<Latency>>,
    pub(super) rates: Option<BTreeMap<i64, Figures>>,
    pub(super) objects: Option<BTreeMap<i64, Objects>>,
    pub(super) pgs: Option<Vec<Pg>>,
    pub(super) crashes: Option<BTreeMap<String, u64>>,
    pub(super) scrubs: Option<BTreeMap<i64, Oldest>>,
    /// What takes the place of commands to the manager.
    pub(super) page: Option<Page>,
    /// How often the manager had made its page, where that was passed over.
    pub(super) page_collected: Option<f64>,
    /// What was wrong with it then.
    pub(super) page_fault: Option<String>,
    mon: Asked,
    mgr: Asked,
    is_whole: bool,
    failure: Option<String>,
}

/// How the commands of one kind fared.
#[derive(Debug, Default)]
struct Asked {
    answered: usize,
    failed: usize,
    /// Some had no answer in their time: more than a refusal.
    hung: bool,
}

impl Asked {
    fn is_good(&self) -> bool {
        self.answered > 0 && self.failed == 0
    }
}

impl Reading {
    /// Reads what was printed.
    pub(super) fn of(printed: &[u8]) -> Self {
        let mut reading = Self::default();
        for line in printed.split(|byte| *byte == b'\n') {
            reading.take(line);
        }
        if !reading.is_whole {
            reading.note_failure("a command has no end");
        }
        reading
    }

    /// One that could not even be begun.
    pub(super) fn failed(reason: &str) -> Self {
        let mut reading = Self::default();
        reading.note_failure(reason);
        reading
    }

    /// Whether the monitors answered all that was asked of them.
    pub(super) fn mon_is_good(&self) -> bool {
        let is_through = self.mgr.answered + self.mgr.failed > 0 || self.has_last_of_mon();
        self.mon.is_good() && (self.is_whole || is_through)
    }

    /// Whether the last of what monitors are asked was answered: what hangs then is the manager.
    fn has_last_of_mon(&self) -> bool {
        let has_filesystems = self.status.as_ref().is_none_or(|status| status.has_filesystems);
        self.df.is_some() && (!has_filesystems || self.mds_about.is_some())
    }

    /// Whether the manager answered all that was asked of it.
    pub(super) fn mgr_is_good(&self) -> bool {
        self.mgr_answers() && self.mgr.is_good() && self.is_whole
    }

    /// Whether a manager is at work: what the monitors say of usage and placement groups are its last
    /// words otherwise, and nobody knows how old.
    pub(super) fn mgr_answers(&self) -> bool {
        let available = self.status.as_ref().is_some_and(|s| s.mgr_available != Some(false));
        // A refusal is an answer, too.
        available && self.mgr.answered + self.mgr.failed > 0 && !self.mgr.hung
    }

    /// Takes a page for a failure of the manager's.
    pub(super) fn refuse_page(&mut self, why: &str) {
        self.page = None;
        self.mgr.failed += 1;
        self.note_failure(why);
    }

    /// The first thing that went wrong.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    fn take(&mut self, line: &[u8]) {
        let Ok(line) = std::str::from_utf8(line) else {
            return self.note_failure("a reply is not UTF-8");
        };
        let mut parts = line.splitn(3, '\t');
        let (Some(command), Some(code), Some(body)) = (parts.next(), parts.next(), parts.next())
        else {
            return;
        };
        let code = code.parse::<i32>().unwrap_or(-1);
        match command {
            END => self.is_whole = true,
            CONNECT => self.note_failure(body),
            PAGE if code != 0 => self.refuse_page(body),
            PAGE => match read_page(body) {
                Ok(page) => self.page = Some(page),
                Err(error) => self.refuse_page(&error_chain(&error)),
            },
            PAGE_LEFT if code != 0 => self.page_fault = Some(shortened(body)),
            PAGE_LEFT => self.page_collected = body.parse().ok(),
            _ => {
                let Some(known) = COMMANDS.iter().find(|known| known.name == command) else {
                    return;
                };
                let result = if code == 0 { self.parse(command, body) } else { Ok(()) };
                let asked = match known.of {
                    Of::Mon => &mut self.mon,
                    Of::Mgr => &mut self.mgr,
                };
                if code == 0 && result.is_ok() {
                    asked.answered += 1;
                    return;
                }
                asked.failed += 1;
                // The longest of replies may take longer than any other, and that alone says little.
                let is_telling = command != SCRUBS || asked.answered == 0;
                let timed_out = code == -rustix::io::Errno::TIMEDOUT.raw_os_error();
                asked.hung |= timed_out && is_telling;
                let why = result.err().map_or_else(|| body.to_owned(), |error| error_chain(&error));
                self.note_failure(&format!("{command}: {why}"));
            }
        }
    }

    fn parse(&mut self, command: &str, body: &str) -> Result<(), ParseError> {
        match command {
            "status" => self.status = Some(status::status(body)?),
            "quorum_status" => self.quorum = Some(daemons::quorum_status(body)?),
            "mon metadata" => self.mons = Some(daemons::metadata(body)?),
            "mgr dump" => self.mgrs = Some(daemons::mgr_dump(body)?),
            "mgr metadata" => self.mgrs_about = Some(daemons::metadata(body)?),
            "osd dump" => self.map = Some(osds::dump(body)?),
            "osd tree" => self.tree = Some(osds::tree(body)?),
            "osd metadata" => self.osds_about = Some(osds::metadata(body)?),
            "df detail" => self.df = Some(pools::df(body)?),
            "fs dump" => self.filesystems = Some(daemons::fs_dump(body)?),
            "mds metadata" => self.mds_about = Some(daemons::metadata(body)?),
            "osd df" => self.usage = Some(osds::df(body)?),
            "osd perf" => self.latency = Some(osds::perf(body)?),
            "osd pool stats" => self.rates = Some(pools::rates(body)?),
            "pg dump pools" => self.objects = Some(pools::objects(body)?),
            "pg dump pgs_brief" => self.pgs = Some(pgs::brief(body)?),
            "crash ls-new" => self.crashes = Some(daemons::crashes(body)?),
            SCRUBS => self.scrubs = Some(pgs::oldest_scrubs_kept(body)?),
            _ => {}
        }
        Ok(())
    }

    fn note_failure(&mut self, reason: &str) {
        self.failure.get_or_insert_with(|| shortened(reason));
    }
}

fn shortened(reason: &str) -> String {
    reason.chars().take(REASON_LEN_MAX).collect()
}

/// Reads the line of a page.
fn read_page(body: &str) -> Result<Page, ParseError> {
    let what = "the manager's page";
    let kept: String =
        serde_json::from_str(body).map_err(|cause| ParseError::Json { what, cause })?;
    page::read(&kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "status\t0\t{\"mgrmap\":{\"available\":true}}\n";

    fn of(text: &str) -> Reading {
        Reading::of(text.as_bytes())
    }

    #[test]
    fn a_whole_reading_of_both() {
        let reading = of(&format!("{STATUS}crash ls-new\t0\t[]\nend\t0\t\n"));
        assert!(reading.mon_is_good() && reading.mgr_is_good() && reading.mgr_answers());
        assert_eq!(reading.failure(), None);
        assert!(reading.crashes.is_some() && reading.pgs.is_none());
    }

    #[test]
    fn what_came_before_a_hang_is_kept_and_the_hang_is_told() {
        let reading = of(&format!("{STATUS}osd perf\t-110\tConnection timed out\nend\t0\t\n"));
        assert!(reading.mon_is_good());
        assert!(!reading.mgr_is_good() && !reading.mgr_answers());
        assert_eq!(reading.failure(), Some("osd perf: Connection timed out"));
        let cut = of(&format!("{STATUS}osd perf\t0\t{{}}\nosd d"));
        assert!(cut.mon_is_good() && cut.mgr_answers() && !cut.mgr_is_good());
        let early = of(STATUS);
        assert!(!early.mon_is_good(), "who knows what else would have been asked");
        let all = of(&format!("{STATUS}df detail\t0\t{{\"pools\":[]}}\n"));
        assert!(all.mon_is_good() && !all.mgr_is_good() && !all.mgr_answers());
    }

    #[test]
    fn a_refusal_costs_what_was_refused() {
        let reading =
            of(&format!("{STATUS}osd df\t-13\taccess denied\ncrash ls-new\t0\t[]\nend\t0\t\n"));
        assert!(reading.mon_is_good() && !reading.mgr_is_good());
        assert!(reading.mgr_answers(), "it is there, and speaks");
        let refused = of(&format!("{STATUS}osd df\t-13\taccess denied\nend\t0\t\n"));
        assert!(
            refused.mgr_answers() && !refused.mgr_is_good(),
            "what it counts is no older for that"
        );
    }

    #[test]
    fn a_dump_of_scrubs_that_takes_too_long_costs_nothing_else() {
        let slow = "pg dump pgs\t-110\tConnection timed out\nend\t0\t\n";
        let reading = of(&format!("{STATUS}crash ls-new\t0\t[]\n{slow}"));
        assert!(reading.mgr_answers() && !reading.mgr_is_good());
        assert_eq!(reading.failure(), Some("pg dump pgs: Connection timed out"));
        assert!(!of(&format!("{STATUS}{slow}")).mgr_answers(), "nothing else was answered");
    }

    #[test]
    fn without_a_manager_its_last_words_are_not_news() {
        let reading = of("status\t0\t{\"mgrmap\":{\"available\":false}}\nend\t0\t\n");
        assert!(reading.mon_is_good() && !reading.mgr_answers() && !reading.mgr_is_good());
    }

    #[test]
    fn a_page_in_place_of_commands() {
        let page = r#""ceph_pg_total{pool_id=\"1\"} 8\n""#;
        let with = |line: &str| of(&format!("{STATUS}{line}\ncrash ls-new\t0\t[]\nend\t0\t\n"));
        let reading = with(&format!("page\t0\t{page}"));
        assert_eq!(reading.page.as_ref().map(|page| page.samples().count()), Some(1));
        assert!(reading.mgr_is_good() && reading.failure().is_none());
        for line in ["page\t-5\tno page", "page\t0\tno JSON", "page\t0\t\"x\""] {
            let reading = with(line);
            assert!(reading.page.is_none() && !reading.mgr_is_good(), "{line}");
            assert!(reading.mgr_answers() && reading.failure().is_some(), "{line}");
        }
        let left = with("page left\t0\t19");
        assert_eq!((left.page_collected, left.mgr_is_good()), (Some(19.0), true));
        let fault = with("page left\t-5\trefused");
        assert_eq!(fault.page_fault.as_deref(), Some("refused"));
        assert!(fault.mgr_is_good() && fault.failure().is_none());
    }

    #[test]
    fn nothing_at_all() {
        for text in ["", "connect\t-13\tPermission denied\nend\t0\t\n", "x\ty\n", "status\t0\t[\n"]
        {
            let reading = of(text);
            assert!(!reading.mon_is_good() && !reading.mgr_is_good(), "{text}");
            assert!(reading.failure().is_some(), "{text}");
        }
        let denied = of("connect\t-13\tPermission denied\nend\t0\t\n");
        assert_eq!(denied.failure(), Some("Permission denied"));
        assert!(!Reading::of(b"\xff\t0\t{}").mon_is_good());
    }
}
