//! `labstat ups`: uninterruptible power supplies, on mains or on battery, and how long they last.

use std::process::ExitCode;

use crate::answer::Found;
use crate::failure::Failure;
use crate::human::Unit;
use crate::table::{Cell, Column, Table, Tone};
use crate::view::{self, Answers, Questions, ViewArgs, at};

/// Shows UPSes: on mains or on battery, charge, how long they last, load
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat ups                       all that agents find by NUT's upsd
  labstat ups --format json         for scripts")]
pub(crate) struct Ups {
    #[command(flatten)]
    view: ViewArgs,
}

pub(crate) const QUESTIONS: &Questions = &[
    ("up", "labstat_ups_up"),
    ("info", "labstat_ups_info"),
    ("flag", "labstat_ups_status == 1"),
    ("charge", "labstat_ups_battery_charge_ratio"),
    ("runtime", "labstat_ups_battery_runtime_seconds"),
    ("load", "labstat_ups_load_ratio"),
    ("input", "labstat_ups_input_volts"),
    ("watts", "labstat_ups_power_watts"),
    ("nominal", "labstat_ups_power_nominal_watts"),
    ("temperature", "labstat_ups_temperature_celsius"),
];

/// What flags mean to people, the worst first.
const WORDS: [(&str, &str, Tone); 13] = [
    ("FSD", "shuts down", Tone::Bad),
    ("LB", "battery low", Tone::Bad),
    ("OB", "on battery", Tone::Bad),
    ("OVER", "overloaded", Tone::Bad),
    ("RB", "replace battery", Tone::Bad),
    ("OFF", "off", Tone::Bad),
    ("ALARM", "alarm", Tone::Warn),
    ("BYPASS", "bypassed", Tone::Warn),
    ("CAL", "calibrates", Tone::Warn),
    ("OL", "on mains", Tone::Good),
    ("TRIM", "lowers voltage", Tone::Plain),
    ("BOOST", "raises voltage", Tone::Plain),
    ("CHRG", "charging", Tone::Plain),
];

impl Ups {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        view::show(&self.view, QUESTIONS, table)
    }
}

fn table(answers: &Answers) -> Table {
    let mut table = Table::new(
        [
            Column::text("node", "NODE"),
            Column::text("ups", "UPS"),
            Column::text("model", "MODEL").minor(2),
            Column::text("state", "STATE"),
            Column::new("charge_ratio", "CHARGE", Unit::Ratio),
            Column::new("runtime_seconds", "LASTS", Unit::Seconds),
            Column::new("load_ratio", "LOAD", Unit::Ratio),
            Column::new("power_watts", "WATTS", Unit::Plain),
            Column::new("input_volts", "MAINS V", Unit::Plain).minor(1),
            Column::new("temperature_celsius", "TEMP", Unit::Celsius).minor(3),
        ],
        "No UPS is known. An agent finds those of NUT's upsd on its machine; others stand in [nut] of agent.toml.",
    );
    for found in answers.all("up") {
        table.push(row(answers, found));
    }
    table.worst_first()
}

fn row(answers: &Answers, found: &Found) -> Vec<Cell> {
    let here =
        [("instance", at(found)), ("server", found.label("server")), ("ups", found.label("ups"))];
    let number = |name| answers.value(name, &here);
    let model = answers.with("info", &here).next().map(|info| {
        format!("{} {}", info.label("manufacturer"), info.label("model")).trim().to_owned()
    });
    // Power drawn, or worked out of the load where the UPS does not measure it.
    let watts =
        number("watts").or_else(|| Some(number("load")? * number("nominal")?)).map(f64::round);
    vec![
        Cell::text(at(found)),
        Cell::text(found.label("ups")),
        Cell::text_opt(model.filter(|model| !model.is_empty())),
        state(answers, found, &here),
        Cell::number(number("charge")),
        Cell::number(number("runtime")),
        Cell::number(number("load")).limits(0.8, 1.0),
        Cell::number(watts),
        Cell::number(number("input")),
        Cell::number(number("temperature")).limits(40.0, 50.0),
    ]
}

fn state(answers: &Answers, found: &Found, here: &[(&str, &str)]) -> Cell {
    if found.value() != Some(1.0) {
        return Cell::text("does not answer").tone(Tone::Bad);
    }
    let is_set = |flag: &str| answers.with("flag", here).any(|it| it.label("flag") == flag);
    let set: Vec<_> = WORDS.iter().filter(|(flag, _, _)| is_set(flag)).collect();
    let words: Vec<&str> = set.iter().map(|(_, words, _)| *words).collect();
    let tone = set.iter().map(|(_, _, tone)| *tone).max().unwrap_or_default();
    Cell::text_opt(Some(words.join(", ")).filter(|text| !text.is_empty())).tone(tone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{canned, plain};

    #[test]
    fn the_worst_first_and_power_by_the_load() {
        let answers = canned(
            r#"
            up {instance="nas",server="s",ups="desk"} 1
            flag {instance="nas",server="s",ups="desk",flag="OL"} 1
            flag {instance="nas",server="s",ups="desk",flag="CHRG"} 1
            charge {instance="nas",server="s",ups="desk"} 0.98
            runtime {instance="nas",server="s",ups="desk"} 2400
            load {instance="nas",server="s",ups="desk"} 0.23
            nominal {instance="nas",server="s",ups="desk"} 900
            up {instance="apex",server="s",ups="rack"} 1
            info {instance="apex",server="s",ups="rack",manufacturer="APC",model="RS 800"} 1
            flag {instance="apex",server="s",ups="rack",flag="OB"} 1
            flag {instance="apex",server="s",ups="rack",flag="LB"} 1
            charge {instance="apex",server="s",ups="rack"} 0.15
            input {instance="apex",server="s",ups="rack"} 0
            up {instance="apex",server="s",ups="old"} 0
            "#,
        );
        assert_eq!(
            plain(&table(&answers)),
            "\
NODE  UPS   MODEL       STATE                    CHARGE  LASTS  LOAD  WATTS  MAINS V  TEMP
apex  rack  APC RS 800  battery low, on battery    15 %      -     -      -        0     -
apex  old   -           does not answer               -      -     -      -        -     -
nas   desk  -           on mains, charging         98 %    40m  23 %    207        -     -
"
        );
    }
}
