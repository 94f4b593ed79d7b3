//! What guests are called by their owners, out of the files of what runs them.
//!
//! Only root may read those of Docker and Podman. A file that cannot be had or makes no sense leaves the
//! guest with its id alone: what it uses is known all the same.

use std::time::Duration;

use labstat_parse::guest::{self, Names};

use super::Guest;
use super::find::Kind;
use crate::host::Host;

/// The folder of Proxmox is served by a program, which may not answer.
const PROXMOX_DEADLINE: Duration = Duration::from_secs(2);

const DOCKER: &str = "/var/lib/docker/containers";
const PODMAN: &str = "/var/lib/containers/storage/overlay-containers/containers.json";
const PODS: &str = "/var/log/pods";

/// Gives `guests` the names that can be found.
pub(super) fn look_up(host: &dyn Host, guests: &mut [Guest]) {
    docker(host, guests);
    podman(host, guests);
    pods(host, guests);
    proxmox(host, guests);
}

fn docker(host: &dyn Host, guests: &mut [Guest]) {
    for guest in guests.iter_mut().filter(|guest| guest.found.kind == Kind::Docker) {
        let path = format!("{DOCKER}/{}/config.v2.json", guest.found.id);
        let names = host.read(&path).ok().and_then(|bytes| guest::docker(&bytes).ok());
        guest.names = names.unwrap_or_default();
    }
}

fn podman(host: &dyn Host, guests: &mut [Guest]) {
    let mut found = None;
    for guest in guests.iter_mut().filter(|guest| guest.found.kind == Kind::Podman) {
        let all = found.get_or_insert_with(|| {
            let bytes = host.read(PODMAN).unwrap_or_default();
            guest::podman(&bytes).unwrap_or_default()
        });
        if let Some((_, names)) = all.iter().find(|(id, _)| *id == guest.found.id) {
            guest.names = names.clone();
        }
    }
}

fn pods(host: &dyn Host, guests: &mut [Guest]) {
    let mut found = None;
    for guest in guests.iter_mut().filter(|guest| guest.found.kind == Kind::Pod) {
        let folders = found.get_or_insert_with(|| host.list(PODS).unwrap_or_default());
        let mut known = folders.iter().filter_map(|folder| guest::pod_folder(folder));
        if let Some((namespace, name, _)) = known.find(|(_, _, id)| *id == guest.found.id) {
            let (name, project) = (Some(name.to_owned()), Some(namespace.to_owned()));
            guest.names = Names { name, image: None, project };
        }
    }
}

/// Virtual machines and containers that have a number instead of a name.
fn proxmox(host: &dyn Host, guests: &mut [Guest]) {
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
        let node = node.get_or_insert_with(|| host.uname().unwrap_or_default().nodename);
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
    let mut files = host.read_all(&paths, PROXMOX_DEADLINE).into_iter();
    for (guest, key, _) in numbered {
        let (first, second) = (files.next(), files.next());
        let bytes = [first, second].into_iter().flatten().find_map(Result::ok);
        guest.names.name = bytes.and_then(|bytes| guest::proxmox(&bytes, key));
    }
}
