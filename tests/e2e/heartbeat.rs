//! The dead man's switch hears of labstat while labstat works, and of its troubles; and nothing any more
//! once it hangs or is dead. And labstat's own figures are in its own history.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::receiver::Receiver;
use crate::servers::MailServer;
use crate::support::{Labstat, eventually, signal, value};

#[test]
fn a_switch_hears_while_labstat_works_and_no_longer() {
    let (switch, url) = Receiver::start();
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("aggregator.toml");
    std::fs::write(temp.path().join("url"), format!("{url}\n")).unwrap();
    let text = format!(
        "listen = '127.0.0.1:0'\ndata = '{0}/data'\nown_metrics_interval = '1s'\n\
         [heartbeat]\nurl_file = '{0}/url'\ninterval = '1s'\n",
        temp.path().display()
    );
    std::fs::write(&file, text).unwrap();
    let mut server = Labstat::start(&["aggregator", "--config", file.to_str().unwrap()]);
    let base = server.url();
    switch.wait(0, 2);
    let (line, body) = switch.heard.lock().unwrap().last().cloned().unwrap();
    assert_eq!(line, "POST /s3cret-uuid-4b7d HTTP/1.1");
    assert!(body.starts_with("labstat ") && body.contains("0 node(s) up"), "{body}");

    eventually("its own figures are in its history", || {
        let rules = value(&base, "labstat_rules{job='labstat', instance='labstat'}")?;
        let pings = value(&base, "labstat_heartbeat_pings_total{outcome='well'}")?;
        let room = value(&base, "labstat_store_filesystem_avail_bytes")?;
        if rules > 50.0 && pings > 0.0 && room > 0.0 { Ok(()) } else { Err("not yet".to_owned()) }
    });

    // One that hangs is as good as dead.
    signal(server.pid(), "STOP");
    let _last = switch.within(Duration::from_millis(500));
    assert_eq!(switch.within(Duration::from_millis(3_500)), 0, "a stopped one is silent");
    signal(server.pid(), "CONT");
    switch.wait(switch.len(), 2);
    let log = server.said();
    assert!(!log.contains("s3cret"), "the URL is a secret:\n{log}");
    server.kill();
    let _last = switch.within(Duration::from_millis(500));
    assert_eq!(switch.within(Duration::from_millis(3_500)), 0, "a dead one is silent");
}

/// An agent that cannot reach its aggregator says so itself: once, also when it is restarted meanwhile, and
/// once when it is over. Receivers that hang before it keep no other from being told.
#[test]
fn an_agent_without_its_aggregator_raises_the_alarm_itself() {
    let (phone, url) = Receiver::start();
    let temp = tempfile::tempdir().unwrap();
    let port = crate::servers::free_port();
    let file = temp.path().join("agent.toml");
    // Takes connections, and says nothing ever.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let hangs = format!("'http://{}/'", mute.local_addr().unwrap());
    let receivers: String = [&hangs, &hangs, &hangs, &format!("'{url}'")]
        .map(|url| format!("[[alarm.receivers]]\nwebhook = {{ url = {url} }}\n"))
        .concat();
    let text = format!(
        "aggregator = 'http://127.0.0.1:{port}'\nnode = 'vertex'\ninterval = '1s'\nonly = ['uname']\n\
         state = '{}/state'\n[alarm]\nafter = '2s'\n{receivers}",
        temp.path().display()
    );
    std::fs::write(&file, text).unwrap();
    let start = || Labstat::start(&["agent", "--config", file.to_str().unwrap()]);
    let mut agent = start();
    agent.line("alarm of its own after 2s to 4 receivers");
    let begun = Instant::now();
    phone.wait(0, 1);
    // One after another they would take a minute before it.
    assert!(begun.elapsed() < Duration::from_secs(45), "it waited for none that hangs");
    let told = |at: usize| {
        let (_, body) = phone.heard.lock().unwrap().get(at).cloned().unwrap();
        serde_json::from_str::<serde_json::Value>(&body).unwrap()
    };
    let first = told(0);
    assert_eq!(first["status"], "firing");
    assert_eq!(first["commonLabels"]["alertname"], "AggregatorUnreachable");
    assert_eq!(first["commonLabels"]["instance"], "vertex");
    let said = first["commonAnnotations"]["description"].as_str().unwrap().to_owned();
    assert!(said.contains("refused"), "it says why: {said}");
    // Right after it was told, a moment for the word of it to be on disk.
    eventually("it is put down that it was told", || {
        let document = std::fs::read_to_string(temp.path().join("state/alarm.json"));
        let document = document.map_err(|error| error.to_string())?;
        if document.contains("\"in_doubt\":false") { Ok(()) } else { Err(document) }
    });
    assert_eq!(agent.stop(), Some(0));
    let agent = start();
    assert_eq!(phone.within(Duration::from_secs(5)), 0, "told before");

    let listen = format!("127.0.0.1:{port}");
    let data = temp.path().join("data");
    let mut server =
        Labstat::start(&["aggregator", "--listen", &listen, "--data", data.to_str().unwrap()]);
    server.url();
    phone.wait(1, 1);
    assert_eq!(told(1)["status"], "resolved");
    assert_eq!(phone.within(Duration::from_secs(2)), 0);
    assert_eq!(agent.stop(), Some(0));
}

