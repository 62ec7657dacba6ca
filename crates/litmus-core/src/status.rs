//! How a delivery ends: the numbers that cross the ABI, and what the host does after each.

/// What the host does after a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryClass {
    /// Done with this run at this sink.
    Final,
    /// Try again later; says nothing about the run.
    Retry,
    /// The sink cannot go on until somebody mends it; the run's attempts are not used up.
    BlocksSink,
    /// The run itself is suspected: the batch is bisected down to it.
    Suspect,
}

macro_rules! statuses {
    ($($number:literal $name:ident $text:literal $class:ident $doc:literal;)*) => {
        /// How one run, or one call, ended. The numbers are part of the ABI and never change meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Status { $(#[doc = $doc] $name,)* }

        impl Status {
            /// Every status, in the order of its number.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The number that crosses the ABI.
            pub const fn number(self) -> u32 {
                match self { $(Self::$name => $number,)* }
            }

            /// The status of a number; `None` where a newer peer knows one that we do not.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// The name in messages, in the ledger and in JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it means, in one sentence.
            pub const fn doc(self) -> &'static str {
                match self { $(Self::$name => $doc,)* }
            }

            /// What the host does after it.
            pub const fn class(self) -> RetryClass {
                match self { $(Self::$name => RetryClass::$class,)* }
            }
        }
    };
}

statuses! {
    0 Delivered "delivered" Final "Written and durable as far as the receipt's grade says.";
    1 AlreadyPresent "already_present" Final "This very revision was there.";
    2 Superseded "superseded" Final "The destination holds a newer revision.";
    3 Transient "transient" Retry "The destination is away or busy.";
    4 Throttled "throttled" Retry "The destination asks to slow down; see `retry_after`.";
    5 Auth "auth" BlocksSink "Credentials are missing, wrong or expired.";
    6 Config "config" BlocksSink "The configuration cannot work.";
    7 Schema "schema" BlocksSink "The destination's schema does not fit and may not be changed.";
    8 Conflict "conflict" Suspect "Something else holds this run's place.";
    9 Data "data" Suspect "The destination cannot take this run's data.";
    10 Unsupported "unsupported" Suspect "The sink cannot do what was asked.";
    11 Cancelled "cancelled" Retry "The host asked to stop.";
    12 Deadline "deadline" Suspect "The time allowed ran out.";
    13 Panicked "panicked" Suspect "The plugin panicked.";
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_round_trip() {
        for (at, status) in Status::ALL.iter().enumerate() {
            assert_eq!(status.number() as usize, at);
            assert_eq!(Status::from_number(status.number()), Some(*status));
        }
        assert_eq!(Status::from_number(Status::ALL.len() as u32), None);
    }
}
