//! A run's table as an Arrow C stream that the host can end.
//!
//! Not arrow's own export: that one cannot be ended from outside, has no ECANCELED, and panics on an error text with a NUL.

use std::ffi::{CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, StructArray};
use arrow::datatypes::SchemaRef;
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow::ffi_stream::FFI_ArrowArrayStream;

use crate::TableStream;

/// As Linux numbers them (errno.h); Arrow's stream interface speaks errno.
const EIO: c_int = 5;
const ECANCELED: c_int = 125;

/// The reader behind a stream, shared between the plugin, who holds the stream, and the call, who may end it.
pub(super) struct Shared {
    reader: Mutex<State>,
}

enum State {
    Open(TableStream),
    /// The plugin released it.
    Released,
    /// The call is over, the plugin still holds it.
    Ended,
}

impl Shared {
    /// Takes the reader away; true if the plugin still held the stream. Waits for a `get_next` under way.
    pub(super) fn end(&self) -> bool {
        let mut state = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let open = matches!(*state, State::Open(_));
        if open {
            *state = State::Ended;
        }
        open
    }
}

struct Private {
    shared: Arc<Shared>,
    schema: SchemaRef,
    last_error: CString,
}

/// The stream for the plugin, and the host's hold on it.
pub(super) fn export(reader: TableStream) -> (FFI_ArrowArrayStream, Arc<Shared>) {
    let schema = reader.schema();
    let shared = Arc::new(Shared { reader: Mutex::new(State::Open(reader)) });
    let private = Private { shared: Arc::clone(&shared), schema, last_error: CString::default() };
    let stream = FFI_ArrowArrayStream {
        get_schema: Some(get_schema),
        get_next: Some(get_next),
        get_last_error: Some(get_last_error),
        release: Some(release),
        private_data: Box::into_raw(Box::new(private)).cast(),
    };
    (stream, shared)
}

/// # Safety
/// `stream` is one of `export`, not released; Arrow's rule is one call at a time per stream.
unsafe fn private<'a>(stream: *mut FFI_ArrowArrayStream) -> &'a mut Private {
    // SAFETY: the caller's promise.
    unsafe { &mut *(&raw const (*stream).private_data).read().cast() }
}

/// Runs a body whose error, or panic, becomes an errno and a text for `get_last_error`.
fn answer(private: &mut Private, body: impl FnOnce(&Private) -> Result<(), (c_int, String)>) -> c_int {
    let result = catch_unwind(AssertUnwindSafe(|| body(private)));
    let result = result.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err((EIO, format!("the host could not decode the table: {text}")))
    });
    match result {
        Ok(()) => 0,
        Err((errno, text)) => {
            private.last_error = CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default();
            errno
        }
    }
}

unsafe extern "C" fn get_schema(stream: *mut FFI_ArrowArrayStream, out: *mut FFI_ArrowSchema) -> c_int {
    // SAFETY: the plugin calls this on a stream that it holds.
    let private = unsafe { private(stream) };
    answer(private, |private| {
        let schema = FFI_ArrowSchema::try_from(private.schema.as_ref()).map_err(|why| (EIO, why.to_string()))?;
        // SAFETY: the plugin lends room for a schema, whose old content is not to be dropped.
        unsafe { out.write(schema) };
        Ok(())
    })
}

unsafe extern "C" fn get_next(stream: *mut FFI_ArrowArrayStream, out: *mut FFI_ArrowArray) -> c_int {
    // SAFETY: the plugin calls this on a stream that it holds.
    let private = unsafe { private(stream) };
    answer(private, |private| {
        let mut state = private.shared.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Open(reader) = &mut *state else {
            return Err((ECANCELED, "the call that this stream belonged to has ended".to_owned()));
        };
        let array = match reader.next() {
            None => FFI_ArrowArray::empty(),
            Some(Ok(batch)) => FFI_ArrowArray::new(&StructArray::from(batch).to_data()),
            Some(Err(why)) => return Err((EIO, why.to_string())),
        };
        // SAFETY: the plugin lends room for an array, whose old content is not to be dropped.
        unsafe { out.write(array) };
        Ok(())
    })
}

unsafe extern "C" fn get_last_error(stream: *mut FFI_ArrowArrayStream) -> *const c_char {
    // SAFETY: the plugin calls this on a stream that it holds; the text stays until its next call.
    unsafe { private(stream) }.last_error.as_ptr()
}

unsafe extern "C" fn release(stream: *mut FFI_ArrowArrayStream) {
    // SAFETY: the plugin releases a stream once, and calls nothing on it afterwards.
    unsafe {
        let private: *mut c_void = (&raw const (*stream).private_data).read();
        (&raw mut (*stream).release).write(None);
        let private = Box::from_raw(private.cast::<Private>());
        // Dropping a reader runs host code, which may not unwind into the plugin.
        let _ = catch_unwind(AssertUnwindSafe(move || {
            let mut state = private.shared.reader.lock().unwrap_or_else(PoisonError::into_inner);
            let old = std::mem::replace(&mut *state, State::Released);
            drop(state);
            drop(old);
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use arrow::error::ArrowError;
    use arrow::ffi_stream::ArrowArrayStreamReader;
    use arrow::record_batch::{RecordBatch, RecordBatchIterator};

    type Next = Box<dyn FnMut() -> Option<Result<RecordBatch, ArrowError>> + Send>;

    fn stream(next: Next) -> (ArrowArrayStreamReader, Arc<Shared>) {
        let (stream, shared) = export(Box::new(RecordBatchIterator::new(std::iter::from_fn(next), schema())));
        (ArrowArrayStreamReader::try_new(stream).unwrap(), shared)
    }

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("row_index", DataType::Int64, true)]))
    }

    fn batch(value: i64) -> RecordBatch {
        RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(vec![value]))]).unwrap()
    }

    #[test]
    fn batches_pass_and_a_released_stream_is_not_leaked() {
        let mut left = 2;
        let (reader, shared) = stream(Box::new(move || {
            left -= 1;
            (left >= 0).then(|| Ok(batch(left)))
        }));
        let batches: Vec<_> = reader.map(Result::unwrap).collect();
        assert_eq!(batches, [batch(1), batch(0)]);
        assert!(!shared.end());
    }

    #[test]
    fn an_ended_stream_answers_and_what_was_taken_from_it_stays() {
        let (mut reader, shared) = stream(Box::new(|| Some(Ok(batch(7)))));
        let first = reader.next().unwrap().unwrap();
        assert!(shared.end());
        let error = reader.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("has ended"), "{error}");
        drop(reader);
        assert_eq!(first, batch(7));
    }

    #[test]
    fn errors_with_a_nul_and_panics_of_the_decoder_become_errors() {
        let (mut reader, _shared) = stream(Box::new(|| Some(Err(ArrowError::ParseError("a\0b".to_owned())))));
        assert!(reader.next().unwrap().unwrap_err().to_string().contains("a\u{fffd}b"));
        let (mut reader, _shared) = stream(Box::new(|| panic!("page 7")));
        assert!(reader.next().unwrap().unwrap_err().to_string().contains("could not decode the table: page 7"));
    }
}
