//! The one binary.

fn main() -> std::process::ExitCode {
    threatwatch::main()
}
