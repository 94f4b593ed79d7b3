//! Who hears what and when, as the configuration has it: `[route]`, `[[inhibit]]`, `[[mute_times]]`,
//! `[[maintenance]]`, `[escalation]`, `[flapping]` and `[alerting]`.
//!
//! Names and meanings are Alertmanager's where it has them. What they come to is built and judged by
//! `labstat-alerts`; here is what TOML adds, and at which line each problem stands.

use std::path::PathBuf;

use jiff::tz::TimeZone;
use labstat_alerts::manners::spec::{
    EscalationSpec, FlappingSpec, InhibitSpec, MaintenanceSpec, RouteSpec,
};
use labstat_alerts::manners::times::{IntervalSpec, TimeRange, TimesSpec, Word};
use labstat_alerts::manners::{MannersConfig, MannersSpec, Recipient, SpecProblem};
use labstat_alerts::notify::ReceiverConfig;
use labstat_model::settings::{
    Outline, Problems, Section, Value, count, duration_within, name, path, text,
};
use serde::Deserialize;

/// The longest time that can be given for anything here: a year.
const TIME_MAX_MS: i64 = 366 * 86_400_000;

/// More begins of one alert than this are no longer counted one by one.
const FLAPS_MAX: usize = 1_000;

/// Who hears what and when.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MannersSettings {
    /// The routes; without any, each receiver hears what its own matchers say.
    pub route: Option<RouteSpec>,
    /// Alerts that keep others quiet.
    pub inhibit: Vec<InhibitSpec>,
    /// Named times that routes can be muted in.
    pub mute_times: Vec<TimesSpec>,
    /// Times in which nothing is said of a node.
    pub maintenance: Vec<MaintenanceSpec>,
    /// After what time somebody else hears of what nobody has acknowledged.
    pub escalation_after: Option<String>,
    /// Who that is.
    pub escalation_receiver: Option<String>,
    /// When an alert counts as flapping.
    pub flapping: FlappingSpec,
    /// After what time a posted alert without an end is over, when it is not posted again.
    pub resolve_timeout: Option<String>,
    /// An Alertmanager's configuration that is used in place of routes of our own.
    pub alertmanager_config: Option<PathBuf>,
}

/// Named times, as one interval or as several.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct MuteTimes {
    name: String,
    #[serde(default)]
    time_intervals: Vec<IntervalSpec>,
    #[serde(default)]
    times: Option<Vec<TimeRange>>,
    #[serde(default)]
    weekdays: Option<Vec<String>>,
    #[serde(default)]
    days_of_month: Option<Vec<Word>>,
    #[serde(default)]
    months: Option<Vec<Word>>,
    #[serde(default)]
    years: Option<Vec<Word>>,
    #[serde(default)]
    location: Option<String>,
}

impl MuteTimes {
    /// As Alertmanager has them. An interval without a zone is in that of this machine; in
    /// Alertmanager's own files it is in UTC.
    fn spec(self) -> TimesSpec {
        let Self {
            name,
            mut time_intervals,
            times,
            weekdays,
            days_of_month,
            months,
            years,
            location,
        } = self;
        let own = IntervalSpec { times, weekdays, days_of_month, months, years, location: None };
        if own != IntervalSpec::default() || time_intervals.is_empty() {
            time_intervals.push(own);
        }
        let zone = location.or_else(|| TimeZone::system().iana_name().map(str::to_owned));
        for interval in time_intervals.iter_mut().filter(|interval| interval.location.is_none()) {
            interval.location.clone_from(&zone);
        }
        TimesSpec { name, time_intervals }
    }
}

