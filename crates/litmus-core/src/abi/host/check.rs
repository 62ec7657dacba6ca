//! Whether a Rust plugin's structs are ours: its `abi_stable` layout against this build's.

use abi_stable::abi_stability::abi_checking::{AbiInstability, AbiInstabilityError, check_layout_compatibility};
use abi_stable::type_layout::TypeLayout;

/// Compares both ways round: the newer side may have appended fields, whichever side that is.
pub(super) fn compatible(host: &'static TypeLayout, plugin: &'static TypeLayout) -> Result<(), String> {
    one_way(host, plugin).or_else(|why| one_way(plugin, host).map_err(|_| why))
}

/// Whether `newer` is `older`, or `older` with fields appended.
fn one_way(older: &'static TypeLayout, newer: &'static TypeLayout) -> Result<(), String> {
    let Err(found) = check_layout_compatibility(older, newer) else { return Ok(()) };
    let faults: Vec<String> = found.errors.iter().flat_map(faults).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

/// What is wrong beyond what may differ: the version of litmus-core (the ABI has numbers of its own), and a struct that is
/// longer because it has more fields. abi_stable's own idea of a struct that may grow, the prefix type, cannot be a plain C
/// struct: its references point to a wrapper.
fn faults(error: &AbiInstabilityError) -> Vec<String> {
    let wrong = || error.errs.iter().filter(|one| !matches!(one, AbiInstability::PackageVersion(_)));
    let grown = wrong().all(|one| match one {
        AbiInstability::Size(sizes) => sizes.found > sizes.expected,
        AbiInstability::FieldCountMismatch(counts) => counts.found > counts.expected,
        _ => false,
    });
    // A function with more parameters changes the count alone, and a struct whose field grew changes the size alone.
    if wrong().count() == 0 || (grown && wrong().count() == 2) {
        return Vec::new();
    }
    let place = error.stack_trace.iter().map(|step| step.expected.to_string()).collect::<Vec<_>>().join(" > ");
    let place = if place.is_empty() { "litmus_sink".to_owned() } else { one_line(&place) };
    wrong().map(|one| format!("{place}: {}", describe(one))).collect()
}

fn describe(fault: &AbiInstability) -> String {
    match fault {
        AbiInstability::UnexpectedField(fields) => {
            format!("field \"{}\" stands where \"{}\" belongs", fields.found.name(), fields.expected.name())
        }
        AbiInstability::Size(sizes) => format!("{} bytes long where {} are expected", sizes.found, sizes.expected),
        AbiInstability::FieldCountMismatch(counts) => {
            format!("{} fields where {} are expected", counts.found, counts.expected)
        }
        AbiInstability::Name(types) => format!("type {} where {} is expected", types.found, types.expected),
        other => one_line(&format!("{other:?}")).chars().take(200).collect(),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi_stable::StableAbi;

    mod ours {
        #[repr(C)]
        #[derive(abi_stable::StableAbi)]
        pub(super) struct Call {
            size: u32,
            flags: u32,
            stop: unsafe extern "C" fn(u32) -> u32,
        }
        #[repr(C)]
        #[derive(abi_stable::StableAbi)]
        pub(super) struct Sink {
            size: u32,
            minor: u32,
            check: unsafe extern "C" fn(call: *const Call) -> u32,
        }
    }

    macro_rules! variant {
        ($name:ident, [$($call:tt)*], [$($sink:tt)*]) => {
            mod $name {
                #[repr(C)]
                #[derive(abi_stable::StableAbi)]
                pub(super) struct Call { $($call)* }
                #[repr(C)]
                #[derive(abi_stable::StableAbi)]
                pub(super) struct Sink { $($sink)* }
            }
        };
    }
    variant!(same,
        [size: u32, flags: u32, stop: unsafe extern "C" fn(u32) -> u32],
        [size: u32, minor: u32, check: unsafe extern "C" fn(call: *const Call) -> u32]);
    variant!(grown,
        [size: u32, flags: u32, stop: unsafe extern "C" fn(u32) -> u32, more: u64],
        [size: u32, minor: u32, check: unsafe extern "C" fn(call: *const Call) -> u32, audit: unsafe extern "C" fn(u32) -> u32]);
    variant!(swapped,
        [flags: u32, size: u32, stop: unsafe extern "C" fn(u32) -> u32],
        [size: u32, minor: u32, check: unsafe extern "C" fn(call: *const Call) -> u32]);
    variant!(parameters,
        [size: u32, flags: u32, stop: unsafe extern "C" fn(u32, u32) -> u32],
        [size: u32, minor: u32, check: unsafe extern "C" fn(call: *const Call) -> u32]);
    variant!(retyped,
        [size: u32, flags: i32, stop: unsafe extern "C" fn(u32) -> u32],
        [size: u32, minor: u32, check: unsafe extern "C" fn(call: *const Call) -> u32]);

    const OURS: &TypeLayout = <ours::Sink as StableAbi>::LAYOUT;

    #[test]
    fn the_same_and_an_appended_layout_pass_whichever_side_is_newer() {
        assert_eq!(compatible(OURS, <same::Sink as StableAbi>::LAYOUT), Ok(()));
        let grown = <grown::Sink as StableAbi>::LAYOUT;
        assert_eq!(compatible(OURS, grown), Ok(()));
        assert_eq!(compatible(grown, OURS), Ok(()));
    }

    #[test]
    fn fields_swapped_retyped_or_a_changed_function_behind_a_pointer_are_refused() {
        let swapped = compatible(OURS, <swapped::Sink as StableAbi>::LAYOUT).unwrap_err();
        assert!(swapped.contains("field \"flags\" stands where \"size\" belongs"), "{swapped}");
        let parameters = compatible(OURS, <parameters::Sink as StableAbi>::LAYOUT).unwrap_err();
        assert!(parameters.contains("fields where"), "{parameters}");
        let retyped = compatible(OURS, <retyped::Sink as StableAbi>::LAYOUT).unwrap_err();
        assert!(retyped.contains("i32"), "{retyped}");
    }
}
