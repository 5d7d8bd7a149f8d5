//! tmp
use ollmcp::plan_file::{Catalog, read};
#[test]
fn tmp() {
    for n in [70, 200, 1000, 10_000, 100_000] {
    for open in ["[", "{a: ", "- ", "? "] {
        eprintln!("{n} {open:?}");
        let told = read(format!("name: a\nsteps: {}", open.repeat(n)).as_bytes(), &Catalog::default()).unwrap_err();
        eprintln!("   {told}");
        let told = read(format!("{}", open.repeat(n)).as_bytes(), &Catalog::default()).unwrap_err();
        eprintln!("   {told}");
    } }
}
