//! Email over SMTP: plain text, one mail per change. The mail that tells the end of an alert
//! answers the one that told its beginning, so that a mail program shows them together.

use std::time::Duration;

use jiff::tz::TimeZone;
use lettre::message::{Mailbox, header};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::{self, AsyncSmtpTransport};
use lettre::{AsyncTransport, Message, Tokio1Executor};

use super::config::{EmailConfig, SmtpTls, read_file, read_secret};
use super::http::PEOPLE_PAUSE;
use super::{BuildError, SendError, text};
use crate::hash::fnv;
use crate::notification::{Notification, Status};

/// How long one step of the conversation may take; the whole attempt has
/// [`SEND_TIMEOUT`](super::SEND_TIMEOUT).
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Replies that refuse the login and not the mail (RFC 4954): people can put that right.
const LOGIN_REFUSED: [u16; 5] = [530, 534, 535, 538, 454];

/// Bytes of a subject: what a list of mails shows several times over.
const SUBJECT_LEN_MAX: usize = 250;

/// A mailbox.
#[derive(Debug)]
pub(super) struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    place: String,
    from: Mailbox,
    to: Vec<Mailbox>,
    external_url: String,
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
        let tls = match config.tls {
            SmtpTls::Starttls => Tls::Required(tls(name, config)?),
            SmtpTls::Tls => Tls::Wrapper(tls(name, config)?),
            SmtpTls::None => Tls::None,
        };
        let place = format!("{}:{}", config.host, config.port());
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host)
            .port(config.port())
            .tls(tls)
            .timeout(Some(STEP_TIMEOUT));
        if let (Some(user), Some(file)) = (&config.username, &config.password_file) {
            let secret = read_secret(name, file)?;
            transport = transport.credentials(Credentials::new(user.clone(), secret));
        }
        Ok(Self {
            transport: transport.build(),
            place,
            from: address(&config.from)?,
            to: config.to.iter().map(address).collect::<Result<_, _>>()?,
            external_url: external_url.to_owned(),
        })
    }

    pub(super) async fn send(&self, notification: &Notification) -> Result<(), SendError> {
        let message = self.message(notification);
        let message = message.map_err(|error| SendError::GiveUp(error.to_string()))?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.judge(&error)),
        }
    }

    /// A refusal for good is given up; all else (the net, a timeout, a busy server) passes.
    fn judge(&self, error: &smtp::Error) -> SendError {
        let why = format!("{}: {}", self.place, crate::manager::error_chain(error));
        if error.status().map(u16::from).is_some_and(|code| LOGIN_REFUSED.contains(&code)) {
            return SendError::Retry { why, after: Some(PEOPLE_PAUSE) };
        }
        // A client error is a server that cannot do what we were told to insist on.
        if error.is_permanent() || error.is_client() {
            SendError::GiveUp(why)
        } else {
            SendError::Retry { why, after: None }
        }
    }

    fn message(&self, change: &Notification) -> Result<Message, lettre::error::Error> {
        let subject = text::cut(&text::title(change), SUBJECT_LEN_MAX);
        let mut body = text::body(change, &TimeZone::system());
        if !self.external_url.is_empty() && !change.generator_url.is_empty() {
            body.push_str("\n\n");
            body.push_str(&change.generator_url);
        }
        body.push('\n');
        let mut message = Message::builder()
            .from(self.from.clone())
            .subject(subject)
            .message_id(Some(self.id(change, change.status)))
            .header(header::ContentType::TEXT_PLAIN);
        for to in &self.to {
            message = message.to(to.clone());
        }
        if change.status == Status::Resolved {
            let first = self.id(change, Status::Firing);
            message = message.in_reply_to(first.clone()).references(first);
        }
        message.body(body)
    }

    /// The same change has the same id, so that a mail sent twice can be known as one.
    fn id(&self, change: &Notification, status: Status) -> String {
        let (fingerprint, active_at_ms, _) = change.change_id();
        let to: Vec<String> = self.to.iter().map(ToString::to_string).collect();
        let to = fnv(to.iter().map(String::as_str));
        let status = status.as_str();
        let domain = self.from.email.domain();
        format!("<{fingerprint}.{active_at_ms}.{status}.{to:x}@{domain}>")
    }
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
    use super::*;

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

    #[test]
    fn the_end_answers_the_beginning() {
        let email = email();
        let mut change = text::test_message(5);
        let first = String::from_utf8(email.message(&change).unwrap().formatted()).unwrap();
        change.status = Status::Resolved;
        change.ends_at_ms = Some(9);
        let last = String::from_utf8(email.message(&change).unwrap().formatted()).unwrap();
        let id = |mail: &str, name: &str| -> String {
            let line = mail.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().to_owned()
        };
        assert_eq!(id(&first, "Message-ID:"), id(&last, "In-Reply-To:"));
        assert_ne!(id(&first, "Message-ID:"), id(&last, "Message-ID:"));
        assert!(first.contains("Subject: labstat test message"));
    }
}
