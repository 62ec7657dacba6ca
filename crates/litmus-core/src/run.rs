//! The run model: what identifies a run, which of two revisions wins, and the summary every sink gets.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A run's identity: a UUID, always lower-case and hyphenated. Never derived from a file's name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(uuid::Uuid);

impl RunId {
    /// The 16 bytes of the UUID, big endian as RFC 9562 writes them.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// A run id from the 16 bytes of a UUID.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }
}

impl FromStr for RunId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        uuid::Uuid::try_parse(text).map(Self)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The SHA-256 of a sealed file's bytes; prints and serialises as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256(pub [u8; 32]);

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not 64 hex digits.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not a sha256: 64 hex digits are needed")]
pub struct NotASha256(String);

impl FromStr for Sha256 {
    type Err = NotASha256;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || NotASha256(text.to_owned());
        if text.len() != 64 || !text.is_ascii() {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Which of two revisions of one run wins where the lineage is unknown: the higher one.
///
/// Fields in the order in which they decide. `encode` gives text whose byte order is this order, for keeping beside the
/// sha256 at a destination and comparing there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// `run_outcome` is not `aborted`: a run sealed as aborted can later be replaced by its real end.
    pub finished: bool,
    /// `run_ended_at` in microseconds since the epoch, UTC; NULL is lowest.
    pub ended_at_us: Option<i64>,
    /// Rows in the sealed file.
    pub rows: u64,
    /// The last resort, so that any two hosts settle alike.
    pub sha256: Sha256,
}

impl Rank {
    /// `1.<ended as 17 hex>.<rows as 16 hex>.<sha256>`: compares as bytes the way `Rank` compares.
    pub fn encode(&self) -> String {
        // The sign bit is flipped so that negative times sort first; the leading digit keeps NULL below every time.
        let ended = self.ended_at_us.map_or(0, |us| (1u128 << 64) | u128::from((us as u64) ^ (1 << 63)));
        format!("{}.{ended:017x}.{:016x}.{}", u8::from(self.finished), self.rows, self.sha256)
    }
}

impl FromStr for Rank {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.split('.');
            let finished = parts.next()? == "1";
            let ended = u128::from_str_radix(parts.next()?, 16).ok()?;
            let rows = u64::from_str_radix(parts.next()?, 16).ok()?;
            let sha256 = parts.next()?.parse().ok()?;
            let ended_at_us = (ended >> 64 == 1).then_some(((ended as u64) ^ (1 << 63)) as i64);
            Some(Self { finished, ended_at_us, rows, sha256 })
        };
        parse().ok_or_else(|| format!("\"{text}\" is not a rank"))
    }
}

/// Revisions of one run that a destination remembers as older than the one it holds.
const LINEAGE_MAX: usize = 64;

/// What a destination holds of a run already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The revision held.
    pub sha256: Sha256,
    /// Its rank, as kept beside it.
    pub rank: Rank,
    /// Revisions known to be older, whatever their rank, as kept beside it: another host may still have one of them.
    pub supersedes: Vec<Sha256>,
}

impl Held {
    /// What to keep beside a revision that is written in the place of `before`.
    pub fn new(sha256: Sha256, rank: Rank, supersedes: &[Sha256], before: Option<&Self>) -> Self {
        let mut older = supersedes.to_vec();
        // What was older than an ancestor is older than this; what merely ranked lower may yet come back with a better claim.
        if let Some(before) = before.filter(|before| supersedes.contains(&before.sha256)) {
            older.extend(before.supersedes.iter().copied());
        }
        let mut seen = std::collections::HashSet::from([sha256]);
        older.retain(|revision| seen.insert(*revision));
        older.truncate(LINEAGE_MAX);
        Self { sha256, rank, supersedes: older }
    }

    /// The older revisions as a text for one column: sha256s with a space between.
    pub fn lineage(&self) -> String {
        self.supersedes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    /// Reads what [`Self::lineage`] wrote.
    pub fn parse_lineage(text: &str) -> Option<Vec<Sha256>> {
        text.split_whitespace().map(|sha256| sha256.parse().ok()).collect()
    }
}

/// What a sink does with a run, given what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing is held: write it.
    Insert,
    /// An older revision is held: replace it, in one step.
    Replace,
    /// This very revision is held: report it as already present.
    AlreadyPresent,
    /// A newer revision is held: final, not an error.
    Superseded,
}

/// The one rule by which every sink settles two revisions of one run (DESIGN: replaced files).
///
/// `supersedes` are the revisions the sender saw earlier for the run; `force` is `replay --force`.
pub fn decide(held: Option<&Held>, sha256: &Sha256, rank: &Rank, supersedes: &[Sha256], force: bool) -> Decision {
    match held {
        None => Decision::Insert,
        Some(_) if force => Decision::Replace,
        Some(held) if held.sha256 == *sha256 => Decision::AlreadyPresent,
        Some(held) if supersedes.contains(&held.sha256) => Decision::Replace,
        Some(held) if held.supersedes.contains(sha256) => Decision::Superseded,
        Some(held) if *rank > held.rank => Decision::Replace,
        Some(_) => Decision::Superseded,
    }
}

