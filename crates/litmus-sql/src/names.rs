//! SQL names of columns. A canonical name can be anything a test author typed: empty, quotes, control characters, longer
//! than the database allows, or one that the database takes for the same as another.

use std::borrow::Cow;

/// A name for `wanted` that the database can hold and that `is_taken` does not know. Equal arguments give equal names;
/// once chosen a name is recorded at the destination, so it stays whatever comes later.
pub(crate) fn choose(wanted: &str, bytes_max: usize, is_taken: impl Fn(&str) -> bool) -> String {
    let clean = clean(wanted);
    if clean == wanted && clean.len() <= bytes_max && !is_taken(&clean) {
        return clean.into_owned();
    }
    let hash = blake3::hash(wanted.as_bytes()).to_hex();
    (8..=hash.len())
        .step_by(8)
        .map(|digits| format!("{}_{}", cut(&clean, bytes_max - digits - 1), &hash[..digits]))
        .find(|name| !is_taken(name))
        .expect("names of different columns have different hashes")
}

/// Without characters that no terminal shows (and NUL ends a statement), and not empty.
fn clean(name: &str) -> Cow<'_, str> {
    if name.is_empty() {
        Cow::Borrowed("column")
    } else if name.contains(is_unprintable) {
        Cow::Owned(name.replace(is_unprintable, "_"))
    } else {
        Cow::Borrowed(name)
    }
}

/// Control characters, and those that turn the direction of a text: one name can look like another by them. A statement has
/// none of them as it is, so that what a person reads and copies is what runs.
pub fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The longest beginning of at most so many bytes that ends between characters.
fn cut(name: &str, bytes_max: usize) -> &str {
    &name[..name.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn free(wanted: &str) -> String {
        choose(wanted, 63, |_| false)
    }

    #[test]
    fn ordinary_names_stay_and_odd_ones_get_a_hash() {
        assert_eq!(free("in_voltage"), "in_voltage");
        assert_eq!(free(r#"in_"; drop table steps; --"#), r#"in_"; drop table steps; --"#);
        assert_eq!(free("out_Größe µ"), "out_Größe µ");
        assert!(free("").starts_with("column_"));
        assert!(free("in_a\0b").starts_with("in_a_b_"));
        assert!(free("in_rtl\u{202e}y").starts_with("in_rtl_y_"));
        assert_ne!(free("in_a\0b"), free("in_a\nb"));
        assert_ne!(free("in_a\0b"), free("in_a_b"));
    }

    #[test]
    fn a_taken_name_gets_a_hash_and_a_taken_hash_a_longer_one() {
        let first = choose("Volt", 63, |name| name.eq_ignore_ascii_case("volt"));
        assert!(first.starts_with("Volt_") && first.len() == 13, "{first}");
        let second = choose("Volt", 63, |name| name.eq_ignore_ascii_case("volt") || name == first);
        assert!(second.starts_with(&first) && second.len() == 21, "{second}");
    }

    #[test]
    fn long_names_that_begin_alike_stay_apart_and_whole_characters_remain() {
        let (a, b) = ("ü".repeat(100) + "a", "ü".repeat(100) + "b");
        assert_ne!(free(&a), free(&b));
        assert!(free(&a).len() <= 63 && free(&a).starts_with("üü"));
    }

    proptest! {
        #[test]
        fn any_set_of_names_gets_names_of_their_own(names in proptest::collection::hash_set("(?s).{0,80}", 0..20)) {
            let mut taken = HashSet::new();
            for name in &names {
                let chosen = choose(name, 63, |name| taken.contains(&name.to_ascii_lowercase()));
                prop_assert!(!chosen.is_empty() && chosen.len() <= 63 && !chosen.contains(is_unprintable));
                prop_assert!(taken.insert(chosen.to_ascii_lowercase()), "{} was given twice", chosen);
            }
        }
    }
}
