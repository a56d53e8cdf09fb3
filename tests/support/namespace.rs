//! Linux namespaces for a test: its own network (with `lo` alone), mounts and processes. Tests cannot
//! see each other's ports, and nothing is left behind.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

/// Set in a process that runs in such namespaces.
pub(crate) const INSIDE: &str = "PARLOR_TEST_NAMESPACE";

static HAS_INTERFACE: AtomicBool = AtomicBool::new(false);

/// Adds an interface without a peer, and a default route: without a route, Firefox gathers no
/// candidates.
pub(crate) fn add_interface() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let commands = "ip link add here type veth peer name there && \
         ip address add 192.0.2.1/24 dev here && ip link set here up && ip link set there up && \
         ip route add default via 192.0.2.2";
    let added = Command::new("sh").args(["-c", commands]).status();
    assert!(added.expect("ip runs").success());
    HAS_INTERFACE.store(true, Ordering::Relaxed);
}

/// Whether this process is in a network namespace with only `lo`.
pub(crate) fn has_loopback_alone() -> bool {
    std::env::var_os(INSIDE).is_some() && !HAS_INTERFACE.load(Ordering::Relaxed)
}

/// Turns functions into tests that run in namespaces of their own.
#[allow(unused_macros)] // Not every crate that has this module uses it.
macro_rules! in_a_namespace {
    ($($(#[$doc:meta])* fn $name:ident() $body:block)+) => {$(
        $(#[$doc])*
        #[test]
        fn $name() {
            let test = $crate::support::namespace::name(module_path!(), stringify!($name));
            if !$crate::support::namespace::ran_in_namespace(&test) $body
        }
    )+};
}
#[allow(unused_imports)]
pub(crate) use in_a_namespace;

/// The test runner's name of a test in this module: its path without the crate.
pub(crate) fn name(module: &str, test: &str) -> String {
    match module.split_once("::") {
        Some((_, module)) => format!("{module}::{test}"),
        None => test.to_owned(),
    }
}

/// Runs this test again in new namespaces and returns `true`. Returns `false` inside them, or where the kernel
/// grants no namespaces; the caller then runs the test itself.
pub(crate) fn ran_in_namespace(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    if !namespaces_work() {
        eprintln!("{test}: no namespaces here, so it runs on the plain loopback");
        return false;
    }
    let folder = TempDir::new().expect("a folder for the box");
    let this = std::env::current_exe().expect("the path of this test");
    let output = unshare(&folder)
        .arg(this)
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare runs");
    let text = String::from_utf8_lossy(&output.stdout);
    // A misspelt name would run no test at all, and succeed.
    let passed = output.status.success() && text.contains("1 passed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(passed, "{test} failed in its namespaces:\n{text}\n{errors}");
    print!("{text}"); // its measurements, shown with --nocapture
    true
}

/// Whether this process lives in a mount namespace of its own, and so may mount. If not, the test `name` has been run
/// in one; or there are none here, and the test is left out.
pub(crate) fn may_mount(name: &str) -> bool {
    let here = !ran_in_namespace(name);
    let boxed = std::env::var_os(INSIDE).is_some();
    if here && !boxed {
        eprintln!("{name}: left out, since it mounts");
    }
    here && boxed
}

pub(crate) fn mount(args: &[&str]) {
    let status = Command::new("mount").args(args).status();
    assert!(status.expect("mount runs").success(), "{args:?}");
}

/// The command prefix that creates the namespaces: only `lo` is up, and temporary files are in memory that
/// vanishes with them.
fn unshare(folder: &TempDir) -> Command {
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child"]);
    command.args(["--mount-proc", "--propagation", "private", "sh", "-c"]);
    command.arg("ip link set lo up && mount -t tmpfs none \"$TMPDIR\" && exec \"$@\"");
    command.arg("box").env("TMPDIR", folder.path());
    command
}

fn namespaces_work() -> bool {
    let folder = TempDir::new().expect("a folder for the box");
    let tried = unshare(&folder).arg("true").output();
    tried.is_ok_and(|output| output.status.success())
}
