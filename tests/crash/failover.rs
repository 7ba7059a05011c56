//! Ends the primary of the database under load, and lets its standby take over.

use crate::support::process::Server;
use crate::{Trial, WRITES_AFTERWARDS};

impl Trial {
    /// Lets all clients write, and in the middle of it lets the primary stand still, or kills it in every other round;
    /// then promotes the standby. Says how that went, once every node has found it. The one that stands still is always
    /// the first that nodes ask, since both take turns.
    pub async fn write_until_failed_over(&mut self, servers: &[Server], round: u32) -> String {
        let mut pair = self.pair.take().expect("the database has a standby");
        if round > 1 {
            pair.make_standby().await;
        }
        let work = self.work(servers).await;
        let (stands_still, after_ms) = (!round.is_multiple_of(2), work.started.elapsed().as_millis());
        if stands_still {
            pair.freeze_primary().await;
        } else {
            pair.kill_primary().await;
        }
        pair.promote_standby().await;
        work.tally.gains_everywhere(WRITES_AFTERWARDS / servers.len() as u32).await;
        pair.kill_former_primary().await;
        let silence_ms = work.tally.silence().as_millis();
        let writes = self.end(work).await;
        let in_doubt = self.clients.iter().filter(|client| client.is_in_doubt()).count();
        self.pair = Some(pair);
        let how = if stands_still { "stood still" } else { "was killed" };
        format!(
            "{writes} writes acknowledged, the primary {how} after {after_ms} ms, no writes for {silence_ms} ms, \
             {in_doubt} answered that the database was away"
        )
    }
}
