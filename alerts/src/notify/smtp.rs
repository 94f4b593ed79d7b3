//! One conversation with a mail server, address by address.
//!
//! What the server refuses before it has heard of an address (the greeting, the login, the sender) is
//! the server's state, which people mend, and never the mail's fault. An address that is refused
//! costs only its owner the mail. Only what is said of the content ends the mail.
//!
//! Until the content goes out a server that is slow is left without harm. Then it has ten minutes: one
//! that looks through mails before it answers would otherwise have the mail and get it again.
//!
//! Not here: what is in a mail, and who of several addresses has it from an attempt before.

use std::error::Error as _;
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Tls};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use tokio::time::{Instant, timeout, timeout_at};

use super::SendError;
use super::http::PEOPLE_PAUSE;

/// How long it may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long all may take until the server wants the content: long enough for those that greet slowly
/// to shake off senders in a hurry.
const OPENING_TIMEOUT: Duration = Duration::from_secs(120);

/// How long the content may take, until the server has answered to its end (RFC 5321, 4.5.3.2.6).
const CONTENT_TIMEOUT: Duration = Duration::from_secs(600);

/// How long a server may take to say goodbye.
const PARTING_TIMEOUT: Duration = Duration::from_secs(5);

/// Replies that refuse the login, whenever they come (RFC 4954).
const LOGIN_REFUSED: [u16; 5] = [530, 534, 535, 538, 454];

/// The reply of a server that ends the conversation (RFC 5321, 3.8).
const CLOSING: u16 = 421;

/// The reply to an address whose mailbox is full, or to one too many: it passes, for all that its
/// first digit says (RFC 5321, 4.5.3.1.10).
const NO_ROOM: u16 = 552;

/// Where mails are handed in.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Tls,
}

/// What became of a mail that the server has looked at: each address is in one of the lists.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Those for whom the server has it.
    pub(super) taken: Vec<Address>,
    /// Those who will not get it, with the server's words.
    pub(super) refused: Vec<(Address, String)>,
    /// Those who may get it later, with the server's words.
    pub(super) later: Vec<(Address, String)>,
}

impl Server {
    /// Hands `mail` in for those of `to` whom the server takes. An error says nothing of the mail, nor
    /// of any address.
    pub(super) async fn submit(
        &self,
        login: Option<&Credentials>,
        from: &Address,
        to: Vec<Address>,
        mail: &[u8],
    ) -> Result<Outcome, SendError> {
        let deadline = Instant::now() + OPENING_TIMEOUT;
        let connection = timeout_at(deadline, self.connect(login)).await;
        let connection = connection.map_err(|_| self.late())?;
        let mut connection = connection.map_err(|error| self.state(&error))?;
        let offered = timeout_at(deadline, self.offer(&mut connection, from, to, mail)).await;
        let outcome = match offered.unwrap_or_else(|_| Err(self.late())) {
            Ok(outcome) if !outcome.taken.is_empty() => {
                self.hand_over(&mut connection, outcome, mail).await
            }
            outcome => outcome,
        };
        // The server has the mail or has it not: how the parting goes, and how long it takes, changes
        // nothing about that.
        tokio::spawn(
            async move { tokio::time::timeout(PARTING_TIMEOUT, connection.abort()).await },
        );
        outcome
    }

