//! What `labstat doctor` says of disks: rights, how each is reached and how the look at it ended,
//! and the cure. Pure.

use crate::human;
use crate::local::Disk;
use crate::table::{Tone, printable};

use super::{Advice, Facts, Rights, line};

/// All lines about disks.
pub(super) fn advice(facts: &Facts) -> Vec<Advice> {
    let mut all = Vec::new();
    if let Some(problem) = &facts.config_problem {
        let cure = "labstat config check /etc/labstat/agent.toml";
        all.push(line("agent's settings", Tone::Bad, problem, cure));
    }
    if let Some(problem) = &facts.disks_problem {
        all.push(line("disks", Tone::Bad, problem, "smartctl --scan --json"));
    }
    all.extend(rights(facts));
    all.extend(facts.asked.iter().map(|disk| of_disk(disk, facts)));
    all.extend(rest(facts));
    all.extend(drivetemp(facts));
    all
}

/// Whether it is worth asking: not made up by a hypervisor, not a card.
fn is_real(disk: &Disk) -> bool {
    !matches!(disk.reason, "virtual" | "no_smart")
}

fn rights(facts: &Facts) -> Option<Advice> {
    let what = "rights";
    let Rights { raw_io, admin } = facts.rights?;
    if raw_io && admin {
        return Some(line(what, Tone::Good, "SATA, SAS and NVMe disks may be asked", ""));
    }
    let missing = match (raw_io, admin) {
        (false, false) => "CAP_SYS_RAWIO (SATA, SAS) and CAP_SYS_ADMIN (NVMe)",
        (false, true) => "CAP_SYS_RAWIO (SATA, SAS)",
        (true, _) => "CAP_SYS_ADMIN (NVMe)",
    };
    let cure = match facts.root {
        true => "in a container: --cap-add SYS_RAWIO --cap-add SYS_ADMIN, and pass the disks in",
        false => "run it, and the agent, as root",
    };
    let unread = |disk: &Disk| is_real(disk) && disk.state != "read";
    // Without disks, or with disks that answer all the same, nothing is missing.
    let matters = match facts.asked.as_slice() {
        [] => facts.disks.iter().any(|disk| !super::is_virtual(disk)),
        asked => asked.iter().any(unread),
    };
    let tone = if matters { Tone::Warn } else { Tone::Plain };
    Some(line(what, tone, format!("no {missing}"), cure))
}

/// What was found, what to think of it, and the cure.
type Said = (Tone, String, String);

fn of_disk(disk: &Disk, facts: &Facts) -> Advice {
    let (tone, found, cure) = match disk.state {
        _ if disk.is_double => (
            Tone::Plain,
            "the same disk as one above, reached in another way".to_owned(),
            String::new(),
        ),
        "read" => read(disk),
        "asleep" => (
            Tone::Plain,
            format!("asleep ({}), left alone", disk.reason),
            "nothing: it is read when something else wakes it".to_owned(),
        ),
        "denied" => denied(facts),
        "unsupported" => unsupported(disk, facts),
        "gone" => (Tone::Plain, "not there any more".to_owned(), String::new()),
        _ => failed(disk),
    };
    let who = disk.who().map_or_else(String::new, |who| format!("{who}: "));
    Advice {
        what: format!("disk {}", printable(&disk.label)).into(),
        tone,
        found: who + &found,
        cure,
    }
}

fn read(disk: &Disk) -> Said {
    let report = disk.report.as_ref();
    let by_smartctl = report.and_then(|report| report.smartctl.as_ref());
    let found = match by_smartctl.and_then(|program| program.version.as_ref()) {
        Some(_) => format!("read by smartctl -d {}", disk.kind),
        None => "read without smartctl".to_owned(),
    };
    (Tone::Good, found, String::new())
}

fn denied(facts: &Facts) -> Said {
    let cure = match facts.root {
        true => "not even for root: in a container, pass the device in, with its capability",
        false => "run the agent as root: SMART data needs it",
    };
    (Tone::Warn, "no right to open it".to_owned(), cure.to_owned())
}

fn unsupported(disk: &Disk, facts: &Facts) -> Said {
    let path = &disk.path;
    let name_it = |kind: &str| {
        format!("name its type in agent.toml: [smartctl] devices = [\"{path}:{kind}\"]")
    };
    match disk.reason {
        "virtual" => (
            Tone::Plain,
            "made up by a hypervisor, no SMART data".to_owned(),
            "watch the disk on the machine that has it".to_owned(),
        ),
        "no_smart" => (Tone::Plain, "it has no SMART data".to_owned(), String::new()),
        "smart_disabled" => (
            Tone::Warn,
            "SMART is switched off".to_owned(),
            format!("smartctl -s on -d {} {path}", disk.kind),
        ),
        "no_passthrough" => (
            Tone::Warn,
            format!("what it is behind passes no SMART commands on with -d {}", disk.kind),
            name_it("TYPE") + "; `man smartctl` lists the types",
        ),
        "unknown_usb_bridge" => bridge(disk),
        "raid_volume" => {
            let behind = |other: &Disk| other.kind.contains(',') && other.state == "read";
            match facts.asked.iter().filter(|other| behind(other)).count() {
                0 => (
                    Tone::Warn,
                    "a volume of a RAID controller; its disks are behind it".to_owned(),
                    name_it("megaraid,0") + ", one for each disk; smartctl --scan-open lists them",
                ),
                disks => (
                    Tone::Plain,
                    format!("a volume of a RAID controller; {disks} disks behind it are read"),
                    String::new(),
                ),
            }
        }
        _ => (
            Tone::Warn,
            "smartctl cannot tell what it is".to_owned(),
            name_it("sat") + ", or leave it out: exclude",
        ),
    }
}

