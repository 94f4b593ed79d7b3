//! Receivers against real servers (ntfy, SMTP) and against servers that fail.
//!
//! The real ones come from `.ci/peers` and `.ci/mail-peer`; where one cannot be had, its test says
//! that it was skipped.

use std::time::Duration;

use crate::alertmanager::AlertmanagerServer;
use crate::support::{Answer, Double, MailServer, NtfyServer, notification as alert, pass};
use labstat_alerts::Message;
use labstat_alerts::notify::{Arrival, Context, Delivered, Receiver, ReceiverConfig, SendError};

/// A message about one critical alert on vertex.
fn notification(summary: &str) -> Message {
    Message::about(alert(summary), "phone")
}

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
    message.alerts[0].annotations.insert("description".to_owned(), long);
    receiver.send(&message, &Context::default()).await.unwrap();
    let messages = server.poll("lab", None);
    assert_eq!(messages.len(), 1, "{messages:?}");
    let got = &messages[0];
    assert_eq!(got["title"], "vertex: 45 °C – zu heiß");
    assert_eq!(got["priority"], 5);
    assert_eq!(got["tags"], serde_json::json!(["house", "rotating_light"]));
    let click = got["click"].as_str().unwrap();
    assert!(click.starts_with("http://lab.test:5227/graph?g0.expr=up#labstat-"), "{click}");
    assert!(got.get("attachment").is_none(), "cut, so that it stays a message");
    let text = got["message"].as_str().unwrap();
    assert!(text.len() <= 4096 && text.contains("üü…"), "{}", text.len());
    assert_eq!(got["content_type"], "text/markdown");
    assert!(got["sequence_id"].as_str().unwrap().starts_with("labstat-"), "{got}");
}

/// What a crash left in doubt is asked for; nothing else of the topic is taken for it.
#[tokio::test]
async fn a_real_ntfy_server_says_what_it_has() {
    let Some(server) = NtfyServer::start() else { return };
    let receiver = ntfy(&server.url, "");
    // The server's clock is not that of the sample.
    let now_ms = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let message = Message { created_ms: now_ms, ..notification("a") };
    let other = Message { id: "other".to_owned(), ..message.clone() };
    assert_eq!(receiver.was_delivered(&message).await, Arrival::Missing);
    receiver.send(&message, &Context::default()).await.unwrap();
    assert_eq!(receiver.was_delivered(&message).await, Arrival::There);
    assert_eq!(receiver.was_delivered(&other).await, Arrival::Missing);
    // Where the link has no room for a mark, the words and the time are compared.
    let fixed = ntfy(&server.url, "click = 'http://own/#top'");
    let second = Message { thread: "second".to_owned(), ..other };
    assert_eq!(fixed.was_delivered(&second).await, Arrival::Missing);
    fixed.send(&second, &Context::default()).await.unwrap();
    assert_eq!(fixed.was_delivered(&second).await, Arrival::There);
    let gone = ntfy(&format!("http://127.0.0.1:{}", crate::support::free_port()), "");
    assert_eq!(gone.was_delivered(&second).await, Arrival::Unanswered);
}

