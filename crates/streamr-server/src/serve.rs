//! A running server: the list of its parts, how they start and how they end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use streamr_core::id::StreamName;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::config::{Listen, Part};
use crate::http::tls::Certs;
use crate::http::{self, AdminToken, Media};
use crate::ingest::Ingest;
use crate::live::{self, Live};
use crate::store::Sqlite;
use crate::{App, Config, Error, Shutdown, admin};

/// How long media may take to finish its segments at shutdown.
const CLOSE: Duration = Duration::from_secs(10);
/// The file in data.dir.
pub const DATABASE: &str = "streamr.db";
/// The stream that the first start makes.
const FIRST_STREAM: &str = "main";

/// A server whose ports are bound and which serves nothing yet.
pub struct Server {
    app: App,
    hello: Hello,
    media: Arc<dyn Media>,
    web: http::Server,
    listeners: Vec<(Listen, TcpListener)>,
    certs: Option<Arc<Certs>>,
    ingest: Ingest,
    driver: live::Driver,
}

/// What the first lines on the terminal tell.
#[derive(Clone, Debug)]
pub struct Hello {
    /// The page to open.
    pub page_url: String,
    /// What goes into the field "Server" of OBS.
    pub ingest_url: String,
    /// Where the API and the pages are reached: as configured, ports that were 0 filled in.
    pub addresses: Vec<(Part, SocketAddr)>,
    /// The stream that was made because there was none, and its key. Shown once.
    pub first_stream: Option<(String, String)>,
    /// The admin token that was made because there was none. Shown once.
    pub admin_token: Option<String>,
}

/// Opens the store of a configuration; makes its folder if absent.
///
/// # Errors
/// `Error::File` or `Store*`.
pub async fn open_store(config: &Config) -> Result<Sqlite, Error> {
    let dir = &config.data.dir;
    let doing = format!("cannot make the folder {} (data.dir)", dir.display());
    std::fs::DirBuilder::new().recursive(true).create(dir).map_err(Error::file(doing))?;
    Sqlite::open(&dir.join(DATABASE)).await
}

impl Server {
    /// Opens the store, binds the ports, and makes what the first start makes.
    ///
    /// # Errors
    /// The first part that cannot start, in words for whoever starts it.
    pub async fn bind(config: Config) -> Result<Self, Error> {
        let certs = Certs::load(&config.tls)?;
        let mut listeners = Vec::new();
        for listen in config.listeners()? {
            if matches!(listen.part, Part::Http | Part::Https) {
                let bound = TcpListener::bind(listen.address).await;
                listeners.push((listen, bound.map_err(|reason| listen.fault(reason))?));
            }
        }
        let store = open_store(&config).await?;
        let app = App::new(config, Arc::new(store));
        let (token, admin_token) = AdminToken::establish(&app).await?;
        let first_stream = first_stream(&app).await?;
        let hello = Hello::new(&app.config, &listeners, first_stream, admin_token);
        let (live, driver) = live_of(&app)?;
        live.restore().await?;
        let ingest = Ingest::bind(&app, &live, certs.as_ref()).await?;
        let media: Arc<dyn Media> = Arc::new(live);
        let router = http::router(app.clone(), Arc::clone(&media), token);
        let web = http::Server::new(app.clone(), router);
        Ok(Self { app, hello, media, web, listeners, certs, ingest, driver })
    }

    /// What to tell whoever started it.
    #[must_use]
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// What its parts share.
    #[must_use]
    pub const fn app(&self) -> &App {
        &self.app
    }

    /// Serves until `App::shutdown` begins, then ends in order: media finishes its segments, open
    /// requests are answered, the store is closed.
    pub async fn run(self) {
        let mut parts = JoinSet::new();
        for (listen, socket) in self.listeners {
            let tls = (listen.part == Part::Https).then(|| {
                let certs = self.certs.as_ref().expect("Config::check wants certificates");
                TlsAcceptor::from(certs.server_config(&["h2", "http/1.1"]))
            });
            let web = self.web.clone();
            parts.spawn(async move { web.accept(socket, tls).await });
        }
        if let Some(certs) = self.certs {
            parts.spawn(certs.watch(self.app.shutdown.clone()));
        }
        self.ingest.run(&mut parts);
        let driver = tokio::spawn(self.driver.run());
        self.app.shutdown.begun().await;
        tracing::info!("shutting down");
        if timeout(CLOSE, self.media.close()).await.is_err() {
            tracing::warn!("segments were not finished within {} s", CLOSE.as_secs());
        }
        while parts.join_next().await.is_some() {}
        driver.abort();
        self.app.store.close().await;
    }
}

/// What is live, and what lets time pass for it.
fn live_of(app: &App) -> Result<(Live, live::Driver), Error> {
    let config = live::Config::of(&app.config);
    let engine = Live::new(config, Arc::clone(&app.store), Vec::new());
    let (live, driver, _handovers) =
        engine.map_err(Error::file("the engine that feeds players cannot be made"))?;
    Ok((live, driver))
}

impl Hello {
    fn new(
        config: &Config,
        listeners: &[(Listen, TcpListener)],
        first_stream: Option<(String, String)>,
        admin_token: Option<String>,
    ) -> Self {
        let bound = |(listen, socket): &(Listen, TcpListener)| {
            (listen.part, socket.local_addr().unwrap_or(listen.address))
        };
        let addresses: Vec<_> = listeners.iter().map(bound).collect();
        let port = |part| addresses.iter().find(|a| a.0 == part).map(|a| a.1.port());
        let page_url = match (config.http.public_url.as_str(), port(Part::Https), port(Part::Http))
        {
            ("", Some(port), None) => format!("https://localhost:{port}/"),
            ("", _, Some(port)) => format!("http://localhost:{port}/"),
            (url, ..) => url.to_owned(),
        };
        let ingest_url = admin::ingest_url(config, "localhost");
        Self { page_url, ingest_url, addresses, first_stream, admin_token }
    }
}

/// The first start makes a stream, so that there is a key to publish with.
async fn first_stream(app: &App) -> Result<Option<(String, String)>, Error> {
    if !app.store.streams().await?.is_empty() {
        return Ok(None);
    }
    let name = StreamName::new(FIRST_STREAM)?;
    let (stream, key) = admin::add_stream(app, name, String::new()).await?;
    Ok(Some((stream.name.to_string(), key.reveal().to_owned())))
}

/// Begins the shutdown at SIGINT or SIGTERM; returns at the second of them, which means "now".
///
/// # Errors
/// The system lets no signals be watched.
pub async fn signals(shutdown: Shutdown) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut stop, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    for _ in 0..2 {
        tokio::select! {
            _ = stop.recv() => {}
            _ = interrupt.recv() => {}
        }
        shutdown.begin();
    }
    Ok(())
}
