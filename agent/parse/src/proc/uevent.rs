//! `uevent` of a device in sysfs: keys and values.

use super::lines;

/// Keys and values in the order of the file; lines of another shape are left out. What is not
/// UTF-8, as firmware may give it, is left out too.
pub fn parse(bytes: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    lines(bytes).filter_map(|(_, line)| std::str::from_utf8(line).ok()?.split_once('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_nothing_else() {
        let text = b"DEVTYPE=power_supply\nPOWER_SUPPLY_MODEL_NAME=a=b \nbroken\nX=\xff\nY=\n";
        let all: Vec<_> = parse(text).collect();
        let wanted = [("DEVTYPE", "power_supply"), ("POWER_SUPPLY_MODEL_NAME", "a=b "), ("Y", "")];
        assert_eq!(all, wanted);
    }
}
