//! Receivers against real servers (ntfy, SMTP) and against servers that fail.
//!
//! The real ones come from `.ci/peers` and `.ci/mail-peer`; where one cannot be had, its test says
//! that it was skipped.

use std::time::Duration;

use crate::support::{Answer, Double, MailServer, NtfyServer, notification};
use labstat_alerts::notify::{Receiver, ReceiverConfig, SendError};

fn receiver(toml: &str) -> Receiver {
    let config: ReceiverConfig = toml::from_str(toml).unwrap();
    assert_eq!(config.problems(), Vec::<String>::new());
    Receiver::build(&config, "http://lab.test:5227").unwrap()
}

fn receiver_of(toml: &str) -> Receiver {
    receiver(toml)
}

fn ntfy(url: &str, more: &str) -> Receiver {
    receiver(&format!("name = 'phone'\n[ntfy]\nurl = '{url}'\ntopic = 'lab'\n{more}"))
}

#[tokio::test]
async fn a_real_ntfy_server_takes_everything() {
    let Some(server) = NtfyServer::start() else { return };
    let receiver = ntfy(&server.url, "tags = ['house']");
    let mut message = notification("vertex: 45 °C – zu heiß");
    let long = "ü".repeat(5000);
    message.annotations.insert("description".to_owned(), long);
    receiver.send(&message).await.unwrap();
    let messages = server.poll("lab", None);
    assert_eq!(messages.len(), 1, "{messages:?}");
    let got = &messages[0];
    assert_eq!(got["title"], "vertex: 45 °C – zu heiß");
    assert_eq!(got["priority"], 5);
    assert_eq!(got["tags"], serde_json::json!(["house", "rotating_light"]));
    assert_eq!(got["click"], "http://lab.test:5227/graph?g0.expr=up");
    assert!(got.get("attachment").is_none(), "cut, so that it stays a message");
    let text = got["message"].as_str().unwrap();
    assert!(text.len() <= 4096 && text.ends_with('…') && text.starts_with("üü"), "{}", text.len());
}

#[tokio::test]
async fn ntfy_wants_the_right_token() {
    let Some(server) = NtfyServer::start_with_login() else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let token = server.token.clone().unwrap();
    let right = ntfy(&server.url, &format!("token_file = '{}'", file("t", &format!("{token}\n"))));
    right.send(&notification("with a token")).await.unwrap();
    let password = file("p", "secret-password");
    let basic = ntfy(&server.url, &format!("username = 'labstat'\npassword_file = '{password}'"));
    basic.send(&notification("with a password")).await.unwrap();
    assert_eq!(server.poll("lab", Some(&token)).len(), 2);

    let wrong = ntfy(&server.url, &format!("token_file = '{}'", file("w", "tk_wrong")));
    let error = wrong.send(&notification("x")).await.unwrap_err();
    assert!(matches!(&error, SendError::Retry { why, .. } if why.contains("401")), "{error}");
    assert!(!error.to_string().contains("tk_wrong"), "no secret in an error");
    let none = ntfy(&server.url, "");
    let error = none.send(&notification("x")).await.unwrap_err();
    assert!(matches!(&error, SendError::Retry { why, .. } if why.contains("403")), "{error}");
}

fn email(server: &MailServer, port: u16, tls: &str, password: &str, to: &str) -> Receiver {
    let file = server.dir.path().join("password");
    std::fs::write(&file, password).unwrap();
    let login = match tls {
        "none" => String::new(),
        _ => format!("username = 'labstat'\npassword_file = '{}'", file.display()),
    };
    let ca = server.certificate.display();
    receiver(&format!(
        "name = 'mail'\n[email]\nhost = 'localhost'\nport = {port}\ntls = '{tls}'\n{login}\n\
         from = 'labstat <labstat@lab.test>'\nto = ['{to}']\nca_file = '{ca}'"
    ))
}

