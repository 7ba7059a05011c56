//! How many files this process may have open; a connection is one of them.

/// Files that are open beside connections: the store's, the listeners and what the runtime needs.
const BESIDE_CONNECTIONS: usize = 256;

/// The limit, where it is too low for so many connections. Known on Linux only.
pub fn too_few(connections: usize) -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    soft_limit(&limits).filter(|limit| *limit < connections.saturating_add(BESIDE_CONNECTIONS))
}

/// The soft limit among the lines of `/proc/self/limits`; none where there is no limit.
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
