//! The alerts as one document, as version 0.1 kept them before there were rows: read, never written.

use serde::{Deserialize, Serialize};

use super::rows;
use super::state::Alert;

/// The version of [`Snapshot`]'s form; one of another version is not read.
pub const SNAPSHOT_VERSION: u32 = 1;

/// The state of all rules that have alerts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`SNAPSHOT_VERSION`] of the writer.
    pub version: u32,
    groups: Vec<GroupSnapshot>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct GroupSnapshot {
    file: String,
    name: String,
    rules: Vec<RuleSnapshot>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct RuleSnapshot {
    key: String,
    expr: String,
    alerts: Vec<Alert>,
}

impl Snapshot {
    /// The same as rows. Their keys are of nobody: whoever restores them puts them where they belong.
    pub fn into_rows(self) -> Vec<(String, Vec<u8>)> {
        if self.version != SNAPSHOT_VERSION {
            return Vec::new();
        }
        let mut all = Vec::new();
        for group in self.groups {
            for rule in group.rules {
                for alert in rule.alerts {
                    let row = rows::Row::new(
                        (&group.file, &group.name),
                        (&rule.key, 0, &rule.expr),
                        alert,
                    );
                    let key = format!("{}document/{}", rows::PREFIX, all.len());
                    all.extend(serde_json::to_vec(&row).ok().map(|row| (key, row)));
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::{Manager, ManagerOptions};
    use crate::rules::RuleSet;

    /// As version 0.1 wrote it.
    const KEPT: &str = r#"{"version":1,"groups":[{"file":"r.yml","name":"g","rules":[{
        "key":"Down alert severity=\"critical\"","expr":"up == 0","alerts":[{"state":"firing",
        "labels":{"alertname":"Down","instance":"vertex","severity":"critical"},"annotations":{},
        "active_at_ms":1000,"fired_at_ms":2000,"keep_firing_since_ms":null,"value":"0"}]}]}]}"#;

    #[test]
    fn what_version_0_1_kept_goes_on_as_rows() {
        let text = "groups: [{name: g, rules: [{alert: Down, expr: up == 0, labels: {severity: critical}}]}]";
        let rules = RuleSet::parse(&[("r.yml", text)]).unwrap();
        let manager = Manager::new(rules, ManagerOptions::default(), 5_000);
        let snapshot: Snapshot = serde_json::from_str(KEPT).unwrap();
        let out = manager.restore(snapshot.clone().into_rows(), &[], 5_000);
        assert_eq!(manager.alerts_len(), (0, 1));
        assert!(out.notifications.is_empty() && out.write.floats.series.is_empty());
        let [gone, put] = &out.entries[..] else { panic!("{:?}", out.entries) };
        assert!(gone.value.is_none() && gone.key.starts_with("rule/document/"), "{gone:?}");
        let again = Manager::new(RuleSet::default(), ManagerOptions::default(), 6_000);
        let rows = vec![(put.key.clone(), put.value.clone().unwrap())];
        assert_eq!(again.restore(rows, &[], 6_000).notifications.len(), 1, "its rule is gone");
        let newer = Snapshot { version: 2, ..snapshot };
        assert!(newer.into_rows().is_empty());
    }
}