#[tokio::test]
async fn a_real_mail_server_takes_mail_by_every_way() {
    let Some(server) = MailServer::start() else { return };
    let ways = [(server.starttls, "starttls"), (server.tls, "tls"), (server.plain, "none")];
    for (port, tls) in ways {
        let message = notification(&format!("zenith: 61 °C by {tls}"));
        email(&server, port, tls, "secret", "me@lab.test").send(&message).await.unwrap();
    }
    let mails = server.mails();
    assert_eq!(mails.len(), 3);
    for (_, tls) in ways {
        let with = |mail: &&String| {
            mail.contains(&format!(
                "X-Test-Login: {}",
                if tls == "none" { "none" } else { "labstat" }
            ))
        };
        assert!(mails.iter().any(|mail| with(&mail)), "{tls}");
    }
    assert_eq!(mails.iter().filter(|mail| mail.contains("X-Test-TLS: True")).count(), 2);
    for mail in &mails {
        assert!(
            mail.contains("From: \"labstat\" <labstat@lab.test>")
                || mail.contains("From: labstat <labstat@lab.test>"),
            "{mail}"
        );
        assert!(mail.contains("To: me@lab.test"), "{mail}");
        assert!(mail.contains("Message-ID: <"), "{mail}");
        assert!(mail.contains("Subject: "), "{mail}");
        assert!(mail.contains("Next: look at it"), "{mail}");
    }
}

#[tokio::test]
async fn mail_servers_refuse_for_good_or_for_now() {
    let Some(server) = MailServer::start() else { return };
    let message = notification("x");
    let wrong = email(&server, server.starttls, "starttls", "wrong", "me@lab.test");
    let error = wrong.send(&message).await.unwrap_err();
    assert!(matches!(&error, SendError::Retry { why, .. } if why.contains("535")), "{error}");
    let nobody = email(&server, server.tls, "tls", "secret", "nobody@lab.test");
    let error = nobody.send(&message).await.unwrap_err();
    assert!(matches!(&error, SendError::GiveUp(why) if why.contains("550")), "{error}");
    let busy = email(&server, server.tls, "tls", "secret", "busy@lab.test");
    let error = busy.send(&message).await.unwrap_err();
    assert!(matches!(&error, SendError::Retry { .. }), "{error}");
    let plain = email(&server, server.plain, "starttls", "secret", "me@lab.test");
    let error = plain.send(&message).await.unwrap_err();
    assert!(matches!(&error, SendError::GiveUp(_)), "a server without STARTTLS: {error}");
    assert!(server.mails().is_empty(), "nothing was delivered");
}

