//! Connections: how one is made, and how to wait for it without being deaf to the host.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use litmus_core::{SinkError, Status};
use tokio::runtime::Runtime;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{CancelToken, Client, NoTls, Statement};

use crate::config::Settings;
use crate::conninfo::{Server, SslMode, is_socket};
use crate::{error, tls};

/// How often the host is asked whether to go on; it wants that every second.
const POLL: Duration = Duration::from_millis(200);
/// A server that says nothing for so long is gone, however the network feels about it.
const KEEPALIVE: Duration = Duration::from_secs(15);
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// The runtime that moves bytes while the host's threads encode; one for a sink.
pub(crate) fn runtime() -> Result<Runtime, SinkError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("litmus-postgres")
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| SinkError::transient("no thread can be started").with_source(error))
}

/// Whether to go on.
pub(crate) type Check<'a> = &'a dyn Fn() -> Result<(), SinkError>;

/// Waits for a future on the calling thread, asking `check` all the while.
pub(crate) fn wait<T>(runtime: &Runtime, check: Check<'_>, future: impl Future<Output = T>) -> Result<T, SinkError> {
    runtime.block_on(async {
        let mut future = std::pin::pin!(future);
        loop {
            match tokio::time::timeout(POLL, &mut future).await {
                Ok(answer) => return Ok(answer),
                Err(_) => check()?,
            }
        }
    })
}

/// One connection.
pub(crate) struct Link {
    pub(crate) client: Client,
    /// Prepared COPY statements, by their text.
    statements: HashMap<String, Statement>,
    /// Why the connection ended, if it has.
    ended: Arc<Mutex<Option<String>>>,
    cancel: CancelToken,
    encrypted: Option<tls::Connector>,
    /// The server, for messages.
    pub(crate) place: String,
    /// Something failed halfway: what state the session is in nobody knows.
    pub(crate) spoiled: bool,
}

impl Link {
    /// Connects and logs in, at the first host that lets us.
    pub(crate) fn open(runtime: &Runtime, settings: &Settings, check: Check<'_>) -> Result<Self, SinkError> {
        let server = &settings.server;
        let connector = match server.sslmode {
            SslMode::Disable => None,
            _ => Some(tls::connector(server)?),
        };
        let mut refused = None;
        // Each by itself: the password file may have another password for each.
        for (host, port) in &server.hosts {
            match Self::at(runtime, server, (host, *port), connector.as_ref(), check) {
                Err(error) if is_stop(&error) => return Err(error),
                Err(error) => refused = Some(error),
                opened => return opened,
            }
        }
        Err(refused.expect("a server has a host"))
    }

    fn at(
        runtime: &Runtime,
        server: &Server,
        host: (&str, u16),
        connector: Option<&tls::Connector>,
        check: Check<'_>,
    ) -> Result<Self, SinkError> {
        let place = server.name_at(host.0, host.1);
        let attempt = |connector: Option<&tls::Connector>| Self::attempt(runtime, server, host, connector, check);
        match attempt(connector)? {
            // libpq's `prefer`: a server that refuses the encrypted session may take a plain one.
            Err(failure) if server.sslmode == SslMode::Prefer && may_be_tls(&failure) => attempt(None)?,
            other => other,
        }
        .map_err(|failure| error::of_connect(&failure, &place))
    }

    fn attempt(
        runtime: &Runtime,
        server: &Server,
        host: (&str, u16),
        connector: Option<&tls::Connector>,
        check: Check<'_>,
    ) -> Result<Result<Self, tokio_postgres::Error>, SinkError> {
        let config = client_config(server, host, connector.is_some());
        let ended = Arc::new(Mutex::new(None));
        let note = Arc::clone(&ended);
        let noted = move |result: Result<(), tokio_postgres::Error>| {
            if let Err(failure) = result {
                *note.lock().unwrap_or_else(PoisonError::into_inner) = Some(error::text(&failure));
            }
        };
        let encrypted = connector.cloned();
        let connected = wait(runtime, check, async {
            let limit = server.connect_timeout;
            let connect = async {
                if let Some(connector) = connector.cloned() {
                    let (client, connection) = config.connect(connector).await?;
                    tokio::spawn(async move { noted(connection.await) });
                    return Ok(client);
                }
                let (client, connection) = config.connect(NoTls).await?;
                tokio::spawn(async move { noted(connection.await) });
                Ok(client)
            };
            // The client library's own limit is for the socket alone; a server can also be silent after that.
            tokio::time::timeout(limit, connect).await
        })?;
        let place = server.name_at(host.0, host.1);
        let Ok(connected) = connected else {
            let seconds = server.connect_timeout.as_secs_f32();
            return Err(SinkError::transient(format!("{place}: no answer within {seconds} s")));
        };
        Ok(connected.map(|client: Client| Self {
            cancel: client.cancel_token(),
            client,
            statements: HashMap::new(),
            ended,
            encrypted,
            place,
            spoiled: false,
        }))
    }

