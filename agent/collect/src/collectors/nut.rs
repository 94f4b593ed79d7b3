//! Uninterruptible power supplies, as a server of the Network UPS Tools (`upsd`) knows them.
//!
//! - Asks: each server for its UPSes and each of those for its variables, over TCP, without a login. When
//!   none is configured, the one of this machine.
//! - Absent when none is configured and no server has ever answered on this machine.
//! - Emits: `labstat_ups_*` in base units; [`UP`] for each UPS that was ever seen, [`SERVER_UP`] for each
//!   server. What the UPS does not say, or what cannot be, is left out.
//! - Not here: batteries of the machine itself ([`super::powersupplyclass`]).

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use labstat_model::{Batch, Family};
use labstat_parse::nut::{self, Answer};
use labstat_parse::proc::float;

use crate::collector::{CollectError, Collector, Status};
use crate::host::{Framing, Host};
use crate::options;
use crate::shared::outcome;

/// Whether the UPS itself answers.
pub static UP: Family = Family::gauge(
    "labstat_ups_up",
    "Whether the server has fresh data of the UPS; 0 for one that was seen and is gone.",
);
/// Whether the server answers.
pub static SERVER_UP: Family =
    Family::gauge("labstat_ups_server_up", "Whether the server of the UPSes answers.");
/// What the UPS is.
pub static INFO: Family =
    Family::gauge("labstat_ups_info", "Maker, model and driver of a UPS; always 1.");
/// Its state.
pub static STATUS: Family = Family::gauge(
    "labstat_ups_status",
    "Whether the UPS is in the state that the flag names: OL on line, OB on battery, LB low battery, RB replace battery, OVER overload …",
);

/// The server of this machine.
const LOCAL: &str = "127.0.0.1:3493";

/// Where a server listens that is named without a port.
const PORT: &str = "3493";

/// How long a server may take for one answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// UPSes of one server.
const UPSES_MAX: usize = 64;

/// Words of `ups.status`. Those that are not here are left out, since drivers invent some.
const FLAGS: [&str; 16] = [
    "OL", "OB", "LB", "HB", "RB", "CHRG", "DISCHRG", "BYPASS", "CAL", "OFF", "OVER", "TRIM",
    "BOOST", "FSD", "ALARM", "TEST",
];

/// A number of a UPS: its variable, the family, what divides it, and what it can be.
struct Number {
    variable: &'static str,
    family: Family,
    divisor: f64,
    highest: f64,
}

const fn number(
    variable: &'static str,
    name: &'static str,
    help: &'static str,
    divisor: f64,
    highest: f64,
) -> Number {
    Number { variable, family: Family::gauge(name, help), divisor, highest }
}

/// A day on battery, many times over; drivers say the largest number they have for "unknown".
const RUNTIME_MAX: f64 = 604_800.0;

/// Kilovolts and more stand behind no UPS.
const VOLTS_MAX: f64 = 1_000.0;

/// More than any UPS a room can hold.
const WATTS_MAX: f64 = 1_000_000.0;

