//! The launcher alone, for tests that start containers without an agent.

fn main() {
    host::child::run_if_child();
}
