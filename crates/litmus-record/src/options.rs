//! What is known of a run, a step or an instrument when it is named.

use jiff::Timestamp;
use litmus_core::RunId;
use serde::{Deserialize, Serialize};

/// Fields with a setter each, by which options read as the keyword arguments of the Python client do.
macro_rules! options {
    ($(#[$about:meta])* $name:ident { $(= $(#[$needed_doc:meta])* $needed:ident;)* $($(#[$doc:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$needed_doc])* pub $needed: String,)*
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$kind>,)*
        }

        impl $name {
            /// With what is always known; the rest by the setters.
            pub fn new($($needed: impl Into<String>),*) -> Self {
                Self { $($needed: $needed.into(),)* ..Self::default() }
            }

            $($(#[$doc])* #[must_use] pub fn $field(mut self, $field: impl Into<$kind>) -> Self {
                self.$field = Some($field.into());
                self
            })*
        }
    };
}

options! {
    /// A run as it starts. The names are those of the Litmus 0.1 documentation; a nested file spells them the newer way.
    RunOptions {
        = /// Serial number of the unit under test.
        dut_serial;
        = /// The bench.
        station_id;
        /// Part number of the unit under test.
        dut_part_number: String,
        /// Revision of the unit under test.
        dut_revision: String,
        /// Lot of the unit under test.
        dut_lot_number: String,
        /// Product definition that is tested against.
        product_id: String,
        /// Name of the product.
        product_name: String,
        /// Revision of the product.
        product_revision: String,
        /// Name of the bench.
        station_name: String,
        /// Type of the bench.
        station_type: String,
        /// Where the bench stands.
        station_location: String,
        /// Host name of the bench's computer; this computer's if not given.
        station_hostname: String,
        /// Identity of the bench's computer; nested files only.
        machine_id: String,
        /// Slot of a multi-slot bench; flat files only.
        slot_id: String,
        /// Site of a multi-site bench, from 0; nested files only.
        site_index: i64,
        /// Name of the site; nested files only.
        site_name: String,
        /// Fixture.
        fixture_id: String,
        /// Operator (`operator` in the Python client, `operator_id` in the file).
        operator: String,
        /// Operator's name.
        operator_name: String,
        /// Phase: development, production, …
        test_phase: String,
        /// Project.
        project_name: String,
        /// Commit of the project.
        git_commit: String,
        /// Branch of the project.
        git_branch: String,
        /// Remote of the project.
        git_remote: String,
        /// The environment as JSON, for the footer; `python_version`, the platform's version and `lockfile_hash` become columns.
        environment_json: String,
        /// The run's id; a random UUID if not given.
        run_id: RunId,
        /// The session that the run is part of; a random UUID if not given.
        session_id: RunId,
        /// Start of the run; now if not given.
        started_at: Timestamp,
    }
}

options! {
    /// A step as it starts.
    StepOptions {
        = /// Name of the step.
        name;
        /// What the step is for; kept in flat files only, which have a place for it.
        description: String,
        /// Which attempt at the step, from 0; nested files only.
        retry: i64,
        /// Test node, as pytest names it.
        node_id: String,
        /// Source file of the step.
        file: String,
        /// Module of the step.
        module: String,
        /// Class of the step.
        class_name: String,
        /// Function of the step.
        function: String,
        /// Markers, a comma between.
        markers: String,
    }
}

impl From<&str> for StepOptions {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for StepOptions {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

options! {
    /// An instrument that a step used.
    Instrument {
        = /// Role name, such as `dmm`.
        name;
        /// Identity.
        id: String,
        /// Driver.
        driver: String,
        /// Resource address.
        resource: String,
        /// Protocol.
        protocol: String,
        /// Manufacturer.
        manufacturer: String,
        /// Model.
        model: String,
        /// Serial number.
        serial_number: String,
        /// Firmware version.
        firmware: String,
        /// When calibration is due.
        cal_due: String,
        /// Last calibration.
        cal_last: String,
        /// Calibration certificate.
        cal_certificate: String,
        /// Calibration lab.
        cal_lab: String,
        /// Whether it was simulated.
        mocked: bool,
    }
}