#[rustfmt::skip]
static NUMBERS: [Number; 19] = [
    number("battery.charge", "labstat_ups_battery_charge_ratio", "Charge of the battery.", 100.0, 100.0),
    number("battery.charge.low", "labstat_ups_battery_charge_low_ratio", "Charge below which the battery is low.", 100.0, 100.0),
    number("battery.runtime", "labstat_ups_battery_runtime_seconds", "How long the battery lasts at this load.", 1.0, RUNTIME_MAX),
    number("battery.runtime.low", "labstat_ups_battery_runtime_low_seconds", "Remaining time below which the battery is low.", 1.0, RUNTIME_MAX),
    number("battery.voltage", "labstat_ups_battery_volts", "Voltage of the battery.", 1.0, VOLTS_MAX),
    number("battery.voltage.nominal", "labstat_ups_battery_nominal_volts", "Voltage that the battery should have.", 1.0, VOLTS_MAX),
    number("battery.temperature", "labstat_ups_battery_temperature_celsius", "Temperature of the battery.", 1.0, 150.0),
    number("input.voltage", "labstat_ups_input_volts", "Voltage of the mains.", 1.0, VOLTS_MAX),
    number("input.voltage.nominal", "labstat_ups_input_nominal_volts", "Voltage that the mains should have.", 1.0, VOLTS_MAX),
    number("input.frequency", "labstat_ups_input_hertz", "Frequency of the mains.", 1.0, 1_000.0),
    number("output.voltage", "labstat_ups_output_volts", "Voltage at the outlets.", 1.0, VOLTS_MAX),
    number("output.frequency", "labstat_ups_output_hertz", "Frequency at the outlets.", 1.0, 1_000.0),
    number("output.current", "labstat_ups_output_amperes", "Current at the outlets.", 1.0, 10_000.0),
    number("ups.load", "labstat_ups_load_ratio", "Load, of what the UPS can carry.", 100.0, 1_000.0),
    number("ups.realpower", "labstat_ups_power_watts", "Power that is drawn.", 1.0, WATTS_MAX),
    number("ups.realpower.nominal", "labstat_ups_power_nominal_watts", "Power that the UPS can carry.", 1.0, WATTS_MAX),
    number("ups.power", "labstat_ups_apparent_power_voltamperes", "Apparent power that is drawn.", 1.0, WATTS_MAX),
    number("ups.power.nominal", "labstat_ups_apparent_power_nominal_voltamperes", "Apparent power that the UPS can carry.", 1.0, WATTS_MAX),
    number("ups.temperature", "labstat_ups_temperature_celsius", "Temperature of the UPS.", 1.0, 150.0),
];

/// UPSes by their servers.
#[derive(Debug)]
pub struct Nut {
    /// Each server with the UPSes that are wanted of it; all where none is named.
    servers: BTreeMap<String, Vec<String>>,
    /// Whether somebody named them.
    is_configured: bool,
    /// The UPSes that each server was ever seen to have.
    seen: BTreeMap<String, Vec<String>>,
}

impl Nut {
    /// One that asks the servers that `options` names.
    pub fn new(options: &options::Nut) -> Self {
        let mut servers = BTreeMap::<String, Vec<String>>::new();
        for text in &options.ups {
            let (name, server) = match text.split_once('@') {
                Some((name, server)) => (Some(name), server),
                None => (None, text.as_str()),
            };
            let has_port = server.rsplit_once(':').is_some_and(|(host, port)| {
                !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && !host.ends_with(':')
            });
            let server = if has_port { server.to_owned() } else { format!("{server}:{PORT}") };
            servers.entry(server).or_default().extend(name.map(str::to_owned));
        }
        let is_configured = !servers.is_empty();
        if !is_configured {
            servers.insert(LOCAL.to_owned(), Vec::new());
        }
        Self { servers, is_configured, seen: BTreeMap::new() }
    }
}

impl Collector for Nut {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        for (server, wanted) in &self.servers {
            let seen = self.seen.entry(server.clone()).or_default();
            // One that is named is expected from the start.
            for name in wanted.iter().filter(|name| is_name(name)) {
                if !seen.contains(name) {
                    seen.push(name.clone());
                }
            }
            let answers = ask(host, server, wanted, seen);
            if answers.is_err() && !self.is_configured && seen.is_empty() {
                continue;
            }
            let up = f64::from(u8::from(answers.is_ok()));
            out.push(&SERVER_UP, &[("server", server)], up);
            let answers = answers.unwrap_or_default();
            for ups in seen.iter() {
                push_ups(server, ups, answers.get(ups), out);
            }
        }
        Ok(outcome(out))
    }
}

type Variables = BTreeMap<String, String>;

