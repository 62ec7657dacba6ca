//! What follows from a file's schema alone. Files of one bench have the same schema, day after day, so it is kept.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::FieldRef;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::schema::types::Type;

use super::catalog::{Catalog, Generation, Root, classified};
use super::error::{DAMAGED, ReadError, guard};
use super::footer::{self, Footer};
use super::plan::{Custom, Plans};
use super::quick::RootPlan;
use super::survey::Survey;

/// Schemas remembered; stores that many benches write to have a few, one for each release and set of inputs and outputs.
const LAYOUTS_MAX: usize = 16;
/// Layouts of tables remembered for each.
const PLANS_MAX: usize = 8;

/// The layout of all files of one schema.
pub(super) struct Layout {
    schema: Vec<u8>,
    pub(super) generation: Generation,
    /// Root columns, as if each had values that nothing is known of.
    pub(super) roots: Vec<Root>,
    /// By root column: its leaf columns.
    pub(super) leaves: Vec<Range<usize>>,
    /// By root column: how the quick decoder reads it, if it does.
    pub(super) quick: Vec<Option<RootPlan>>,
    plans: Mutex<Vec<Arc<Plans>>>,
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layout").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// The schema and more, as the parquet crate needs it.
pub(super) fn arrow_metadata(footer: &[u8], label: &str) -> Result<ArrowReaderMetadata, ReadError> {
    let parquet = footer::metadata(footer, label)?;
    // The ARROW:schema key in the footer only says which of several equal Arrow types the writer had in memory; without it
    // every text is Utf8 and every list a List, and nothing has to be parsed that a damaged file could hide in.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    guard(label, || ArrowReaderMetadata::try_new(Arc::new(parquet), options))
}

impl Layout {
    fn new(footer: &Footer, label: &str) -> Result<Self, ReadError> {
        let metadata = arrow_metadata(&footer.bytes, label)?;
        let fields = metadata.schema().fields();
        let (generation, roots) = classified(fields, label)?;
        let schema = metadata.parquet_schema();
        let stored = schema.root_schema().get_fields();
        let mut leaves = vec![0..0; stored.len()];
        for leaf in 0..schema.num_columns() {
            let of_root = &mut leaves[schema.get_column_root_idx(leaf)];
            *of_root = if of_root.end == 0 { leaf } else { of_root.start }..leaf + 1;
        }
        let plan = |((stored, field), leaves): ((&Arc<Type>, &FieldRef), &Range<usize>)| {
            RootPlan::of(stored, field).filter(|plan| plan.leaves() == leaves.len())
        };
        let quick = stored.iter().zip(fields).zip(&leaves).map(plan).collect();
        let (schema, plans) = (footer.schema().to_vec(), Mutex::default());
        Ok(Self { schema, generation, roots, leaves, quick, plans })
    }

    /// Leaf columns of the schema.
    pub(super) fn leaf_count(&self) -> usize {
        self.leaves.iter().map(Range::len).sum()
    }

    /// The layouts of the tables: made anew only where the first pass found something that no file before it had.
    pub(super) fn plans(&self, catalog: &Catalog, survey: Survey, custom: &Custom) -> Arc<Plans> {
        let mut known = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = known.iter().position(|plans| plans.fit(catalog, &survey, custom)) {
            let plans = known.remove(at);
            known.push(Arc::clone(&plans));
            return plans;
        }
        let plans = Arc::new(Plans::new(catalog, survey, custom));
        if known.len() >= PLANS_MAX {
            known.remove(0);
        }
        known.push(Arc::clone(&plans));
        plans
    }
}

/// The layouts of a store's files.
#[derive(Debug, Default)]
pub(super) struct Layouts(Mutex<Vec<Arc<Layout>>>);

impl Layouts {
    /// The layout of a file with this footer.
    pub(super) fn of(&self, footer: &Footer, label: &str) -> Result<Arc<Layout>, ReadError> {
        let layout = match self.find(footer) {
            Some(layout) => layout,
            None => self.add(Layout::new(footer, label)?),
        };
        let columns = layout.leaf_count();
        if let Some(group) = footer.groups.iter().find(|group| group.len() != columns) {
            let message = format!("has a row group of {} columns where its schema has {columns}", group.len());
            return Err(ReadError::new(label, message).with_hint(DAMAGED));
        }
        Ok(layout)
    }

    fn find(&self, footer: &Footer) -> Option<Arc<Layout>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = known.iter().position(|layout| layout.schema == footer.schema())?;
        // The one used last comes last.
        let layout = known.remove(at);
        known.push(Arc::clone(&layout));
        Some(layout)
    }

    fn add(&self, layout: Layout) -> Arc<Layout> {
        let layout = Arc::new(layout);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= LAYOUTS_MAX {
            known.remove(0);
        }
        known.push(Arc::clone(&layout));
        layout
    }
}
