//! Events of runs for catalogues of lineage: where they are sent, and by whom while a program runs.
//!
//! The events are the library's; here they leave. [`Target`] is a file, standard output or an address that takes them by POST.
//! [`Outbox`] is a thread beside a program: it tells that the run began and how it ended, and whatever becomes of that, the program notices
//! nothing.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use tlc_core::{
    Error, ErrorKind, OpenLineageEvent, OpenLineageKind, Project, Result, RunName, block_on,
};
use url::Url;

use crate::output::Out;

/// Where catalogues take events, if an address does not say it.
const ENDPOINT: &str = "api/v1/lineage";

/// How long one event may take where somebody waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long one event may take beside a program.
const HASTE: Duration = Duration::from_secs(2);

/// How long the end of a program is held up at most.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Where events go.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// They are appended, one on a line.
    File(PathBuf),
    /// They are printed, one on a line.
    Stdout,
    /// They are sent there, one by one.
    Address(Url),
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "-" {
            return Ok(Self::Stdout);
        }
        let is_address = ["http://", "https://"].iter().any(|scheme| {
            let start = text.get(..scheme.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        if !is_address {
            return match text.contains("://") || text.is_empty() {
                true => Err(Error::invalid(
                    "events go to a file, to - for standard output, or to an address that begins with http:// or https://",
                )),
                false => Ok(Self::File(text.into())),
            };
        }
        // What cannot be read may hold a password, and is not repeated.
        let mut address = Url::parse(text).map_err(|err| {
            Error::invalid("the address for the events is no URL").with_source(err)
        })?;
        if address.path() == "/" {
            address.set_path(ENDPOINT);
        }
        Ok(Self::Address(address))
    }
}

/// Without credentials.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Stdout => f.write_str("standard output"),
            Self::Address(address) => {
                let mut shown = address.clone();
                shown.set_query(None);
                shown.set_fragment(None);
                // Neither fails for an address with a host.
                shown.set_username("").unwrap_or_default();
                shown.set_password(None).unwrap_or_default();
                write!(f, "{shown}")
            }
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who sends events, and what lets them in.
pub(super) struct Sender {
    target: Target,
    /// For `Authorization: Bearer …`.
    key: Option<String>,
    client: Option<Client>,
}

impl Sender {
    /// For somebody who waits.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the system has nothing to send with.
    pub(super) fn new(target: Target, key: Option<String>) -> Result<Self> {
        Self::within(target, key, PATIENCE)
    }

    fn within(target: Target, key: Option<String>, patience: Duration) -> Result<Self> {
        let client = match target {
            Target::Address(_) => {
                // A redirected POST would become a GET that is taken, and says nothing.
                let client = Client::builder().timeout(patience).redirect(Policy::none());
                let built = client.build().map_err(|err| {
                    Error::new(ErrorKind::Unavailable, "nothing can be sent from here")
                        .with_source(err.without_url())
                })?;
                Some(built)
            }
            Target::File(_) | Target::Stdout => None,
        };
        Ok(Self {
            target,
            key,
            client,
        })
    }

    /// Sends the events of a run in their order; the first that is not taken is the last.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] naming the event and the target, and the status that was answered; those of the disk.
    pub(super) fn send(&self, run: &str, events: &[OpenLineageEvent], out: &Out) -> Result<()> {
        for event in events {
            match (&self.target, &self.client) {
                (Target::Address(address), Some(client)) => {
                    block_on(self.post(client, address, run, event))?;
                }
                (Target::File(path), _) => {
                    let file = OpenOptions::new().create(true).append(true).open(path);
                    // In one call, so that two programs may append to one file.
                    let line = format!("{}\n", event.json);
                    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
                    written.map_err(|err| self.refused(run, event, err))?;
                }
                (Target::Stdout, _) | (Target::Address(_), None) => {
                    out.print(&format!("{}\n", event.json))?;
                }
            }
        }
        Ok(())
    }

    async fn post(
        &self,
        client: &Client,
        address: &Url,
        run: &str,
        event: &OpenLineageEvent,
    ) -> Result<()> {
        let request = client
            .post(address.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(event.json.clone());
        // A user in the address is let in by that alone.
        let is_named = !address.username().is_empty() || address.password().is_some();
        let request = match &self.key {
            Some(key) if !is_named => request.bearer_auth(key),
            _ => request,
        };
        let answer = request.send().await;
        let answer = answer.map_err(|err| self.refused(run, event, err.without_url()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(self.refused(run, event, Refusal(status))),
        }
    }

    fn refused(
        &self,
        run: &str,
        event: &OpenLineageEvent,
        err: impl std::error::Error + Send + Sync + 'static,
    ) -> Error {
        let message = format!(
            "{} did not take the event {} of run {run}",
            self.target,
            event.kind.as_str()
        );
        Error::new(ErrorKind::Unavailable, message).with_source(err)
    }
}

/// What was answered instead of that the event was taken.
#[derive(Debug)]
struct Refusal(StatusCode);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it answered {}", self.0)
    }
}

impl std::error::Error for Refusal {}

/// Sends the events of a run while its program runs.
#[derive(Debug)]
pub(super) struct Outbox {
    ended: SyncSender<()>,
    told: Receiver<Result<()>>,
}

impl Outbox {
    /// Begins to tell of a run that has begun. Returns at once.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the system gives no thread.
    pub(super) fn open(
        target: Target,
        key: Option<String>,
        project: Project,
        run: RunName,
    ) -> Result<Self> {
        let ((ended, ending), (tell, told)) = (sync_channel(1), sync_channel(1));
        let begun = thread::Builder::new()
            .name("tlc-open-lineage".to_owned())
            .spawn(move || {
                // Where nobody waits any more, nobody wants to know.
                tell.send(deliver(target, key, &project, &run, &ending))
                    .unwrap_or_default();
            });
        begun.map(drop).map_err(no_thread)?;
        Ok(Self { ended, told })
    }

    /// Tells of the end, once it is in the run's log. Waits five seconds at most; what was not taken by then is not.
    ///
    /// # Errors
    /// As [`Sender::send`], and [`ErrorKind::Unavailable`] if it took too long.
    pub(super) fn close(self) -> Result<()> {
        self.ended.send(()).unwrap_or_default();
        let told = self.told.recv_timeout(WAIT_MAX);
        told.unwrap_or_else(|_late| {
            let secs = WAIT_MAX.as_secs();
            let message = format!("the events were not taken within {secs} seconds");
            Err(Error::new(ErrorKind::Unavailable, message))
        })
    }
}

fn no_thread(err: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the system gives no thread").with_source(err)
}

/// Sends that the run began; when it has ended, how; and that it began, if that was not taken before.
fn deliver(
    target: Target,
    key: Option<String>,
    project: &Project,
    run: &RunName,
    ending: &Receiver<()>,
) -> Result<()> {
    let name = format!("{}/{run}", project.name());
    let sender = Sender::within(target, key, HASTE)?;
    let out = Out::default();
    let send = |is_wanted: &dyn Fn(OpenLineageKind) -> bool| {
        let mut events = block_on(project.open_lineage(run.as_str()))?;
        events.retain(|event| is_wanted(event.kind));
        sender.send(&name, &events, &out)
    };
    let began = send(&|kind| kind == OpenLineageKind::Start);
    if ending.recv().is_err() {
        return began;
    }
    send(&|kind| began.is_err() || kind != OpenLineageKind::Start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_file_an_address_or_standard_output() {
        let check = |text: &str, expected: &str| {
            let found = match text.parse::<Target>() {
                Ok(target) => {
                    let kind = match &target {
                        Target::File(_) => "file",
                        Target::Stdout => "out",
                        Target::Address(_) => "address",
                    };
                    assert_eq!(format!("{target}"), format!("{target:?}"));
                    format!("{kind} {target}")
                }
                Err(err) => format!("{err:#}"),
            };
            assert_eq!(found, expected, "{text}");
        };
        check("-", "out standard output");
        check("events.jsonl", "file events.jsonl");
        check("/a/http:b", "file /a/http:b");
        check(
            "http://host:5000",
            "address http://host:5000/api/v1/lineage",
        );
        check(
            "HTTPS://ada:planted@host/x?key=planted#planted",
            "address https://host/x",
        );
        let wrong = "events go to a file, to - for standard output, or to an address that begins with http:// or https://";
        check("s3://bucket/events", wrong);
        check("", wrong);
        check(
            "http://ada:planted@host:port",
            "the address for the events is no URL: invalid port number",
        );
    }
}
