//! The proof: digests of the source, of the receipt and of what is read back agree, for every table of every run.

use std::sync::Arc;

use litmus_core::OpenMode;
use litmus_core::abi::host::{HostCall, Plugin};
use litmus_core::digest::{Conversions, Digests};
use litmus_core::reader::Store;
use litmus_tests::project::Project;
use litmus_tests::{artifacts, corpus, database};

#[test]
fn source_receipt_and_destination_agree() {
    let plugin = Plugin::load(&artifacts::plugin("sqlite"), Arc::new(|_, _, _| ())).expect("the plugin loads");
    let call = HostCall { attempt: 1, deadline: None, is_cancelled: &|| false, dry_run: false };
    let mut compared = 0;
    for source in corpus::sources() {
        let project = Project::new();
        let data_dir = source.data_dir.to_string_lossy();
        project.run(["--data-dir", &*data_dir, "--plugin", "sqlite.so", "--set", "path=out.db"]).exits(0);

        let config = serde_json::json!({"path": project.path("out.db")});
        let instance = plugin.open(&config, OpenMode::Live, &call).expect("the database opens");
        let connection = database::open(&project.path("out.db"));
        let store = Store::open(&source.data_dir).expect("a data dir");
        for file in store.walk().0 {
            let run = store.open_run(&file.path).expect("a run file");
            let audit = instance.audit(&call, &[run.run_id()]).expect("an audit").remove(0);
            assert_eq!(audit.sha256, Some(run.sha256()), "{}", file.path.display());
            let conversions =
                Conversions::from_names(audit.conversions.keys().map(String::as_str)).expect("known rules");
            let sealed = run.digests(conversions).expect("a readable run");
            assert_eq!(audit.tables, sealed, "{}: read back, then sealed", file.path.display());

            let sql = "SELECT tables FROM litmus_deliveries WHERE run_id = ?1 AND sha256 = ?2";
            let ids = [run.run_id().to_string(), run.sha256().to_string()];
            let noted: String = connection.query_row(sql, ids, |row| row.get(0)).expect("a delivery");
            let noted: Digests = serde_json::from_str(&noted).expect("digests by table");
            assert_eq!(noted, sealed, "{}: noted, then sealed", file.path.display());
            compared += 1;
        }
        instance.close(&call).expect("a close");
    }
    assert_eq!(compared, corpus::sources().iter().map(|source| source.files.len()).sum::<usize>());
}
