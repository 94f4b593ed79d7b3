//! Which daemons of Ceph run on this node, by the names of their admin sockets.

use std::io;

use crate::collector::is_absent;
use crate::host::Host;
use crate::options;

/// The folder that Ceph puts its sockets into where nobody says otherwise.
const RUN_DIR: &str = "/var/run/ceph";

/// Where Rook has that folder of its containers on the node.
const ROOK_DIR: &str = "/var/lib/rook/exporter";

/// The configuration that Ceph reads where nobody says otherwise.
const CONF: &str = "/etc/ceph/ceph.conf";

/// What a daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Osd,
    Mon,
    Mgr,
    Mds,
    Rgw,
    RbdMirror,
}

/// How daemons of each kind begin: in the names of sockets.
const KINDS: [(&str, Kind); 7] = [
    ("osd.", Kind::Osd),
    ("mon.", Kind::Mon),
    ("mgr.", Kind::Mgr),
    ("mds.", Kind::Mds),
    ("client.rgw.", Kind::Rgw),
    ("client.radosgw.", Kind::Rgw),
    ("client.rbd-mirror.", Kind::RbdMirror),
];

/// A daemon that has a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Daemon {
    /// As Ceph calls it: `osd.3`, `mon.a`, `rgw.lab.apex.xyzabc`.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) socket: String,
}

impl Daemon {
    /// What RGW's counters have besides, by which Ceph's dashboards find its name: the last part of
    /// it, which is chosen at random by cephadm.
    pub(super) fn instance_id(&self) -> Option<&str> {
        let id = || self.name.rsplit('.').next();
        (self.kind == Kind::Rgw).then(id).flatten()
    }
}