/// What broke off does not say that a message is not there.
#[tokio::test]
async fn an_answer_that_is_cut_or_refused_says_nothing_of_what_ntfy_has() {
    // The second has its own length renamed, and less than it promises.
    let cases = [
        (200, "", Arrival::Missing),
        (200, "content-length: 99\r\nx-", Arrival::Unanswered),
        (429, "", Arrival::Unanswered),
        (502, "", Arrival::Unanswered),
        (403, "", Arrival::Unknowable),
    ];
    for (status, headers, wanted) in cases {
        let double = Double::start(vec![Answer::Status(status, headers)]).await;
        let arrival = ntfy(&double.url, "").was_delivered(&notification("a")).await;
        assert_eq!(arrival, wanted, "{status} {headers}");
    }
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
    right.send(&notification("with a token"), &Context::default()).await.unwrap();
    let password = file("p", "secret-password");
    let basic = ntfy(&server.url, &format!("username = 'labstat'\npassword_file = '{password}'"));
    basic.send(&notification("with a password"), &Context::default()).await.unwrap();
    assert_eq!(server.poll("lab", Some(&token)).len(), 2);

    let wrong = ntfy(&server.url, &format!("token_file = '{}'", file("w", "tk_wrong")));
    let error = wrong.send(&notification("x"), &Context::default()).await.unwrap_err();
    assert!(matches!(&error, SendError::Retry { why, .. } if why.contains("401")), "{error}");
    assert!(!error.to_string().contains("tk_wrong"), "no secret in an error");
    let none = ntfy(&server.url, "");
    let error = none.send(&notification("x"), &Context::default()).await.unwrap_err();
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
        email(&server, port, tls, "secret", "me@lab.test")
            .send(&message, &Context::default())
            .await
            .unwrap();
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

/// What a mail program of other make finds in a delivered mail.
fn read_mail(text: &str) -> serde_json::Value {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mail");
    std::fs::write(&file, text).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/support/read_mail.py");
    let output = std::process::Command::new("python3").arg(script).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A picture of the alert of `message`.
fn illustrated(message: &Message) -> Context {
    let picture = labstat_alerts::history::Illustration {
        fingerprint: message.alerts[0].fingerprint.clone(),
        start_ms: message.created_ms - 100_000,
        step_ms: 1_000,
        values: (0..100).map(|at| Some(f64::from(at))).collect(),
        limit: Some(50.0),
        is_upper: true,
        unit: None,
    };
    Context { pictures: vec![picture], ..Context::default() }
}

fn check_mail(mail: &str) {
    let read = read_mail(mail);
    assert_eq!(read["defects"], serde_json::json!([]));
    let structure =
        ["multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png"];
    assert_eq!(read["structure"], serde_json::json!(structure));
    assert_eq!(read["headers"]["subject"], "🔴 zenith: 61 °C – \"hot\"");
    assert_eq!(read["headers"]["auto-submitted"], "auto-generated");
    assert_eq!(read["headers"]["list-id"], "labstat alerts <labstat.lab.test>");
    assert!(read["headers"]["date"].is_string() && read["headers"]["message-id"].is_string());
    let html = read["html"].as_str().unwrap();
    let (name, picture) = read["pictures"].as_object().unwrap().iter().next().unwrap();
    assert!(html.contains(&format!("src=\"cid:{name}\"")), "{html}");
    assert_eq!(picture, &serde_json::json!(["inline", true]));
    assert!(html.contains("look at it") && html.contains("zenith: 61 °C – &quot;hot"), "{html}");
    let plain = read["plain"].as_str().unwrap();
    assert!(
        plain.contains("\nNext: look at it\n") && plain.contains("▁▂▂▃▃▄▄▄▅▅▆▆▇▇██"),
        "{plain}"
    );
}

#[tokio::test]
async fn a_delivered_mail_is_read_back_whole() {
    let Some(server) = MailServer::start() else { return };
    let message = notification("zenith: 61 °C – \"hot\"");
    let mail = email(&server, server.starttls, "starttls", "secret", "me@lab.test");
    mail.send(&message, &illustrated(&message)).await.unwrap();
    check_mail(&server.mails().remove(0));
}

/// Debian's exim, which wants encryption and a login, by STARTTLS and by TLS from the start.
#[tokio::test]
async fn a_real_exim_takes_mail() {
    let Some(server) = crate::exim::Exim::start() else { return };
    let password = server.dir.path().join("password");
    std::fs::write(&password, "secret").unwrap();
    let message = notification("zenith: 61 °C – \"hot\"");
    for (port, tls) in [(server.starttls, "starttls"), (server.tls, "tls")] {
        let receiver = receiver(&format!(
            "name = 'mail'\n[email]\nhost = 'localhost'\nport = {port}\ntls = '{tls}'\n\
             username = 'labstat'\npassword_file = '{}'\nfrom = 'labstat <labstat@lab.test>'\n\
             to = ['me@lab.test', 'you@lab.test']\nca_file = '{}'",
            password.display(),
            server.certificate.display()
        ));
        receiver.send(&message, &illustrated(&message)).await.unwrap();
    }
    // One mail for each of two addresses, each time.
    let mails = server.mails(4);
    assert_eq!(mails.len(), 4);
    assert_eq!(mails.iter().filter(|mail| mail.contains("with esmtpsa")).count(), 4);
    check_mail(&mails[0]);
}

fn plain_email(port: u16, from: &str, to: &str) -> Receiver {
    receiver(&format!(
        "name = 'mail'\n[email]\nhost = '127.0.0.1'\nport = {port}\ntls = 'none'\n\
         from = '{from}@lab.test'\nto = [{to}]"
    ))
}

/// Addresses at lab.test, as the configuration has them.
fn at_lab(names: &str) -> String {
    let quoted = names.split(' ').map(|name| format!("'{name}@lab.test'"));
    quoted.collect::<Vec<_>>().join(", ")
}

/// For whom the server took mails, one after the other.
fn taken(server: &MailServer) -> Vec<String> {
    let header = |mail: &String| {
        let to = mail.lines().find_map(|line| line.strip_prefix("X-Test-To: ").map(str::to_owned));
        to.unwrap().replace("@lab.test", "")
    };
    let mut taken: Vec<String> = server.mails().iter().map(header).collect();
    taken.sort();
    taken
}

/// An address that is refused for good costs nobody else the mail, which is one and counts as sent.
#[tokio::test]
async fn mail_goes_to_those_that_are_taken() {
    let Some(server) = MailServer::start() else { return };
    let receiver = plain_email(server.plain, "labstat", &at_lab("nobody me you"));
    let delivered = receiver.send(&notification("x"), &Context::default()).await.unwrap();
    assert_eq!(taken(&server), ["me,you"], "one mail for both");
    let [refusal] = &delivered.refused[..] else { panic!("{delivered:?}") };
    assert_eq!(refusal.to_string(), "nobody@lab.test: 550 5.1.1 no such mailbox");
}

/// Who has a message does not get it again while another address is waited for; nor does one that
/// was refused get it, or count, another time.
#[tokio::test]
async fn an_address_that_is_waited_for_costs_no_other_a_second_mail() {
    let Some(server) = MailServer::start() else { return };
    let receiver = plain_email(server.plain, "labstat", &at_lab("busy nobody me"));
    let message = notification("x");
    let Delivered { refused, later } = receiver.send(&message, &Context::default()).await.unwrap();
    assert_eq!((refused.len(), refused[0].to.as_str()), (1, "nobody@lab.test"));
    assert_eq!(later.len(), 1);
    assert_eq!(later[0].to_string(), "busy@lab.test: 451 4.3.0 try again later");
    let context = Context { only: vec![later[0].to.clone()], ..Context::default() };
    for _ in 0..2 {
        let again = receiver.send(&message, &context).await.unwrap();
        assert_eq!(again, Delivered { refused: Vec::new(), later: later.clone() });
    }
    assert_eq!(taken(&server), ["me"], "once");
    let lonely = plain_email(server.plain, "labstat", &at_lab("busy nobody"));
    let error = lonely.send(&message, &Context::default()).await.unwrap_err();
    assert_eq!(error, SendError::Retry { why: later[0].to_string(), after: None });
}

#[tokio::test]
async fn a_mail_that_nobody_can_get_is_given_up_with_the_servers_words() {
    let Some(server) = MailServer::start() else { return };
    for (to, words) in [
        ("nobody", "nobody@lab.test: 550 5.1.1 no such mailbox"),
        (
            "nobody big",
            "big@lab.test: 552 5.3.4 message too big; nobody@lab.test: 550 5.1.1 no such",
        ),
        ("picky", "picky@lab.test: 554 5.6.0 content rejected"),
    ] {
        let receiver = plain_email(server.plain, "labstat", &at_lab(to));
        let error = receiver.send(&notification("x"), &Context::default()).await.unwrap_err();
        let is_final = matches!(&error, SendError::GiveUp(why) if why.starts_with(words));
        assert!(is_final, "{to}: {error:?}");
    }
    assert!(server.mails().is_empty());
}

/// What is wrong with the server, the login or the sender is mended within hours.
#[tokio::test]
async fn what_a_server_refuses_before_it_looks_at_the_mail_is_tried_again() {
    let Some(server) = MailServer::start() else { return };
    for (from, to, words, is_peoples) in [
        ("maintenance", "me", "554 5.3.2 back in an hour", true),
        ("labstat", "me login", "530 5.7.0 authentication required", true),
        ("labstat", "me closing", "421 4.3.2 shutting down", false),
        ("labstat", "full", "552 5.2.2 mailbox full", false),
        ("labstat", "slow", "451 4.3.0 queue file write error", false),
    ] {
        let receiver = plain_email(server.plain, from, &at_lab(to));
        let error = receiver.send(&notification("x"), &Context::default()).await.unwrap_err();
        let SendError::Retry { why, after } = &error else { panic!("{to}: {error:?}") };
        assert!(why.contains(words), "{why}");
        assert_eq!(after.is_some(), is_peoples, "{why}");
    }
    assert!(server.mails().is_empty());
    for script in ["554 5.3.2 no service here", "220 hello\n554 5.3.2 maintenance", "220 hello\n"] {
        let port = scripted(script).await;
        let receiver = plain_email(port, "labstat", &at_lab("me"));
        let error = receiver.send(&notification("x"), &Context::default()).await.unwrap_err();
        assert!(matches!(&error, SendError::Retry { .. }), "{script:?}: {error:?}");
    }
}

/// As one does that looks for viruses before it answers to the end of a mail; left before, it would
/// have the mail and get it again.
#[tokio::test]
async fn a_mail_server_has_minutes_for_the_mail_and_a_slow_one_is_no_doubt() {
    let send = async |script: &str| {
        let port = scripted(script).await;
        let receiver = plain_email(port, "labstat", &at_lab("me"));
        receiver.send(&notification("x"), &Context::default()).await
    };
    let begin = "220 hello\n250 me\n250 sender\n250 address\n354 go on";
    assert!(send(&format!("{begin}\nwait 540\n250 taken")).await.is_ok());
    assert!(send("wait 100\n220 hello\n250 me\n250 sender\n250 a\n354 on\n250 ok").await.is_ok());
    let error = send(&format!("{begin}\nwait 660\n250 taken")).await.unwrap_err();
    assert!(matches!(&error, SendError::Doubt { was_there: true, .. }), "{error:?}");
    for script in ["wait 130", "220 hello\n250 me\n250 sender\nwait 130\n250 address"] {
        let error = send(script).await.unwrap_err();
        assert!(matches!(&error, SendError::Retry { after: None, .. }), "{script}: {error:?}");
    }
}

#[tokio::test]
async fn a_slow_answer_over_http_is_waited_for_and_a_slow_connection_is_no_doubt() {
    let send = async |url: &str, answer: Answer| {
        let double = Double::start(vec![answer]).await;
        let url = if url.is_empty() { double.url.clone() } else { url.to_owned() };
        let receiver = receiver(&format!("name = 'hook'\nwebhook = {{ url = '{url}' }}"));
        receiver.send(&notification("x"), &Context::default()).await
    };
    let late = |seconds| Answer::Late(Duration::from_secs(seconds));
    assert_eq!(send("", late(100)).await, Ok(Delivered::default()));
    let error = send("", late(130)).await.unwrap_err();
    assert!(matches!(&error, SendError::Doubt { was_there: true, .. }), "{error:?}");
    let error = send("", Answer::Cut).await.unwrap_err();
    assert!(matches!(&error, SendError::Doubt { was_there: false, .. }), "{error:?}");

    // It takes the connection, and does not go on to TLS.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let _stream = listener.accept().await.unwrap();
        pass(Duration::from_secs(60)).await;
    });
    let error = send(&url, Answer::Stall).await.unwrap_err();
    assert!(matches!(&error, SendError::Retry { .. }), "{error:?}");
}