impl MannersSettings {
    pub(super) fn read(&mut self, root: &mut Section<'_>, problems: &mut Problems<'_>) {
        root.section("alerting", problems, |section, problems| {
            let file = &mut self.alertmanager_config;
            section.take("alertmanager_config", problems, file, |value| path(value).map(Some));
            section.take("resolve_timeout", problems, &mut self.resolve_timeout, |value| {
                a_duration(value).map(Some)
            });
        });
        let route = root.tree("route", "routes", problems, |route: &mut RouteSpec, below| {
            route.routes = below;
        });
        self.route = route.or(self.route.take());
        let mut inhibit = Vec::new();
        root.deserialize("inhibit", problems, |rule: InhibitSpec, _, _| inhibit.push(rule));
        let mut times = Vec::new();
        root.deserialize("mute_times", problems, |named: MuteTimes, at, problems| {
            let spec = named.spec();
            if times.iter().any(|known: &TimesSpec| known.name == spec.name) {
                problems.at(at, format!("mute_times {:?} are given twice", spec.name));
            }
            times.push(spec);
        });
        let mut maintenance = Vec::new();
        root.deserialize("maintenance", problems, |window: MaintenanceSpec, _, _| {
            maintenance.push(window);
        });
        replace(&mut self.inhibit, inhibit);
        replace(&mut self.mute_times, times);
        replace(&mut self.maintenance, maintenance);
        root.section("escalation", problems, |section, problems| {
            section.take("after", problems, &mut self.escalation_after, |value| {
                a_duration(value).map(Some)
            });
            section.take("receiver", problems, &mut self.escalation_receiver, |value| {
                name(value).map(Some)
            });
        });
        root.section("flapping", problems, |section, problems| {
            section.take("changes", problems, &mut self.flapping.changes, |value| {
                count(value, 0, FLAPS_MAX)
            });
            section.take("within", problems, &mut self.flapping.within, a_duration);
        });
    }

    /// What is wrong with it as a whole: names of what there is not, and what has no sense.
    pub(super) fn check(
        &self,
        receivers: &[ReceiverConfig],
        outline: &Outline,
        problems: &mut Problems<'_>,
    ) {
        for problem in self.build(receivers).err().unwrap_or_default() {
            let place = self.place(&problem.place);
            problems.at(outline.offset(&place), problem.to_string());
        }
    }

    /// Where in our file something stands that has another name in Alertmanager's.
    fn place(&self, place: &str) -> String {
        if let Some(rest) = place.strip_prefix("inhibit_rules[") {
            return format!("inhibit[{rest}");
        }
        let named = |spec: &&TimesSpec| place == format!("time interval {:?}", spec.name);
        let at = self.mute_times.iter().position(|spec| named(&spec));
        at.map_or_else(|| place.to_owned(), |at| format!("mute_times[{at}]"))
    }

    /// What the alerts go by, or all that is wrong. An Alertmanager's configuration is not looked at.
    pub(crate) fn build(
        &self,
        receivers: &[ReceiverConfig],
    ) -> Result<MannersConfig, Vec<SpecProblem>> {
        let recipients: Vec<Recipient> = receivers.iter().map(recipient).collect();
        self.spec().build(&recipients, &TimeZone::system())
    }

    /// In the form that `labstat-alerts` builds from.
    pub(crate) fn spec(&self) -> MannersSpec {
        let escalation = self.escalation_after.clone().zip(self.escalation_receiver.clone());
        MannersSpec {
            route: self.route.clone(),
            inhibit: self.inhibit.clone(),
            times: self.mute_times.clone(),
            maintenance: self.maintenance.clone(),
            escalation: escalation.map(|(after, receiver)| EscalationSpec { after, receiver }),
            flapping: self.flapping.clone(),
            resolve_timeout: self.resolve_timeout.clone(),
            ..MannersSpec::default()
        }
    }

    /// What is wrong with it once nothing more is said, and the section that lacks it.
    pub(super) fn missing(&self) -> Option<(&'static str, &'static str)> {
        match (&self.escalation_after, &self.escalation_receiver) {
            (Some(_), None) => Some(("escalation", "[escalation] names no receiver")),
            (None, Some(_)) => Some(("escalation", "[escalation] does not say after what time")),
            _ if self.alertmanager_config.is_some() && self.route.is_some() => Some((
                "route",
                "there are routes both in [route] and in alertmanager_config: choose one",
            )),
            _ => None,
        }
    }
}

/// A receiver as routes see it. What is wrong with its matchers is told with the receiver.
pub(crate) fn recipient(receiver: &ReceiverConfig) -> Recipient {
    Recipient {
        matchers: receiver.parsed_matchers().unwrap_or_default(),
        severity: receiver.severity,
        ..Recipient::new(receiver.name.as_str(), receiver.send_resolved)
    }
}

fn replace<T>(list: &mut Vec<T>, new: Vec<T>) {
    if !new.is_empty() {
        *list = new;
    }
}

