//! The Ceph cluster as a whole: whether this node could read it, and with which key.

use labstat_agent::collect::collectors::ceph_cluster::Reach;

use super::{Advice, Tone, line};

/// What makes a key that may look and do nothing else.
const MAKE_KEY: &str = "ceph auth get-or-create client.labstat mon 'allow r' mgr 'allow r' \
                        -o /etc/ceph/ceph.client.labstat.keyring";

/// Each of them may lead one day, and then its node reads.
const WHERE_KEY: &str = "; the node of each monitor needs one";

/// What to do about it; nothing where this node will never read.
pub(super) fn advice(reach: Option<&Reach>) -> Option<Advice> {
    const WHAT: &str = "Ceph cluster";
    let reach = reach?;
    if let Some(failure) = &reach.failure {
        let cure = match failure.to_lowercase() {
            text if text.contains("installed") => "apt install librados2",
            text if text.contains("denied") => MAKE_KEY,
            _ => "ceph status; ceph health detail",
        };
        let mut found = match (reach.mon, reach.mgr) {
            (true, false) => format!("the monitors answer, and not the manager: {failure}"),
            _ => failure.clone(),
        };
        if cure == MAKE_KEY {
            found.push_str(WHERE_KEY);
        }
        return Some(line(WHAT, Tone::Warn, found, cure));
    }
    if !(reach.mon && reach.mgr) {
        let found = "the monitors answer, and no manager is at work";
        return Some(line(WHAT, Tone::Warn, found, "ceph health detail"));
    }
    if reach.is_admin {
        let found = format!(
            "read with the administrator's key; one that may look and change nothing, see no keys and no \
             data is enough{WHERE_KEY}"
        );
        return Some(line(WHAT, Tone::Plain, found, MAKE_KEY));
    }
    Some(line(WHAT, Tone::Good, format!("read as {}", reach.user), ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(failure: Option<&str>, mon: bool, mgr: bool, is_admin: bool) -> (Tone, String, String) {
        let user = if is_admin { "client.admin" } else { "client.labstat" }.to_owned();
        let failure = failure.map(str::to_owned);
        let advice = advice(Some(&Reach { user, is_admin, mon, mgr, failure })).unwrap();
        (advice.tone, advice.found, advice.cure)
    }

    #[test]
    fn a_key_is_advised_where_one_is_missing_or_is_too_good() {
        let (tone, found, cure) =
            told(Some("librados refused: Permission denied"), false, false, false);
        assert_eq!((tone, &*cure), (Tone::Warn, MAKE_KEY));
        assert!(found.ends_with("denied; the node of each monitor needs one"), "{found}");
        let (tone, found, cure) = told(None, true, true, true);
        assert_eq!((tone, &*cure), (Tone::Plain, MAKE_KEY));
        assert!(found.contains("administrator"), "{found}");
        let good = told(None, true, true, false);
        assert_eq!(good, (Tone::Good, "read as client.labstat".to_owned(), String::new()));
    }

    #[test]
    fn what_is_missing_is_named() {
        let (_, _, cure) =
            told(Some("neither librados2 nor ceph-common is installed"), false, false, true);
        assert_eq!(cure, "apt install librados2");
        let (_, found, _) = told(Some("osd df: Connection timed out"), true, false, true);
        assert_eq!(found, "the monitors answer, and not the manager: osd df: Connection timed out");
        let (tone, found, _) = told(None, true, false, false);
        assert!(tone == Tone::Warn && found.contains("no manager"), "{found}");
        assert!(advice(None).is_none());
    }
}
