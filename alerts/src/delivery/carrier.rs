//! A configured receiver as a [`Carrier`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::{Answer, Carrier, Rate, lock};
use crate::hash::fnv;
use crate::history::{Illustration, Past, illustrate};
use crate::message::Message;
use crate::notification::Notification;
use crate::notify::{Arrival, Context, Delivered, Links, Receiver, SendError};

/// Messages whose pictures are kept until they have arrived: as many as people wait for when a
/// receiver is down. The pictures of others are drawn anew.
const DRAWN_LEN_MAX: usize = 64;

/// Finds what makes a message better: pictures, links.
pub trait Illustrator: Send + Sync + 'static {
    /// How the values behind the alerts of `message` went, within a bounded time.
    fn pictures<'a>(&'a self, _message: &'a Message) -> Answer<'a, Vec<Illustration>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    /// What makes the links of buttons.
    fn links(&self) -> Option<Arc<dyn Links>> {
        None
    }
}

/// Illustrates nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Illustrator for Plain {}

/// Illustrates with how the values behind alerts went, and with buttons.
pub struct Drawn {
    /// What knows the past.
    pub past: Arc<dyn Past>,
    /// What makes the links of buttons.
    pub links: Option<Arc<dyn Links>>,
}

impl Illustrator for Drawn {
    fn pictures<'a>(&'a self, message: &'a Message) -> Answer<'a, Vec<Illustration>> {
        Box::pin(illustrate(message, self.past.clone()))
    }

    fn links(&self) -> Option<Arc<dyn Links>> {
        self.links.clone()
    }
}

/// A receiver with what illustrates its messages.
pub struct Carried {
    receiver: Receiver,
    rate: Rate,
    illustrator: Arc<dyn Illustrator>,
    /// The pictures of messages that may be tried again, by their ids, the oldest first.
    drawn: Mutex<VecDeque<(String, Vec<Illustration>)>>,
}

impl Carried {
    /// `receiver` gets messages at this rate.
    pub fn new(receiver: Receiver, rate: Rate, illustrator: Arc<dyn Illustrator>) -> Self {
        Self { receiver, rate, illustrator, drawn: Mutex::default() }
    }

    /// The pictures of a message, where they are shown. What was drawn once is good for each try.
    async fn pictures(&self, message: &Message) -> Vec<Illustration> {
        if !self.receiver.shows_pictures() {
            return Vec::new();
        }
        let known = lock(&self.drawn).iter().find(|(id, _)| *id == message.id).cloned();
        if let Some((_, pictures)) = known {
            return pictures;
        }
        let pictures = self.illustrator.pictures(message).await;
        let mut drawn = lock(&self.drawn);
        if drawn.len() >= DRAWN_LEN_MAX {
            drawn.pop_front();
        }
        drawn.push_back((message.id.clone(), pictures.clone()));
        pictures
    }
}

impl Carrier for Carried {
    fn name(&self) -> &str {
        self.receiver.name()
    }

    fn integration(&self) -> &'static str {
        self.receiver.integration()
    }

    fn rate(&self) -> Rate {
        self.rate
    }

    fn shape(&self) -> Option<u64> {
        Some(fnv([format!("{:x} {:?}", self.receiver.shape(), self.rate).as_str()]))
    }

    fn send<'a>(
        &'a self,
        message: &'a Message,
        only: &'a [String],
    ) -> Answer<'a, Result<Delivered, SendError>> {
        Box::pin(async move {
            let pictures = self.pictures(message).await;
            let links = self.illustrator.links();
            let context = Context { pictures, links, only: only.to_vec(), ..Context::default() };
            let outcome = self.receiver.send(message, &context).await;
            // Those who do not take it yet may take hours, and the pictures can be drawn anew.
            if matches!(outcome, Ok(_) | Err(SendError::GiveUp(_))) {
                lock(&self.drawn).retain(|(id, _)| *id != message.id);
            }
            outcome
        })
    }

    fn repeat(&self, mine: &[Notification], all: &[Notification], now_ms: i64) {
        self.receiver.repeat(mine, all, now_ms);
    }

    fn was_delivered<'a>(&'a self, message: &'a Message) -> Answer<'a, Arrival> {
        Box::pin(self.receiver.was_delivered(message))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::notify::test_alert;

    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Illustrator for Counting {
        fn pictures<'a>(&'a self, _: &'a Message) -> Answer<'a, Vec<Illustration>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Box::pin(std::future::ready(Vec::new()))
        }
    }

    /// A receiver that cannot be reached, of the kind that `toml` has.
    fn carried(toml: &str) -> (Carried, Arc<Counting>) {
        let config = toml::from_str(&format!("name = 'x'\n{toml}")).unwrap();
        let receiver = Receiver::build(&config, "").unwrap();
        let counting = Arc::new(Counting::default());
        (Carried::new(receiver, Rate::OFF, counting.clone()), counting)
    }

    /// Pictures cost queries over hours of history.
    #[tokio::test]
    async fn pictures_are_drawn_once_for_a_message_and_only_where_they_are_shown() {
        let url = "http://127.0.0.1:1";
        let first = Message::about(test_alert(1_000), "x");
        let second = Message { id: "another".to_owned(), ..first.clone() };
        for (toml, drawn) in [
            (format!("ntfy = {{ url = '{url}', topic = 't' }}"), 2),
            (format!("webhook = {{ url = '{url}' }}"), 0),
            ("alertmanager = { urls = ['http://127.0.0.1:1'] }".to_owned(), 0),
        ] {
            let (carried, counting) = carried(&toml);
            for message in [&first, &second, &first, &second] {
                carried.send(message, &[]).await.unwrap_err();
            }
            assert_eq!(counting.0.load(Ordering::Relaxed), drawn, "{toml}");
        }
    }

    #[tokio::test]
    async fn few_pictures_are_kept() {
        let (carried, _) = carried("ntfy = { url = 'http://127.0.0.1:1', topic = 't' }");
        let message = Message::about(test_alert(1_000), "x");
        for at in 0..2 * DRAWN_LEN_MAX {
            carried.pictures(&Message { id: format!("m{at}"), ..message.clone() }).await;
        }
        let drawn = lock(&carried.drawn);
        assert_eq!(drawn.len(), DRAWN_LEN_MAX);
        assert_eq!(drawn.back().unwrap().0, format!("m{}", 2 * DRAWN_LEN_MAX - 1));
    }
}
