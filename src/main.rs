//! The `parlor` binary; everything is in the library.

fn main() -> std::process::ExitCode {
    parlor::cli::main()
}
