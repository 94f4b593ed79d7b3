//! What `systemctl show` prints: blocks of keys and values, one for each unit.

/// A unit, as far as it was asked for; what systemd does not say is empty or absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unit<'a> {
    /// Its name, such as `ssh.service`.
    pub name: &'a str,
    /// Whether it is loaded, and not masked or gone.
    pub is_loaded: bool,
    /// `active`, `inactive`, `failed` and so on.
    pub state: &'a str,
    /// The type of a service, such as `simple`.
    pub kind: &'a str,
    /// How often a service was started again by itself.
    pub restarts: Option<u64>,
    /// Connections that a socket has taken.
    pub accepted: Option<u64>,
    /// Connections that it has.
    pub connections: Option<u64>,
    /// Connections that it has refused.
    pub refused: Option<u64>,
}

/// The properties that are read, as `systemctl show --property=` takes them.
pub const PROPERTIES: &str =
    "Id,LoadState,ActiveState,Type,NRestarts,NAccepted,NConnections,NRefused";

/// The units in the order of the text. Keys that are not known are passed over, and so are blocks
/// without a name and a state: a text that is cut off has no unit that was not whole.
pub fn units(text: &str) -> impl Iterator<Item = Unit<'_>> {
    text.split_inclusive("\n\n").filter_map(unit)
}

fn unit(block: &str) -> Option<Unit<'_>> {
    let mut unit = Unit::default();
    for line in block.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        match key {
            "Id" => unit.name = value,
            "LoadState" => unit.is_loaded = value == "loaded",
            "ActiveState" => unit.state = value,
            "Type" => unit.kind = value,
            "NRestarts" => unit.restarts = value.parse().ok(),
            "NAccepted" => unit.accepted = value.parse().ok(),
            "NConnections" => unit.connections = value.parse().ok(),
            "NRefused" => unit.refused = value.parse().ok(),
            _ => {}
        }
    }
    (!unit.name.is_empty() && !unit.state.is_empty()).then_some(unit)
}

/// The value of a property of the manager.
pub fn property<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_units() {
        let text = "Type=notify\nNRestarts=3\nId=ssh.service\nLoadState=loaded\nActiveState=active\n\n\
                    NAccepted=7\nNConnections=1\nNRefused=0\nId=x.socket\nLoadState=masked\nActiveState=inactive\n\n\
                    NRestarts=many\nId=odd.service\nActiveState=failed\n\nId=cut";
        let all: Vec<_> = units(text).collect();
        assert_eq!(all.len(), 3, "{all:?}");
        assert_eq!((all[0].name, all[0].kind, all[0].restarts), ("ssh.service", "notify", Some(3)));
        assert!(all[0].is_loaded && !all[1].is_loaded);
        assert_eq!(
            (all[1].accepted, all[1].connections, all[1].refused),
            (Some(7), Some(1), Some(0))
        );
        assert_eq!((all[2].state, all[2].restarts), ("failed", None));
        assert_eq!(units("").count(), 0);
        assert_eq!(units("=\n\nnonsense\n\n").count(), 0);
    }

    #[test]
    fn properties_of_the_manager() {
        let text = "Version=252.39-1~deb12u2\nSystemState=degraded\nVersionX=1\n";
        assert_eq!(property(text, "Version"), Some("252.39-1~deb12u2"));
        assert_eq!(property(text, "SystemState"), Some("degraded"));
        assert_eq!(property(text, "System"), None);
    }
}
