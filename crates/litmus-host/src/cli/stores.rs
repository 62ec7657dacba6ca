//! The run files of all stores, opened one after the other, for the commands that read without a ledger.

use litmus_core::reader::{ReadError, RunFile, Store};

use super::failure::Failure;
use super::session::Session;
use crate::engine_api::StoreSpec;
use crate::output::{printable, say};

/// The stores that are there, and how many things in them could not be read.
pub(super) struct Stores {
    open: Vec<(StoreSpec, Store)>,
    /// Told on stderr, each with its reason.
    pub(super) unreadable: usize,
}

impl Stores {
    /// Opens the stores. Of several, one that is away does not stop the others.
    pub(super) fn open(session: &Session) -> Result<Self, Failure> {
        let specs = session.config.stores()?;
        let alone = specs.len() == 1;
        let mut stores = Self { open: Vec::new(), unreadable: 0 };
        for spec in specs {
            match Store::open(&spec.data_dir) {
                Ok(store) => stores.open.push((spec, store)),
                Err(error) if alone => {
                    let failure = Failure::from(error);
                    let message = format!("{} (found by {})", failure.message, spec.found_by);
                    return Err(Failure { message, ..failure });
                }
                Err(error) => stores.tell(&error),
            }
        }
        Ok(stores)
    }

    /// Whether runs must be told apart by store.
    pub(super) fn several(&self) -> bool {
        self.open.len() > 1
    }

    /// Opens every run file in turn.
    pub(super) fn each(&mut self, mut visit: impl FnMut(&StoreSpec, RunFile)) {
        for (spec, store) in std::mem::take(&mut self.open) {
            let (files, errors) = store.walk();
            for error in &errors {
                self.tell(error);
            }
            for file in files {
                match store.open_run(&file.path) {
                    Ok(run) => visit(&spec, run),
                    Err(error) => self.tell(&error),
                }
            }
            self.open.push((spec, store));
        }
    }

    fn tell(&mut self, error: &ReadError) {
        self.unreadable += 1;
        // A file's name may hold anything, line breaks too.
        say(&format!("unreadable: {}: {}", printable(error.path()), printable(error.message())));
        if let Some(hint) = error.hint() {
            say(&format!("hint: {hint}"));
        }
    }
}
