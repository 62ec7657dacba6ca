//! Colour, or none.

/// Wraps texts in colour where that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    colour: bool,
}

/// What a text says by its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// All is well.
    Good,
    /// Look at this.
    Warn,
    /// This failed.
    Bad,
    /// A heading.
    Strong,
    /// Less important.
    Faint,
}

impl Style {
    /// With colour or without.
    pub(crate) fn new(colour: bool) -> Self {
        Self { colour }
    }

    /// The text in its tone.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "1;31",
            Tone::Strong => "1",
            Tone::Faint => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// The tone of an outcome, of a run or a step.
pub(crate) fn outcome_tone(outcome: &str) -> Option<Tone> {
    match outcome {
        "passed" | "done" => Some(Tone::Good),
        "failed" | "errored" => Some(Tone::Bad),
        "aborted" | "terminated" | "skipped" => Some(Tone::Warn),
        _ => None,
    }
}

/// Text out of files for a terminal: control characters are escaped, so that a serial cannot move the cursor. A remedy, which
/// our messages have on a line of its own, comes on the same line.
pub(crate) fn printable(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.chars().any(is_unprintable) {
        return text.into();
    }
    let text = text.replace("\nhint: ", "; hint: ");
    let escaped = text.chars().flat_map(|c| {
        let (escape, plain) = if is_unprintable(c) { (Some(c.escape_default()), None) } else { (None, Some(c)) };
        escape.into_iter().flatten().chain(plain)
    });
    escaped.collect::<String>().into()
}

/// A message of several lines (statements that somebody has to run) line by line; all but the first are indented, so that
/// none of them passes for a line of its own.
pub(crate) fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n  ")
}

fn is_unprintable(c: char) -> bool {
    // Bidirectional overrides can make one name look like another.
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_units_are_not() {
        assert_eq!(printable("SN\x1b[31m\n9"), "SN\\u{1b}[31m\\n9");
        assert_eq!(printable("12 °C µA Ω"), "12 °C µA Ω");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn a_message_of_several_lines_is_printed_line_by_line() {
        let frozen = "db: lacks columns\nhint: run these:\nALTER TABLE \"a\";\nVIEW\x1b;";
        let printed = "db: lacks columns\n  hint: run these:\n  ALTER TABLE \"a\";\n  VIEW\\u{1b};";
        assert_eq!(printable_lines(frozen), printed);
        assert_eq!(printable_lines("one"), "one");
    }

    #[test]
    fn no_colour_means_not_a_byte_of_it() {
        assert_eq!(Style::new(false).paint(Tone::Bad, "x"), "x");
        assert_eq!(Style::new(true).paint(Tone::Bad, "x"), "\x1b[1;31mx\x1b[0m");
    }
}
