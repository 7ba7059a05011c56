//! Stops the primary of the database under load and promotes its standby.

use crate::support::process::Server;
use crate::{Trial, WRITES_AFTERWARDS};

impl Trial {
    /// Runs all clients and meanwhile freezes the primary, in odd rounds, or kills it, in even rounds. Then promotes
    /// the standby and waits until every node uses it. Returns a summary. The two servers swap roles in each round,
    /// so a frozen primary is always the first host that nodes try.
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
        let pause_ms = work.tally.longest_pause().as_millis();
        let writes = self.end(work).await;
        let in_doubt = self.clients.iter().filter(|client| client.is_in_doubt()).count();
        self.pair = Some(pair);
        let how = if stands_still { "was frozen" } else { "was killed" };
        format!(
            "{writes} writes acknowledged, the primary {how} after {after_ms} ms, no writes for {pause_ms} ms, \
             {in_doubt} clients with a write of unknown result"
        )
    }
}
