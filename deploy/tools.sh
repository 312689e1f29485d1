#!/usr/bin/env bash
# Installs what a fresh machine lacks, or says in one line what to install where it may not.
# Usage: deploy/tools.sh base|node|chromium|wasm|fuzz|deny|moto|aioquic|prometheus|musl …
set -euo pipefail

may_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

install() { # Debian packages
    if ! may_install; then
        echo "please install: $* (as root on Debian: apt-get install -y $*)" >&2
        exit 1
    fi
    echo "installing $*" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq "$@" >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq "$@" >/dev/null; }
}

need() { # command, Debian package
    command -v "$1" >/dev/null || install "$2"
}

newer() { # a version, the oldest that will do
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

version() { # of a command: the first thing that looks like one
    "$1" --version 2>/dev/null | grep -oE '[0-9]+(\.[0-9]+)+' | head -n 1
}

python_tool() { # a name, what to install: an environment of its own. Prints where it is
    cd "$(dirname "$0")/.."
    venv="${CARGO_TARGET_DIR:-$PWD/target}/tools/$1"
    if ! [ -e "$venv/installed" ]; then
        command -v python3 >/dev/null || install python3
        python3 -m venv "$venv" >/dev/null 2>&1 || { install python3-venv && python3 -m venv "$venv"; }
        echo "installing $2" >&2
        "$venv/bin/pip" install --quiet --disable-pip-version-check "$2" >&2
        touch "$venv/installed"
    fi
    echo "$venv"
}

for tool in "$@"; do
    case "$tool" in
    base)
        rust=$(version rustc || true)
        newer "${rust:-0}" 1.95 && command -v cargo >/dev/null || {
            echo "please install Rust 1.95 or newer (https://rustup.rs); found: ${rust:-none}" >&2
            exit 1
        }
        need cc gcc
        "$0" node
        ;;
    node)
        node=$(version node || true)
        newer "${node:-0}" 20.19 && command -v npm >/dev/null || {
            npm=$(version npm || true)
            echo "please install Node.js 20.19 or newer with npm (https://nodejs.org); found: Node.js ${node:-none}, npm ${npm:-none}" >&2
            exit 1
        }
        ;;
    chromium) command -v chromium >/dev/null || command -v google-chrome >/dev/null || install chromium ;;
    wasm)
        # Rust for browsers.
        [ -d "$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown" ] || {
            command -v rustup >/dev/null || {
                echo "please install Rust's target wasm32-unknown-unknown" >&2
                exit 1
            }
            echo "installing Rust's target wasm32-unknown-unknown" >&2
            rustup --quiet target add wasm32-unknown-unknown
        }
        ;;
    fuzz)
        cd "$(dirname "$0")/.."
        cargo +nightly --version >/dev/null 2>&1 || {
            echo "please install a nightly Rust (rustup toolchain install nightly)" >&2
            exit 1
        }
        tools="${CARGO_TARGET_DIR:-$PWD/target}/tools"
        [ -x "$tools/bin/cargo-fuzz" ] || {
            echo "installing cargo-fuzz" >&2
            cargo install cargo-fuzz --locked --quiet --root "$tools"
        }
        ;;
    deny)
        command -v cargo-deny >/dev/null || {
            echo "installing cargo-deny" >&2
            cargo install cargo-deny --locked --quiet
        }
        # The advisory database needs the network beyond the package registry: where it cannot be
        # fetched, licences, bans and sources are still checked, and that is said.
        cargo deny --log-level error check licenses bans sources
        cargo deny --log-level error check advisories ||
            if cargo deny --log-level error fetch >/dev/null 2>&1; then exit 1; else
                echo "deny: the advisory database cannot be fetched here; advisories were NOT checked" >&2
            fi
        ;;
    moto)
        # A real S3 server for the archive's test. Prints where it is.
        venv=$(python_tool moto 'moto[server,s3]==5.1.*')
        echo "$venv/bin/moto_server"
        ;;
    aioquic)
        # An independent WebTransport client. Prints the Python that has it.
        venv=$(python_tool aioquic 'aioquic==1.7.2')
        echo "$venv/bin/python"
        ;;
    prometheus)
        # Prometheus and promtool, without the service that Debian starts: tests start their own. Prints a Python
        # that reads YAML.
        command -v prometheus >/dev/null && command -v promtool >/dev/null || {
            policy=/usr/sbin/policy-rc.d
            may_install && ! [ -e "$policy" ] && {
                printf '#!/bin/sh\nexit 101\n' >"$policy"
                chmod +x "$policy"
                trap 'rm -f "$policy"' EXIT
            }
            install --no-install-recommends prometheus
            systemctl disable --quiet prometheus 2>/dev/null || true
        }
        need systemd-analyze systemd
        python=$(command -v python3 || true)
        "${python:-false}" -c 'import yaml' 2>/dev/null || {
            install python3 python3-yaml
            python=/usr/bin/python3
        }
        echo "$python"
        ;;
    musl)
        # Rust for static binaries. Prints the target's name.
        target=$(uname -m)-unknown-linux-musl
        need musl-gcc musl-tools
        [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || {
            command -v rustup >/dev/null || {
                echo "please install Rust's target $target" >&2
                exit 1
            }
            echo "installing Rust's target $target" >&2
            rustup --quiet target add "$target"
        }
        echo "$target"
        ;;
    *)
        echo "tools.sh: unknown tool $tool" >&2
        exit 2
        ;;
    esac
done
