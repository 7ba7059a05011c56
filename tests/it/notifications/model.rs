//! Random posts, reads, pages and waits, by two nodes on one store whose clocks differ. After each step the
//! inbox is compared with what was posted.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use rallypoint::app::notifications::inbox::MessagesPage;
use rallypoint::domain::PlayerUuid;
use rallypoint::domain::inbox::{Message, MessageNumber};
use rallypoint::env::Clock;
use rallypoint::store::{Batch, Memory, Store};

use super::content;
use crate::harness::{Server, contents};

const KEEP_S: u32 = 600;
/// The largest difference of clocks that a node may allow.
const SKEW_MS_MAX: i64 = 3_600_000;
const READERS: usize = 3;
/// Longer than a day, after which the record of an empty inbox goes, by the clock of each node.
const FORGOTTEN: Duration = Duration::from_secs(100_000);

#[derive(Clone, Debug)]
enum Step {
    Post {
        node: usize,
        count: usize,
    },
    /// A reader continues after the last message that it has read.
    Read {
        node: usize,
        reader: usize,
        count: usize,
    },
    /// All pages, and all pages after the last message that a reader has read.
    Pages {
        node: usize,
        reader: usize,
        size: usize,
    },
    Wait {
        seconds: u64,
    },
    Expire {
        node: usize,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    let node = || 0..2_usize;
    prop_oneof![
        4 => (node(), 1..=100_usize).prop_map(|(node, count)| Step::Post { node, count }),
        3 => (node(), 0..READERS, 1..=120_usize)
            .prop_map(|(node, reader, count)| Step::Read { node, reader, count }),
        2 => (node(), 0..READERS, 1..=100_usize)
            .prop_map(|(node, reader, size)| Step::Pages { node, reader, size }),
        2 => prop_oneof![0..3_u64, 300..1_300_u64, Just(FORGOTTEN.as_secs())]
            .prop_map(|seconds| Step::Wait { seconds }),
        3 => node().prop_map(|node| Step::Expire { node }),
    ]
}

struct World {
    nodes: [Server; 2],
    player: PlayerUuid,
    limit: usize,
    /// How many messages were posted. Each has its count as text.
    posted: usize,
    /// The number of the last message.
    last: MessageNumber,
    /// The numbers and texts of the messages that there must be, or could be, the oldest first.
    inbox: Vec<(MessageNumber, String)>,
    /// The last messages that the readers have read.
    read: [MessageNumber; READERS],
}

type Texts = Vec<(MessageNumber, String)>;

fn texts(messages: Vec<(MessageNumber, Message)>) -> Texts {
    messages.into_iter().map(|(number, message)| (number, message.content.message)).collect()
}

impl World {
    fn new(limit: usize, ahead_ms: i64) -> Self {
        let node = Server::over(Store::Memory(Memory::shared()), |config| {
            config.notifications.messages_per_player_max = limit;
            config.notifications.message_keep_s = KEEP_S;
        });
        let other = node.with_clock(Clock::manual(node.clock.now()));
        other.clock.step(ahead_ms);
        let player = PlayerUuid(node.app.entropy.uuid());
        let (last, read) = (MessageNumber(0), [MessageNumber(0); READERS]);
        Self { nodes: [node, other], player, limit, posted: 0, last, inbox: Vec::new(), read }
    }

    /// The messages after a number, as a node reads them.
    async fn after(&self, node: usize, number: MessageNumber, count: usize) -> Texts {
        texts(self.nodes[node].app.inboxes.after(self.player, number, count).await.unwrap())
    }

    async fn run(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Post { node, count } => self.post(node, count).await?,
            Step::Read { node, reader, count } => {
                let found = self.after(node, self.read[reader], count).await;
                let expected = self.inbox.iter().filter(|(number, _)| *number > self.read[reader]);
                prop_assert_eq!(&found, &expected.take(count).cloned().collect::<Texts>());
                self.read[reader] = found.last().map_or(self.read[reader], |(number, _)| *number);
            }
            Step::Pages { node, reader, size } => {
                self.pages(node, None, size).await?;
                self.pages(node, Some(self.read[reader]), size).await?;
            }
            Step::Wait { seconds } => {
                for node in &self.nodes {
                    node.clock.advance(Duration::from_secs(seconds));
                }
            }
            Step::Expire { node } => self.expire(node).await?,
        }
        Ok(())
    }

