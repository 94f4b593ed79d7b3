//! What can be pressed in a delivered message: the buttons as a real ntfy server gives them to phones, and the links of
//! a mail. They do what they say, once; a forged one does nothing; and no link leads nowhere.

use std::path::Path;

use serde_json::Value;

use crate::servers::{MailServer, NtfyServer, free_port};
use crate::support::{Labstat, command, eventually, get, post};

const RULES: &str = "\
groups:
  - name: closet
    interval: 1s
    rules:
      - alert: Hot
        expr: vector(84) > 80
        labels: {severity: critical, instance: nas}
        annotations: {summary: 'the closet is hot'}
      - alert: Damp
        expr: vector(91) > 90
        labels: {severity: warning, instance: pve}
        annotations: {summary: 'the cellar is damp'}
";

/// An aggregator that people reach where it listens, with these receivers.
fn start(dir: &Path, receivers: &str) -> (Labstat, String) {
    std::fs::create_dir(dir.join("rules")).unwrap();
    std::fs::write(dir.join("rules/closet.yml"), RULES).unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let text = format!(
        "listen = '{address}'\nexternal_url = 'http://{address}'\ndata = '{}'\n\
         [rules]\npaths = ['{}']\nshipped = false\n{receivers}",
        dir.join("data").display(),
        dir.join("rules").display()
    );
    let file = dir.join("aggregator.toml");
    std::fs::write(&file, text).unwrap();
    let mut server = Labstat::start(&["aggregator", "--config", file.to_str().unwrap()]);
    let base = server.url();
    (server, base)
}

/// What a command prints about this server, as JSON.
fn told(base: &str, arguments: &[&str]) -> Value {
    let mut command = command(arguments);
    let output = command.args(["--format", "json"]).env("LABSTAT_SERVER", base).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// How an alert stands, as `labstat alerts` tells it.
fn attention(base: &str, alert: &str) -> String {
    let rows = told(base, &["alerts"]);
    let row = rows.as_array().unwrap().iter().find(|row| row["alert"] == alert).cloned();
    row.unwrap_or_else(|| panic!("no {alert} in {rows}"))["attention"]
        .as_str()
        .unwrap_or("")
        .to_owned()
}

/// A signed link with one letter of its token changed.
fn forged(link: &str) -> String {
    let at = link.len() - 5;
    let other = if link.as_bytes()[at] == b'A' { "B" } else { "A" };
    format!("{}{other}{}", &link[..at], &link[at + 1..])
}

/// Presses a button as the app does: the method and URL of the message, and nothing else.
fn press(action: &Value) -> (u16, String) {
    assert_eq!(
        (&action["action"], &action["method"]),
        (&"http".into(), &"POST".into()),
        "{action}"
    );
    post(action["url"].as_str().unwrap(), &[], b"").unwrap()
}

#[test]
fn the_buttons_of_a_message_do_what_they_say_once() {
    let Some(ntfy) = NtfyServer::start() else { return };
    let temp = tempfile::tempdir().unwrap();
    let phone = format!(
        "[[receivers]]\nname = 'phone'\nntfy = {{ url = '{}', topic = 'lab' }}\n",
        ntfy.url
    );
    let (_server, base) = start(temp.path(), &phone);
    let message = |text: &str| {
        eventually(text, || {
            let messages = ntfy.poll("lab", None);
            let found = messages.iter().find(|message| message.to_string().contains(text));
            found.cloned().ok_or_else(|| format!("{messages:#?}"))
        })
    };
    let (hot, damp) = (message("closet is hot"), message("cellar is damp"));
    let button = |message: &Value, label: &str| {
        let actions = message["actions"].as_array().unwrap();
        let found = actions.iter().find(|action| action["label"].as_str().unwrap().contains(label));
        found.cloned().unwrap_or_else(|| panic!("no button {label}: {message:#}"))
    };
    let (acknowledge, silence) = (button(&hot, "Acknowledge"), button(&damp, "Silence"));

    // What looks at links to show a preview of them only gets a question.
    let page = get(acknowledge["url"].as_str().unwrap()).unwrap();
    assert!(page.contains("Acknowledge these alerts?"), "{page}");
    let mut fake = acknowledge.clone();
    fake["url"] = forged(acknowledge["url"].as_str().unwrap()).into();
    let (status, page) = press(&fake);
    assert_eq!((status, page.contains("This link does nothing")), (403, true), "{page}");
    assert_eq!(attention(&base, "Hot"), "");

    let (status, page) = press(&acknowledge);
    assert_eq!((status, page.contains("Acknowledged")), (200, true), "{page}");
    assert!(attention(&base, "Hot").starts_with("acknowledged by "), "{}", attention(&base, "Hot"));
    assert_eq!(attention(&base, "Damp"), "", "only what the message told of");
    let (status, page) = press(&acknowledge);
    assert_eq!((status, page.contains("This was done already")), (200, true), "{page}");

    let (status, page) = press(&silence);
    assert_eq!((status, page.contains("Silenced for 4h")), (200, true), "{page}");
    assert!(attention(&base, "Damp").starts_with("silenced by "), "{}", attention(&base, "Damp"));
    let silences = || {
        let all = get(&format!("{base}/api/v2/silences")).unwrap();
        serde_json::from_str::<Value>(&all).unwrap()
    };
    let kept = silences();
    assert_eq!(kept.as_array().unwrap().len(), 1, "{kept}");
    assert_eq!(kept[0]["status"]["state"], "active");
    let (status, page) = press(&silence);
    assert_eq!((status, page.contains("This was done already")), (200, true), "{page}");
    assert_eq!(silences(), kept, "a second press makes no second silence");
    let routed =
        told(&base, &["routes", "test", "alertname=Damp", "instance=pve", "severity=warning"]);
    assert_eq!(routed["silencedBy"], serde_json::json!([kept[0]["id"]]), "{routed}");

    // A tap on the message itself leads somewhere.
    let click = hot["click"].as_str().unwrap();
    assert!(click.starts_with(&format!("{base}/graph?")), "{click}");
    let page = get(click).unwrap();
    assert!(page.contains("vector(84) &gt; 80") && page.contains("the closet is hot"), "{page}");
    let link = page.split("href=\"").nth(1).unwrap().split('"').next().unwrap();
    let values = get(&format!("{base}/{link}")).unwrap();
    assert!(values.contains("\"84\""), "{values}");

    let receivers = told(&base, &["notify", "status"]);
    assert_eq!(receivers[0]["receiver"], "phone");
    assert_eq!((&receivers[0]["state"], &receivers[0]["owed"]), (&"good".into(), &0.into()));
}

/// The text of a mail with its quoted-printable encoding undone.
fn decoded(mail: &str) -> String {
    let text = mail.replace("\r\n", "\n").replace("=\n", "");
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('=') {
        out.push_str(before);
        match after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &after[2..];
            }
            None => {
                out.push('=');
                rest = after;
            }
        }
    }
    out + rest
}

