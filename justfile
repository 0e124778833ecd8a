# The commands that developers type. `just` lists them; https://just.systems is the program. Each is one line of cargo or a
# script, so nothing here is needed.

export CARGO_INCREMENTAL := "1"

# List the commands.
default:
    @just --list --unsorted

# Start every part on this machine.
up *flags:
    cargo run -- up {{ flags }}

# Run one suite of tests/, or one test of it: `just test promotion NAME`.
test suite *name:
    cargo test --workspace --test {{ suite }} -- --nocapture {{ name }}

# Run unit tests, of one room if named: `just unit trainers::`.
unit *name:
    cargo test --workspace --lib {{ name }}

# Run all tests.
test-all:
    cargo test --workspace

# Format, then look for warnings in code and documentation.
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

# Train and judge a trainer on a file, without a server: `just judge FILE linear_svc`.
judge file trainer="stacked":
    cargo run -- experiment --train {{ file }} --cv 5 --trainer {{ trainer }}

# Take over a changed API description into the snapshot.
snapshot:
    UPDATE_SNAPSHOTS=1 cargo test --workspace --test service the_openapi

# Fuzz the artifact decoder.
fuzz seconds="30":
    model/fuzz/run {{ seconds }}

# Build the book (`cargo install mdbook`) into target/book.
book:
    mdbook build docs

# Everything that must hold before a change lands.
ci:
    .ci/run
