//! What came out of tests, in words and as JUnit XML.

use std::fmt::{self, Write};

use super::{AlertText, CaseReport, Failure, FileReport};

/// Names and texts, ascending by name.
pub type Texts = Vec<(String, String)>;

impl fmt::Display for FileReport {
    /// Everything that is not as it should be, with its line; nothing when all is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for warning in &self.warnings {
            writeln!(f, "  warning: {warning}")?;
        }
        if let Some(aborted) = &self.aborted {
            writeln!(f, "  {}", indented(aborted, "  "))?;
        }
        for case in &self.cases {
            for failure in &case.failures {
                writeln!(f, "  line {}: test {}: {}", failure.line(), case.name, failure.what())?;
                f.write_str(&failure.details())?;
            }
        }
        Ok(())
    }
}

impl Failure {
    /// The line of the file that this is about.
    pub fn line(&self) -> usize {
        match self {
            Self::Broken { line, .. } | Self::Alerts { line, .. } | Self::Samples { line, .. } => {
                *line
            }
        }
    }

    /// What is not as it should be, on one line.
    pub fn what(&self) -> String {
        match self {
            Self::Broken { message, .. } => message.lines().next().unwrap_or_default().to_owned(),
            Self::Alerts { what, expected, got, .. } => {
                format!("{what}: expected {} firing, got {}", expected.len(), got.len())
            }
            Self::Samples { what, .. } => what.clone(),
        }
    }

    /// What was expected and what there is, as far as the two differ; each line ends.
    pub fn details(&self) -> String {
        let mut text = String::new();
        match self {
            Self::Broken { message, .. } => {
                for line in message.lines().skip(1) {
                    line_to(&mut text, line);
                }
            }
            Self::Alerts { expected, got, .. } => alerts(&mut text, expected, got),
            Self::Samples { expected, got, .. } => {
                for (word, ours, theirs) in [("expected", expected, got), ("got", got, expected)] {
                    if ours.is_empty() {
                        line_to(&mut text, &format!("{word:>8}: nothing"));
                    }
                    for sample in ours {
                        let same = if theirs.contains(sample) { "  (as in both)" } else { "" };
                        line_to(&mut text, &format!("{word:>8}: {sample}{same}"));
                    }
                }
            }
        }
        text
    }

    /// Both sides whole, line by line: `-` was expected, `+` is what there is.
    pub fn diff(&self) -> Vec<String> {
        let (expected, got) = match self {
            Self::Broken { .. } => return self.details().lines().map(str::to_owned).collect(),
            Self::Alerts { expected, got, .. } => (written(expected), written(got)),
            Self::Samples { expected, got, .. } => (expected.clone(), got.clone()),
        };
        let mut lines = Vec::new();
        let (mut ours, mut theirs) = (expected.as_slice(), got.as_slice());
        while let Some((line, rest)) = ours.split_first() {
            match theirs.iter().position(|other| other == line) {
                Some(at) => {
                    lines.extend(theirs.iter().take(at).map(|other| format!("+ {other}")));
                    lines.push(format!("  {line}"));
                    theirs = theirs.get(at + 1..).unwrap_or_default();
                }
                None => lines.push(format!("- {line}")),
            }
            ours = rest;
        }
        lines.extend(theirs.iter().map(|other| format!("+ {other}")));
        lines
    }
}

fn line_to(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "    {line}");
}

fn indented(text: &str, by: &str) -> String {
    text.replace('\n', &format!("\n{by}"))
}

/// Labels as they are written in a query.
fn braces(labels: &[(String, String)]) -> String {
    let pairs = labels.iter().map(|(name, value)| format!("{name}={value:?}"));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
}

/// All alerts as lines.
fn written(alerts: &[AlertText]) -> Vec<String> {
    let mut lines = Vec::new();
    for alert in alerts {
        lines.push(braces(&alert.labels));
        lines.extend(alert.annotations.iter().map(|(name, text)| format!("  {name}: {text:?}")));
    }
    lines
}

/// Alerts that are on one side only, and those whose annotations differ.
fn alerts(text: &mut String, expected: &[AlertText], got: &[AlertText]) {
    let mut missing: Vec<&AlertText> =
        expected.iter().filter(|alert| !got.contains(alert)).collect();
    let mut extra: Vec<&AlertText> = got.iter().filter(|alert| !expected.contains(alert)).collect();
    let mut pairs = Vec::new();
    missing.retain(|alert| match extra.iter().position(|other| other.labels == alert.labels) {
        Some(at) => {
            pairs.push((*alert, extra.remove(at)));
            false
        }
        None => true,
    });
    for (word, list) in
        [("expected, but does not fire", &missing), ("fires, but was not expected", &extra)]
    {
        for alert in list.iter() {
            line_to(text, &format!("{word}: {}", braces(&alert.labels)));
            for (name, value) in &alert.annotations {
                line_to(text, &format!("  {name}: {value:?}"));
            }
        }
    }
    for (expected, got) in pairs {
        line_to(text, &format!("fires with other annotations: {}", braces(&expected.labels)));
        let find = |list: &[(String, String)], name: &str| {
            let found = list.iter().find(|(known, _)| known == name);
            found.map_or_else(|| "nothing".to_owned(), |(_, value)| format!("{value:?}"))
        };
        let mut names: Vec<&String> =
            expected.annotations.iter().chain(&got.annotations).map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        for name in names {
            let (wanted, found) = (find(&expected.annotations, name), find(&got.annotations, name));
            if wanted != found {
                line_to(text, &format!("  {name}"));
                line_to(text, &format!("    expected: {wanted}"));
                line_to(text, &format!("         got: {found}"));
            }
        }
    }
    if text.is_empty() {
        line_to(text, "the same alert fires more than once, or less often than expected");
    }
}

/// All reports in the XML that continuous integration reads from JUnit.
pub fn junit(reports: &[FileReport]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for report in reports {
        suite(&mut xml, report);
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn suite(xml: &mut String, report: &FileReport) {
    let failed = report.cases.iter().filter(|case| !case.failures.is_empty()).count();
    let errors = usize::from(report.aborted.is_some());
    let tests = report.cases.len();
    let name = escaped(&report.file);
    // Writing to a String cannot fail.
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failed}\" errors=\"{errors}\">"
    );
    for case in &report.cases {
        test_case(xml, &name, case);
    }
    if let Some(aborted) = &report.aborted {
        let _ = writeln!(xml, "    <testcase classname=\"{name}\" name=\"(file)\">");
        let _ = writeln!(xml, "      <error>{}</error>\n    </testcase>", escaped(aborted));
    }
    xml.push_str("  </testsuite>\n");
}

fn test_case(xml: &mut String, suite: &str, case: &CaseReport) {
    let seconds = case.took.as_secs_f64();
    let name = escaped(&case.name);
    let _ =
        write!(xml, "    <testcase classname=\"{suite}\" name=\"{name}\" time=\"{seconds:.3}\"");
    if case.failures.is_empty() {
        xml.push_str("/>\n");
        return;
    }
    xml.push_str(">\n");
    for failure in &case.failures {
        let what = escaped(&format!("line {}: {}", failure.line(), failure.what()));
        let details = escaped(&failure.details());
        let _ = writeln!(xml, "      <failure message=\"{what}\">{details}</failure>");
    }
    xml.push_str("    </testcase>\n");
}

/// A text as it may stand in XML, where some characters may not stand at all.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' | '\r' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