/// The variables of each UPS that the server has fresh data of; adds those that are new to `seen`.
fn ask(
    host: &dyn Host,
    server: &str,
    wanted: &[String],
    seen: &mut Vec<String>,
) -> Result<BTreeMap<String, Variables>, io::Error> {
    for answer in request(host, server, "LIST UPS\n")? {
        let Answer::Upses(upses) = answer else { continue };
        for (name, _) in upses {
            let is_wanted = wanted.is_empty() || wanted.contains(&name);
            if is_wanted && is_name(&name) && seen.len() < UPSES_MAX && !seen.contains(&name) {
                seen.push(name);
            }
        }
    }
    if seen.is_empty() {
        return Ok(BTreeMap::new());
    }
    let questions: String = seen.iter().map(|name| format!("LIST VAR {name}\n")).collect();
    let answers = request(host, server, &questions)?;
    let fresh = answers.into_iter().filter_map(|answer| match answer {
        Answer::Variables { ups, variables } => Some((ups, variables.into_iter().collect())),
        _ => None,
    });
    Ok(fresh.collect())
}

/// Asks all questions at once, and says goodbye, upon which the server closes.
fn request(host: &dyn Host, server: &str, questions: &str) -> Result<Vec<Answer>, io::Error> {
    let request = format!("{questions}LOGOUT\n");
    let bytes = host.socket_request(server, request.as_bytes(), Framing::UntilClosed, DEADLINE)?;
    // Words of drivers and of whoever named the UPS may be in any encoding.
    let answers = nut::parse(&String::from_utf8_lossy(&bytes));
    answers.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Whether a name can stand in a question without being another.
fn is_name(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !name.is_empty() && name.bytes().all(is_plain)
}

fn push_ups(server: &str, ups: &str, variables: Option<&Variables>, out: &mut Batch) {
    let labels = [("server", server), ("ups", ups)];
    let get = |name: &str| variables?.get(name).map(|value| value.trim());
    // In the first second after its start a driver has nothing but this word.
    let status = get("ups.status").filter(|status| *status != "WAIT");
    out.push(&UP, &labels, f64::from(u8::from(status.is_some())));
    if status.is_none() {
        return;
    }
    let words = ["device.mfr", "device.model", "device.serial"];
    let [mfr, model, serial] = words.map(|name| {
        let other = name.replacen("device", "ups", 1);
        get(name).or_else(|| get(&other)).unwrap_or_default()
    });
    let info = [
        labels[0],
        labels[1],
        ("battery_date", get("battery.date").unwrap_or_default()),
        ("driver", get("driver.name").unwrap_or_default()),
        ("manufacturer", mfr),
        ("model", model),
        ("serial_number", serial),
    ];
    out.push(&INFO, &info, 1.0);
    let status: Vec<&str> = status.unwrap_or_default().split_whitespace().collect();
    // One that says nothing of its state is in none that is known.
    for flag in FLAGS.iter().filter(|_| !status.is_empty()) {
        let is_set = f64::from(u8::from(status.contains(flag)));
        out.push(&STATUS, &[("flag", flag), labels[0], labels[1]], is_set);
    }
    for number in &NUMBERS {
        let value = get(number.variable).and_then(|text| float(text.as_bytes()));
        let Some(value) = value.filter(|value| (0.0..=number.highest).contains(value)) else {
            continue;
        };
        out.push(&number.family, &labels, value / number.divisor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_the_configuration() {
        let ups = ["rack@10.0.0.5:3493", "office@10.0.0.5", "nas", "[::1]:4000", "::1"];
        let options = options::Nut { ups: ups.map(str::to_owned).into() };
        let nut = Nut::new(&options);
        let servers: Vec<(&str, usize)> =
            nut.servers.iter().map(|(server, names)| (server.as_str(), names.len())).collect();
        assert_eq!(
            servers,
            [("10.0.0.5:3493", 2), ("::1:3493", 0), ("[::1]:4000", 0), ("nas:3493", 0)]
        );
        assert!(nut.is_configured);
        let local = Nut::new(&options::Nut::default());
        assert_eq!(local.servers.keys().collect::<Vec<_>>(), [LOCAL]);
    }

    #[test]
    fn names_that_would_be_another_question_are_none() {
        assert!(is_name("rack-1.b_2"));
        for name in ["", "a b", "a\nINSTCMD a load.off", "a\"", "ü"] {
            assert!(!is_name(name), "{name:?}");
        }
    }
}