#[test]
fn the_link_of_a_mail_asks_and_then_does_it_once() {
    let Some(mail) = MailServer::start() else { return };
    let temp = tempfile::tempdir().unwrap();
    let mailbox = format!(
        "[[receivers]]\nname = 'mail'\nseverity = 'critical'\n[receivers.email]\nhost = 'localhost'\n\
         port = {}\ntls = 'none'\nfrom = 'labstat@lab.test'\nto = ['me@lab.test']\n",
        mail.plain
    );
    let (_server, base) = start(temp.path(), &mailbox);
    let text = eventually("the mail arrives", || {
        mail.mails().first().map(|mail| decoded(mail)).ok_or_else(|| "none yet".to_owned())
    });
    let begin = format!("{base}/api/labstat/v1/act/");
    let is_token = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut links: Vec<String> = text
        .match_indices(&begin)
        .map(|(at, _)| {
            let token = &text[at + begin.len()..];
            let end = token.find(|c| !is_token(c)).unwrap_or(token.len());
            format!("{begin}{}", &token[..end])
        })
        .collect();
    links.sort();
    links.dedup();
    let asks = |link: &String| get(link).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let acknowledge = links.iter().find(|link| asks(link).contains("Acknowledge these alerts?"));
    let acknowledge = acknowledge.unwrap_or_else(|| panic!("no link acknowledges: {text}"));
    assert_eq!(attention(&base, "Hot"), "", "to look at a link does nothing");
    // What its button posts.
    let (status, page) = post(acknowledge, &[], b"").unwrap();
    assert_eq!((status, page.contains("Acknowledged")), (200, true), "{page}");
    assert!(attention(&base, "Hot").starts_with("acknowledged by "));
    assert!(asks(acknowledge).contains("This was done already"));
    assert!(get(&forged(acknowledge)).is_err_and(|error| error.contains("403")));
}