    /// Whether it can be used again.
    pub(crate) fn is_good(&self) -> bool {
        !self.spoiled && !self.client.is_closed()
    }

    /// The error of something done on this connection; one after which it is useless spoils it.
    pub(crate) fn failed(&mut self, failure: &tokio_postgres::Error, doing: &str) -> SinkError {
        if error::is_broken(failure) {
            self.spoiled = true;
        }
        let error = error::of(failure, &self.place, doing);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match ended {
            Some(why) if failure.is_closed() => SinkError::transient(format!("{}: {doing}: {why}", self.place)),
            _ => error,
        }
    }

    /// Waits for something on this connection; when the host wants to stop, the server is told as well, and the connection
    /// is not used again.
    pub(crate) fn run<T>(
        &mut self,
        runtime: &Runtime,
        check: Check<'_>,
        doing: &str,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, SinkError> {
        match wait(runtime, check, work(&self.client)) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failure)) => Err(self.failed(&failure, doing)),
            Err(stopped) => {
                self.abandon(runtime);
                Err(stopped)
            }
        }
    }

    /// Statements without parameters and without an answer.
    pub(crate) fn execute(
        &mut self,
        runtime: &Runtime,
        check: Check<'_>,
        doing: &str,
        sql: &str,
    ) -> Result<(), SinkError> {
        self.run(runtime, check, doing, async |client| client.batch_execute(sql).await)
    }

    /// Cancels what is running there: a session that waits for a lock does not notice that its client is gone.
    pub(crate) fn abandon(&mut self, runtime: &Runtime) {
        self.spoiled = true;
        let cancel = self.cancel.clone();
        let connector = self.encrypted.clone();
        let told = async move {
            match connector {
                Some(connector) => cancel.cancel_query(connector).await.ok(),
                None => cancel.cancel_query(NoTls).await.ok(),
            }
        };
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(1), told).await.ok() });
    }

    /// Ends a transaction that failed, so that its locks are gone before anything else is tried.
    pub(crate) fn roll_back(&mut self, runtime: &Runtime) {
        if !self.is_good() {
            return;
        }
        let rolled = runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(5), self.client.batch_execute("ROLLBACK")).await
        });
        if !matches!(rolled, Ok(Ok(()))) {
            self.spoiled = true;
        }
    }

    /// A prepared statement; the same text is prepared once.
    pub(crate) async fn prepared(
        client: &Client,
        statements: &mut HashMap<String, Statement>,
        sql: &str,
    ) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = client.prepare(sql).await?;
        if statements.len() >= STATEMENTS_MAX {
            statements.clear();
        }
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// The two things that a COPY needs at once.
    pub(crate) fn parts(&mut self) -> (&Client, &mut HashMap<String, Statement>) {
        (&self.client, &mut self.statements)
    }
}

/// Prepared statements kept by a connection: a COPY for each table and set of columns.
const STATEMENTS_MAX: usize = 64;

fn may_be_tls(failure: &tokio_postgres::Error) -> bool {
    let refused = failure.as_db_error().is_some_and(|db| db.code().code() == "28000");
    refused || failure.to_string().contains("TLS")
}

fn client_config(server: &Server, (host, port): (&str, u16), encrypt: bool) -> tokio_postgres::Config {
    use tokio_postgres::config::SslMode as Mode;
    let mut config = tokio_postgres::Config::new();
    if is_socket(host) {
        config.host_path(host);
    } else {
        config.host(host);
    }
    config.port(port);
    config.user(&server.user).dbname(&server.dbname).application_name(&server.application_name);
    if let Some(password) = server.password_now(host, port) {
        config.password(password);
    }
    if let Some(options) = &server.options {
        config.options(options);
    }
    if server.read_write {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    config.ssl_mode(match (encrypt, server.sslmode) {
        (false, _) | (_, SslMode::Disable) => Mode::Disable,
        (_, SslMode::Prefer) => Mode::Prefer,
        _ => Mode::Require,
    });
    config.connect_timeout(server.connect_timeout).keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE);
    config.tcp_user_timeout(UNACKNOWLEDGED_MAX);
    config
}

/// Cancelled by the host, not by the destination.
pub(crate) fn is_stop(error: &SinkError) -> bool {
    error.status() == Status::Cancelled
}
