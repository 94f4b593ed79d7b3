//! Email over SMTP: each message as plain text and as HTML with its pictures. The mails of a thread
//! answer its first one, so that a mail program shows them together.

use lettre::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};

use super::config::{EmailConfig, SmtpTls, read_file};
use super::context::SILENCE_MS;
use super::secret::Secret;
use super::smtp::Server;
use super::story::{Story, Tone};
use super::text::Markup;
use super::{BuildError, Context, Delivered, Refusal, SendError, html, sparkline, text};
use crate::hash::fnv;
use crate::message::{Message, Reason};

/// Bytes of a subject: what a list of mails shows several times over.
const SUBJECT_LEN_MAX: usize = 250;

/// Pictures in one mail.
const PICTURES_MAX: usize = 3;

/// Bytes that are kept of what a server says of an address.
const WORDS_LEN_MAX: usize = 500;

/// A mailbox.
#[derive(Debug)]
pub(super) struct Email {
    config: EmailConfig,
    server: Server,
    password: Option<Secret>,
    from: Mailbox,
    to: Vec<Mailbox>,
    external_url: String,
}

/// What was said of addresses, as it is told.
fn refusals(said: Vec<(Address, String)>) -> Vec<Refusal> {
    let refusal = |(address, why): (Address, String)| Refusal {
        to: address.to_string(),
        why: text::cut(&why, WORDS_LEN_MAX),
    };
    let mut refusals: Vec<Refusal> = said.into_iter().map(refusal).collect();
    refusals.sort_by(|a, b| a.to.cmp(&b.to));
    refusals
}

