//! What guests are called by their owners, out of the files of what runs them.
//!
//! Only root may read those of Docker and Podman. A file that cannot be had or makes no sense leaves the
//! guest with its id alone: what it uses is known all the same. The files may lie on a disk that
//! hangs, and those of Proxmox are served by a program, so all of them are waited for with patience;
//! when it is over, guests keep the names that they had.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use labstat_parse::guest::{self, Names};

use super::Guest;
use super::find::Kind;
use crate::host::Host;
use crate::options::Patience;

const DOCKER: &str = "/var/lib/docker/containers";
const PODMAN: &str = "/var/lib/containers/storage/overlay-containers/containers.json";
const PODS: &str = "/var/log/pods";

/// Files read at once: what Docker says of one container has some ten thousand bytes.
const FILES_MAX: usize = 16;

/// Gives `guests` the names that can be found; whether all were, which is `false` when something did
/// not answer.
pub(super) fn look_up(host: &dyn Host, patience: Patience, guests: &mut [Guest]) -> bool {
    let mut reader = Reader { host, until: Instant::now() + patience.0, all_answered: true };
    docker(&mut reader, guests);
    podman(&mut reader, guests);
    pods(&mut reader, guests);
    proxmox(&mut reader, guests);
    reader.all_answered
}

/// Reads while there is patience: a round cannot wait for each of them.
struct Reader<'a> {
    host: &'a dyn Host,
    until: Instant,
    all_answered: bool,
}

impl Reader<'_> {
    /// What is in files, in their order; nothing for one that does not answer, and an empty one for one
    /// that is not there or cannot be read.
    fn files(&mut self, paths: &[String]) -> Vec<Option<Vec<u8>>> {
        let files = self.host.read_all(paths, self.left());
        files.into_iter().map(|file| self.known(file)).collect()
    }

    /// The names in a folder, in the same way.
    fn names(&mut self, dir: &str) -> Option<Vec<String>> {
        let names = self.host.list_in_time(dir, self.left());
        self.known(names)
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    fn known<T: Default>(&mut self, answer: io::Result<T>) -> Option<T> {
        match answer {
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                self.all_answered = false;
                None
            }
            answer => Some(answer.unwrap_or_default()),
        }
    }
}

/// The guests of a kind.
fn of_kind(guests: &mut [Guest], kind: Kind) -> impl Iterator<Item = &mut Guest> {
    guests.iter_mut().filter(move |guest| guest.found.kind == kind)
}

fn docker(reader: &mut Reader<'_>, guests: &mut [Guest]) {
    let mut all: Vec<&mut Guest> = of_kind(guests, Kind::Docker).collect();
    for some in all.chunks_mut(FILES_MAX) {
        let path = |guest: &&mut Guest| format!("{DOCKER}/{}/config.v2.json", guest.found.id);
        let paths: Vec<String> = some.iter().map(path).collect();
        for (guest, bytes) in some.iter_mut().zip(reader.files(&paths)) {
            if let Some(bytes) = bytes {
                guest.names = guest::docker(&bytes).unwrap_or_default();
            }
        }
    }
}

fn podman(reader: &mut Reader<'_>, guests: &mut [Guest]) {
    let mut mine = of_kind(guests, Kind::Podman).peekable();
    if mine.peek().is_none() {
        return;
    }
    let Some(Some(bytes)) = reader.files(&[PODMAN.to_owned()]).pop() else { return };
    let all = guest::podman(&bytes).unwrap_or_default();
    for guest in mine {
        let names = all.iter().find(|(id, _)| *id == guest.found.id).map(|(_, names)| names);
        guest.names = names.cloned().unwrap_or_default();
    }
}

fn pods(reader: &mut Reader<'_>, guests: &mut [Guest]) {
    let mut mine = of_kind(guests, Kind::Pod).peekable();
    if mine.peek().is_none() {
        return;
    }
    let Some(folders) = reader.names(PODS) else { return };
    for guest in mine {
        let mut known = folders.iter().filter_map(|folder| guest::pod_folder(folder));
        let found = known.find(|(_, _, id)| *id == guest.found.id);
        guest.names = found.map_or_else(Names::default, |(namespace, name, _)| Names {
            name: Some(name.to_owned()),
            image: None,
            project: Some(namespace.to_owned()),
        });
    }
}

/// Virtual machines and containers that have a number instead of a name.
fn proxmox(reader: &mut Reader<'_>, guests: &mut [Guest]) {
    let folder = |guest: &Guest| match guest.found.kind {
        Kind::Qemu => Some(("qemu-server", "name")),
        Kind::Lxc => Some(("lxc", "hostname")),
        _ => None,
    };
    // A container whose last group still hangs has `-1` behind its number.
    let number = |guest: &Guest| {
        let id = guest.found.id.split('-').next().unwrap_or_default();
        id.bytes().all(|byte| byte.is_ascii_digit()).then(|| id.to_owned())
    };
    let mut numbered: Vec<(&mut Guest, &str, [String; 2])> = Vec::new();
    let mut node = None;
    for guest in guests {
        let (Some((folder, key)), Some(number)) = (folder(guest), number(guest)) else { continue };
        let node = node.get_or_insert_with(|| reader.host.uname().unwrap_or_default().nodename);
        let paths = [
            format!("/etc/pve/{folder}/{number}.conf"),
            format!("/etc/pve/nodes/{node}/{folder}/{number}.conf"),
        ];
        numbered.push((guest, key, paths));
    }
    let paths: Vec<String> = numbered.iter().flat_map(|(_, _, paths)| paths.clone()).collect();
    if paths.is_empty() {
        return;
    }
    let mut files = reader.files(&paths).into_iter();
    for (guest, key, _) in numbered {
        let bytes = match (files.next().flatten(), files.next().flatten()) {
            (Some(first), _) if !first.is_empty() => first,
            (Some(_), Some(second)) => second,
            _ => continue,
        };
        guest.names.name = guest::proxmox(&bytes, key);
    }
}
