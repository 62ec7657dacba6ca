//! What plugins hold of the host: handles, not pointers.
//!
//! A plugin's thread may call back after the call it belonged to has ended. So the `ctx` of a call and of a run is a number
//! that is looked up here: while the call runs it leads to the host's closures, afterwards to nothing.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock};

use super::RunSource;
use super::log::Log;
use super::stream::Shared;
use crate::Report;

/// What the host lends for one call, its lifetimes erased: taken away before they end.
pub(super) struct Lent {
    pub(super) is_cancelled: &'static (dyn Fn() -> bool + Sync),
    pub(super) on_report: Option<&'static (dyn Fn(usize, Report) + Sync)>,
}

/// One call that runs.
pub(super) struct Active {
    /// Callbacks hold it for reading, the end of the call takes it for writing: it waits for those under way.
    pub(super) lent: RwLock<Option<Lent>>,
    /// By place in the batch.
    pub(super) reported: Mutex<Vec<bool>>,
    pub(super) streams: Mutex<Vec<Arc<Shared>>>,
    pub(super) log: &'static Log,
}

/// What a handle leads to.
#[derive(Clone)]
pub(super) enum Entry {
    Call(Arc<Active>),
    Run(Arc<Active>, Arc<dyn RunSource>),
}

static ENTRIES: LazyLock<Mutex<HashMap<usize, Entry>>> = LazyLock::new(Mutex::default);
/// From 1: a handle is never NULL and never given twice.
static NEXT: AtomicUsize = AtomicUsize::new(1);

fn entries() -> MutexGuard<'static, HashMap<usize, Entry>> {
    ENTRIES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a handle leads to; `None` once its call has ended.
pub(super) fn find(ctx: *mut c_void) -> Option<Entry> {
    entries().get(&ctx.addr()).cloned()
}

/// Handles for one call; they lead nowhere once this is dropped.
pub(super) struct Handles {
    active: Arc<Active>,
    ids: Vec<usize>,
}

impl Handles {
    /// The call's own handle.
    ///
    /// # Safety
    /// What `lent` borrows outlives the returned value, which has to be dropped (not forgotten) before that ends.
    pub(super) unsafe fn new(
        is_cancelled: &(dyn Fn() -> bool + Sync),
        on_report: Option<&(dyn Fn(usize, Report) + Sync)>,
        runs: usize,
        log: &'static Log,
    ) -> Self {
        // SAFETY: only the lifetime changes; `drop` takes the references away, waiting for callbacks under way, and the
        // caller's promise is that they live until then.
        let lent = unsafe {
            Lent {
                is_cancelled: std::mem::transmute::<&(dyn Fn() -> bool + Sync), &'static (dyn Fn() -> bool + Sync)>(
                    is_cancelled,
                ),
                on_report: on_report.map(|on_report| {
                    std::mem::transmute::<&(dyn Fn(usize, Report) + Sync), &'static (dyn Fn(usize, Report) + Sync)>(
                        on_report,
                    )
                }),
            }
        };
        let active = Arc::new(Active {
            lent: RwLock::new(Some(lent)),
            reported: Mutex::new(vec![false; runs]),
            streams: Mutex::default(),
            log,
        });
        let mut handles = Self { active: Arc::clone(&active), ids: Vec::with_capacity(runs + 1) };
        handles.add(Entry::Call(active));
        handles
    }

    fn add(&mut self, entry: Entry) -> *mut c_void {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        entries().insert(id, entry);
        self.ids.push(id);
        std::ptr::without_provenance_mut(id)
    }

    /// The call's handle.
    pub(super) fn call(&self) -> *mut c_void {
        std::ptr::without_provenance_mut(self.ids[0])
    }

    /// A handle for one run of the batch.
    pub(super) fn run(&mut self, source: &Arc<dyn RunSource>) -> *mut c_void {
        let entry = Entry::Run(Arc::clone(&self.active), Arc::clone(source));
        self.add(entry)
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        {
            let mut entries = entries();
            for id in &self.ids {
                entries.remove(id);
            }
        }
        self.active.lent.write().unwrap_or_else(PoisonError::into_inner).take();
        let streams = std::mem::take(&mut *self.active.streams.lock().unwrap_or_else(PoisonError::into_inner));
        let leaked = streams.iter().filter(|stream| stream.end()).count();
        if leaked > 0 {
            self.active.log.warn(&format!("kept {leaked} streams past the end of its call; they are closed"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> &'static Log {
        Box::leak(Box::new(Log::new(Arc::new(|_, _: &str, _: &str| {}), String::new())))
    }

    #[test]
    fn handles_lead_somewhere_only_while_the_call_runs() {
        let log = log();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100 {
            // SAFETY: what is lent is static.
            let handles = unsafe { Handles::new(&|| false, None, 1, log) };
            let ctx = handles.call();
            assert!(matches!(find(ctx), Some(Entry::Call(_))));
            drop(handles);
            assert!(find(ctx).is_none());
            assert!(seen.insert(ctx.addr()), "a handle was given twice");
        }
        assert!(seen.iter().all(|id| !entries().contains_key(id)), "nothing is left behind");
    }

    #[test]
    fn the_end_of_a_call_waits_for_a_callback_under_way() {
        let done = std::sync::atomic::AtomicBool::new(false);
        let inside = std::sync::Barrier::new(2);
        let is_cancelled = || {
            inside.wait();
            std::thread::sleep(std::time::Duration::from_millis(100));
            done.store(true, Ordering::SeqCst);
            false
        };
        // SAFETY: dropped below, before what it borrows.
        let handles = unsafe { Handles::new(&is_cancelled, None, 0, log()) };
        let Some(Entry::Call(active)) = find(handles.call()) else { panic!("just made") };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let lent = active.lent.read().unwrap();
                assert!(!(lent.as_ref().unwrap().is_cancelled)());
            });
            inside.wait();
            drop(handles);
            assert!(done.load(Ordering::SeqCst), "the call ended under a callback");
        });
    }
}
