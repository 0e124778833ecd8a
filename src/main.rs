//! The binary `threatwatch`.

fn main() -> std::process::ExitCode {
    threatwatch::main()
}
