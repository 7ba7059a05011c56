//! Tasks that run as long as the store is open.

use tokio::task::AbortHandle;

use crate::store::StoreError;

/// The tasks that send commits or reads.
#[derive(Default)]
pub(super) struct Workers(Vec<AbortHandle>);

impl Workers {
    /// Starts one more task. It ends when the store is dropped.
    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.push(tokio::spawn(task).abort_handle());
    }

    /// Checks that all tasks run. One that has panicked leaves its callers without an answer.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if a task has ended.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.0.iter().any(AbortHandle::is_finished) {
            return Err(StoreError::Failed(
                "a task that sends statements has stopped: restart the server".into(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_noticed() {
        let mut workers = Workers::default();
        for _ in 0..2 {
            workers.spawn(std::future::pending());
        }
        tokio::task::yield_now().await;
        assert_eq!(workers.check(), Ok(()));
        workers.spawn(async { panic!("a bug") });
        while workers.check().is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(workers.check().unwrap_err().to_string().contains("restart the server"));
    }
}
