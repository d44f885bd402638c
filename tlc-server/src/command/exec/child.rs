//! The program while it goes on: what it prints is passed on by a thread for each output, and everything that happens
//! comes through one bounded channel.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal as _, Read, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, Signal, System};

/// What is read at a time: a pipe's own size.
const READ_BYTES_MAX: usize = 64 << 10;

/// What waits to be recorded, at most: 32 MiB. The program is held up beyond.
const EVENTS_MAX: usize = 512;

/// An output of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

impl Stream {
    /// What its texts are called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Out => "stdout",
            Self::Err => "stderr",
        }
    }
}

/// What happens.
#[derive(Debug)]
pub(super) enum Event {
    /// The program printed this, and it was passed on.
    Read(Stream, Vec<u8>),
    /// Nothing more comes from there.
    Closed(Stream),
    /// We were sent a signal.
    Signal(i32),
    /// The program has ended; what it printed may still come.
    Ended(io::Result<ExitStatus>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Child {
    pid: u32,
    events: Receiver<Event>,
}

impl Child {
    /// Starts the program, and begins to pass on what it prints.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn spawn(mut command: Command) -> io::Result<Self> {
        let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let err = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // Not before: a program inherits which signals we ignore, and so keeps what `nohup` has said.
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let (pid, (send, events)) = (child.id(), sync_channel(EVENTS_MAX));
        if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
            let sender = send.clone();
            start("tlc-stdout", move || {
                pass_on(stdout, out, Stream::Out, &sender);
            })?;
            let sender = send.clone();
            start("tlc-stderr", move || {
                pass_on(stderr, err, Stream::Err, &sender);
            })?;
        }
        let sender = send.clone();
        start("tlc-signals", move || {
            for signal in &mut signals {
                hand_on(&sender, Event::Signal(signal));
            }
        })?;
        start("tlc-wait", move || {
            let status = child.wait();
            hand_on(&send, Event::Ended(status));
        })?;
        Ok(Self { pid, events })
    }

    /// Waits for what happens next.
    pub(super) fn next(&self) -> Event {
        // The thread that waits for signals never ends, so there is always a sender.
        let gone = |_| Event::Ended(Err(io::Error::from(ErrorKind::BrokenPipe)));
        self.events.recv().unwrap_or_else(gone)
    }

    /// Sends the program a signal that we were sent. What a terminal sends to us it sends to the program too.
    pub(super) fn tell(&self, number: i32) {
        let signal = match number {
            SIGINT if io::stdin().is_terminal() || io::stderr().is_terminal() => return,
            SIGINT => Signal::Interrupt,
            SIGHUP => Signal::Hangup,
            _ => Signal::Term,
        };
        let Ok(mut system) = System::new() else {
            return;
        };
        let pid = Pid::from_u32(self.pid);
        let own = ProcessesToUpdate::Some(&[pid]);
        system.refresh_processes_specifics(own, false, ProcessRefreshKind::nothing());
        if let Some(process) = system.process(pid) {
            // It may have ended just now.
            process.kill_with(signal).unwrap_or_default();
        }
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // It ends with what it reads, or with us.
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
}

/// Copies what is printed until nothing more comes, or nobody reads what we print: then the program finds its
/// output closed, as it would without us.
fn pass_on(mut from: impl Read, mut to: File, stream: Stream, send: &SyncSender<Event>) {
    let mut buffer = vec![0; READ_BYTES_MAX];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => buffer.get(..n).unwrap_or_default(),
            Err(err) if err.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let is_read = to.write_all(read).is_ok();
        hand_on(send, Event::Read(stream, read.to_vec()));
        if !is_read {
            break;
        }
    }
    drop(from);
    hand_on(send, Event::Closed(stream));
}

/// Where nobody follows any more, there is nothing left to do.
fn hand_on(send: &SyncSender<Event>, event: Event) {
    send.send(event).unwrap_or_default();
}
