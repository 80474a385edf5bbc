//! How much a test does by day and by night.

/// How much a test does: `LIMPID_OPS` if that is set, `night` under `cargo xtask night`
/// (`LIMPID_NIGHT=1`), else `ci`.
pub fn rounds(ci: u64, night: u64) -> u64 {
    match std::env::var("LIMPID_OPS") {
        Ok(text) => text.parse().expect("LIMPID_OPS is a number"),
        Err(_) if std::env::var_os("LIMPID_NIGHT").is_some_and(|value| value == "1") => night,
        Err(_) => ci,
    }
}