    async fn post(&mut self, node: usize, count: usize) -> Result<(), TestCaseError> {
        let new: Vec<_> = (self.posted..self.posted + count).map(|n| n.to_string()).collect();
        self.posted += count;
        let contents = new.iter().map(|text| content(text)).collect();
        let inboxes = &self.nodes[node].app.inboxes;
        let last = inboxes.append(self.player, contents, |_| Batch::default()).await.unwrap();
        prop_assert_eq!(inboxes.last_number(self.player).await.unwrap(), last);
        let found = self.after(node, self.last, usize::MAX).await;
        let kept = &new[new.len().saturating_sub(self.limit)..];
        prop_assert!(found.iter().map(|(_, text)| text).eq(kept), "all new messages that there is room for");
        prop_assert!(found.iter().all(|(number, _)| *number > self.last), "numbers rise");
        prop_assert_eq!(found.last().unwrap().0, last);
        self.last = last;
        self.inbox.extend(found);
        let excess = self.inbox.len().saturating_sub(self.limit);
        self.inbox.drain(..excess);
        Ok(())
    }

    async fn pages(
        &self,
        node: usize,
        after: Option<MessageNumber>,
        size: usize,
    ) -> Result<(), TestCaseError> {
        let (mut found, mut start_at) = (Vec::new(), None);
        loop {
            let inboxes = &self.nodes[node].app.inboxes;
            let page = inboxes.page(self.player, start_at, after, size).await.unwrap();
            let MessagesPage { messages, older, .. } = page;
            prop_assert!(messages.len() <= size.min(self.limit));
            prop_assert!(older.is_none() || messages.len() == size, "only the last page is not full");
            found.extend(texts(messages));
            start_at = older;
            if older.is_none() {
                break;
            }
        }
        let after = after.unwrap_or_default();
        let expected = self.inbox.iter().rev().filter(|(number, _)| *number > after);
        prop_assert_eq!(found, expected.cloned().collect::<Texts>());
        Ok(())
    }

    /// The job of a node deletes messages that are too old by its clock, or none if its next pass is not due.
    async fn expire(&mut self, node: usize) -> Result<(), TestCaseError> {
        while self.nodes[node].app.inboxes.expire().await.unwrap() {}
        let found = self.after(node, MessageNumber(0), usize::MAX).await;
        let gone = self.inbox.len() - found.len();
        prop_assert_eq!(&found[..], &self.inbox[gone..], "the oldest go");
        let kept_after_ms = self.nodes[node].clock.now_ms() - i64::from(KEEP_S) * 1_000;
        let kept_after = MessageNumber(u64::try_from(kept_after_ms).unwrap());
        prop_assert!(self.inbox[..gone].iter().all(|(number, _)| *number < kept_after), "none goes early");
        self.inbox = found;
        Ok(())
    }

    /// In the end nothing is left.
    async fn forget(&mut self) -> Result<(), TestCaseError> {
        self.run(&Step::Wait { seconds: FORGOTTEN.as_secs() }).await?;
        self.expire(0).await?;
        prop_assert_eq!(contents(&self.nodes[0]).await.len(), 0);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn readers_miss_no_message_that_is_there(
        limit in 1..=150_usize,
        ahead_ms in -SKEW_MS_MAX..=SKEW_MS_MAX,
        steps in prop::collection::vec(any_step(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new(limit, ahead_ms);
            for step in &steps {
                world.run(step).await?;
            }
            world.forget().await
        })?;
    }
}

/// Number of random sequences.
fn cases() -> u32 {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    cases.unwrap_or(48)
}
