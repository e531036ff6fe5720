//! What all of the simulation's parts need at hand.

use noctule_broker::Time;

use crate::ledger::Ledger;
use crate::log::Log;
use crate::random::Random;

pub struct Scene {
    pub now: Time,
    pub random: Random,
    pub ledger: Ledger,
    pub log: Log,
}

/// Writes down what happened, if somebody will read it.
macro_rules! note {
    ($scene:expr, $($what:tt)*) => {
        if $scene.log.on {
            $scene.log.add($scene.now, format_args!($($what)*));
        }
    };
}
pub(crate) use note;
