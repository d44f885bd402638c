//! Readable names for runs that were given none.

const ADJECTIVES: [&str; 32] = [
    "amber", "bold", "brave", "bright", "brisk", "calm", "clear", "clever", "cosy", "crisp",
    "eager", "early", "fair", "fond", "gentle", "glad", "grand", "happy", "keen", "kind", "lively",
    "lucky", "merry", "mild", "noble", "proud", "quick", "quiet", "sharp", "swift", "warm", "wise",
];

const ANIMALS: [&str; 32] = [
    "badger", "bear", "beaver", "bison", "crane", "deer", "dolphin", "eagle", "falcon", "finch",
    "fox", "gecko", "hare", "heron", "ibex", "jay", "koala", "lark", "lemur", "lynx", "marten",
    "mole", "newt", "orca", "otter", "owl", "panda", "puffin", "raven", "seal", "stork", "wren",
];

/// A name such as `brisk-otter-3f2a`, from the digits of a fresh id.
pub(crate) fn readable(id: &str) -> String {
    let hash = blake3::hash(id.as_bytes());
    let [first, second, third, fourth, ..] = *hash.as_bytes();
    let pick = |words: [&'static str; 32], byte: u8| {
        words.get(usize::from(byte % 32)).copied().unwrap_or("run")
    };
    format!(
        "{}-{}-{third:02x}{fourth:02x}",
        pick(ADJECTIVES, first),
        pick(ANIMALS, second)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RunName;

    #[test]
    fn names_are_good_names_and_differ() {
        let names: Vec<String> = (0..100).map(|id| readable(&id.to_string())).collect();
        for name in &names {
            assert_eq!(name.split('-').count(), 3, "{name}");
            assert!(name.parse::<RunName>().is_ok(), "{name}");
        }
        let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }
}