/// One receiver hangs, one refuses what it gets and repeats it, and of a mail's two addresses one is unknown: who
/// can be told is told, once, and no secret is in the log or in what is kept.
#[test]
fn the_agents_alarm_reaches_whom_it_can_and_tells_no_secret() {
    let Some(mail) = MailServer::start() else { return };
    let (phone, url) = Receiver::start();
    let (refusing, refused_url) = Receiver::refusing();
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name).display().to_string();
    std::fs::write(at("token"), "s3cret-token-of-the-chat\n").unwrap();
    std::fs::write(at("key"), "s3cret-token-of-the-lab\n").unwrap();
    let port = crate::servers::free_port();
    let text = format!(
        "aggregator = 'http://127.0.0.1:{port}'\ntoken_file = '{}'\nnode = 'vertex'\ninterval = '1s'\n\
         only = ['uname']\nstate = '{}'\n[alarm]\nafter = '2s'\n\
         [[alarm.receivers]]\nname = 'mute'\nwebhook = {{ url = 'http://{}/s3cret-uuid-0042' }}\n\
         [[alarm.receivers]]\nname = 'chat'\nwebhook = {{ url = '{refused_url}', token_file = '{}' }}\n\
         [[alarm.receivers]]\nname = 'mail'\n[alarm.receivers.email]\nhost = '127.0.0.1'\nport = {}\n\
         tls = 'none'\nfrom = 'labstat@lab.test'\nto = ['nobody@lab.test', 'anna@lab.test']\n\
         [[alarm.receivers]]\nname = 'phone'\nwebhook = {{ url = '{url}' }}\n",
        at("key"),
        at("state"),
        mute.local_addr().unwrap(),
        at("token"),
        mail.plain,
    );
    std::fs::write(at("agent.toml"), text).unwrap();
    let start = || Labstat::start(&["agent", "--config", &at("agent.toml")]);
    let mails = |subject: &str| {
        let mails = mail.mails();
        let told = mails.iter().filter(|mail| mail.contains(subject)).count();
        assert!(mails.iter().all(|mail| mail.contains("X-Test-To: anna@lab.test")), "{mails:?}");
        told
    };
    let check = |agent: &mut Labstat| {
        let kept = std::fs::read_to_string(at("state/alarm.json")).unwrap();
        for text in [agent.said(), kept] {
            assert!(!text.contains("s3cret"), "{text}");
        }
    };

    let mut agent = start();
    agent.line("alarm of its own after 2s to 4 receivers");
    // Of the two, either may be said first.
    eventually("all are told who can be", || {
        let said = agent.said();
        let is_said = ["but not to nobody@lab.test", "answered 403 Forbidden"]
            .map(|part| said.contains(part));
        match (is_said, phone.len(), mails("cannot reach the aggregator")) {
            ([true, true], 1, 1) => Ok(()),
            other => Err(format!("{other:?} {said}")),
        }
    });
    assert!(refusing.len() >= 1 && agent.said().contains("POST /***"), "{}", agent.said());
    check(&mut agent);
    assert_eq!(agent.stop(), Some(0));

    let mut agent = start();
    let before = refusing.len();
    refusing.wait(before, 1);
    assert_eq!((phone.within(Duration::from_secs(2)), mail.mails().len()), (0, 1), "told before");
    let (listen, key) = (format!("127.0.0.1:{port}"), at("key"));
    let (data, arguments) = (at("data"), ["aggregator", "--listen", &listen, "--token-file", &key]);
    let mut server = Labstat::start(&[&arguments[..], &["--data", &data]].concat());
    server.url();
    phone.wait(1, 1);
    assert!(phone.alerts()[1].2, "it is over");
    eventually("who was told hears that it is over", || match mail.mails().len() {
        2 => Ok(()),
        few => Err(format!("{few} mails")),
    });
    check(&mut agent);
    assert_eq!((phone.len(), mails("vertex")), (2, 2), "and nobody twice");
}
