//! Python's own tests of the package.

mod support;

#[test]
fn python_keeps_what_its_readme_promises() {
    let folder = tempfile::tempdir().unwrap();
    let mut python = support::python(folder.path());
    python.args(["-m", "unittest", "discover", "-s"]).arg(support::root().join("python/tests"));
    let output = python.output().expect("Python is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("\nRan ") && !said.contains("Ran 0 "), "{said}");
}
