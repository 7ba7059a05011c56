//! The launches that need attention before their time.

use std::collections::BTreeSet;
use std::sync::Mutex;

use tokio::sync::Notify;
use uuid::Uuid;

use super::lock;

/// The launches that were woken since the last round. A launch that was woken several times is one entry, so there are
/// never more entries than launches.
#[derive(Default)]
pub struct WakeUps {
    woken: Mutex<BTreeSet<Uuid>>,
    news: Notify,
}

impl WakeUps {
    /// Asks for attention to launches.
    pub fn wake(&self, launches: impl IntoIterator<Item = Uuid>) {
        let mut launches = launches.into_iter().peekable();
        if launches.peek().is_none() {
            return;
        }
        lock(&self.woken).extend(launches);
        self.news.notify_one();
    }

    /// Takes the launches that were woken.
    pub fn take(&self) -> BTreeSet<Uuid> {
        std::mem::take(&mut *lock(&self.woken))
    }

    /// Gives back launches that could not be looked at. It wakes nobody: the next round in its time takes them, so that
    /// a store that is away is not asked without a pause.
    pub fn put_back(&self, launches: impl IntoIterator<Item = Uuid>) {
        lock(&self.woken).extend(launches);
    }

    /// Whether no launch is woken.
    pub fn is_empty(&self) -> bool {
        lock(&self.woken).is_empty()
    }

    /// Waits until a launch is woken, unless one was since the last wait.
    pub async fn wait(&self) {
        self.news.notified().await;
    }
}
