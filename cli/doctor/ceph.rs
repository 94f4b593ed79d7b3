//! Ceph: whether its daemons here can be asked, and who may not.

use std::io::{self, ErrorKind};

use labstat_agent::collect::collectors::ceph;
use labstat_agent::collect::{Host, Options};

use super::{Advice, Tone, line, view};

/// What is found of Ceph on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Daemons that have a socket, and why one does not answer there.
    daemons: Vec<(String, Option<ErrorKind>)>,
    /// Why the sockets could not be looked for.
    problem: Option<ErrorKind>,
    /// Whether Ceph has a configuration here.
    is_configured: bool,
}

pub(super) fn look(host: &dyn Host, options: &Options) -> Found {
    let conf = options.ceph.conf.as_deref().unwrap_or("/etc/ceph/ceph.conf");
    let is_configured = host.read(conf).is_ok();
    match ceph::daemons(host, &options.ceph) {
        Ok(daemons) => {
            let kind = |answer: io::Result<()>| answer.err().map(|error| error.kind());
            let daemons = daemons.into_iter().map(|(name, answer)| (name, kind(answer)));
            Found { daemons: daemons.collect(), problem: None, is_configured }
        }
        Err(error) => Found { daemons: Vec::new(), problem: Some(error.kind()), is_configured },
    }
}

pub(super) fn advice(found: &Found) -> Option<Advice> {
    let what = "Ceph";
    let as_who = "run the agent as root, or as the user ceph";
    let of = |wanted: fn(ErrorKind) -> bool| {
        let daemons = found.daemons.iter().filter(move |(_, error)| error.is_some_and(wanted));
        daemons.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    };
    if let Some(problem) = found.problem {
        let cure = if problem == ErrorKind::PermissionDenied { as_who } else { "" };
        return Some(line(what, Tone::Warn, format!("its admin sockets: {problem}"), cure));
    }
    let forbidden = of(|error| error == ErrorKind::PermissionDenied);
    if !forbidden.is_empty() {
        // Being in the group ceph is not enough: to connect takes the right to write.
        return Some(line(what, Tone::Warn, format!("no right to ask {forbidden}"), as_who));
    }
    let silent = of(|_| true);
    if !silent.is_empty() {
        let found = format!("no answer on the admin socket of {silent}");
        return Some(line(what, Tone::Warn, found, "see systemctl status 'ceph*'; restart them"));
    }
    match (found.daemons.len(), found.is_configured) {
        (0, false) => None,
        (0, true) => Some(line(what, Tone::Plain, "configured, no daemon runs here", "")),
        (daemons, _) => {
            Some(line(what, Tone::Good, format!("{} asked", view::count(daemons, "daemon")), ""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(errors: &[Option<ErrorKind>]) -> Found {
        let name = |(n, error): (usize, &Option<ErrorKind>)| (format!("osd.{n}"), *error);
        Found { daemons: errors.iter().enumerate().map(name).collect(), ..Found::default() }
    }

    #[test]
    fn nothing_is_said_where_there_is_no_ceph() {
        assert_eq!(advice(&Found::default()), None);
        let client = Found { is_configured: true, ..Found::default() };
        assert_eq!(advice(&client).unwrap().tone, Tone::Plain);
    }

    #[test]
    fn each_daemon_that_is_not_asked_is_named() {
        let good = advice(&with(&[None, None])).unwrap();
        assert_eq!((good.tone, good.found.as_str()), (Tone::Good, "2 daemons asked"));
        let denied = Some(ErrorKind::PermissionDenied);
        let forbidden = advice(&with(&[None, denied, Some(ErrorKind::TimedOut)])).unwrap();
        assert_eq!(forbidden.found, "no right to ask osd.1");
        assert!(forbidden.cure.contains("root") && forbidden.tone == Tone::Warn);
        let refused = Some(ErrorKind::ConnectionRefused);
        let silent = advice(&with(&[refused, None, Some(ErrorKind::TimedOut)])).unwrap();
        assert_eq!(silent.found, "no answer on the admin socket of osd.0, osd.2");
        let folder = Found { problem: denied, ..Found::default() };
        let folder = advice(&folder).unwrap();
        assert!(folder.found.contains("permission denied") && folder.cure.contains("root"));
    }
}
