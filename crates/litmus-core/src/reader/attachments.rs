//! Files that a run refers to: `file://_ref/NAME` lies in the folder `<stem>_ref` beside the sealed file, any other `file://`
//! under `<data_dir>/files/`, with its description in `.meta.json` beside it. `channel://` names a stream elsewhere.

use std::collections::HashSet;
use std::io;
use std::path::{Component, Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray};

use super::catalog::{Catalog, Class};
use super::convert::Shape;
use super::dynamic::ValueLists;
use super::error::ReadError;
use super::source::{Source, Want};
use crate::{Attachment, AttachmentState};

const FILE: &str = "file://";
const CHANNEL: &str = "channel://";

/// Every reference in inputs and outputs, in the order of first appearance.
pub(super) fn references(source: &Source, catalog: &Catalog) -> Result<Vec<String>, ReadError> {
    let has_texts = |at: &usize| {
        let root = &catalog.roots[*at];
        let is_value = root.class == Class::Dynamic && !root.field.name().starts_with("custom_");
        matches!(root.class, Class::Values(_)) || is_value && root.shape == Shape::Text
    };
    let roots: Vec<_> = catalog.filled().filter(has_texts).collect();
    if roots.is_empty() {
        return Ok(Vec::new());
    }
    let wanted: Vec<_> = roots.iter().copied().map(Want::Root).collect();
    let (mut references, mut seen) = (Vec::new(), HashSet::new());
    let mut see = |text: &str| {
        if (text.starts_with(FILE) || text.starts_with(CHANNEL)) && seen.insert(text.to_owned()) {
            references.push(text.to_owned());
        }
    };
    for raw in source.batches(&wanted)? {
        let raw = raw?;
        for column in roots.iter().filter_map(|root| raw.root(*root)) {
            each_text(column, &mut see);
        }
    }
    Ok(references)
}

fn each_text(column: &ArrayRef, see: &mut impl FnMut(&str)) {
    if let Some(texts) = column.as_string_opt::<i32>() {
        return texts.iter().flatten().for_each(see);
    }
    let lists = ValueLists::new(column);
    let entries = (0..column.len()).flat_map(|row| lists.entries(row));
    entries.filter_map(|entry| lists.text(entry)).for_each(see);
}

/// What a reference leads to, its description after it where there is one.
pub(super) fn find(data_dir: &Path, run: &Path, reference: String) -> Vec<Attachment> {
    let Some(rest) = reference.strip_prefix(FILE) else {
        return vec![Attachment { reference, state: AttachmentState::Channel }];
    };
    let path = match rest.strip_prefix("_ref/") {
        Some(name) => match run.file_stem() {
            Some(stem) => {
                let mut folder = stem.to_owned();
                folder.push("_ref");
                run.with_file_name(folder).join(name)
            }
            None => PathBuf::from(name),
        },
        None => Path::new("files").join(rest),
    };
    let mut meta_path = path.clone().into_os_string();
    meta_path.push(".meta.json");
    let meta = format!("{reference}.meta.json");
    let state = look(data_dir, &path);
    let mut found = vec![Attachment { reference, state }];
    if matches!(found[0].state, AttachmentState::Present { .. }) {
        let state = look(data_dir, Path::new(&meta_path));
        if matches!(state, AttachmentState::Present { .. }) {
            found.push(Attachment { reference: meta, state });
        }
    }
    found
}

fn look(data_dir: &Path, path: &Path) -> AttachmentState {
    let refused = |reason: &str| AttachmentState::Refused { reason: reason.to_owned() };
    if !path.components().all(|component| matches!(component, Component::Normal(_) | Component::CurDir)) {
        return refused("it leads out of the data dir");
    }
    let shown = path.display().to_string();
    let Ok(real_dir) = data_dir.canonicalize() else { return AttachmentState::Missing { path: shown } };
    match real_dir.join(path).canonicalize() {
        Ok(real) if real != real_dir.join(path) => refused("it goes through a symbolic link"),
        Ok(real) => match real.metadata() {
            Ok(stat) if stat.is_file() => {
                AttachmentState::Present { path: shown, file: real.display().to_string(), size: stat.len() }
            }
            Ok(_) => refused("it is not a file"),
            Err(_) => AttachmentState::Missing { path: shown },
        },
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename) => {
            refused("it is no name a file can have")
        }
        Err(_) => AttachmentState::Missing { path: shown },
    }
}
