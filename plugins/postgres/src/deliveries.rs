//! `litmus_deliveries`: one row a run, which claims it while a transaction is under way and notes it ever after.

use std::collections::HashMap;

use litmus_core::{Held, Receipt, RunId, SinkError, Status};
use litmus_sql::Dialect;
use litmus_sql::bookkeeping::DELIVERIES;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio_postgres::types::Type;

use crate::dialect::{canonical_name, stored_name};
use crate::link::Link;
use crate::schema::rows;
use crate::session::Session;

/// A row of `litmus_deliveries`.
#[derive(Clone)]
pub(crate) struct Delivery {
    pub(crate) held: Held,
    /// Tables, conversions and `extra` as the receipt had them.
    pub(crate) receipt: Receipt,
}

/// What is noted of these runs. A row that is none is an error of its run.
pub(crate) fn look_up(
    session: &Session<'_>,
    link: &mut Link,
    run_ids: &[RunId],
) -> Result<HashMap<RunId, Result<Delivery, SinkError>>, SinkError> {
    let settings = session.settings;
    let ids: Vec<String> = run_ids.iter().map(ToString::to_string).collect();
    let sql = format!(
        "SELECT run_id::text, sha256, rank, tables::text, conversions::text, extra::text, supersedes FROM {} WHERE run_id = ANY (($1::text[])::uuid[])",
        settings.dialect.table(DELIVERIES)
    );
    let found = link.run(session.runtime, session.check, "reading litmus_deliveries", async |client| {
        rows(client, &sql, &[(&ids, Type::TEXT_ARRAY)]).await
    })?;
    let delivery = |row: &tokio_postgres::Row| {
        let run_id: RunId = row.get::<_, &str>(0).parse().expect("a uuid is one");
        let parsed = row.get::<_, &str>(1).parse().ok().zip(row.get::<_, &str>(2).parse().ok());
        let Some(((sha256, rank), supersedes)) = parsed.zip(Held::parse_lineage(row.get(6))) else {
            let why = format!(
                "{}: {DELIVERIES} says of run {run_id} what is no sha256 and rank\nhint: delete that row; the run is delivered again",
                link.place
            );
            return (run_id, Err(SinkError::new(Status::Conflict, why)));
        };
        let receipt = Receipt {
            tables: serde_json::from_str(row.get(3)).unwrap_or_default(),
            conversions: serde_json::from_str(row.get(4)).unwrap_or_default(),
            extra: serde_json::from_str::<Map<String, Value>>(row.get(5))
                .unwrap_or_default()
                .into_iter()
                .filter_map(|(name, count)| Some((canonical_name(&name), count.as_u64()?)))
                .collect(),
            ..Receipt::default()
        };
        (run_id, Ok(Delivery { held: Held { sha256, rank, supersedes }, receipt }))
    };
    Ok(found.iter().map(delivery).collect())
}

/// What is written of a run.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) run_id: RunId,
    pub(crate) held: Held,
    pub(crate) receipt: Receipt,
}

/// Writes rows in the order given, which is that of the run ids: hosts that want the same runs wait for each other in one
/// direction only. Gives the runs whose rows were written; for the others there is a row already.
pub(crate) fn insert(session: &Session<'_>, link: &mut Link, given: &[Row]) -> Result<Vec<RunId>, SinkError> {
    fn json(value: &impl Serialize) -> String {
        serde_json::to_string(value).expect("a map with text keys is JSON")
    }
    let column = |text: &dyn Fn(&Row) -> String| given.iter().map(text).collect::<Vec<String>>();
    let columns = [
        column(&|row| row.run_id.to_string()),
        column(&|row| row.held.sha256.to_string()),
        column(&|row| row.held.rank.encode()),
        column(&|row| row.held.lineage()),
        column(&|row| json(&row.receipt.tables)),
        column(&|row| json(&row.receipt.conversions)),
        column(&|row| {
            json(&row.receipt.extra.iter().map(|(name, count)| (stored_name(name), count)).collect::<HashMap<_, _>>())
        }),
    ];
    let version = env!("CARGO_PKG_VERSION");
    let sql = format!(
        "INSERT INTO {} (run_id, sha256, rank, supersedes, tables, conversions, extra, plugin_version, delivered_at) \
         SELECT run_id::uuid, sha256, rank, supersedes, tables::jsonb, conversions::jsonb, extra::jsonb, $8, pg_catalog.now() \
         FROM unnest($1, $2, $3, $4, $5, $6, $7) WITH ORDINALITY \
         AS given (run_id, sha256, rank, supersedes, tables, conversions, extra, place) ORDER BY place \
         ON CONFLICT (run_id) DO NOTHING RETURNING run_id::text",
        session.settings.dialect.table(DELIVERIES)
    );
    let [run_ids, sha256s, ranks, lineages, tables, conversions, extras] = &columns;
    let found = link.run(session.runtime, session.check, "claiming runs", async |client| {
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 8] = [
            (run_ids, Type::TEXT_ARRAY),
            (sha256s, Type::TEXT_ARRAY),
            (ranks, Type::TEXT_ARRAY),
            (lineages, Type::TEXT_ARRAY),
            (tables, Type::TEXT_ARRAY),
            (conversions, Type::TEXT_ARRAY),
            (extras, Type::TEXT_ARRAY),
            (&version, Type::TEXT),
        ];
        rows(client, &sql, &parameters).await
    })?;
    Ok(found.iter().filter_map(|row| row.get::<_, &str>(0).parse().ok()).collect())
}

/// Takes the row of one revision away; whether it was there.
pub(crate) fn delete(session: &Session<'_>, link: &mut Link, run_id: RunId, held: &Held) -> Result<bool, SinkError> {
    let sql = format!(
        "DELETE FROM {} WHERE run_id = ($1::text)::uuid AND sha256 = $2",
        session.settings.dialect.table(DELIVERIES)
    );
    let (run_id, sha256) = (run_id.to_string(), held.sha256.to_string());
    let deleted = link.run(session.runtime, session.check, "replacing a revision", async |client| {
        client.execute_typed(&sql, &[(&run_id, Type::TEXT), (&sha256, Type::TEXT)]).await
    })?;
    Ok(deleted == 1)
}