#[tokio::test]
async fn a_server_with_an_unknown_certificate_gets_nothing() {
    let Some(server) = MailServer::start() else { return };
    let toml = format!(
        "name = 'mail'\n[email]\nhost = 'localhost'\nport = {}\ntls = 'tls'\n\
         from = 'a@lab.test'\nto = ['b@lab.test']",
        server.tls
    );
    let error = receiver(&toml).send(&notification("x")).await.unwrap_err();
    assert!(matches!(&error, SendError::Retry { .. }), "{error}");
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn answers_say_whether_to_try_again() {
    let message = notification("x");
    for (status, again) in [
        (400, false),
        (401, true),
        (403, true),
        (404, true),
        (413, false),
        (422, false),
        (429, true),
        (500, true),
        (503, true),
    ] {
        let double = Double::start(vec![Answer::Status(status, "")]).await;
        let error = ntfy(&double.url, "").send(&message).await.unwrap_err();
        assert_eq!(matches!(error, SendError::Retry { .. }), again, "{status}");
        assert!(error.to_string().contains(&status.to_string()), "{error}");
    }
    let double = Double::start(vec![Answer::Status(429, "retry-after: 7\r\n")]).await;
    let error = ntfy(&double.url, "").send(&message).await.unwrap_err();
    let SendError::Retry { after, .. } = error else { panic!("{error}") };
    assert_eq!(after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn an_unreachable_receiver_is_worth_another_try() {
    let port = crate::support::free_port();
    let message = notification("x");
    let error = ntfy(&format!("http://127.0.0.1:{port}"), "").send(&message).await.unwrap_err();
    assert!(matches!(&error, SendError::Retry { .. }), "{error}");
    let mail = format!(
        "name = 'mail'\n[email]\nhost = '127.0.0.1'\nport = {port}\ntls = 'none'\n\
         from = 'a@lab.test'\nto = ['b@lab.test']"
    );
    let error = receiver(&mail).send(&message).await.unwrap_err();
    assert!(matches!(&error, SendError::Retry { .. }), "{error}");
}

/// With the clock of the runtime stopped, the deadline comes at once.
#[tokio::test]
async fn a_server_that_stalls_is_left_at_the_deadline() {
    let double = Double::start(vec![Answer::Stall]).await;
    let receiver = ntfy(&double.url, "");
    let message = notification("x");
    let sending = receiver.send(&message);
    tokio::pin!(sending);
    // First let it get as far as waiting for the answer, then let the time pass.
    tokio::select! {
        _ = &mut sending => panic!("it cannot answer"),
        () = double.reached(1) => {}
    }
    tokio::time::pause();
    let error = sending.await.unwrap_err();
    assert!(matches!(&error, SendError::Retry { why, .. } if why.contains("20 s")), "{error}");
}

#[tokio::test]
async fn the_webhook_posts_alertmanagers_json() {
    let double = Double::start(vec![Answer::Status(200, "")]).await;
    let toml = format!("name = 'hook'\n[webhook]\nurl = '{}/a?b=c'", double.url);
    receiver(&toml).send(&notification("x")).await.unwrap();
    let request = double.requests().remove(0);
    assert!(request.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{request}");
    let body: serde_json::Value =
        serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["version"], "4");
    assert_eq!(body["receiver"], "hook");
    assert_eq!(body["alerts"][0]["status"], "firing");
    assert_eq!(body["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");
}

#[test]
fn a_url_that_is_none_is_told_without_its_secrets() {
    let toml = "name = 'x'\nwebhook = { url = 'htps://user:s3cret@hook.test/s3cret' }";
    let config: ReceiverConfig = toml::from_str(toml).unwrap();
    let problems = config.problems().join("\n");
    assert!(problems.contains("\"htps…\" is not an http or https URL"), "{problems}");
    assert!(!problems.contains("s3cret"), "{problems}");
}

#[test]
fn bad_configurations_are_told_whole() {
    let config: ReceiverConfig = toml::from_str(
        "name = ''\nmatchers = ['x']\n[ntfy]\nurl = 'ftp://x'\ntopic = 'a b'\ntags = ['a,b']\n\
         username = 'u'\n[email]\nhost = 'mail.test'\ntls = 'none'\nfrom = 'nobody'\nto = []",
    )
    .unwrap();
    let problems = config.problems().join("\n");
    for wanted in [
        "needs a name",
        "matcher \"x\"",
        "exactly one of",
        "not an http or https URL",
        "not a topic",
        "tags are",
        "username and password_file",
        "this very machine only",
        "at least one address",
        "\"nobody\" is not a mail address",
    ] {
        assert!(problems.contains(wanted), "{wanted:?} is missing in:\n{problems}");
    }
    assert!(toml::from_str::<ReceiverConfig>("name = 'a'\nntfi = {}").is_err(), "unknown key");
}

#[test]
fn receivers_hear_only_what_they_want() {
    let toml = "name = 'a'\nseverity = 'warning'\nmatchers = ['instance=~\"vertex|apex\"']\n\
                send_resolved = false\nwebhook = { url = 'http://127.0.0.1:1' }";
    let receiver = receiver_of(toml);
    let mut message = notification("x");
    assert!(receiver.wants(&message));
    message.labels.insert("severity".to_owned(), "info".to_owned());
    assert!(!receiver.wants(&message));
    message.labels.insert("severity".to_owned(), "no word we know".to_owned());
    assert!(receiver.wants(&message));
    message.labels.insert("instance".to_owned(), "zenith".to_owned());
    assert!(!receiver.wants(&message));
    let all_but = "name = 'a'\nmatchers = ['instance!=\"vertex\"', 'job=\"\"']\n\
                   webhook = { url = 'http://127.0.0.1:1' }";
    assert!(receiver_of(all_but).wants(&message), "conditions on what is absent count too");
    message.labels.insert("instance".to_owned(), "apex".to_owned());
    message.status = labstat_alerts::Status::Resolved;
    assert!(!receiver.wants(&message));
}
