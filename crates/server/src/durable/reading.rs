//! The thread that reads queues back for the workers, which never wait for the disk.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use noctule_broker::QueueRequest;
use noctule_store::Reader;

use crate::post::{Message, Post};

enum Errand {
    /// A worker wants messages of a session.
    Read(usize, Box<QueueRequest>),
    End,
}

/// The thread, which ends when this is dropped.
pub(crate) struct Reading {
    errands: Sender<Errand>,
    thread: Option<JoinHandle<()>>,
}

/// A way to send it on errands.
pub(crate) struct Asker(Sender<Errand>);

impl Asker {
    pub fn ask(&self, worker: usize, request: Box<QueueRequest>) {
        // It ends after the workers.
        let _ = self.0.send(Errand::Read(worker, request));
    }
}

impl Reading {
    /// # Errors
    /// The system has no thread left.
    pub fn start(reader: Reader, posts: Arc<[Post]>) -> io::Result<Reading> {
        let (errands, received) = mpsc::channel();
        let log = tracing::dispatcher::get_default(Clone::clone);
        let run = move || {
            tracing::dispatcher::with_default(&log, || run(&reader, &posts, &received));
        };
        let thread = thread::Builder::new().name("noctule-reader".into());
        Ok(Reading {
            errands,
            thread: Some(thread.spawn(run)?),
        })
    }

    pub fn asker(&self) -> Asker {
        Asker(self.errands.clone())
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let _ = self.errands.send(Errand::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(reader: &Reader, posts: &[Post], errands: &Receiver<Errand>) {
    while let Ok(Errand::Read(worker, request)) = errands.recv() {
        let values = read(reader, &request);
        posts[worker].send(Message::QueueRead(request, values));
    }
}

/// What there is of each message. What is damaged stays where it is: the next start puts
/// it aside.
fn read(reader: &Reader, request: &QueueRequest) -> Vec<Option<Vec<u8>>> {
    let space = QueueRequest::SPACE as u8;
    let entries = reader.read_entries(space, &request.key(), request.sequences());
    let mut errors = entries.iter().filter_map(|entry| entry.as_ref().err());
    if let Some(first) = errors.next() {
        tracing::error!(
            "damage in the store: {} queued messages cannot be read back, and are not \
             delivered: {first}",
            errors.count() + 1
        );
    }
    entries
        .into_iter()
        .map(|entry| entry.ok().flatten())
        .collect()
}
