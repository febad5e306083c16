//! Prints how fast links are against their references: `cargo run --release -p litecore-bench
//! --example links`.

use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let chip = litecore_types::chip::builtin("tiny-4").ok_or("no such chip")?;
    let folder = std::env::temp_dir().join(format!("litecore-links-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let rows = litecore_bench::link::compare(&chip, &folder, 2.0);
    std::fs::remove_dir_all(&folder)?;
    let mut out = std::io::stdout().lock();
    for row in rows? {
        let (own, reference) = (row.seconds * 1e6, row.reference_seconds * 1e6);
        writeln!(
            out,
            "{:<36} {:>8} bytes {own:>10.1} us   {:<24} {reference:>10.1} us   ratio {:.2}, fastest {:.2}",
            row.what, row.bytes, row.reference, row.speed_ratio, row.fastest_ratio
        )?;
    }
    Ok(())
}