    async fn connect(
        &self,
        login: Option<&Credentials>,
    ) -> Result<AsyncSmtpConnection, smtp::Error> {
        let name = ClientId::default();
        let (wrapper, starttls) = match &self.tls {
            Tls::Wrapper(tls) => (Some(tls.clone()), None),
            Tls::Required(tls) => (None, Some(tls.clone())),
            _ => (None, None),
        };
        let server = (self.host.as_str(), self.port);
        let timeout = Some(CONNECT_TIMEOUT);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, timeout, &name, wrapper, None).await?;
        if let Some(tls) = starttls {
            connection.starttls(tls, &name).await?;
        }
        if let Some(login) = login {
            connection.auth(DEFAULT_MECHANISMS, login).await?;
        }
        Ok(connection)
    }

    /// Names the sender and the addresses until the server wants the content for those it takes.
    async fn offer(
        &self,
        connection: &mut AsyncSmtpConnection,
        from: &Address,
        to: Vec<Address>,
        mail: &[u8],
    ) -> Result<Outcome, SendError> {
        let parameters = self.parameters(connection, from, &to, mail)?;
        let sender = Mail::new(Some(from.clone()), parameters);
        connection.command(sender).await.map_err(|error| self.state(&error))?;
        let mut outcome = Outcome::default();
        for address in to {
            match connection.command(Rcpt::new(address.clone(), Vec::new())).await {
                Ok(_) => outcome.taken.push(address),
                Err(error) => match verdict(&error) {
                    Verdict::State => return Err(self.state(&error)),
                    Verdict::Later => outcome.later.push((address, words(&error))),
                    Verdict::Refused => outcome.refused.push((address, words(&error))),
                },
            }
        }
        if outcome.taken.is_empty() {
            return Ok(outcome);
        }
        match connection.command(Data).await {
            Ok(_) => Ok(outcome),
            Err(error) => self.of_content(outcome, &error),
        }
    }

    async fn hand_over(
        &self,
        connection: &mut AsyncSmtpConnection,
        outcome: Outcome,
        mail: &[u8],
    ) -> Result<Outcome, SendError> {
        // The whole mail may have gone out, and then it is not known whether the server has it.
        let doubt = |why| SendError::Doubt { why, was_there: true };
        match timeout(CONTENT_TIMEOUT, connection.message(mail)).await {
            Ok(Ok(_)) => Ok(outcome),
            Ok(Err(error)) if error.status().is_some() => self.of_content(outcome, &error),
            Ok(Err(error)) => Err(doubt(self.told(&error))),
            Err(_) => Err(doubt(format!("{} to the mail", self.unanswered(CONTENT_TIMEOUT)))),
        }
    }

    /// What has to be said of the mail for the server to take it as it is.
    fn parameters(
        &self,
        connection: &AsyncSmtpConnection,
        from: &Address,
        to: &[Address],
        mail: &[u8],
    ) -> Result<Vec<MailParameter>, SendError> {
        let international =
            !to.iter().chain([from]).all(|address| AsRef::<str>::as_ref(address).is_ascii());
        let wanted = [
            (international, Extension::SmtpUtfEight, MailParameter::SmtpUtfEight),
            (
                !mail.is_ascii(),
                Extension::EightBitMime,
                MailParameter::Body(MailBodyParameter::EightBitMime),
            ),
        ];
        let mut parameters = Vec::new();
        for (_, extension, parameter) in wanted.into_iter().filter(|(is_wanted, ..)| *is_wanted) {
            if !connection.server_info().supports_feature(extension) {
                let why = format!("{}:{}: the server has no {extension}", self.host, self.port);
                return Err(SendError::Retry { why, after: Some(PEOPLE_PAUSE) });
            }
            parameters.push(parameter);
        }
        Ok(parameters)
    }

    /// The server was not ready for the content in time.
    fn late(&self) -> SendError {
        SendError::Retry { why: self.unanswered(OPENING_TIMEOUT), after: None }
    }

    fn unanswered(&self, within: Duration) -> String {
        format!("{}:{}: no answer within {} s", self.host, self.port, within.as_secs())
    }

    /// A failure that says nothing of this mail.
    fn state(&self, error: &smtp::Error) -> SendError {
        let why = self.told(error);
        if code(error).is_some_and(|code| LOGIN_REFUSED.contains(&code)) {
            let why = format!("{why} (the login is refused: look at username and password_file)");
            return SendError::Retry { why, after: Some(PEOPLE_PAUSE) };
        }
        // A client error is a server that cannot do what we were told to insist on.
        let is_peoples = error.is_permanent() || error.is_client() || error.is_tls();
        SendError::Retry { why, after: is_peoples.then_some(PEOPLE_PAUSE) }
    }

    /// A failure after addresses were taken. What is wrong with the mail for one is wrong for all.
    fn of_content(&self, outcome: Outcome, error: &smtp::Error) -> Result<Outcome, SendError> {
        let is_login = code(error).is_some_and(|code| LOGIN_REFUSED.contains(&code));
        if !error.is_permanent() || is_login {
            return Err(self.state(error));
        }
        let Outcome { taken, mut refused, later } = outcome;
        let open = taken.into_iter().chain(later.into_iter().map(|(address, _)| address));
        refused.extend(open.map(|address| (address, words(error))));
        Ok(Outcome { refused, ..Outcome::default() })
    }

    fn told(&self, error: &smtp::Error) -> String {
        format!("{}:{}: {}", self.host, self.port, words(error))
    }
}

/// What a refused address means.
enum Verdict {
    /// Something about the server or the connection, whoever the mail is for.
    State,
    /// Not now.
    Later,
    /// Not ever.
    Refused,
}

fn verdict(error: &smtp::Error) -> Verdict {
    match code(error) {
        Some(code) if code == CLOSING || LOGIN_REFUSED.contains(&code) => Verdict::State,
        Some(NO_ROOM) => Verdict::Later,
        Some(_) if error.is_permanent() => Verdict::Refused,
        Some(_) => Verdict::Later,
        None => Verdict::State,
    }
}

fn code(error: &smtp::Error) -> Option<u16> {
    error.status().map(u16::from)
}

/// What the server said, or what happened.
fn words(error: &smtp::Error) -> String {
    match (error.status(), error.source()) {
        (Some(code), Some(words)) => format!("{code} {words}"),
        // The text of the error has that of its cause in it.
        _ => error.to_string(),
    }
}
