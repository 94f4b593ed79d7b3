//! A message in words, before it takes the shape of a receiver: a short title for a lock screen, and
//! for each alert what, where, since when, how far, why it matters and what to do next.
//!
//! - [`Story`]: the whole message; [`Card`]: one alert of it.
//! - [`Tone`]: how urgent it is, for colours and emoji.
//!
//! Not here: marking up and cutting to size (`text`, `html`), and the numbers (`units`).

use jiff::tz::TimeZone;

use super::config::Severity;
use super::{Context, units};
use crate::history::{Illustration, Reading};
use crate::manners::FLAPPING;
use crate::message::{Message, Reason};
use crate::notification::{Notification, Status};

/// Alerts that are told at length; of the others one line each.
const CARDS_MAX: usize = 3;

/// Alerts that get a line at all.
const LINES_MAX: usize = 20;

/// Events of the timeline that are told: the last ones, and the first.
const EVENTS_MAX: usize = 12;

/// Labels that name the place of what is wrong, most general first, each with the word that is put
/// before its value.
const PLACES: [(&str, &str); 18] = [
    ("instance", ""),
    ("cluster", ""),
    ("device", ""),
    ("ceph_daemon", ""),
    ("enclosure", "enclosure "),
    ("bay", "bay "),
    ("slot", "slot "),
    ("model_name", ""),
    ("serial_number", "serial "),
    ("serial", "serial "),
    ("mountpoint", ""),
    ("pool", "pool "),
    ("chip", ""),
    ("sensor", ""),
    ("interface", ""),
    ("ups", "UPS "),
    ("guest", "guest "),
    ("name", ""),
];

/// Labels that a message tells in other words, or that are of no use to a person.
const SILENT_LABELS: [&str; 4] = ["alertname", "severity", "job", "disk"];

/// How urgent a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Critical,
    Warning,
    Info,
    /// A severity that nobody knows, or none.
    Plain,
    Resolved,
}

impl Tone {
    pub(super) fn of(alert: &Notification) -> Self {
        match alert.status {
            Status::Resolved => Self::Resolved,
            Status::Firing => Self::while_firing(alert),
        }
    }

    fn while_firing(alert: &Notification) -> Self {
        match Severity::parse(alert.severity()) {
            Some(Severity::Critical) => Self::Critical,
            Some(Severity::Warning) => Self::Warning,
            Some(Severity::Info) => Self::Info,
            None => Self::Plain,
        }
    }

    /// That of the gravest of a message's alerts.
    pub(super) fn of_message(message: &Message) -> Self {
        let rank = |tone: &Self| match tone {
            Self::Critical => 0,
            Self::Warning => 1,
            Self::Plain => 2,
            Self::Info => 3,
            Self::Resolved => 4,
        };
        message.alerts.iter().map(Self::of).min_by_key(rank).unwrap_or(Self::Plain)
    }

    /// One character that says it.
    pub(super) fn emoji(self) -> &'static str {
        match self {
            Self::Critical => "🔴",
            Self::Warning | Self::Plain => "🟠",
            Self::Info => "🔵",
            Self::Resolved => "✅",
        }
    }

    /// One word that says it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Critical => "Critical",
            Self::Warning => "Warning",
            Self::Info => "Info",
            Self::Plain => "Alert",
            Self::Resolved => "Resolved",
        }
    }
}

/// A message in words.
#[derive(Debug)]
pub(super) struct Story<'a> {
    pub(super) title: String,
    pub(super) tone: Tone,
    /// Why it is told again, where that is not the news itself.
    pub(super) note: Option<String>,
    /// The alerts that are told at length.
    pub(super) cards: Vec<Card<'a>>,
    /// The others, a line each.
    pub(super) lines: Vec<Line>,
    /// How many there are beside these.
    pub(super) omitted: usize,
    pub(super) timeline: Vec<Line>,
    /// When it was made.
    pub(super) made: String,
}

/// One alert, told at length.
#[derive(Debug)]
pub(super) struct Card<'a> {
    pub(super) alert: &'a Notification,
    pub(super) tone: Tone,
    pub(super) headline: String,
    /// Where: `vertex`, `nvme0`, `bay 2`, `serial S3Z8`.
    pub(super) places: Vec<String>,
    /// `84 °C, limit 80 °C`: the value, and what it is held against.
    pub(super) reading: Option<(String, Option<String>)>,
    /// `Since Thu 1 Jan 13:45 UTC`, or how long it lasted.
    pub(super) when: String,
    pub(super) why: Option<String>,
    pub(super) next: Option<Next>,
    pub(super) runbook: Option<&'a str>,
    pub(super) picture: Option<&'a Illustration>,
    /// The labels that are not told otherwise.
    pub(super) labels: Vec<(&'a str, &'a str)>,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) text: String,
    /// Whether all of it is one command, to be copied.
    pub(super) is_command: bool,
}