/// One line about a run: what `litmus-host runs` prints, what key templates and filters use. Times serialise as RFC 3339, UTC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The run's identity.
    pub run_id: RunId,
    /// Of the sealed file's bytes.
    pub sha256: Sha256,
    /// The sealed file, relative to the data dir.
    pub path: String,
    /// `flat`, `nested` (0.2.x) or `nested2` (0.3.x and testerkit).
    pub generation: String,
    /// Start of the run.
    pub run_started_at: Option<Timestamp>,
    /// End of the run; absent where the platform never wrote one.
    pub run_ended_at: Option<Timestamp>,
    /// Serial of the unit under test.
    pub dut_serial: Option<String>,
    /// Part number of the unit under test.
    pub dut_part_number: Option<String>,
    /// The bench.
    pub station_id: Option<String>,
    /// As stored; it can be absent in every generation.
    pub run_outcome: Option<String>,
    /// As stored, or derived from steps, vectors and measurements where that is absent.
    pub outcome: String,
    /// Whether `outcome` was derived.
    pub outcome_derived: bool,
    /// Rows of the table `steps`.
    pub steps: u64,
    /// Rows of the table `vectors`.
    pub vectors: u64,
    /// Rows of the table `measurements`.
    pub measurements: u64,
    /// Rows of the sealed file.
    pub rows: u64,
    /// Every other non-null text or number column of the run row, under its canonical name.
    #[serde(flatten)]
    pub columns: Map<String, Value>,
}

impl Summary {
    /// Where this revision stands among the revisions of its run.
    pub fn rank(&self) -> Rank {
        Rank {
            finished: self.run_outcome.as_deref() != Some("aborted"),
            ended_at_us: self.run_ended_at.map(jiff::Timestamp::as_microsecond),
            rows: self.rows,
            sha256: self.sha256,
        }
    }
}

/// A file that a run refers to (a waveform, an image), as found at the time of the look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// As the run writes it, such as `file://_ref/scope.npz`.
    pub reference: String,
    /// What was found.
    #[serde(flatten)]
    pub state: AttachmentState,
}

/// What a reference leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum AttachmentState {
    /// A file inside the data dir.
    Present {
        /// Relative to the data dir.
        path: String,
        /// The same, absolute: where a sink that moves files opens it.
        file: String,
        /// In bytes.
        size: u64,
    },
    /// Nothing there (yet).
    Missing {
        /// Where it was looked for, relative to the data dir.
        path: String,
    },
    /// A reference out of the data dir, or through a link: not followed.
    Refused {
        /// Why.
        reason: String,
    },
    /// A `channel://` reference: listed, never fetched.
    Channel,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rank() -> impl Strategy<Value = Rank> {
        (any::<bool>(), any::<Option<i64>>(), any::<u64>(), any::<[u8; 32]>())
            .prop_map(|(finished, ended_at_us, rows, sha)| Rank { finished, ended_at_us, rows, sha256: Sha256(sha) })
    }

    proptest! {
        #[test]
        fn encoded_ranks_compare_as_ranks_do(a in rank(), b in rank()) {
            prop_assert_eq!(a.cmp(&b), a.encode().cmp(&b.encode()));
            prop_assert_eq!(a.encode().parse::<Rank>(), Ok(a));
        }

        #[test]
        fn two_destinations_settle_on_the_same_revision_in_either_order(a in rank(), b in rank()) {
            let settle = |first: Rank, second: Rank| {
                let held = Held::new(first.sha256, first, &[], None);
                match decide(Some(&held), &second.sha256, &second, &[], false) {
                    Decision::Replace => second.sha256,
                    _ => first.sha256,
                }
            };
            prop_assert_eq!(settle(a, b), settle(b, a));
        }
    }

    #[test]
    fn a_host_that_saw_a_replacement_and_one_that_did_not_settle_alike_in_either_order() {
        let rank = |n: u8| Rank { finished: true, ended_at_us: Some(5), rows: 9, sha256: Sha256([n; 32]) };
        // 9 was replaced by 1 at one host; the other has 9 alone, and it ranks higher.
        let (old, new) = (rank(9), rank(1));
        let first = Held::new(old.sha256, old, &[], None);
        assert_eq!(decide(Some(&first), &new.sha256, &new, &[old.sha256], false), Decision::Replace);
        let second = Held::new(new.sha256, new, &[old.sha256], Some(&first));
        assert_eq!(decide(Some(&second), &old.sha256, &old, &[], false), Decision::Superseded);
        let kept = Held { supersedes: Held::parse_lineage(&second.lineage()).unwrap(), ..second.clone() };
        assert_eq!(kept, second);
        // A third revision remembers the first through the second.
        let third = Held::new(Sha256([3; 32]), rank(3), &[new.sha256], Some(&second));
        assert_eq!(third.supersedes, [new.sha256, old.sha256]);
        // Bytes that came back to the place of their successor are the newest, and say so themselves.
        assert_eq!(decide(Some(&second), &old.sha256, &old, &[new.sha256], false), Decision::Replace);
        assert_eq!(Held::parse_lineage("nonsense"), None);
    }

    #[test]
    fn lineage_beats_rank_and_a_known_revision_is_present() {
        let low = Rank { finished: false, ended_at_us: None, rows: 1, sha256: Sha256([1; 32]) };
        let high = Rank { finished: true, ended_at_us: Some(5), rows: 9, sha256: Sha256([2; 32]) };
        let held = Held::new(high.sha256, high, &[], None);
        assert_eq!(decide(None, &low.sha256, &low, &[], false), Decision::Insert);
        assert_eq!(decide(Some(&held), &low.sha256, &low, &[], false), Decision::Superseded);
        assert_eq!(decide(Some(&held), &low.sha256, &low, &[high.sha256], false), Decision::Replace);
        assert_eq!(decide(Some(&held), &low.sha256, &low, &[], true), Decision::Replace);
        assert_eq!(decide(Some(&held), &high.sha256, &high, &[], false), Decision::AlreadyPresent);
    }
}