fn listed(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Email {
    pub(super) fn build(
        name: &str,
        config: &EmailConfig,
        external_url: &str,
    ) -> Result<Self, BuildError> {
        let problem = |problem: String| BuildError::Config { name: name.to_owned(), problem };
        let address = |text: &String| {
            text.parse::<Mailbox>().map_err(|error| problem(format!("{text:?}: {error}")))
        };
        let password = config.password_file.as_deref();
        Ok(Self {
            server: Server {
                host: config.host.clone(),
                port: config.port(),
                tls: match config.tls {
                    SmtpTls::Starttls => Tls::Required(tls(name, config)?),
                    SmtpTls::Tls => Tls::Wrapper(tls(name, config)?),
                    SmtpTls::None => Tls::None,
                },
            },
            password: password.map(|file| Secret::read(name, file)).transpose()?,
            from: address(&config.from)?,
            to: config.to.iter().map(address).collect::<Result<_, _>>()?,
            external_url: external_url.to_owned(),
            config: config.clone(),
        })
    }

    pub(super) async fn send(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<Delivered, SendError> {
        let mail = self.mail(message, context);
        let mail = mail.map_err(|error| SendError::GiveUp(error.to_string()))?;
        let others_have_it = !context.only.is_empty();
        let (open, gone) = self.open(&context.only);
        if open.is_empty() {
            return Ok(Delivered { refused: gone, ..Delivered::default() });
        }
        let (login, from, mail) = (self.login(), &self.from.email, mail.formatted());
        let outcome = self.server.submit(login.as_ref(), from, open, &mail).await?;
        let (mut refused, later) = (refusals(outcome.refused), refusals(outcome.later));
        if outcome.taken.is_empty() && !others_have_it {
            let is_final = later.is_empty();
            let error = |why| if is_final { SendError::GiveUp(why) } else { retry(why) };
            return Err(error(listed(if is_final { &refused } else { &later })));
        }
        refused.extend(gone);
        Ok(Delivered { refused, later })
    }

    /// The addresses that a message is for, and those of `only` that have left the configuration.
    fn open(&self, only: &[String]) -> (Vec<Address>, Vec<Refusal>) {
        let all = self.to.iter().map(|to| to.email.clone());
        let open: Vec<Address> =
            all.filter(|to| only.is_empty() || only.contains(&to.to_string())).collect();
        let is_gone = |to: &&String| !open.iter().any(|address| address.to_string() == **to);
        let gone = only.iter().filter(is_gone).map(|to| Refusal {
            to: to.clone(),
            why: "is no address of this receiver any more".to_owned(),
        });
        let gone = gone.collect();
        (open, gone)
    }

    /// Read anew for each mail, since the password may have changed.
    fn login(&self) -> Option<Credentials> {
        let (user, secret) = (self.config.username.as_ref()?, self.password.as_ref()?);
        Some(Credentials::new(user.clone(), secret.current()))
    }

    fn mail(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<lettre::Message, lettre::error::Error> {
        let story = Story::of(message, context);
        let tone = story.tone;
        let subject = text::cut(&format!("{} {}", tone.emoji(), story.title), SUBJECT_LEN_MAX);
        let id = self.id(&message.id);
        let mut mail = lettre::Message::builder()
            .from(self.from.clone())
            .subject(subject)
            .message_id(Some(id.clone()));
        for to in &self.to {
            mail = mail.to(to.clone());
        }
        let first = self.id(&message.thread);
        if first != id {
            mail = mail.in_reply_to(first.clone()).references(first);
        }
        let domain = self.from.email.domain();
        let mut named = vec![
            // No answers from those who are on holiday (RFC 3834, and Exchange's own word).
            ("Auto-Submitted", "auto-generated".to_owned()),
            ("X-Auto-Response-Suppress", "All".to_owned()),
            ("List-Id", format!("labstat alerts <labstat.{domain}>")),
        ];
        if tone == Tone::Critical && message.reason != Reason::Reminder {
            named.push(("Importance", "high".to_owned()));
            named.push(("X-Priority", "1".to_owned()));
        }
        for (name, value) in named {
            if let Ok(name) = HeaderName::new_from_ascii(name.to_owned()) {
                mail = mail.raw_header(HeaderValue::new(name, value));
            }
        }
        mail.multipart(self.content(&story, message, context))
    }

    fn content(&self, story: &Story<'_>, message: &Message, context: &Context) -> MultiPart {
        let links = self.links(message, context);
        let plain = self.plain(story, &links);
        let page = html::page(story, &links, &context.zone);
        let mut related = MultiPart::related().singlepart(SinglePart::html(page));
        for (at, card) in story.cards.iter().take(PICTURES_MAX).enumerate() {
            if let Some(png) = card.picture.and_then(sparkline::png)
                && let Ok(kind) = ContentType::parse("image/png")
            {
                let name = html::picture_name(at);
                related = related.singlepart(Attachment::new_inline(name).body(png, kind));
            }
        }
        MultiPart::alternative().singlepart(SinglePart::plain(plain)).multipart(related)
    }

    fn links(&self, message: &Message, context: &Context) -> html::Links {
        let links = context.links_for(message);
        let silence = links.and_then(|links| links.silence(message, SILENCE_MS));
        html::Links {
            acknowledge: links.and_then(|links| links.acknowledge(message)),
            silence: silence.map(|url| (url, SILENCE_MS / 3_600_000)),
            home: Some(self.external_url.clone()).filter(|url| !url.is_empty()),
        }
    }

    fn plain(&self, story: &Story<'_>, links: &html::Links) -> String {
        let mut plain = text::body(story, Markup::Plain);
        plain.push('\n');
        let mut line = |what: &str, url: &str| {
            plain.push_str(&format!("\n{what}: {url}"));
        };
        if let Some(url) = &links.acknowledge {
            line("Acknowledge", url);
        }
        if let Some((url, hours)) = &links.silence {
            line(&format!("Silence {hours} h"), url);
        }
        let expression = story.cards.first().map(|card| card.alert.generator_url.as_str());
        if let Some(url) = expression.filter(|url| !url.is_empty() && links.home.is_some()) {
            line("Expression", url);
        }
        plain.push_str(&format!("\n\n-- \nlabstat, {}", story.made));
        if let Some(home) = &links.home {
            plain.push_str(&format!(", {home}"));
        }
        plain.push('\n');
        plain
    }

    /// The same message has the same id, so that a mail sent twice can be known as one.
    fn id(&self, message_id: &str) -> String {
        let to: Vec<String> = self.to.iter().map(ToString::to_string).collect();
        let to = fnv(to.iter().map(String::as_str));
        let domain = self.from.email.domain();
        format!("<labstat.{:016x}.{to:016x}@{domain}>", fnv([message_id]))
    }
}

fn retry(why: String) -> SendError {
    SendError::Retry { why, after: None }
}

fn tls(name: &str, config: &EmailConfig) -> Result<TlsParameters, BuildError> {
    let problem = |problem: String| BuildError::Config { name: name.to_owned(), problem };
    let mut builder = TlsParameters::builder(config.host.clone());
    if let Some(path) = &config.ca_file {
        let pem = read_file(name, path)?;
        let bad = |error: smtp::Error| problem(format!("{}: {error}", path.display()));
        builder = builder.add_root_certificate(Certificate::from_pem(&pem).map_err(bad)?);
    }
    builder.build_rustls().map_err(|error| problem(format!("TLS: {error}")))
}

#[cfg(test)]
mod tests {
    use super::super::story::tests::{START_MS, alert, context, hot, message, over};
    use super::*;
    use crate::history::Illustration;
    use crate::notification::Status;

    fn email() -> Email {
        let config = EmailConfig {
            host: "127.0.0.1".to_owned(),
            port: None,
            tls: SmtpTls::None,
            username: None,
            password_file: None,
            from: "labstat <labstat@lab.test>".to_owned(),
            to: vec!["me@lab.test".to_owned()],
            ca_file: None,
        };
        Email::build("mail", &config, "http://lab").unwrap()
    }

    fn written(message: &Message) -> String {
        let mail = email().mail(message, &context()).unwrap();
        String::from_utf8(mail.formatted()).unwrap()
    }

    fn header(mail: &str, name: &str) -> Option<String> {
        let line = mail.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.map(|text| text.trim().to_owned())
    }

    #[test]
    fn the_mails_of_a_thread_answer_its_first() {
        let mut first = message(vec![hot()], Reason::New);
        first.thread = first.id.clone();
        let last = Message {
            id: "another".to_owned(),
            alerts: vec![over(hot())],
            reason: Reason::Resolved,
            ..first.clone()
        };
        let (first, last) = (written(&first), written(&last));
        assert_eq!(header(&first, "In-Reply-To"), None);
        assert_eq!(header(&first, "Message-ID"), header(&last, "In-Reply-To"));
        assert_eq!(header(&first, "Message-ID"), header(&last, "References"));
        assert_ne!(header(&first, "Message-ID"), header(&last, "Message-ID"));
        assert_eq!(header(&first, "Auto-Submitted").unwrap(), "auto-generated");
        assert_eq!(header(&first, "List-Id").unwrap(), "labstat alerts <labstat.lab.test>");
        assert!(header(&first, "Date").is_some());
    }

    #[test]
    fn nothing_in_an_alert_makes_another_header() {
        let evil = "x\r\nBcc: all@lab.test\r\n\r\nX-Evil: 1";
        let alert = alert("alertname=A", &[("summary", evil), ("description", evil)]);
        let mut message = message(vec![alert], Reason::New);
        (message.id, message.thread) = (evil.to_owned(), format!("{evil}2"));
        let mail = written(&message);
        let head = mail.split_once("\r\n\r\n").unwrap().0;
        assert!(!head.lines().any(|line| line.starts_with("Bcc") || line.starts_with("X-Evil")));
    }

    /// The course of a value that rises in waves over a limit.
    fn course(alert: &crate::Notification, from: f64, to: f64, limit: f64) -> Illustration {
        let value = |at: u32| {
            let share = f64::from(at) / 120.0;
            let wave = (share * 21.0).sin() * 0.06 + (share * 55.0).cos() * 0.03;
            let gap = (40..46).contains(&at);
            (!gap).then_some(from + (to - from) * (share * share + wave * (1.0 - share)))
        };
        Illustration {
            fingerprint: alert.fingerprint.clone(),
            start_ms: START_MS - 18_000_000,
            step_ms: 180_000,
            values: (0..=120).map(value).collect(),
            limit: Some(limit),
            is_upper: to > from,
            unit: crate::history::Reading::of(alert).and_then(|reading| reading.unit),
        }
    }

    /// The kinds of mail there are, as files for people to look at in a browser or a mail program.
    #[test]
    #[ignore = "writes mails for people to look at"]
    #[expect(clippy::too_many_lines, reason = "a list of samples")]
    fn mails_to_look_at() {
        let down = alert(
            "alertname=CephOsdDown severity=critical instance=vertex ceph_daemon=osd.3",
            &[
                ("summary", "osd.3 on vertex is down"),
                (
                    "description",
                    "The cluster copies its data to other disks; until then one copy is missing.",
                ),
                ("next", "labstat ceph"),
            ],
        );
        let degraded = alert(
            "alertname=RaidDegraded severity=critical instance=vertex device=md0",
            &[
                ("summary", "md0 on vertex is degraded"),
                (
                    "description",
                    "1 member of md0 on vertex is missing. Another failure may cost the data.",
                ),
                ("next", "mdadm --detail /dev/md0"),
            ],
        );
        let mut full = alert(
            "alertname=FilesystemAlmostFull severity=critical instance=nas mountpoint=/srv/media device=/dev/sdb1",
            &[
                ("summary", "/srv/media on nas has 4.3% left"),
                ("description", "Programs that write there will fail."),
                ("next", "du -xh -d 2 /srv/media | sort -h | tail"),
                ("runbook_url", "http://lab:5227/runbooks/FilesystemAlmostFull"),
            ],
        );
        full.value = 0.043;
        full.generator_url =
            "http://lab/graph?g0.expr=avail_bytes+%2F+size_bytes+%3C+0.05".to_owned();
        let dead = alert(
            "alertname=DiskDead severity=critical instance=vertex device=sda serial_number=WD-WCC7K0 model_name=WDC_WD40EFRX",
            &[
                ("summary", "Disk WDC WD40EFRX WD-WCC7K0 in vertex is dead"),
                ("description", "vertex/sda: It no longer answers. On it: md md0, ceph osd.3."),
                ("next", "labstat disk WD-WCC7K0"),
                ("runbook_url", "http://lab:5227/runbooks/DiskDead"),
            ],
        );
        let mut context = context();
        context.pictures = vec![course(&hot(), 58.0, 86.0, 80.0), course(&full, 0.31, 0.043, 0.05)];
        context.links = Some(std::sync::Arc::new(Buttons));
        let event = |at: i64, alert: &crate::Notification, status| crate::message::Event {
            time_ms: START_MS + at * 1000,
            fingerprint: alert.fingerprint.clone(),
            text: alert.annotations.get("summary").unwrap().clone(),
            status,
        };
        let mut incident = message(vec![dead.clone(), degraded.clone(), down.clone()], Reason::New);
        incident.timeline = vec![
            event(0, &dead, Status::Firing),
            event(4, &degraded, Status::Firing),
            event(31, &down, Status::Firing),
        ];
        let mut end =
            message(vec![over(dead.clone()), over(degraded), over(down)], Reason::Resolved);
        end.timeline = incident.timeline.clone();
        end.timeline.push(event(3_000, &dead, Status::Resolved));
        let mut many = message(vec![dead, full.clone()], Reason::Summary);
        many.alerts_omitted = 10;
        let mut escalation = message(vec![full.clone()], Reason::Escalation);
        escalation.told = vec!["phone".to_owned()];
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/mails");
        std::fs::create_dir_all(dir).unwrap();
        for (name, message) in [
            ("hot", message(vec![hot()], Reason::New)),
            ("full", message(vec![full], Reason::New)),
            ("escalation", escalation),
            ("incident", incident),
            ("end", end),
            ("hot-end", message(vec![over(hot())], Reason::Resolved)),
            ("many", many),
            ("test", message(vec![crate::notify::test_alert(START_MS)], Reason::Test)),
        ] {
            let mail = email().mail(&message, &context).unwrap().formatted();
            std::fs::write(format!("{dir}/{name}.eml"), mail).unwrap();
        }
    }

    struct Buttons;

    impl crate::notify::Links for Buttons {
        fn acknowledge(&self, _: &Message) -> Option<String> {
            Some("http://lab:5227/api/labstat/v1/act/a".to_owned())
        }

        fn silence(&self, _: &Message, _: i64) -> Option<String> {
            Some("http://lab:5227/api/labstat/v1/act/s".to_owned())
        }
    }
}
