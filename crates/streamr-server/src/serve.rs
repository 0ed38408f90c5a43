//! A running server: the list of its parts, how they start and how they end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use streamr_core::id::StreamName;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::Part;
use crate::egress::{Handover, Listener};
use crate::essential::Essential;
use crate::http::tls::Certs;
use crate::http::{self, AdminToken, Media};
use crate::ingest::Ingest;
use crate::live::{self, Live};
use crate::rtc::Rtc;
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
    handovers: mpsc::Receiver<Handover>,
    certs: Option<Arc<Certs>>,
    ingest: Ingest,
    rtc: Option<Rtc>,
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
        let http = bind(&config, Part::Http).await?;
        let https = bind(&config, Part::Https).await?;
        let store = open_store(&config).await?;
        let app = App::new(config, Arc::new(store));
        let (token, admin_token) = AdminToken::establish(&app).await?;
        let first_stream = first_stream(&app).await?;
        let address = |(part, socket): (Part, &Option<TcpListener>)| {
            Some((part, socket.as_ref()?.local_addr().ok()?))
        };
        let addresses = [(Part::Http, &http), (Part::Https, &https)];
        let addresses = addresses.into_iter().filter_map(address).collect();
        let hello = Hello::new(&app.config, addresses, first_stream, admin_token);
        let (live, driver, handovers) = live_of(&app, doors(http, https, certs.as_ref())?)?;
        live.restore().await?;
        let ingest = Ingest::bind(&app, &live, certs.as_ref()).await?;
        let media: Arc<dyn Media> = Arc::new(live.clone());
        let rtc = match app.config.listener(Part::Webrtc)? {
            Some(listen) => Some(Rtc::bind(&app, &live, &listen).await?),
            None => None,
        };
        let router = http::router(app.clone(), Arc::clone(&media), token, rtc.clone());
        let web = http::Server::new(app.clone(), router);
        Ok(Self { app, hello, media, web, handovers, certs, ingest, rtc, driver })
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
        let (web, handovers) = (self.web, self.handovers);
        parts.spawn(async move {
            let _essential = Essential("the HTTP server");
            web.take(handovers).await;
        });
        if let Some(certs) = self.certs {
            parts.spawn(certs.watch(self.app.shutdown.clone()));
        }
        self.ingest.run(&mut parts);
        if let Some(rtc) = self.rtc {
            parts.spawn(rtc.run());
        }
        let driver = tokio::spawn(self.driver.run());
        self.app.shutdown.begun().await;
        tracing::info!("shutting down");
        if timeout(CLOSE, self.media.close()).await.is_err() {
            tracing::warn!("segments were not finished within {} s", CLOSE.as_secs());
        }
        while parts.join_next().await.is_some() {}
        // It ends when everything is in the store.
        if timeout(CLOSE, driver).await.is_err() {
            tracing::warn!("what became of the broadcasts is not in the store");
        }
        self.app.store.close().await;
    }
}

async fn bind(config: &Config, part: Part) -> Result<Option<TcpListener>, Error> {
    let Some(listen) = config.listener(part)? else { return Ok(None) };
    TcpListener::bind(listen.address).await.map(Some).map_err(|reason| listen.fault(reason))
}

type Running = (Live, live::Driver, mpsc::Receiver<Handover>);

/// What the engine serves, in the clear and by TLS.
fn doors(
    http: Option<TcpListener>,
    https: Option<TcpListener>,
    certs: Option<&Arc<Certs>>,
) -> Result<Vec<Listener>, Error> {
    let std = |socket: Option<TcpListener>| {
        let fault = Error::file("the engine that feeds players cannot have a listener");
        socket.map(TcpListener::into_std).transpose().map_err(fault)
    };
    let plain = std(http)?.map(Listener::from);
    let secure = std(https)?.map(|socket| {
        let certs = certs.expect("Config::check wants certificates");
        Listener::tls(socket, certs.server_config(&["h2", "http/1.1"]))
    });
    Ok(plain.into_iter().chain(secure).collect())
}

/// What is live, what lets time pass for it, and what comes to `listeners` and is not media.
fn live_of(app: &App, listeners: Vec<Listener>) -> Result<Running, Error> {
    let fault = Error::file("the engine that feeds players cannot be made");
    Live::new(app, listeners).map_err(fault)
}

impl Hello {
    fn new(
        config: &Config,
        addresses: Vec<(Part, SocketAddr)>,
        first_stream: Option<(String, String)>,
        admin_token: Option<String>,
    ) -> Self {
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
