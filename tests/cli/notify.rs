//! `labstat notify test`: a real message leaves the machine, whatever the receiver usually wants.

use crate::query::Canned;
use crate::support::command;

#[test]
fn the_message_arrives_although_it_is_not_critical() {
    let hook = Canned::start("200 OK", "{}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("aggregator.toml");
    let text = format!(
        "[[receivers]]\nname = \"chat\"\nseverity = \"critical\"\nwebhook = {{ url = \"{}/hook\" }}\n\
         [[receivers]]\nname = \"other\"\nwebhook = {{ url = \"http://127.0.0.1:1/\" }}\n",
        hook.url
    );
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let output = command(&["notify", "test", "chat", "--config", file]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "chat: delivered\n");
    let asked = hook.asked();
    assert!(asked.starts_with("POST /hook "), "{asked}");
    assert!(asked.contains("LabstatTest") && asked.contains("labstat notify test"), "{asked}");
    let all = command(&["notify", "test", "--config", file]).output().unwrap();
    assert_eq!(all.status.code(), Some(1), "one of two failed: {all:?}");
    assert_eq!(String::from_utf8_lossy(&all.stdout), "chat: delivered\n");
    assert!(String::from_utf8_lossy(&all.stderr).contains("other: not delivered"), "{all:?}");
}

/// Whatever names receivers, each of them is tried at once, and says by itself what became of it.
#[test]
fn receivers_of_an_alertmanagers_file_are_tested_each_with_its_own_outcome() {
    let (good, bad) =
        (Canned::start("200 OK", "{}"), Canned::start("400 Bad Request", "who are you?"));
    let dir = tempfile::tempdir().unwrap();
    let yaml = format!(
        "route: {{receiver: team}}\nreceivers:\n- name: team\n  webhook_configs:\n  - url: {}/a\n  - url: {}/b\n\
         - name: pager\n  pagerduty_configs: [{{routing_key: x}}]\n",
        good.url, bad.url
    );
    std::fs::write(dir.path().join("alertmanager.yml"), yaml).unwrap();
    let file = dir.path().join("aggregator.toml");
    let text = format!(
        "[alerting]\nalertmanager_config = {:?}\n[[receivers]]\nname = \"phone\"\n\
         webhook = {{ url = \"{}/own\" }}\n",
        dir.path().join("alertmanager.yml"),
        good.url
    );
    std::fs::write(&file, text).unwrap();
    let test = |name: &[&str]| {
        let arguments = [&["notify", "test", "--config", file.to_str().unwrap()], name].concat();
        let output = command(&arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, told, failed) = test(&[]);
    assert_eq!(code, Some(1));
    assert_eq!(told, "phone: delivered\nteam/webhook[0]: delivered\n");
    assert!(failed.contains("team/webhook[1]: refused"), "{failed}");
    assert!(failed.contains("400 Bad Request") && failed.contains("who are you?"), "{failed}");
    assert!(failed.contains("pager (pagerduty)"), "what is not sent to is named: {failed}");
    assert_eq!(test(&["phone"]).0, Some(0));
    let (code, told, _) = test(&["team"]);
    assert_eq!((code, told.as_str()), (Some(1), "team/webhook[0]: delivered\n"));
    assert_eq!(test(&["team/webhook[0]"]).0, Some(0));
    let (code, _, failed) = test(&["pager"]);
    assert_eq!(code, Some(1));
    assert!(failed.contains("nothing that labstat sends to"), "{failed}");
    let (code, _, failed) = test(&["nobody"]);
    assert_eq!(code, Some(1));
    for name in ["phone", "team", "pager", "team/webhook[1]"] {
        assert!(failed.contains(name), "{name}: {failed}");
    }
}

#[test]
fn routes_of_a_file_are_drawn_and_tested_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("aggregator.toml");
    let text = "[[receivers]]\nname = \"mail\"\nwebhook = { url = \"http://127.0.0.1:1/\" }\n\
                [[receivers]]\nname = \"phone\"\nwebhook = { url = \"http://127.0.0.1:1/\" }\n\
                [route]\nreceiver = \"mail\"\n[[route.routes]]\nmatchers = ['severity=\"critical\"']\n\
                receiver = \"phone\"\ngroup_by = [\"instance\"]\n\
                [[maintenance]]\nnode = \"nas\"\nevery = \"00:00-00:00\"\ncomment = \"disks\"\n";
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let run = |arguments: &[&str]| {
        let output = command(&[arguments, &["--config", file]].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(
        run(&["routes"]),
        "Routing tree:\n.\n└── default-route  receiver: mail\n\
         \x20   └── {severity=\"critical\"}  receiver: phone\n"
    );
    let told = run(&["routes", "test", "severity=critical", "instance=nas"]);
    assert!(told.contains("phone") && told.contains("{severity=\"critical\"}"), "{told}");
    assert!(told.contains("in maintenance: disks"), "{told}");
    let told = run(&["routes", "test", "severity=warning", "--format", "json"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["receivers"], serde_json::json!(["mail"]));
    assert_eq!(told["routes"][0]["path"], serde_json::json!(["{}"]));
}