/// A duration, kept as it was written.
fn a_duration(value: &Value<'_>) -> Result<String, String> {
    duration_within(value, 1, TIME_MAX_MS)?;
    text(value).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use labstat_model::settings::Problem;

    const RECEIVERS: &str = "[[receivers]]\nname = \"phone\"\n\
                             ntfy = { url = \"https://ntfy.sh\", topic = \"lab\" }\n\
                             [[receivers]]\nname = \"chat\"\nwebhook = { url = \"http://c/h\" }\n";

    fn problems(text: &str) -> Vec<String> {
        Config::check(text).iter().map(Problem::to_string).collect()
    }

    #[test]
    fn a_whole_tree_is_read() {
        let text = format!(
            "{RECEIVERS}\
             [route]\nreceiver = \"chat\"\ngroup_by = [\"alertname\"]\ngroup_wait = \"5s\"\n\
             [[route.routes]]\nreceiver = \"phone\"\nmatchers = ['severity=\"critical\"']\ncontinue = true\n\
             escalation = {{ after = \"10m\", receiver = \"chat\" }}\n\
             [[route.routes]]\nmatchers = ['team=~\"a|b\"']\nmute_time_intervals = [\"night\"]\n\
             [[inhibit]]\nsource_matchers = ['alertname=\"NodeDown\"']\ntarget_matchers = ['severity!=\"critical\"']\nequal = [\"instance\"]\n\
             [[mute_times]]\nname = \"night\"\ntimes = [{{ start_time = \"22:00\", end_time = \"24:00\" }}]\n\
             [[maintenance]]\nnode = \"nas\"\nevery = \"sunday 02:00-04:00\"\n\
             [escalation]\nafter = \"30m\"\nreceiver = \"phone\"\n\
             [flapping]\nchanges = 5\nwithin = \"1h\"\n\
             [alerting]\nresolve_timeout = \"10m\"\n"
        );
        assert_eq!(problems(&text), [""; 0]);
        let manners = Config::parse(&text).unwrap().manners;
        let route = manners.route.as_ref().unwrap();
        assert_eq!(route.routes.len(), 2);
        assert!(route.routes[0].proceed);
        assert_eq!(manners.mute_times[0].time_intervals.len(), 1);
        assert_eq!(manners.flapping.changes, 5);
        assert_eq!(manners.spec().escalation.unwrap().receiver, "phone");
    }

    #[test]
    fn each_problem_has_the_line_of_its_place() {
        let text = format!(
            "[route]\nreceiver = \"nobody-here\"\n[[route.routes]]\nreceiver = \"phone\"\nmatchers = ['a']\n\
             [[route.routes]]\nmute_time_intervals = [\"noon\"]\ngroup_wait = \"soon\"\n\
             [[inhibit]]\nsource_matchers = ['x~y']\n\
             [[mute_times]]\nname = \"n\"\nweekdays = [\"someday\"]\n\
             [[maintenance]]\nnode = \"nas\"\n{RECEIVERS}"
        );
        let problems = problems(&text);
        let lines: Vec<&str> = problems.iter().filter_map(|text| text.split(':').next()).collect();
        let expected = ["line 1", "line 3", "line 6", "line 8", "line 9", "line 11", "line 14"];
        assert_eq!(lines.len(), expected.len(), "{problems:#?}");
        for (line, expected) in lines.iter().zip(expected) {
            assert_eq!(*line, expected, "{problems:#?}");
        }
    }

    #[test]
    fn unknown_keys_and_wrong_kinds_are_told_for_each_route() {
        let problems = problems(&format!(
            "{RECEIVERS}[route]\nreciever = \"phone\"\n[[route.routes]]\ncontinue = 3\n\
             [[route.routes]]\nroutes = 1\n[escalation]\nafter = \"0s\"\nwho = 1\n[flapping]\nchanges = -1\n"
        ));
        let lines: Vec<&str> = problems.iter().filter_map(|text| text.split(':').next()).collect();
        assert_eq!(
            lines,
            ["line 8", "line 10", "line 12", "line 14", "line 15", "line 17"],
            "{problems:#?}"
        );
    }

    #[test]
    fn what_is_half_said_is_told_when_nothing_more_comes() {
        let half = format!("{RECEIVERS}[escalation]\nafter = \"30m\"\n");
        assert!(Config::parse(&half).is_ok(), "a variable may say the rest");
        assert_eq!(problems(&half), ["line 7: [escalation] names no receiver"]);
        let both = format!(
            "{RECEIVERS}[alerting]\nalertmanager_config = \"/nowhere.yml\"\n[route]\nreceiver = \"phone\"\n"
        );
        assert!(problems(&both)[0].starts_with("line 9: there are routes both"), "{both}");
    }
}