#[tokio::test]
async fn a_redirect_says_where_it_leads_without_what_may_be_secret() {
    for (status, to, cure) in [
        (301, "https://lab.test/hook/s3cr?key=s3cret", Some("it moved to https://lab.test: write")),
        (302, "https://me:s3cret@lab.test:8443/", Some("it moved to https://lab.test:8443: write")),
        (307, "/s3cret/", Some("it moved to another path there: write")),
        (308, "//lab.test/s3cret", Some("it moved to another path there: write")),
        (304, "https://lab.test/s3cr", None),
    ] {
        let double = Double::start(vec![Answer::Moved(status, to)]).await;
        let toml = format!("name = 'hook'\nwebhook = {{ url = '{}/a' }}", double.url);
        let sent = receiver(&toml).send(&notification("x"), &Context::default()).await;
        let Err(SendError::Retry { why, after: Some(_) }) = sent else { panic!("{sent:?}") };
        match cure {
            Some(cure) => assert!(why.contains(cure) && !why.contains("s3cr"), "{why}"),
            None => assert!(!why.contains("moved"), "{why}"),
        }
    }
}

/// How the parting goes says nothing of the mail; only a connection that is lost in place of the last
/// answer leaves it open.
#[tokio::test]
async fn a_mail_is_in_doubt_only_between_its_end_and_the_answer() {
    let begin = "220 hello\n250 me\n250 sender\n250 address\n354 go on";
    let send = async |script: &str| {
        let port = scripted(script).await;
        let receiver = plain_email(port, "labstat", &at_lab("me"));
        receiver.send(&notification("x"), &Context::default()).await
    };
    assert!(send(&format!("{begin}\n250 taken")).await.is_ok(), "it does not say goodbye");
    let error = send(begin).await.unwrap_err();
    assert!(matches!(&error, SendError::Doubt { .. }), "{error:?}");
    let error = send("220 hello\n250 me\n250 sender\n250 address").await.unwrap_err();
    assert!(matches!(&error, SendError::Retry { .. }), "{error:?}");
}