/// One line about one alert or event.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) time: String,
    pub(super) tone: Tone,
    pub(super) text: String,
}

impl<'a> Story<'a> {
    pub(super) fn of(message: &'a Message, context: &'a Context) -> Self {
        let zone = &context.zone;
        let at_length = if message.reason == Reason::Summary { 0 } else { CARDS_MAX };
        // The end of several alerts is told by their lines; one card says how long all lasted.
        let at_length =
            if message.status() == Status::Resolved { at_length.min(1) } else { at_length };
        let card = |alert| Card::of(alert, message, context);
        let line = |alert: &Notification| Line {
            time: units::moment(alert_time(alert), message.created_ms, zone),
            tone: Tone::of(alert),
            text: line_text(alert),
        };
        let rest = message.alerts.get(at_length.min(message.alerts.len())..).unwrap_or_default();
        Self {
            title: title(message),
            tone: Tone::of_message(message),
            note: note(message, zone),
            cards: message.alerts.iter().take(at_length).map(card).collect(),
            lines: rest.iter().take(LINES_MAX).map(line).collect(),
            omitted: message.alerts_omitted + rest.len().saturating_sub(LINES_MAX),
            timeline: timeline(message, zone),
            made: units::time(message.created_ms, zone),
        }
    }
}

fn alert_time(alert: &Notification) -> i64 {
    alert.ends_at_ms.unwrap_or(alert.active_at_ms)
}

fn line_text(alert: &Notification) -> String {
    let what = headline(alert);
    match alert.ends_at_ms {
        Some(end_ms) => format!("{what}, lasted {}", units::span(end_ms - alert.active_at_ms)),
        None => what,
    }
}

/// The title: what is wrong, on one line.
pub(super) fn title(message: &Message) -> String {
    let lead = message.lead();
    let what = lead.map_or_else(|| "labstat".to_owned(), headline);
    let is_firing = message.status() == Status::Firing;
    let same = |alert: &&Notification| (alert.status == Status::Firing) == is_firing;
    let count = message.alerts.iter().filter(same).count() + message.alerts_omitted;
    if message.reason == Reason::Summary {
        return match count {
            1 => what,
            _ => format!("{count} more: {what}, …"),
        };
    }
    let more = match count {
        0 | 1 => String::new(),
        _ => format!(" (+{})", count - 1),
    };
    let before = match message.reason {
        _ if !is_firing => "Resolved: ",
        Reason::Reminder => "Still: ",
        Reason::Escalation => "Not acknowledged: ",
        _ => "",
    };
    format!("{before}{what}{more}")
}

