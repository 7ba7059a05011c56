//! The limit of open files of this process. A connection counts as an open file.

/// Open files besides connections: those of the store, the listeners and the runtime.
const BESIDE_CONNECTIONS: usize = 256;

/// The limit, if it is too low for this many connections. `None` also on systems other than Linux, where it is unknown.
pub fn too_few(connections: usize) -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    soft_limit(&limits).filter(|limit| *limit < connections.saturating_add(BESIDE_CONNECTIONS))
}

/// The soft limit in the text of `/proc/self/limits`, or `None` if there is no limit.
fn soft_limit(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_read() {
        let limits = |soft: &str| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max processes             31744                31744                processes \n\
                 Max open files            {soft:20} 524288               files     \n"
            )
        };
        assert_eq!(soft_limit(&limits("1024")), Some(1024));
        assert_eq!(soft_limit(&limits("unlimited")), None);
        assert_eq!(soft_limit(""), None);
    }
}
