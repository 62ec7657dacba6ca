//! What an object says of itself: its metadata where the store keeps some, else a small JSON file in `.litmus/`.

use litmus_core::{Held, Rank, RunId, Sha256};
use serde::{Deserialize, Serialize};

/// What lies beside, or in the metadata of, an object. Names without `-` and `_`: Azure takes identifiers only, and some
/// proxies drop headers with `_`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    #[serde(rename = "litmusrunid")]
    pub(crate) run_id: RunId,
    #[serde(rename = "litmussha256")]
    pub(crate) sha256: Sha256,
    /// Only runs have one: an object without it is an attachment.
    #[serde(rename = "litmusrank", default, skip_serializing_if = "Option::is_none")]
    pub(crate) rank: Option<String>,
    #[serde(rename = "litmusgeneration", default, skip_serializing_if = "Option::is_none")]
    pub(crate) generation: Option<String>,
    /// What sent it.
    #[serde(rename = "litmushost")]
    pub(crate) host: String,
}

/// The version of the host and its plugins.
pub(crate) const HOST: &str = env!("CARGO_PKG_VERSION");

impl Note {
    /// Name and value of each.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = vec![
            ("litmusrunid".to_owned(), self.run_id.to_string()),
            ("litmussha256".to_owned(), self.sha256.to_string()),
        ];
        pairs.extend(self.rank.clone().map(|rank| ("litmusrank".to_owned(), rank)));
        pairs.extend(self.generation.clone().map(|generation| ("litmusgeneration".to_owned(), generation)));
        pairs.push(("litmushost".to_owned(), self.host.clone()));
        pairs
    }

    /// From metadata; `None` where it is not ours.
    pub(crate) fn from_pairs<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        Some(Self {
            run_id: get("litmusrunid")?.parse().ok()?,
            sha256: get("litmussha256")?.parse().ok()?,
            rank: get("litmusrank").map(str::to_owned),
            generation: get("litmusgeneration").map(str::to_owned),
            host: get("litmushost").unwrap_or_default().to_owned(),
        })
    }

    /// The revision, where this is a run.
    pub(crate) fn held(&self) -> Option<Held> {
        let rank: Rank = self.rank.as_ref()?.parse().ok()?;
        Some(Held { sha256: self.sha256, rank })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_survives_metadata_and_json() {
        let sha256 = Sha256([3; 32]);
        let rank = Rank { finished: true, ended_at_us: Some(-5), rows: 9, sha256 };
        let note = Note {
            run_id: RunId::from_bytes([1; 16]),
            sha256,
            rank: Some(rank.encode()),
            generation: Some("nested".to_owned()),
            host: HOST.to_owned(),
        };
        let pairs = note.pairs();
        let get = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(Note::from_pairs(get).as_ref(), Some(&note));
        assert_eq!(note.held(), Some(Held { sha256, rank }));
        let json = serde_json::to_string(&note).unwrap();
        assert_eq!(serde_json::from_str::<Note>(&json).unwrap(), note);
        assert!(pairs.iter().all(|(key, value)| key.is_ascii() && value.is_ascii()));
        assert_eq!(Note::from_pairs(|_| None), None);
    }
}
