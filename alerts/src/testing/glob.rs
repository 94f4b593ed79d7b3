//! The files that a pattern names, as Go's `filepath.Glob` finds them: `*`, `?`, `[a-z]` and `\` within
//! a name, names sorted in each folder.

use std::path::{Path, PathBuf};

/// Files of one pattern; rule files of a test are few.
const FOUND_MAX: usize = 10_000;

/// The paths that fit. A pattern that is none fits nothing.
pub(super) fn find(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let name = part.as_os_str().to_string_lossy();
        let mut next = Vec::new();
        for folder in &found {
            if !name.contains(['*', '?', '[', '\\']) {
                next.push(folder.join(part));
                continue;
            }
            let place = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            let Ok(entries) = std::fs::read_dir(place) else { continue };
            let names = entries.flatten().map(|entry| entry.file_name());
            let mut names: Vec<_> =
                names.filter(|found| fits(&name, &found.to_string_lossy())).collect();
            names.sort();
            next.extend(names.iter().map(|name| folder.join(name)));
            next.truncate(FOUND_MAX);
        }
        found = next;
    }
    found.retain(|path| !path.as_os_str().is_empty() && path.symlink_metadata().is_ok());
    found
}

/// Whether `name` fits the pattern of one part of a path.
fn fits(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    // What stands after the last star, and what of the name it was tried on: a star before that one
    // need not take more than it has.
    let mut last_star: Option<(&str, &str)> = None;
    loop {
        if let Some(rest) = pattern.strip_prefix('*') {
            (pattern, last_star) = (rest, Some((rest, name)));
            continue;
        }
        if pattern.is_empty() && name.is_empty() {
            return true;
        }
        if let Some((rest, tail)) = one_fits(pattern, name) {
            (pattern, name) = (rest, tail);
            continue;
        }
        let Some((rest, tried)) = last_star else { return false };
        let mut shorter = tried.chars();
        if shorter.next().is_none() {
            return false;
        }
        (pattern, name) = (rest, shorter.as_str());
        last_star = Some((rest, name));
    }
}

/// What is left of both when the first of the pattern, which is no star, fits the first letter.
fn one_fits<'a>(pattern: &'a str, name: &'a str) -> Option<(&'a str, &'a str)> {
    let (mut chars, mut letters) = (pattern.chars(), name.chars());
    let (first, letter) = (chars.next()?, letters.next()?);
    let rest = match first {
        '[' => class(chars.as_str(), letter).filter(|(is_in, _)| *is_in)?.1,
        '?' => chars.as_str(),
        '\\' => (chars.next()? == letter).then_some(chars.as_str())?,
        plain => (plain == letter).then_some(chars.as_str())?,
    };
    Some((rest, letters.as_str()))
}

/// Whether a letter is in the class that `[` opened, and what follows the class.
fn class(text: &str, letter: char) -> Option<(bool, &str)> {
    let negated = text.strip_prefix('^');
    let mut rest = negated.unwrap_or(text);
    let (mut is_in, mut len) = (false, 0);
    loop {
        if let Some(after) = rest.strip_prefix(']').filter(|_| len > 0) {
            return Some((is_in != negated.is_some(), after));
        }
        let low = one(&mut rest)?;
        let high = match rest.strip_prefix('-') {
            Some(after) => {
                rest = after;
                one(&mut rest)?
            }
            None => low,
        };
        is_in |= (low..=high).contains(&letter);
        len += 1;
    }
}

fn one(rest: &mut &str) -> Option<char> {
    let mut chars = rest.chars();
    let mut found = chars.next().filter(|c| !matches!(c, '-' | ']'))?;
    if found == '\\' {
        found = chars.next()?;
    }
    *rest = chars.as_str();
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_go() {
        for (pattern, name, wanted) in [
            ("*.yml", "a.yml", true),
            ("*.yml", "a.yaml", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("?[a-c]x", "zbx", true),
            ("?[^a-c]x", "zbx", false),
            ("[", "[", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("*", ".hidden", true),
            ("*a", "aba", true),
            ("a*[xy]?", "axxyz", true),
            ("a*[", "ab", false),
            ("**", "", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(fits(pattern, name), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_take_no_longer_than_the_name_is_long() {
        // Each star tried at each place would be more steps than anybody can wait for.
        let (stars, name) = ("*a".repeat(40) + "b", "a".repeat(200));
        assert!(!fits(&stars, &name));
        assert!(fits(&stars, &(name + "b")));
    }

    #[test]
    fn files_are_found_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b/1.yml", "a/2.yml", "a/1.yml", "a/x.txt"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = find(&dir.path().join("*/*.yml"));
        let names: Vec<_> =
            found.iter().map(|path| path.strip_prefix(dir.path()).unwrap()).collect();
        assert_eq!(names, ["a/1.yml", "a/2.yml", "b/1.yml"].map(Path::new));
        assert!(find(&dir.path().join("none.yml")).is_empty());
        assert!(find(Path::new("")).is_empty());
    }
}
