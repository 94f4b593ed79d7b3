//! A walk over JSON that keeps nothing: one pass over the bytes, an event for each value.
//!
//! A daemon says the same thousand numbers again and again. What reads them knows what comes next, so
//! it needs neither a tree nor an allocation. The walk bounds the depth and takes `nan` and `inf`,
//! which Ceph writes and JSON does not know; escapes stay as they are written.

/// Values inside each other. Daemons have five.
const DEPTH_MAX: usize = 32;

/// What is told of each value; whoever says no ends the walk.
pub(super) trait Visit {
    /// An object or a list begins. A value in a list has an empty key.
    fn open(&mut self, key: &[u8], is_list: bool) -> bool;
    /// It ends.
    fn close(&mut self) -> bool;
    /// A number, as it is written.
    fn number(&mut self, key: &[u8], digits: &[u8]) -> bool;
    /// A text, as it is written, without its quotes.
    fn text(&mut self, key: &[u8], raw: &[u8]) -> bool;
    /// True, false or null.
    fn other(&mut self, key: &[u8]) -> bool;
}

/// How a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Walked {
    /// All was seen.
    Whole,
    /// The visitor said no.
    Stopped,
    /// The bytes are no JSON, or nested deeper than any that we know.
    Broken,
}

/// Tells `visit` of all values in their order.
pub(super) fn walk(json: &[u8], visit: &mut impl Visit) -> Walked {
    match values(&mut Cursor { json, at: 0 }, visit) {
        Some(true) => Walked::Whole,
        Some(false) => Walked::Stopped,
        None => Walked::Broken,
    }
}

fn values<'a>(cursor: &mut Cursor<'a>, visit: &mut impl Visit) -> Option<bool> {
    // Of each value that is open, whether it is a list.
    let mut open: Vec<bool> = Vec::with_capacity(DEPTH_MAX);
    let mut key: &'a [u8] = b"";
    loop {
        let goes_on = match cursor.peek()? {
            begin @ (b'{' | b'[') => {
                cursor.at += 1;
                let is_list = begin == b'[';
                if open.len() == DEPTH_MAX {
                    return None;
                }
                open.push(is_list);
                let goes_on = visit.open(key, is_list);
                if goes_on && !matches!(cursor.peek()?, b'}' | b']') {
                    key = cursor.key(is_list)?;
                    continue;
                }
                goes_on
            }
            b'"' => visit.text(key, cursor.string()?),
            b'-' | b'0'..=b'9' => visit.number(key, cursor.word()),
            _ => match cursor.word() {
                b"true" | b"false" | b"null" => visit.other(key),
                word @ (b"nan" | b"inf") => visit.number(key, word),
                _ => return None,
            },
        };
        if !goes_on {
            return Some(false);
        }
        // Ends of all that ends here, up to the next value.
        loop {
            let Some(&is_list) = open.last() else {
                return cursor.peek().is_none().then_some(true);
            };
            match (cursor.take()?, is_list) {
                (b',', _) => break,
                (b'}', false) | (b']', true) => {}
                _ => return None,
            }
            open.pop();
            if !visit.close() {
                return Some(false);
            }
        }
        key = cursor.key(open.last() == Some(&true))?;
    }
}

struct Cursor<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The next byte that is no blank.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.json.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                byte => return byte.copied(),
            }
        }
    }

    fn take(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    /// The key before a value, up to its colon.
    fn key(&mut self, is_list: bool) -> Option<&'a [u8]> {
        if is_list {
            return Some(b"");
        }
        if self.peek()? != b'"' {
            return None;
        }
        let key = self.string()?;
        (self.take()? == b':').then_some(key)
    }

    /// What is between quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at + 1;
        let mut at = start;
        loop {
            match self.json.get(at)? {
                b'"' => break,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        self.at = at + 1;
        self.json.get(start..at)
    }

    /// Letters, digits and what numbers have beside them.
    fn word(&mut self) -> &'a [u8] {
        let start = self.at;
        let is_part =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        while self.json.get(self.at).is_some_and(is_part) {
            self.at += 1;
        }
        self.json.get(start..self.at).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes down what it is told.
    #[derive(Default)]
    struct Told(String);

    impl Visit for Told {
        fn open(&mut self, key: &[u8], is_list: bool) -> bool {
            self.say(key, if is_list { b"[" } else { b"{" })
        }
        fn close(&mut self) -> bool {
            self.say(b"", b".")
        }
        fn number(&mut self, key: &[u8], digits: &[u8]) -> bool {
            self.say(key, digits)
        }
        fn text(&mut self, key: &[u8], raw: &[u8]) -> bool {
            self.say(key, raw)
        }
        fn other(&mut self, key: &[u8]) -> bool {
            self.say(key, b"?")
        }
    }

    impl Told {
        fn say(&mut self, key: &[u8], what: &[u8]) -> bool {
            let text = |bytes| String::from_utf8_lossy(bytes);
            self.0 += &format!("{}={} ", text(key), text(what));
            !what.starts_with(b"stop")
        }
    }

    fn told(json: &str) -> (Walked, String) {
        let mut told = Told::default();
        (walk(json.as_bytes(), &mut told), told.0)
    }

    #[test]
    fn every_value_is_told_in_its_order() {
        let json = "{\"a\" : -1.5e3, \"b\":[{}, [],null ,\"x\\\"y\"],\"c\":{\"d\":nan}} \n";
        let want = "={ a=-1.5e3 b=[ ={ =. =[ =. =? =x\\\"y =. c={ d=nan =. =. ";
        assert_eq!(told(json), (Walked::Whole, want.to_owned()));
        assert_eq!(told("{\"a\":\"stop\",\"b\":1}").0, Walked::Stopped);
    }

    #[test]
    fn what_is_no_json_is_broken() {
        for json in [
            "",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "[1,]",
            "{\"a\":1]",
            "[1}",
            "{}x",
            "{\"a",
            "{a:1}",
            "{\"a\":tru}",
            "{\"a\":\"\\",
            "]",
        ] {
            assert_eq!(told(json).0, Walked::Broken, "{json}");
        }
        assert_eq!(told(&"[".repeat(10_000)).0, Walked::Broken);
    }

    proptest! {
        /// Whatever the standard reader takes, the walk takes.
        #[test]
        fn all_json_is_walked(text in "[\\[\\]{},:\"a1\\\\ ]{0,24}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            if is_json {
                prop_assert_eq!(told(&text).0, Walked::Whole, "{}", text);
            }
            walk(&bytes, &mut Told::default());
        }
    }
}