fn bridge(disk: &Disk) -> Said {
    let path = &disk.path;
    let make = disk.usb.map(|(vendor, product)| format!(" {vendor:04x}:{product:04x}"));
    let found =
        format!("behind a USB bridge{} that smartctl does not know", make.unwrap_or_default());
    if disk.tried.is_empty() {
        let found = found + "; a stick or a card, so no type was tried";
        return (Tone::Plain, found, String::new());
    }
    let found = format!("{found}; tried in vain: {}", disk.tried.join(", "));
    let cure = format!(
        "update-smart-drivedb, or a newer smartmontools; to leave it out: [smartctl] exclude = \
         [\"{path}\"]"
    );
    (Tone::Warn, found, cure)
}

fn failed(disk: &Disk) -> Said {
    let (path, kind) = (&disk.path, &disk.kind);
    let by_hand = format!("smartctl -x -d {kind} {path}");
    let (found, cure) = match disk.reason {
        "timeout" => (
            "did not answer in time, and smartctl was killed",
            format!("dmesg tells whether it is the disk, its cable or its port; {by_hand}"),
        ),
        "identify_failed" => ("did not say who it is", by_hand + " shows its answer"),
        "open_failed" => ("could not be opened", by_hand + " says why"),
        "not_run" => ("smartctl could not be run", by_hand),
        "smart_command_failed" => ("its SMART commands fail", by_hand + " shows which"),
        _ => ("gave no report", by_hand + " shows its answer"),
    };
    (Tone::Bad, found.to_owned(), cure)
}

/// What is done about disks at rest.
fn rest(facts: &Facts) -> Option<Advice> {
    let what = "disks at rest";
    let flash = |disk: &Disk| {
        let report = disk.report.as_ref();
        report.is_some_and(|it| it.rotation_rate == Some(0)) || disk.kind == "nvme"
    };
    if !facts.asked.iter().any(|disk| is_real(disk) && !flash(disk)) {
        return None;
    }
    Some(match facts.wake {
        true => {
            let cure = "[smartctl] wake = false in /etc/labstat/agent.toml";
            line(what, Tone::Warn, "the agent here wakes disks that sleep", cure)
        }
        false => {
            let found = format!(
                "a disk that sleeps is left alone; one that turns idly is read every {} at most",
                human::span(facts.idle_seconds)
            );
            line(what, Tone::Good, found, "")
        }
    })
}

fn drivetemp(facts: &Facts) -> Option<Advice> {
    let is_sata = |disk: &Disk| disk.state == "read" && disk.kind == "sat" && disk.usb.is_none();
    if facts.drivetemp || !facts.asked.iter().any(is_sata) {
        return None;
    }
    let found = "no drivetemp: temperatures of SATA disks come with SMART, every five minutes";
    // Reading it can start the timer of a disk's sleep anew.
    let cure = "if none is to fall asleep: echo drivetemp > /etc/modules-load.d/drivetemp.conf";
    Some(line("drivetemp", Tone::Plain, found, cure))
}

#[cfg(test)]
mod tests {
    use labstat_agent::collect::parse::smartctl::Report;

    use super::*;

    const ALL: Option<Rights> = Some(Rights { raw_io: true, admin: true });

    fn disk(state: &'static str, reason: &'static str) -> Disk {
        let (path, label, kind) = ("/dev/sda".into(), "sda".into(), "sat".into());
        Disk { path, label, kind, state, reason, ..Disk::default() }
    }

    fn with(asked: Vec<Disk>) -> Facts {
        Facts { asked, rights: ALL, drivetemp: true, idle_seconds: 3600.0, ..Facts::default() }
    }

    fn about(facts: &Facts, what: &str) -> Option<Advice> {
        advice(facts).into_iter().find(|line| line.what == what)
    }

    fn said(disk: Disk) -> (Tone, String, String) {
        let line = about(&with(vec![disk]), "disk sda").unwrap();
        (line.tone, line.found, line.cure)
    }

