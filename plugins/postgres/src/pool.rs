//! The sink's connections: at most as many as the settings allow, kept between calls, closed when nothing happens for long.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use litmus_core::SinkError;

use crate::link::{Link, is_stop};
use crate::schema;
use crate::session::Session;

/// A hundred hosts that watch would else hold two hundred connections for nothing.
const IDLE_MAX: Duration = Duration::from_secs(30);
const IDLE_CHECK: Duration = Duration::from_secs(5);
/// How often a call that waits for a connection asks the host whether to go on.
const POLL: Duration = Duration::from_millis(200);

/// Connections that nobody uses, and how many there are in all.
#[derive(Default)]
pub(crate) struct Pool {
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<(Link, Instant)>,
    lent: usize,
    /// The identity that `connect` told the host.
    incarnation: Option<String>,
    /// What [`Session::storage`] said then.
    storage: Option<String>,
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes what has been idle for long, as long as the pool is there.
    pub(crate) fn tend(self: &Arc<Self>, runtime: &tokio::runtime::Runtime) {
        let pool: Weak<Self> = Arc::downgrade(self);
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(IDLE_CHECK).await;
                let Some(pool) = pool.upgrade() else { return };
                pool.expire(IDLE_MAX);
            }
        });
    }

    /// Closes what has been idle for so long.
    pub(crate) fn expire(&self, after: Duration) {
        self.state().idle.retain(|(link, since)| link.is_good() && since.elapsed() < after);
    }

    /// Starts anew, with one connection; what the host was told of the destination is what later ones must find.
    pub(crate) fn connected(&self, link: Link, incarnation: String, storage: Option<String>) {
        let mut state = self.state();
        state.idle = vec![(link, Instant::now())];
        (state.incarnation, state.storage) = (Some(incarnation), storage);
    }

    /// An error where `litmus_deliveries` was emptied or restored since `connect`: the host is then to ask what is there.
    pub(crate) fn still_holds(&self, session: &Session<'_>, link: &mut Link) -> Result<(), SinkError> {
        let told = self.state().storage.clone();
        // One that is not there at all is told by whoever reads it.
        match (told, session.storage(link)?) {
            (Some(told), Some(found)) if told != found => Err(SinkError::transient(format!(
                "{}: litmus_deliveries was emptied, restored or written anew by somebody else; what is there is looked at again",
                session.settings.destination_id()
            ))),
            _ => Ok(()),
        }
    }

    /// Does something with a connection. After an error it is closed, unless the error was about a run only.
    pub(crate) fn with<T>(
        &self,
        session: &Session<'_>,
        work: impl FnOnce(&mut Link) -> Result<T, SinkError>,
    ) -> Result<T, SinkError> {
        let mut lent = self.lend(session)?;
        let link = lent.link.as_mut().expect("it was just lent");
        let result = work(link);
        if result.as_ref().is_err_and(is_stop) {
            link.spoiled = true;
        }
        result
    }

    fn lend(&self, session: &Session<'_>) -> Result<Lent<'_>, SinkError> {
        let mut state = self.state();
        loop {
            if let Some((link, _)) = state.idle.pop() {
                if link.is_good() {
                    state.lent += 1;
                    return Ok(Lent { pool: self, link: Some(link) });
                }
            } else if state.lent < session.settings.connections_max {
                state.lent += 1;
                let told = state.incarnation.clone();
                drop(state);
                let mut lent = Lent { pool: self, link: None };
                lent.link = Some(open(session, told.as_deref())?);
                return Ok(lent);
            } else {
                state = self.returned.wait_timeout(state, POLL).unwrap_or_else(PoisonError::into_inner).0;
                (session.check)()?;
            }
        }
    }

    /// Closes all.
    pub(crate) fn close(&self) {
        self.state().idle.clear();
    }
}

/// A further connection, to the same destination as before.
fn open(session: &Session<'_>, told: Option<&str>) -> Result<Link, SinkError> {
    let mut link = Link::open(session.runtime, session.settings, session.check)?;
    if let Some(told) = told {
        let stored = session.reading(&mut link, |link| schema::look(session, link))?.incarnation;
        let found = stored.map(|stored| session.incarnation(&mut link, &stored)).transpose()?;
        if found.as_deref() != Some(told) {
            return Err(SinkError::transient(format!(
                "{}: another database has taken its place\nhint: it is used when the sink is opened again",
                session.settings.destination_id()
            )));
        }
    }
    Ok(link)
}

/// A connection in use; it goes back when dropped.
struct Lent<'a> {
    pool: &'a Pool,
    link: Option<Link>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.lent -= 1;
        // A panic in the middle of something leaves a session in no known state.
        if let Some(link) = self.link.take().filter(|link| link.is_good() && !std::thread::panicking()) {
            state.idle.push((link, Instant::now()));
        }
        self.pool.returned.notify_one();
    }
}
