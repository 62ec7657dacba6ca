//! Runs made for tests, and a schema to deliver them to.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use litmus_core::Sink as _;
use litmus_core::digest::{Conversions, Digests};
use litmus_core::{Audit, Report, SinkError, Status};
use litmus_tests::servers::Postgres;
use serde_json::json;

use crate::config::Config;
use crate::sink::{PostgresSink, dry_run};

pub(super) use litmus_sql::made::{Made, TestRun, V, column, text};

/// What an exact copy in a schema has.
pub(super) fn digests(run: &TestRun) -> Digests {
    run.digests(Conversions { nul_to_replacement: true })
}

/// One server for all tests of this process that run at a time; it ends with the last of them.
pub(super) fn server() -> Arc<Postgres> {
    static SERVER: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    server.upgrade().unwrap_or_else(|| {
        let started = Arc::new(Postgres::start_with(&[("fsync", "off"), ("max_connections", "200")]));
        *server = Arc::downgrade(&started);
        started
    })
}

/// A schema of its own.
pub(super) struct Bench {
    pub(super) server: Arc<Postgres>,
    pub(super) schema: String,
    pub(super) sink: PostgresSink,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(json!({}))
    }

    /// With these options beside url and schema.
    pub(super) fn with(options: serde_json::Value) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let schema = format!("bench_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let server = server();
        let sink = sink(&server, &schema, options);
        let bench = Self { server, schema, sink };
        bench.connect().unwrap();
        bench
    }

    /// Another sink for the same schema, as another host has.
    pub(super) fn another(&self, options: serde_json::Value) -> Self {
        let sink = sink(&self.server, &self.schema, options);
        Self { server: Arc::clone(&self.server), schema: self.schema.clone(), sink }
    }

    pub(super) fn connect(&self) -> Result<String, SinkError> {
        self.sink.within(&|| Ok(()), |session| self.sink.prepare(session))
    }

    pub(super) fn try_deliver(&self, runs: &[TestRun]) -> (Vec<Option<Report>>, Result<(), SinkError>) {
        self.deliver_while(runs, &|| Ok(()))
    }

    pub(super) fn deliver_while(
        &self,
        runs: &[TestRun],
        check: &dyn Fn() -> Result<(), SinkError>,
    ) -> (Vec<Option<Report>>, Result<(), SinkError>) {
        let reports = Mutex::new(vec![None; runs.len()]);
        let ended = self.sink.within(check, |session| {
            self.sink.deliver_within(session, runs, &|at, report| {
                assert!(reports.lock().unwrap()[at].replace(report).is_none(), "run {at} was reported twice");
            })
        });
        (reports.into_inner().unwrap(), ended)
    }

    pub(super) fn deliver(&self, runs: &[TestRun]) -> Vec<Report> {
        let (reports, ended) = self.try_deliver(runs);
        ended.unwrap_or_else(|error| panic!("{error}"));
        reports.into_iter().map(|report| report.expect("each run is reported")).collect()
    }

    /// Delivers one run that must arrive, with the digests of its source.
    pub(super) fn deliver_one(&self, run: &TestRun) -> Report {
        let report = self.deliver(std::slice::from_ref(run)).remove(0);
        assert_eq!(report.status, Status::Delivered, "{}", report.message);
        assert_eq!(report.receipt.as_ref().unwrap().tables, digests(run));
        report
    }

    pub(super) fn dry_run(&self, runs: &[TestRun]) -> Vec<Report> {
        self.dry_runs(&[runs])
    }

    /// In several calls, as the host cuts batches.
    pub(super) fn dry_runs(&self, batches: &[&[TestRun]]) -> Vec<Report> {
        let mut begun = None;
        let mut of_batch = |runs: &&[TestRun]| {
            self.sink.within(&|| Ok(()), |session| {
                let mut link = crate::link::Link::open(session.runtime, session.settings, session.check)?;
                dry_run(session, &mut link, &mut begun, runs)
            })
        };
        batches.iter().flat_map(|runs| of_batch(runs).unwrap()).collect()
    }

    pub(super) fn audit(&self, run: &TestRun) -> Audit {
        self.sink
            .within(&|| Ok(()), |session| {
                let mut link = crate::link::Link::open(session.runtime, session.settings, session.check)?;
                crate::audit::audit(session, &mut link, &[run.run_id])
            })
            .unwrap()
            .remove(0)
    }

    /// The schema holds this revision, cell by cell.
    pub(super) fn assert_holds(&self, run: &TestRun) {
        let audit = self.audit(run);
        assert_eq!(audit.sha256, Some(run.rank.sha256));
        assert_eq!(audit.tables, digests(run));
    }

    /// What psql answers in this schema.
    pub(super) fn psql(&self, sql: &str) -> String {
        self.try_psql(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub(super) fn try_psql(&self, sql: &str) -> Result<String, String> {
        self.server.try_psql("postgres", &format!("SET search_path = \"{}\"; {sql}", self.schema))
    }
}

fn sink(server: &Postgres, schema: &str, mut options: serde_json::Value) -> PostgresSink {
    let defaults = json!({ "url": server.url(), "schema": schema });
    for (key, value) in defaults.as_object().unwrap() {
        options.as_object_mut().unwrap().entry(key.clone()).or_insert(value.clone());
    }
    let config: Config = serde_json::from_value(options).unwrap();
    PostgresSink::configure(config).unwrap()
}
