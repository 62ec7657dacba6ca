//! The sqlite sink.
