//! The receipt: what a sink proves about one delivered run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::TableDigest;

/// How far a delivery is proved, in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Handed to the transport; nobody answered.
    Sent,
    /// The other side said that it has it.
    Acknowledged,
    /// Durable at the destination.
    Committed,
    /// Read back and found equal.
    Verified,
}

/// What a sink writes about one run. The host adds run_id, sha256, versions and times before it keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// How far the delivery is proved; none where nothing was written (already present, superseded).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grade: Option<Grade>,
    /// Row count and digest of what was written, by table.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, TableDigest>,
    /// Values converted because the destination cannot hold them: the rule's name and how many.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub conversions: BTreeMap<String, u64>,
    /// Cells that went to `extra`: `table.column` and how many.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, u64>,
    /// Where it lies: a table, an object's URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Each attachment as the sink left it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<AttachmentReceipt>,
    /// How many of them were not there when the time to wait for them was over; of sinks that move files.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attachments_missing: u64,
    /// Statements that would have run; in answer to a dry run only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub planned: Vec<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's shape
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// One attachment in a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentReceipt {
    /// As the run writes it.
    pub reference: String,
    /// In bytes; absent where it was missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Of its bytes, where the sink moved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<crate::Sha256>,
    /// Where it lies at the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}
