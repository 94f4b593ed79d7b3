//! What guests are called: the files in which those who run them keep their names.
//!
//! Not here: which guests there are, which control groups say.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::ParseError;

/// What is known of a guest beside its number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// What its owner calls it.
    pub name: Option<String>,
    /// The image it was made of.
    pub image: Option<String>,
    /// What it is a part of: a Compose project, a Kubernetes namespace.
    pub project: Option<String>,
}

/// The label in which Compose notes the project.
const COMPOSE_PROJECT: &str = "com.docker.compose.project";

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(rename = "Name")]
    name: Option<String>,
    #[serde(rename = "Config")]
    config: Option<DockerInner>,
}

#[derive(Deserialize)]
struct DockerInner {
    #[serde(rename = "Image")]
    image: Option<String>,
    #[serde(rename = "Labels")]
    labels: Option<BTreeMap<String, String>>,
}

/// Docker's `config.v2.json` of a container.
///
/// # Errors
/// No JSON, or of another shape.
pub fn docker(bytes: &[u8]) -> Result<Names, ParseError> {
    let config: DockerConfig = serde_json::from_slice(bytes)
        .map_err(|cause| ParseError::Json { what: "config.v2.json", cause })?;
    let (image, labels) = config.config.map_or((None, None), |inner| (inner.image, inner.labels));
    let name = config.name.map(|name| name.trim_start_matches('/').to_owned());
    Ok(Names {
        name: said(name),
        image: said(image),
        project: said(labels.and_then(|mut labels| labels.remove(COMPOSE_PROJECT))),
    })
}

#[derive(Deserialize)]
struct PodmanContainer {
    id: String,
    names: Option<Vec<String>>,
    metadata: Option<String>,
}

#[derive(Deserialize)]
struct PodmanMetadata {
    #[serde(rename = "image-name")]
    image: Option<String>,
}

/// Podman's `containers.json`: ids and names of all containers of its storage.
///
/// # Errors
/// No JSON, or of another shape.
pub fn podman(bytes: &[u8]) -> Result<Vec<(String, Names)>, ParseError> {
    let all: Vec<PodmanContainer> = serde_json::from_slice(bytes)
        .map_err(|cause| ParseError::Json { what: "containers.json", cause })?;
    let names = |container: PodmanContainer| {
        let metadata = container.metadata.unwrap_or_default();
        let image = serde_json::from_str::<PodmanMetadata>(&metadata).ok().and_then(|m| m.image);
        let name = container.names.and_then(|names| names.into_iter().next());
        (container.id, Names { name: said(name), image: said(image), project: None })
    };
    Ok(all.into_iter().map(names).collect())
}

/// The value of `key` in Proxmox's configuration of a guest; what its snapshots had is not asked.
pub fn proxmox(bytes: &[u8], key: &str) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let current = text.lines().take_while(|line| !line.starts_with('['));
    let mut values = current.filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    said(values.next().map(|value| value.trim().to_owned()))
}

/// Namespace, name and id of a pod out of its folder's name below `/var/log/pods`.
pub fn pod_folder(name: &str) -> Option<(&str, &str, &str)> {
    let (namespace, rest) = name.split_once('_')?;
    let (pod, id) = rest.rsplit_once('_')?;
    [namespace, pod, id].iter().all(|part| !part.is_empty()).then_some((namespace, pod, id))
}

/// systemd's way to put any name into that of a unit, undone: `\x2d` is `-`.
pub fn unescaped(unit: &str) -> String {
    let mut bytes = Vec::with_capacity(unit.len());
    let mut rest = unit.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match tail {
            [b'x', high, low, after @ ..] if *first == b'\\' => {
                hex(*high).zip(hex(*low)).map(|(high, low)| (high * 16 + low, after))
            }
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((*first, tail));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// A word that is empty says nothing.
fn said(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_says_name_image_and_project() {
        let text = br#"{"StreamConfig":{},"ID":"ab","Name":"/web","Config":{"Image":"nginx:1.27","Labels":{"com.docker.compose.project":"blog"}}}"#;
        let names = docker(text).unwrap();
        assert_eq!(names.name.as_deref(), Some("web"));
        assert_eq!(names.image.as_deref(), Some("nginx:1.27"));
        assert_eq!(names.project.as_deref(), Some("blog"));
        assert_eq!(docker(b"{}").unwrap(), Names::default());
        assert_eq!(docker(br#"{"Name":"/","Config":{"Labels":null}}"#).unwrap(), Names::default());
        for broken in [&b""[..], b"{\"Name\":", b"[]x", b"{\"Name\":7}"] {
            assert!(docker(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn podman_says_names_of_all() {
        let text = br#"[{"id":"ab","names":["db"],"metadata":"{\"image-name\":\"docker.io/postgres:16\",\"name\":\"db\"}"},{"id":"cd","metadata":"{"}]"#;
        let all = podman(text).unwrap();
        assert_eq!(all[0].1.name.as_deref(), Some("db"));
        assert_eq!(all[0].1.image.as_deref(), Some("docker.io/postgres:16"));
        assert_eq!(all[1], ("cd".to_owned(), Names::default()));
        assert!(podman(b"[{}]").is_err());
    }

    #[test]
    fn proxmox_says_the_present_name_and_not_a_snapshots() {
        let text = b"#name: remark\nagent: 1\nname: nas\n\n[before]\nname: old\n";
        assert_eq!(proxmox(text, "name").as_deref(), Some("nas"));
        assert_eq!(proxmox(b"hostname: web\n", "hostname").as_deref(), Some("web"));
        for text in
            [&b""[..], b"[before]\nname: old\n", b"name:\n", b"name", b"names: x\n", b"\xff\n"]
        {
            assert_eq!(proxmox(text, "name"), None, "{text:?}");
        }
    }

    #[test]
    fn folders_of_pods_and_names_of_units() {
        let found = pod_folder("kube-system_coredns-5d78c9869d-x_0b1c").unwrap();
        assert_eq!(found, ("kube-system", "coredns-5d78c9869d-x", "0b1c"));
        for name in ["", "a", "a_b", "_b_c", "a__c", "a_b_"] {
            assert_eq!(pod_folder(name), None, "{name}");
        }
        assert_eq!(unescaped(r"qemu\x2d1\x2dnas"), "qemu-1-nas");
        assert_eq!(unescaped(r"a\x2"), r"a\x2");
        assert_eq!(unescaped(r"\xzz\\"), r"\xzz\\");
        assert_eq!(unescaped(r"\xff"), "\u{fffd}");
    }
}