    #[test]
    fn a_disk_that_answers_needs_no_cure() {
        let report = Report {
            model_name: Some("WDC WD40".into()),
            serial_number: Some("WD-1".into()),
            ..Report::default()
        };
        let (tone, found, cure) = said(Disk { report: Some(report), ..disk("read", "") });
        assert_eq!((tone, cure.as_str()), (Tone::Good, ""));
        assert_eq!(found, "WDC WD40 WD-1: read without smartctl");
    }

    #[test]
    fn no_fault_is_seen_in_what_cannot_have_smart_or_sleeps() {
        for (state, reason) in [
            ("asleep", "standby"),
            ("unsupported", "virtual"),
            ("unsupported", "no_smart"),
            ("unsupported", "unknown_usb_bridge"),
            ("gone", ""),
        ] {
            assert_eq!(said(disk(state, reason)).0, Tone::Plain, "{state} {reason}");
        }
    }

    #[test]
    fn each_failure_has_its_cure() {
        for (state, reason, words) in [
            ("denied", "permission", "root"),
            ("unsupported", "raid_volume", "megaraid"),
            ("unsupported", "unknown_device", "devices"),
            ("unsupported", "no_passthrough", "devices"),
            ("unsupported", "smart_disabled", "smartctl -s on -d sat /dev/sda"),
            ("failed", "timeout", "dmesg"),
            ("failed", "identify_failed", "smartctl -x -d sat /dev/sda"),
            ("failed", "open_failed", "smartctl -x"),
            ("failed", "something_new", "smartctl -x"),
        ] {
            let (tone, found, cure) = said(disk(state, reason));
            assert!(tone >= Tone::Warn && cure.contains(words), "{reason}: {found}: {cure}");
        }
    }

    #[test]
    fn a_second_way_to_a_disk_is_no_second_disk() {
        for (state, reason) in [("read", ""), ("unsupported", "virtual")] {
            let (tone, found, _) = said(Disk { is_double: true, ..disk(state, reason) });
            assert!(tone == Tone::Plain && found.contains("the same disk"), "{found}");
        }
    }

    #[test]
    fn the_types_that_were_tried_with_a_bridge_are_named() {
        let usb = Some((0x152d, 0x0578));
        let tried = vec!["sat", "sntjmicron"];
        let (tone, found, cure) =
            said(Disk { usb, tried, ..disk("unsupported", "unknown_usb_bridge") });
        assert_eq!(tone, Tone::Warn);
        assert!(found.contains("152d:0578") && found.ends_with("sat, sntjmicron"), "{found}");
        assert!(cure.contains("update-smart-drivedb"), "{cure}");
    }

    #[test]
    fn a_volume_whose_disks_are_read_is_all_right() {
        let member = Disk { kind: "megaraid,4".into(), label: "x".into(), ..disk("read", "") };
        let facts = with(vec![disk("unsupported", "raid_volume"), member]);
        assert_eq!(about(&facts, "disk sda").unwrap().tone, Tone::Plain);
    }

    #[test]
    fn rights_matter_where_there_are_disks() {
        let none = Some(Rights { raw_io: false, admin: false });
        let tone = |asked: Vec<Disk>| {
            let facts = Facts { rights: none, ..with(asked) };
            about(&facts, "rights").unwrap().tone
        };
        assert_eq!(tone(vec![disk("denied", "permission")]), Tone::Warn);
        assert_eq!(tone(vec![disk("unsupported", "virtual")]), Tone::Plain);
        assert_eq!(tone(vec![]), Tone::Plain);
        let facts = Facts { rights: none, disks: vec!["sda".into()], ..with(vec![]) };
        assert_eq!(about(&facts, "rights").unwrap().tone, Tone::Warn);
        assert_eq!(about(&with(vec![]), "rights").unwrap().tone, Tone::Good);
    }

    #[test]
    fn what_is_done_about_rest_is_told_where_something_may_rest() {
        let facts = with(vec![disk("asleep", "standby")]);
        let line = about(&facts, "disks at rest").unwrap();
        assert!(line.found.contains("every 1h"), "{}", line.found);
        let facts = Facts { wake: true, ..facts };
        assert_eq!(about(&facts, "disks at rest").unwrap().tone, Tone::Warn);
        let facts = with(vec![disk("unsupported", "virtual")]);
        assert_eq!(about(&facts, "disks at rest"), None);
    }

    #[test]
    fn drivetemp_is_missed_for_sata_disks_alone() {
        let missing = |asked| Facts { drivetemp: false, ..with(asked) };
        let sata = vec![disk("read", "")];
        assert_eq!(about(&missing(sata.clone()), "drivetemp").unwrap().tone, Tone::Plain);
        assert_eq!(about(&with(sata), "drivetemp"), None);
        assert_eq!(about(&missing(vec![disk("unsupported", "virtual")]), "drivetemp"), None);
    }

    #[test]
    fn settings_that_are_wrong_are_told() {
        let facts = Facts { config_problem: Some("x".into()), ..with(vec![]) };
        assert_eq!(about(&facts, "agent's settings").unwrap().tone, Tone::Bad);
    }
}