/// What is wrong, in one line.
fn headline(alert: &Notification) -> String {
    let what = alert.annotation("summary").unwrap_or_else(|| alert.name());
    let what = one_line(what);
    if what.is_empty() { "An alert without a name".to_owned() } else { what }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn note(message: &Message, zone: &TimeZone) -> Option<String> {
    let firing = message.alerts.iter().filter(|alert| alert.status == Status::Firing);
    let since_ms = firing.map(|alert| alert.active_at_ms).min();
    let since = since_ms.map(|since_ms| {
        let lasts = units::span(message.created_ms.saturating_sub(since_ms));
        format!("since {}, for {lasts}", units::time_beside(since_ms, message.created_ms, zone))
    });
    let since = since.unwrap_or_default();
    match message.reason {
        Reason::Reminder => Some(format!("Reminder: {since}. Nobody has acknowledged it.")),
        Reason::Escalation if message.told.is_empty() => {
            Some(format!("Nobody has acknowledged it {since}."))
        }
        Reason::Escalation => {
            let told = message.told.join(", ");
            Some(format!("Nobody has acknowledged it {since}. Told before: {told}."))
        }
        Reason::Summary => Some(
            "There was more to tell than this receiver is to get, so here it is at once."
                .to_owned(),
        ),
        Reason::Changed if message.status() == Status::Firing => Some(changed(message)),
        Reason::New | Reason::Changed | Reason::Resolved | Reason::Test => None,
    }
}

fn changed(message: &Message) -> String {
    let over = message.alerts.iter().filter(|alert| alert.status == Status::Resolved).count();
    let firing = message.alerts.len() - over + message.alerts_omitted;
    match over {
        0 => format!("{firing} alerts now."),
        _ => format!("{over} of {} over, {firing} not.", firing + over),
    }
}

/// The events; of too many the first, which is the cause, and the last ones.
fn timeline(message: &Message, zone: &TimeZone) -> Vec<Line> {
    // What has ended since is told here with the gravity that it had.
    let severity = |fingerprint: &str| {
        let alert = message.alerts.iter().find(|alert| alert.fingerprint == fingerprint)?;
        Some(Tone::while_firing(alert))
    };
    let line = |event: &crate::message::Event| Line {
        time: units::moment(event.time_ms, message.created_ms, zone),
        tone: match event.status {
            Status::Resolved => Tone::Resolved,
            Status::Firing => severity(&event.fingerprint).unwrap_or(Tone::Plain),
        },
        text: match event.status {
            Status::Resolved => format!("Over: {}", one_line(&event.text)),
            Status::Firing => one_line(&event.text),
        },
    };
    let events = &message.timeline;
    let skipped = events.len().saturating_sub(EVENTS_MAX);
    let mut lines: Vec<Line> = events.iter().map(line).collect();
    if skipped > 0 {
        lines.drain(1..=skipped);
        let text = format!("… {skipped} more");
        lines.insert(1, Line { time: String::new(), tone: Tone::Plain, text });
    }
    lines
}

impl<'a> Card<'a> {
    fn of(alert: &'a Notification, message: &Message, context: &'a Context) -> Self {
        let picture = context.pictures.iter().find(|p| p.fingerprint == alert.fingerprint);
        let (why, next) = why_and_next(alert);
        Self {
            alert,
            tone: Tone::of(alert),
            headline: headline(alert),
            places: places(alert),
            reading: reading(alert, picture),
            when: when(alert, message.created_ms, &context.zone),
            why,
            next,
            runbook: alert
                .annotation("runbook_url")
                .filter(|url| is_link(url) && alert.status == Status::Firing),
            picture,
            labels: other_labels(alert),
        }
    }
}

/// Whether a text may be made a link: it leads to a page, and runs nothing.
pub(super) fn is_link(text: &str) -> bool {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    is_plain && (text.starts_with("http://") || text.starts_with("https://"))
}

fn places(alert: &Notification) -> Vec<String> {
    let place = |(name, word): &(&str, &str)| {
        let value = alert.labels.get(*name).filter(|value| !value.is_empty())?;
        Some(format!("{word}{value}"))
    };
    PLACES.iter().filter_map(place).collect()
}

fn other_labels(alert: &Notification) -> Vec<(&str, &str)> {
    let is_told = |name: &str| {
        SILENT_LABELS.contains(&name) || PLACES.iter().any(|(place, _)| *place == name)
    };
    let labels = alert.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    labels.filter(|(name, value)| !is_told(name) && !value.is_empty()).collect()
}

/// The value with its unit, and the limit. A value that is only there, such as the one of `up == 0`
/// or of `absent(…)`, says nothing to a person.
fn reading(
    alert: &Notification,
    picture: Option<&Illustration>,
) -> Option<(String, Option<String>)> {
    let Some(reading) = Reading::of(alert) else {
        // Somebody else's alert, of whose expression nothing is known.
        let is_flag = alert.value == 0.0 || alert.value == 1.0;
        return units::value(alert.value, None).filter(|_| !is_flag).map(|value| (value, None));
    };
    if !reading.is_measured() {
        return None;
    }
    let limit = picture.and_then(|picture| picture.limit).or_else(|| reading.limit(alert.value));
    let value = units::value(alert.value, reading.unit)?;
    // "2, limit 0" is no more than "2".
    let limit = limit.filter(|limit| *limit != 0.0 || reading.unit.is_some());
    Some((value, limit.and_then(|limit| units::value(limit, reading.unit))))
}

fn when(alert: &Notification, now_ms: i64, zone: &TimeZone) -> String {
    // One that comes and goes is told once, with how often it did.
    let flaps = alert.annotation(FLAPPING);
    let flaps = flaps.map(|count| format!(", came and went {count} times")).unwrap_or_default();
    let Some(end_ms) = alert.ends_at_ms else {
        let since = units::time(alert.active_at_ms, zone);
        return format!("Since {since}{flaps}");
    };
    let lasted = units::span(end_ms.saturating_sub(alert.active_at_ms));
    let from = units::time_beside(alert.active_at_ms, now_ms, zone);
    let to = units::time_beside(end_ms, alert.active_at_ms, zone);
    let zone = units::zone(end_ms, zone);
    format!("Lasted {lasted}, {from} to {to} {zone}{flaps}")
}

/// Why it matters, and what to do next: annotations of their own, or one text with `Next: ` in it.
fn why_and_next(alert: &Notification) -> (Option<String>, Option<Next>) {
    // The end of an alert asks for nothing, and matters no more.
    if alert.status == Status::Resolved {
        return (None, None);
    }
    let description = alert.annotation("description").map(str::to_owned);
    if let Some(next) = alert.annotation("next") {
        let next = Next { text: one_line(next), is_command: true };
        return (description, Some(next));
    }
    match description {
        Some(text) => match text.rsplit_once("Next: ") {
            Some((why, next)) => {
                let next = Next { text: next.trim().to_owned(), is_command: false };
                let why = why.trim();
                ((!why.is_empty()).then(|| why.to_owned()), Some(next))
            }
            None => (Some(text), None),
        },
        None => (None, None),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::message::Event;
    use crate::notify::test_alert;

    /// 1 January 2026, 13:45 in UTC.
    pub(crate) const START_MS: i64 = 1_767_275_100_000;

    /// An alert with these labels and annotations: `a=1 b=2`, `_` for a space.
    pub(crate) fn alert(labels: &str, annotations: &[(&str, &str)]) -> Notification {
        let mut alert = test_alert(START_MS);
        alert.labels.clear();
        for pair in labels.split(' ') {
            let (name, value) = pair.split_once('=').unwrap();
            alert.labels.insert(name.to_owned(), value.replace('_', " "));
        }
        let named = alert.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        alert.fingerprint = crate::hash::fingerprint(named);
        alert.annotations =
            annotations.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        alert
    }

    pub(crate) fn hot() -> Notification {
        let labels = "alertname=DiskTooHot severity=warning instance=vertex device=nvme0 \
                      bay=2 serial_number=S3Z8NB0K";
        let mut alert = alert(
            labels,
            &[
                ("summary", "Disk nvme0 in vertex is at 84 °C"),
                ("description", "It wears out early, and NVMe disks slow down."),
                ("next", "labstat temps --node vertex"),
                ("runbook_url", "http://lab:5227/runbooks/DiskTooHot"),
            ],
        );
        alert.value = 84.0;
        alert.generator_url = "http://lab:5227/graph?g0.expr=x_celsius+%3E+80&g0.tab=1".to_owned();
        alert
    }

    pub(crate) fn message(alerts: Vec<Notification>, reason: Reason) -> Message {
        let mut message = Message::about(alerts[0].clone(), "phone");
        message.alerts = alerts;
        message.reason = reason;
        message.created_ms = START_MS + 3_723_000;
        message
    }

    pub(crate) fn over(mut alert: Notification) -> Notification {
        alert.status = Status::Resolved;
        alert.ends_at_ms = Some(START_MS + 3_723_000);
        alert
    }

    pub(crate) fn context() -> Context {
        Context { zone: TimeZone::UTC, ..Context::default() }
    }

    #[test]
    fn a_card_says_all_that_one_needs_to_act() {
        let (message, context) = (message(vec![hot()], Reason::New), context());
        let story = Story::of(&message, &context);
        let card = &story.cards[0];
        assert_eq!(story.title, "Disk nvme0 in vertex is at 84 °C");
        assert_eq!(card.places, ["vertex", "nvme0", "bay 2", "serial S3Z8NB0K"]);
        let reading = Some(("84 °C".to_owned(), Some("80 °C".to_owned())));
        assert_eq!(card.reading, reading);
        assert_eq!(card.when, "Since Thu 1 Jan 13:45 UTC");
        assert_eq!(card.why.as_deref(), Some("It wears out early, and NVMe disks slow down."));
        let next = Next { text: "labstat temps --node vertex".to_owned(), is_command: true };
        assert_eq!(card.next, Some(next));
        assert_eq!((card.labels.len(), story.tone), (0, Tone::Warning));
    }

    #[test]
    fn titles_say_what_and_how_many() {
        let title = |alerts: Vec<Notification>, reason| title(&message(alerts, reason));
        assert_eq!(title(vec![hot(), hot()], Reason::New), "Disk nvme0 in vertex is at 84 °C (+1)");
        assert!(title(vec![hot()], Reason::Reminder).starts_with("Still: Disk"));
        assert!(title(vec![hot()], Reason::Escalation).starts_with("Not acknowledged: Disk"));
        let resolved = title(vec![over(hot())], Reason::Resolved);
        assert_eq!(resolved, "Resolved: Disk nvme0 in vertex is at 84 °C");
        assert_eq!(
            title(vec![hot(), over(hot())], Reason::Changed),
            "Disk nvme0 in vertex is at 84 °C",
            "what is over is not counted"
        );
        let mut many = message(vec![hot(), hot()], Reason::Summary);
        many.alerts_omitted = 10;
        assert!(super::title(&many).starts_with("12 more: Disk"));
        assert_eq!(title(vec![alert("a=b", &[])], Reason::New), "An alert without a name");
        let lines = alert("alertname=A", &[("summary", "a\r\nX-Evil: 1")]);
        assert_eq!(title(vec![lines], Reason::New), "a X-Evil: 1");
    }

    #[test]
    fn notes_say_why_it_is_told_again() {
        let note = |reason| note(&message(vec![hot()], reason), &TimeZone::UTC);
        assert_eq!(
            note(Reason::Reminder).unwrap(),
            "Reminder: since 13:45, for 1 h 2 min. Nobody has acknowledged it."
        );
        assert_eq!(note(Reason::New), None);
        let mut escalation = message(vec![hot()], Reason::Escalation);
        escalation.told = vec!["phone".to_owned(), "mail".to_owned()];
        let note = super::note(&escalation, &TimeZone::UTC).unwrap();
        assert!(note.ends_with("Told before: phone, mail."), "{note}");
    }

    #[test]
    fn one_that_flaps_says_how_often() {
        let mut alert = hot();
        alert.annotations.insert(FLAPPING.to_owned(), "7".to_owned());
        let text = when(&alert, START_MS, &TimeZone::UTC);
        assert_eq!(text, "Since Thu 1 Jan 13:45 UTC, came and went 7 times");
    }

    #[test]
    fn the_end_says_how_long_it_lasted_and_asks_for_nothing() {
        let (message, context) = (message(vec![over(hot())], Reason::Resolved), context());
        let story = Story::of(&message, &context);
        assert_eq!(story.cards[0].when, "Lasted 1 h 2 min, 13:45 to 14:47 UTC");
        assert_eq!(story.cards[0].next, None);
        assert_eq!(story.tone, Tone::Resolved);
    }

    #[test]
    fn many_alerts_are_told_by_a_line_and_more_of_them_by_their_number() {
        let mut message = message(vec![hot(); 30], Reason::New);
        message.alerts_omitted = 5;
        let context = context();
        let story = Story::of(&message, &context);
        assert_eq!((story.cards.len(), story.lines.len(), story.omitted), (3, 20, 12));
    }

    #[test]
    fn a_long_timeline_keeps_its_cause_and_its_end() {
        let mut message = message(vec![hot()], Reason::Changed);
        let event = |at: i64| Event {
            time_ms: START_MS + at * 1000,
            fingerprint: String::new(),
            text: format!("event {at}"),
            status: Status::Firing,
        };
        message.timeline = (0..20).map(event).collect();
        let lines = timeline(&message, &TimeZone::UTC);
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts.len(), 13);
        assert_eq!(&texts[..3], ["event 0", "… 8 more", "event 9"]);
        assert_eq!(texts.last(), Some(&"event 19"));
        assert_eq!(lines[0].time, "13:45:00");
    }

    #[test]
    fn old_descriptions_are_taken_apart() {
        let of = |text| why_and_next(&alert("a=b", &[("description", text)]));
        let (why, next) = of("It is bad.\nNext: look at it");
        assert_eq!(why.as_deref(), Some("It is bad."));
        assert_eq!(next, Some(Next { text: "look at it".to_owned(), is_command: false }));
        let (why, next) = of("Next: look at it");
        assert_eq!((why, next.unwrap().text.as_str()), (None, "look at it"));
        assert_eq!(of("It is bad.").1, None);
    }

    #[test]
    fn a_value_that_is_only_there_is_not_told() {
        let mut alert = hot();
        let reading_of = |alert: &Notification| reading(alert, None);
        alert.generator_url = "http://lab/graph?g0.expr=up+%3D%3D+0".to_owned();
        assert_eq!(reading_of(&alert), None);
        alert.generator_url = "http://lab/graph?g0.expr=failed_disks+%3E+0".to_owned();
        alert.value = 2.0;
        assert_eq!(reading_of(&alert), Some(("2".to_owned(), None)));
        alert.generator_url = String::new();
        alert.value = 1.0;
        assert_eq!(reading_of(&alert), None);
    }
}
