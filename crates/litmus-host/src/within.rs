//! Calls that may not come back.

use std::sync::mpsc::channel;
use std::time::Duration;

/// Does something on a thread of its own; `None` where it takes longer than this. The thread is then left alone: nothing can end
/// what a plugin does.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<Option<T>> {
    let (answer, came) = channel();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Nobody waits any more.
        let _ = answer.send(work());
    })?;
    Ok(came.recv_timeout(limit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_time_is_given_and_what_does_not_is_left() {
        assert_eq!(within(Duration::from_mins(1), "a", || 7).unwrap(), Some(7));
        let late = within(Duration::from_millis(1), "b", || std::thread::sleep(Duration::from_secs(2)));
        assert_eq!(late.unwrap(), None);
    }
}
