//! `rallypoint serve`: runs the server until a signal stops it.

use clap::Args;

use super::config::ConfigArgs;
use super::signals::StopSignals;
use super::{print, runtime_with_calls};
use crate::config::{Config, LogFormat};
use crate::runtime::server::{self, Server};
use crate::runtime::{allocators, voice};
use crate::telemetry;

/// Text after `rallypoint serve --help`.
pub const HELP: &str = "\
The API is at http://ADDR:PORT/session, its reference at /docs, its OpenAPI document at /openapi.json. The reference \
and the document need no token; every operation of the API does.

Keys: without jwks_file and jwks_url under [auth], the server creates a development key in the data directory, accepts \
the tokens that `rallypoint token` signs with it, and listens on loopback only. With jwks_file or jwks_url, it accepts \
the tokens that those keys verify, and no others.

Settings: config.default.toml describes every setting. Set them in the file of --config, or in environment variables \
such as RALLYPOINT_SESSIONS__IDLE_S=600 for idle_s under [sessions]. Flags take precedence over the environment, and \
the environment over the file. `rallypoint config` prints the result.

Signals: Ctrl-C and SIGTERM stop the server after the requests in flight. SIGHUP reloads templates, regions and instance \
templates.

  rallypoint serve
  rallypoint serve --listen 127.0.0.1:0 --data-dir /var/lib/rallypoint
  rallypoint serve --config rallypoint.toml

Next: sign a token with `rallypoint token`, or open http://127.0.0.1:7700/docs in a browser.";

#[derive(Args)]
pub struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Listen on an address that other machines can reach although the server uses the development key. Anyone who can
    /// read that key can sign a token for any player.
    #[arg(long)]
    insecure_expose_development_key: bool,
}

/// Runs the command.
pub fn run(args: &ServeArgs) -> Result<(), String> {
    let config = args.config.load()?;
    telemetry::start_logs(&config.telemetry.log, config.telemetry.log_format == LogFormat::Json)?;
    let calls_max = allocators::blocking_calls_max(&config) + voice::blocking_calls_max(&config);
    runtime_with_calls(calls_max)?.block_on(async {
        // Before anything else, so that no signal is missed.
        let mut signals = StopSignals::listen()?;
        let server = tokio::select! {
            started = server::start(&config, args.insecure_expose_development_key) => {
                started.map_err(|error| error.to_string())?
            }
            () = signals.next() => {
                tracing::info!("stopped before the server had started");
                return Ok(());
            }
        };
        print(&format!("listening on http://{}\n", server.api_address))?;
        signals.next().await;
        drain(&server, &config, &mut signals).await;
        tracing::info!("stopping: requests in flight finish first");
        server.stop().await.map_err(|error| error.to_string())?;
        tracing::info!("stopped");
        Ok(())
    })
}

/// Lets `/ready` answer 503 for `leave_delay_s`, or until the next signal, so that load balancers send requests
/// elsewhere.
async fn drain(server: &Server, config: &Config, signals: &mut StopSignals) {
    let delay = server.leave_delay(config.http.leave_delay_s);
    if delay.is_zero() {
        return;
    }
    server.start_draining();
    let delay_s = delay.as_secs();
    tracing::info!("draining: /ready answers 503; the server stops in {delay_s} s or at the next signal");
    // Either way it is time to stop.
    let _ = tokio::time::timeout(delay, signals.next()).await;
}
