//! What all threads of one engine share.

use std::sync::{Arc, OnceLock};

use noctule_broker::{Consultation, Shared};

use crate::admission::Admission;
use crate::authentication::Questions;
use crate::bans::BanFile;
use crate::clock::Clock;
use crate::counters::Counters;
use crate::error::Failure;
use crate::events::Records;
use crate::gate::Gate;
use crate::queue::Queue;

#[derive(Clone)]
pub(crate) struct Common {
    pub shared: Arc<Shared>,
    pub admission: Arc<Admission>,
    pub counters: Arc<Counters>,
    pub records: Arc<Records>,
    pub questions: Arc<Questions>,
    /// Questions to hooks, each with the worker that asks.
    pub consultations: Arc<Queue<(usize, Consultation)>>,
    pub clock: Clock,
    /// Where bans are written down, if anywhere; set as the engine starts.
    pub ban_file: Arc<OnceLock<Arc<BanFile>>>,
    /// The listeners, at their places in the options.
    pub gates: Arc<[Gate]>,
    /// The first worker's death, if one died.
    pub failure: Arc<OnceLock<Failure>>,
}