/// The daemons that have a socket on this node, in the order of their folders and names. Where daemons
/// run in containers, the sockets lie one folder deeper, in one named by the cluster's id. Of two
/// daemons of one name, in two clusters, only the first is taken: their samples could not be told apart.
///
/// # Errors
/// That of a folder that is there and cannot be read, when no other had any;
/// [`NotFound`](io::ErrorKind::NotFound) when there is none.
pub(super) fn daemons(host: &dyn Host, options: &options::Ceph) -> io::Result<Vec<Daemon>> {
    let mut found: Vec<Daemon> = Vec::new();
    let mut failure = None;
    let mut is_there = false;
    for dir in dirs(host, options) {
        let names = match host.list(&dir) {
            Ok(names) => names,
            Err(error) if is_absent(&error) => continue,
            Err(error) => {
                failure = failure.or(Some(error));
                continue;
            }
        };
        is_there = true;
        add(host, &dir, &names, &mut found);
        for cluster in names.iter().filter(|name| is_cluster_id(name)) {
            let dir = format!("{dir}/{cluster}");
            match host.list(&dir) {
                Ok(names) => add(host, &dir, &names, &mut found),
                // A cluster that was taken away since.
                Err(error) if is_absent(&error) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
    }
    match failure {
        Some(error) if found.is_empty() => Err(error),
        None if !is_there => Err(io::ErrorKind::NotFound.into()),
        _ => Ok(found),
    }
}

/// Adds the daemons of one folder that are not known yet. One that was started anew may have left a
/// socket of another name behind: the newest counts.
fn add(host: &dyn Host, dir: &str, names: &[String], found: &mut Vec<Daemon>) {
    let known = found.len();
    for file in names {
        let Some((name, kind)) = daemon(file) else { continue };
        let socket = format!("{dir}/{file}");
        match found.iter_mut().position(|daemon| daemon.name == name) {
            None => found.push(Daemon { name, kind, socket }),
            Some(at) if at >= known => {
                let modified = |path: &str| host.stamp(path).map_or(i64::MIN, |it| it.modified_ns);
                if let Some(daemon) = found.get_mut(at)
                    && modified(&socket) > modified(&daemon.socket)
                {
                    daemon.socket = socket;
                }
            }
            Some(_) => {}
        }
    }
}

/// The folders to look into.
fn dirs(host: &dyn Host, options: &options::Ceph) -> Vec<String> {
    let mut dirs = vec![options.run_dir.clone()];
    let conf = host.text(options.conf.as_deref().unwrap_or(CONF)).unwrap_or_default();
    dirs.extend(socket_dirs(&conf));
    if options.run_dir == RUN_DIR {
        dirs.push(ROOK_DIR.to_owned());
    }
    let mut seen = Vec::new();
    dirs.retain(|dir| {
        let is_new = !seen.contains(dir);
        seen.push(dir.clone());
        is_new
    });
    dirs
}

/// A UUID, as clusters have one.
fn is_cluster_id(name: &str) -> bool {
    let is_hex = name.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_hex && name.split('-').map(str::len).eq([8, 4, 4, 4, 12])
}

/// `ceph-osd.3.asok` gives `osd.3`, and so does `osd.3.asok`: what stands before is the name of
/// the cluster, if it is there at all. Clients have sockets too, and come and go; those that are
/// daemons for others count, without the numbers of process and context that follow their names.
fn daemon(file: &str) -> Option<(String, Kind)> {
    let stem = file.strip_suffix(".asok")?;
    let is_client = stem.contains("client.");
    let starts = stem.match_indices('-').map(|(at, _)| at + 1);
    let (rest, kind) = std::iter::once(0).chain(starts).find_map(|at| {
        let rest = stem.get(at..)?;
        let of_kind = |(begin, _): &&(&str, Kind)| {
            rest.starts_with(begin) && begin.starts_with("client.") == is_client
        };
        KINDS.iter().find(of_kind).map(|(_, kind)| (rest, *kind))
    })?;
    let Some(name) = rest.strip_prefix("client.") else {
        return Some((rest.to_owned(), kind));
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts: Vec<&str> = name.split('.').collect();
    if let [_, _, .., process, context] = parts.as_slice()
        && is_number(process)
        && is_number(context)
    {
        parts.truncate(parts.len() - 2);
    }
    Some((parts.join("."), kind))
}

/// The folders of all `admin socket = …` in a configuration file, but for those that vary by daemon.
fn socket_dirs(conf: &str) -> Vec<String> {
    let settings = conf.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        let value = value.split(['#', ';']).next().unwrap_or_default();
        Some((key.trim().replace(['_', '-'], " "), value.trim().trim_matches('"')))
    });
    let all: Vec<(String, &str)> = settings.collect();
    let of = |wanted: &'static str| all.iter().filter(move |(key, _)| key == wanted);
    let run_dir = of("run dir").next_back().map_or(RUN_DIR, |(_, value)| value);
    let mut dirs = Vec::new();
    for (_, socket) in of("admin socket") {
        let socket = socket.replace("$run_dir", run_dir);
        let Some((dir, _)) = socket.rsplit_once('/') else { continue };
        if dir.starts_with('/') && !dir.contains('$') && !dirs.iter().any(|known| known == dir) {
            dirs.push(dir.to_owned());
        }
    }
    dirs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_daemons() {
        let name = |file| daemon(file).map(|(name, _)| name);
        for (file, wanted) in [
            ("ceph-osd.3.asok", "osd.3"),
            ("lab-mon.a.asok", "mon.a"),
            ("my-lab-osd.3.asok", "osd.3"),
            ("mgr.x.asok", "mgr.x"),
            ("ceph-mon.pve-1.asok", "mon.pve-1"),
            ("ceph-mds.lab.apex.abc.asok", "mds.lab.apex.abc"),
            ("ceph-client.rgw.apex.1234.94739968030880.asok", "rgw.apex"),
            ("ceph-client.rgw.lab.apex.hrgsea.2.94739968030880.asok", "rgw.lab.apex.hrgsea"),
            ("ceph-client.rgw.apex.asok", "rgw.apex"),
            ("ceph-client.radosgw.gateway.12.94.asok", "radosgw.gateway"),
            ("ceph-client.rbd-mirror.apex.12.94.asok", "rbd-mirror.apex"),
            ("lab-client.rgw.a-mon.b.12.94.asok", "rgw.a-mon.b"),
        ] {
            assert_eq!(name(file).as_deref(), Some(wanted), "{file}");
        }
        for file in [
            "ceph-client.mon-osd.12.94.asok",
            "ceph-client.admin.12.94.asok",
            "ceph-client.ceph-exporter.apex.asok",
            "ceph-client.rbd-mirror-peer.12.94.asok",
            "ceph-osd.3.pid",
            "ceph.asok",
        ] {
            assert_eq!(name(file), None, "{file}");
        }
    }

    #[test]
    fn gateways_have_an_id_besides() {
        let daemon = |file: &str| {
            let (name, kind) = daemon(file).unwrap();
            Daemon { name, kind, socket: String::new() }
        };
        let rgw = daemon("ceph-client.rgw.lab.apex.hrgsea.2.947.asok");
        assert_eq!(rgw.instance_id(), Some("hrgsea"));
        assert_eq!(daemon("ceph-osd.3.asok").instance_id(), None);
    }

    #[test]
    fn clusters_have_folders_of_their_own() {
        assert!(is_cluster_id("9ba41170-4bf7-4b52-aa4d-bd8a54de93e3"));
        for name in
            ["9ba41170-4bf7-4b52-aa4d", "osd.1.asok", "", "xba41170-4bf7-4b52-aa4d-bd8a54de93e3"]
        {
            assert!(!is_cluster_id(name), "{name}");
        }
    }

    #[test]
    fn the_folders_of_a_configuration() {
        let conf = "[global]\nfsid = x\nrun dir = /tmp/r\n[osd]\n\
                    admin_socket = /tmp/run/$cluster-$name.asok ; x\n\
                    [client]\nadmin socket = /var/run/ceph/guests/$cluster-$type.$id.$pid.asok\n\
                    [mon]\nadmin-socket = \"$run_dir/$name.asok\"\n[mds]\nadmin socket = /run/$name/x.asok\n";
        assert_eq!(socket_dirs(conf), ["/tmp/run", "/var/run/ceph/guests", "/tmp/r"]);
        assert_eq!(socket_dirs("admin socket = $run_dir/x.asok"), [RUN_DIR]);
        assert!(socket_dirs("fsid = x\nadmin socket =\nadmin socket").is_empty());
    }
}
