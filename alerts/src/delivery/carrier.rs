//! A configured receiver as a [`Carrier`].

use std::sync::Arc;

use super::{Answer, Carrier, Rate};
use crate::history::{Past, illustrate};
use crate::message::Message;
use crate::notification::Notification;
use crate::notify::{Context, Links, Receiver, SendError};

/// Finds what makes a message better: pictures, links.
pub trait Illustrator: Send + Sync + 'static {
    /// What the receiver of `message` may use, within a bounded time.
    fn context<'a>(&'a self, message: &'a Message) -> Answer<'a, Context>;
}

/// Illustrates nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Illustrator for Plain {
    fn context<'a>(&'a self, _: &'a Message) -> Answer<'a, Context> {
        Box::pin(std::future::ready(Context::default()))
    }
}

/// Illustrates with how the values behind alerts went, and with buttons.
pub struct Drawn {
    /// What knows the past.
    pub past: Arc<dyn Past>,
    /// What makes the links of buttons.
    pub links: Option<Arc<dyn Links>>,
}

impl Illustrator for Drawn {
    fn context<'a>(&'a self, message: &'a Message) -> Answer<'a, Context> {
        Box::pin(async move {
            let pictures = illustrate(message, self.past.clone()).await;
            Context { pictures, links: self.links.clone(), ..Context::default() }
        })
    }
}

/// A receiver with what illustrates its messages.
pub struct Carried {
    receiver: Receiver,
    rate: Rate,
    illustrator: Arc<dyn Illustrator>,
}

impl Carried {
    /// `receiver` gets messages at this rate.
    pub fn new(receiver: Receiver, rate: Rate, illustrator: Arc<dyn Illustrator>) -> Self {
        Self { receiver, rate, illustrator }
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

    fn send<'a>(&'a self, message: &'a Message) -> Answer<'a, Result<(), SendError>> {
        Box::pin(async move {
            let context = self.illustrator.context(message).await;
            self.receiver.send(message, &context).await
        })
    }

    fn repeat(&self, mine: &[Notification], all: &[Notification], now_ms: i64) {
        self.receiver.repeat(mine, all, now_ms);
    }

    fn can_be_asked(&self) -> bool {
        self.receiver.can_be_asked()
    }

    fn was_delivered<'a>(&'a self, message: &'a Message) -> Answer<'a, Option<bool>> {
        Box::pin(self.receiver.was_delivered(message))
    }
}