/// A mail server that says these lines, one at the start and one for each command and mail, and then
/// hangs up.
async fn scripted(script: &str) -> u16 {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = script.to_owned();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        for answer in script.lines() {
            if let Some(seconds) = answer.strip_prefix("wait ") {
                pass(Duration::from_secs(seconds.parse().unwrap())).await;
                continue;
            }
            stream.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
            let mut line = String::new();
            loop {
                line.clear();
                let read = stream.read_line(&mut line).await.unwrap_or(0);
                let is_whole = !answer.starts_with("354") || line == ".\r\n";
                if read == 0 || is_whole {
                    break;
                }
            }
        }
    });
    port
}

#[tokio::test]
async fn mail_servers_refuse_for_good_or_for_now() {
    let Some(server) = MailServer::start() else { return };
    let message = notification("x");
    let wrong = email(&server, server.starttls, "starttls", "wrong", "me@lab.test");
    let error = wrong.send(&message, &Context::default()).await.unwrap_err();
    assert!(matches!(&error, SendError::Retry { why, .. } if why.contains("535")), "{error}");
    let nobody = email(&server, server.tls, "tls", "secret", "nobody@lab.test");
    let error = nobody.send(&message, &Context::default()).await.unwrap_err();
    assert!(matches!(&error, SendError::GiveUp(why) if why.contains("550")), "{error}");
    let busy = email(&server, server.tls, "tls", "secret", "busy@lab.test");
    let error = busy.send(&message, &Context::default()).await.unwrap_err();
    assert!(matches!(&error, SendError::Retry { .. }), "{error}");
    let plain = email(&server, server.plain, "starttls", "secret", "me@lab.test");
    let error = plain.send(&message, &Context::default()).await.unwrap_err();
    let is_kept = matches!(&error, SendError::Retry { after: Some(_), .. });
    assert!(is_kept, "people can put right a server without STARTTLS: {error}");
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
    let error = receiver(&toml).send(&notification("x"), &Context::default()).await.unwrap_err();
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
        let error = ntfy(&double.url, "").send(&message, &Context::default()).await.unwrap_err();
        assert_eq!(matches!(error, SendError::Retry { .. }), again, "{status}");
        assert!(error.to_string().contains(&status.to_string()), "{error}");
    }
    let double = Double::start(vec![Answer::Status(429, "retry-after: 7\r\n")]).await;
    let error = ntfy(&double.url, "").send(&message, &Context::default()).await.unwrap_err();
    let SendError::Retry { after, .. } = error else { panic!("{error}") };
    assert_eq!(after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn an_unreachable_receiver_is_worth_another_try() {
    let port = crate::support::free_port();
    let message = notification("x");
    let error = ntfy(&format!("http://127.0.0.1:{port}"), "")
        .send(&message, &Context::default())
        .await
        .unwrap_err();
    assert!(matches!(&error, SendError::Retry { .. }), "{error}");
    let mail = format!(
        "name = 'mail'\n[email]\nhost = '127.0.0.1'\nport = {port}\ntls = 'none'\n\
         from = 'a@lab.test'\nto = ['b@lab.test']"
    );
    let error = receiver(&mail).send(&message, &Context::default()).await.unwrap_err();
    assert!(matches!(&error, SendError::Retry { .. }), "{error}");
}

/// With the clock of the runtime stopped, the deadline comes at once.
#[tokio::test]
async fn a_server_that_stalls_is_left_at_the_deadline() {
    let double = Double::start(vec![Answer::Stall]).await;
    let receiver = ntfy(&double.url, "");
    let message = notification("x");
    let context = Context::default();
    let sending = receiver.send(&message, &context);
    tokio::pin!(sending);
    // First let it get as far as waiting for the answer, then let the time pass.
    tokio::select! {
        _ = &mut sending => panic!("it cannot answer"),
        () = double.reached(1) => {}
    }
    tokio::time::pause();
    let error = sending.await.unwrap_err();
    assert!(matches!(&error, SendError::Doubt { why, .. } if why.contains("20 s")), "{error}");
}

#[tokio::test]
async fn the_webhook_posts_alertmanagers_json() {
    let double = Double::start(vec![Answer::Status(200, "")]).await;
    let toml = format!("name = 'hook'\n[webhook]\nurl = '{}/a?b=c'", double.url);
    receiver(&toml).send(&notification("x"), &Context::default()).await.unwrap();
    let request = double.requests().remove(0);
    assert!(request.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{request}");
    let body: serde_json::Value =
        serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["version"], "4");
    assert_eq!(body["receiver"], "phone", "as the message names it");
    assert!(request.contains("idempotency-key: 0123456789abcdef."), "{request}");
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
    let forever = "name = 'am'\nsend_resolved = false\nalertmanager = { urls = ['http://am'] }";
    let config: ReceiverConfig = toml::from_str(forever).unwrap();
    assert!(config.problems().join("").contains("must hear of ends"), "{:?}", config.problems());
}

#[test]
fn receivers_hear_only_what_they_want() {
    let toml = "name = 'a'\nseverity = 'warning'\nmatchers = ['instance=~\"vertex|apex\"']\n\
                send_resolved = false\nwebhook = { url = 'http://127.0.0.1:1' }";
    let receiver = receiver_of(toml);
    let mut message = alert("x");
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

/// A receiver by templates, as the guide has it, with its secrets in files.
fn by_templates(name: &str, url: &str, dir: &tempfile::TempDir) -> Receiver {
    let guide = include_str!("../../../docs/notifications.md");
    let start = guide.find(&format!("name = \"{name}\"")).expect("the guide has this receiver");
    let text = &guide[start..];
    let text = &text[..text.find("```").unwrap()];
    let mut toml = text.replace("[receivers.", "[");
    for (place, secret) in [
        ("telegram.token", "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"),
        ("discord.token", "66GdKq8yL0vZ_sEcReT"),
        ("gotify.token", "AwjWzLoZ6KtsEcR"),
        ("pushover.token", "azGDORePK8gMaC0QOYAMyEEuzJnyUi"),
        ("pushover.user", "uQiRzpo4DXghDmr9QzzfQu27cmVRsG"),
        ("matrix.token", "syt_bGFic3RhdA_sEcReT"),
    ] {
        let file = dir.path().join(place);
        std::fs::write(&file, format!("{secret}\n")).unwrap();
        toml = toml.replace(&format!("/etc/labstat/{place}"), &file.display().to_string());
    }
    for host in [
        "https://api.telegram.org",
        "https://discord.com",
        "https://gotify.example",
        "https://api.pushover.net",
        "https://matrix.example",
    ] {
        toml = toml.replace(host, url);
    }
    receiver(&toml)
}

/// What a service gets: the head of the request, and its body as JSON.
async fn got(name: &str, message: &Message) -> (String, serde_json::Value) {
    let dir = tempfile::tempdir().unwrap();
    let double = Double::start(vec![Answer::Status(200, "")]).await;
    let receiver = by_templates(name, &double.url, &dir);
    receiver.send(message, &Context::default()).await.unwrap();
    let request = double.requests().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let body = serde_json::from_str(body).unwrap_or_else(|_| body.into());
    (head.to_owned(), body)
}

/// Quotes, line breaks, markup and templates in an alert stay text.
fn odd() -> Message {
    let mut message = notification("zenith \"61 °C\" {{ .Secrets }}\n<b>&amp;</b> \\");
    message.id = "a:b/c d".to_owned();
    message
}

#[tokio::test]
async fn telegram_gets_what_its_bot_api_asks_for() {
    let (head, body) = got("telegram", &odd()).await;
    let path = "POST /bot110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/sendMessage HTTP/1.1\r\n";
    assert!(head.starts_with(path) && head.contains("content-type: application/json"), "{head}");
    assert_eq!(body["chat_id"], "-1001234567890");
    let text = body["text"].as_str().unwrap();
    assert!(text.starts_with("🔴 zenith \"61 °C\" {{ .Secrets }} <b>&amp;</b> \\\n"), "{text}");
    assert!(text.contains("Next: look at it"), "{text}");
    let mut long = odd();
    long.alerts = (0..500).map(|_| alert(&"x".repeat(400))).collect();
    let (_, body) = got("telegram", &long).await;
    assert!(body["text"].as_str().unwrap().chars().count() <= 4096, "what the service takes");
}

#[tokio::test]
async fn discord_gets_what_its_webhooks_ask_for() {
    let mut long = odd();
    long.alerts[0].annotations.insert("description".to_owned(), "ü".repeat(9_000));
    let (head, body) = got("discord", &long).await;
    assert!(
        head.starts_with("POST /api/webhooks/1234567890/66GdKq8yL0vZ_sEcReT HTTP/1.1"),
        "{head}"
    );
    let embed = &body["embeds"][0];
    assert!(embed["title"].as_str().unwrap().contains("zenith"), "{body}");
    assert!(embed["title"].as_str().unwrap().chars().count() <= 256);
    assert!(embed["description"].as_str().unwrap().chars().count() <= 4096);
    assert!(embed["color"].is_u64(), "{body}");
    assert_eq!(body["allowed_mentions"]["parse"], serde_json::json!([]), "nobody is called");
}

#[tokio::test]
async fn gotify_pushover_and_matrix_get_what_they_ask_for() {
    let (head, body) = got("gotify", &odd()).await;
    assert!(head.starts_with("POST /message HTTP/1.1"), "{head}");
    assert!(head.contains("x-gotify-key: AwjWzLoZ6KtsEcR"), "{head}");
    assert_eq!(body["priority"], 8);
    assert!(body["title"].as_str().unwrap().contains("zenith"), "{body}");
    assert!(body["message"].as_str().unwrap().contains("Next: look at it"), "{body}");

    let (head, body) = got("pushover", &odd()).await;
    assert!(head.starts_with("POST /1/messages.json HTTP/1.1"), "{head}");
    assert_eq!(body["token"], "azGDORePK8gMaC0QOYAMyEEuzJnyUi");
    assert_eq!(body["user"], "uQiRzpo4DXghDmr9QzzfQu27cmVRsG");
    assert_eq!(body["priority"], 1);
    assert!(body["message"].as_str().unwrap().chars().count() <= 1024);

    let (head, body) = got("matrix", &odd()).await;
    let path =
        "PUT /_matrix/client/v3/rooms/%21room%3Amatrix.example/send/m.room.message/a%3Ab%2Fc+d";
    assert!(head.starts_with(path), "{head}");
    assert!(head.contains("authorization: Bearer syt_bGFic3RhdA_sEcReT"), "{head}");
    assert_eq!(body["msgtype"], "m.text");
}

/// The token is in the path: neither an error nor an answer that repeats it may tell it.
#[tokio::test]
async fn failures_of_services_are_told_without_their_tokens() {
    let dir = tempfile::tempdir().unwrap();
    for (status, again) in [(401, true), (404, true), (429, true), (500, true), (400, false)] {
        let double = Double::start(vec![Answer::Echo(status)]).await;
        let receiver = by_templates("telegram", &double.url, &dir);
        let error = receiver.send(&odd(), &Context::default()).await.unwrap_err();
        assert_eq!(matches!(error, SendError::Retry { .. }), again, "{status}: {error}");
        let told = format!("{error} {error:?} {receiver:?}");
        assert!(!told.contains("AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"), "{told}");
        assert!(told.contains(&status.to_string()), "{told}");
    }
    let gone = format!("http://127.0.0.1:{}", crate::support::free_port());
    let error = by_templates("telegram", &gone, &dir).send(&odd(), &Context::default()).await;
    assert!(!error.unwrap_err().to_string().contains("AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"));
    // The path of a webhook is as good as a token.
    let double = Double::start(vec![Answer::Echo(500)]).await;
    let toml = format!("name = 'hook'\nwebhook = {{ url = '{}/hooks/s3cret-s3cret' }}", double.url);
    let error = receiver(&toml).send(&odd(), &Context::default()).await.unwrap_err();
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

/// ntfy's own words say what to do about a refusal.
#[tokio::test]
async fn ntfy_shortens_what_is_too_long_and_waits_out_the_day() {
    let long = Answer::Body(413, r#"{"code":41301,"http":413,"error":"too large"}"#);
    let off = Answer::Body(400, r#"{"code":40014,"http":400,"error":"attachments not allowed"}"#);
    for refusal in [long, off] {
        let double = Double::start(vec![refusal, Answer::Status(200, "")]).await;
        let mut message = notification("x");
        message.alerts[0].annotations.insert("description".to_owned(), "x".repeat(9_000));
        ntfy(&double.url, "").send(&message, &Context::default()).await.unwrap();
        let requests = double.requests();
        assert_eq!(requests.len(), 2);
        assert!(requests[1].split_once("\r\n\r\n").unwrap().1.len() <= 1000);
    }
    let quota = Answer::Body(429, r#"{"code":42908,"http":429,"error":"daily message quota"}"#);
    let double = Double::start(vec![quota]).await;
    let error = ntfy(&double.url, "").send(&notification("x"), &Context::default()).await;
    let SendError::Retry { after, .. } = error.unwrap_err() else { panic!("worth another try") };
    assert_eq!(after, Some(Duration::from_secs(3600)));
}

/// Debian's Alertmanager takes what is forwarded, and what is over.
#[tokio::test]
async fn a_real_alertmanager_takes_what_is_forwarded() {
    let Some(server) = AlertmanagerServer::start() else { return };
    let toml = format!("name = 'am'\nalertmanager = {{ urls = ['{}'] }}", server.url);
    let receiver = receiver(&toml);
    let mut message = notification("forwarded \"so\"");
    let now_ms = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    message.alerts[0].starts_at_ms = now_ms - 60_000;
    receiver.send(&message, &Context::default()).await.unwrap();
    let alerts = server.alerts();
    assert_eq!(alerts.as_array().unwrap().len(), 1, "{alerts}");
    assert_eq!(alerts[0]["labels"]["instance"], "vertex");
    assert_eq!(alerts[0]["annotations"]["summary"], "forwarded \"so\"");
    assert_eq!(alerts[0]["fingerprint"].as_str().unwrap().len(), 16);
    assert_eq!(alerts[0]["status"]["state"], "active");
    message.alerts[0].status = labstat_alerts::Status::Resolved;
    message.alerts[0].ends_at_ms = Some(now_ms);
    receiver.send(&message, &Context::default()).await.unwrap();
    assert_eq!(server.alerts(), serde_json::json!([]), "it is over");
}

/// The same alerts, told by us and by a real Alertmanager: the bodies are one.
#[tokio::test]
async fn the_webhook_says_what_a_real_alertmanager_says() {
    let theirs = Double::start(vec![Answer::Status(200, "")]).await;
    let Some(server) = AlertmanagerServer::start_with(&format!("{}/hook", theirs.url)) else {
        return;
    };
    let now_ms = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let of = |instance: &str, summary: &str| {
        let mut alert = alert(summary);
        alert.labels.insert("instance".to_owned(), instance.to_owned());
        alert.starts_at_ms = now_ms / 1000 * 1000 - 60_000;
        alert
    };
    let mut message = notification("");
    message.alerts = vec![of("apex", "same"), of("vertex", "same"), of("zenith", "other \"x\" ü")];
    message.receiver = "hook".to_owned();
    message.group_labels = [("alertname".to_owned(), "Test".to_owned())].into();
    message.group_key = r#"{}:{alertname="Test"}"#.to_owned();
    let forward = receiver(&format!("name = 'am'\nalertmanager = {{ urls = ['{}'] }}", server.url));
    forward.send(&message, &Context::default()).await.unwrap();
    for theirs in server.alerts().as_array().unwrap() {
        for alert in &mut message.alerts {
            if alert.labels["instance"] == theirs["labels"]["instance"].as_str().unwrap() {
                alert.fingerprint = theirs["fingerprint"].as_str().unwrap().to_owned();
            }
        }
    }
    theirs.reached(1).await;
    let ours = Double::start(vec![Answer::Status(200, "")]).await;
    let config: ReceiverConfig =
        toml::from_str(&format!("name = 'hook'\nwebhook = {{ url = '{}/hook' }}", ours.url))
            .unwrap();
    let hook = Receiver::build(&config, "http://alertmanager.test").unwrap();
    hook.send(&message, &Context::default()).await.unwrap();
    let body =
        |double: &Double| double.requests().remove(0).split_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!(body(&ours).trim(), body(&theirs).trim());
}
