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
