//! What the broker asks for besides bytes.

use noctule_broker::{
    Advice, AuthenticationRequest, ConnectionId, Consultation, Decision, Effect, Event,
};
use noctule_packets::ReasonCode;

use crate::authentication::Asker;
use crate::events::Record;
use crate::post::Message;
use crate::reactor::Reactor;

impl Reactor {
    pub(crate) fn perform_effects(&mut self) {
        while let Some(effect) = self.worker.next_effect() {
            match effect {
                Effect::Close(id) => self.begin_close(id),
                Effect::PauseReading(id) => self.connections.pause(id),
                Effect::ResumeReading(id) => self.connections.resume(id),
                Effect::Authenticate(id, request) => self.ask(id, request),
                Effect::Consult(consultation) => self.consult(*consultation),
                Effect::ReadQueue(request) => {
                    if let Some(keeper) = &self.keeper {
                        keeper.read(request);
                    }
                }
                Effect::Event(event) => self.tell(event),
            }
        }
    }

    fn tell(&mut self, event: Event) {
        if let Event::Banned {
            whom,
            value,
            reason,
            seconds,
        } = &event
        {
            tracing::warn!("{whom} {value:?} is banned for {seconds} s: {reason}");
        }
        self.records.push(Record::Broker(event));
    }

    fn begin_close(&mut self, id: ConnectionId) {
        let lingers = self
            .worker
            .outbox(id)
            .is_some_and(|outbox| !outbox.is_empty());
        self.connections.close(id, lingers);
    }

    /// Puts the request to whoever answers from outside; the answer comes as a message.
    fn ask(&mut self, id: ConnectionId, request: Box<AuthenticationRequest>) {
        let asker = Asker {
            worker: self.index,
            connection: id,
        };
        if self.common.questions.ask(asker, request) {
            return;
        }
        self.common.counters.authentications_refused_busy.add(1);
        let decision = Decision::Refuse {
            reason: ReasonCode::SERVER_BUSY,
            text: None,
        };
        self.worker.answered(id, decision, self.now);
    }

    /// Puts a question to the hooks; the answer comes as a message.
    fn consult(&mut self, consultation: Consultation) {
        let number = consultation.number;
        if self.common.consultations.add([(self.index, consultation)]) > 0 {
            self.worker.advised(number, Advice::Failed, self.now);
        }
    }

    /// Sends what is for other workers; each is woken at most once.
    pub(crate) fn send_batches(&mut self) {
        let posts = &self.posts;
        self.worker
            .take_batches(|owner, batch| posts[owner].send(Message::Batch(batch)));
    }

    /// Hands the turn's events out in one piece.
    pub(crate) fn send_records(&mut self) {
        if !self.records.is_empty() {
            let dropped = self.common.records.add(self.records.drain(..));
            self.common.counters.records_dropped.add(dropped);
        }
    }
}
