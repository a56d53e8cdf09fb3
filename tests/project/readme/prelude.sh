# What root does on a server, done in a directory: $ROOT stands for /, and all other commands are
# those of the guides.
set -euo pipefail

sudo() { "$@"; }

# systemd need not run here: the real systemctl looks at the files that were installed.
systemctl() {
    case "$*" in
        "enable --now parlor") command systemctl --root="$ROOT" enable parlor ;;
        "stop parlor" | "start parlor") command systemctl --root="$ROOT" is-enabled parlor ;;
        *) echo "the test knows no systemctl $*" >&2 && return 1 ;;
    esac
}

# The configuration that the installation guide writes, once it exists.
parlor() {
    local config=$ROOT/etc/parlor/config.toml
    if [[ -f $config ]]; then
        set -- --config "$config" "$@"
    fi
    "$PARLOR" "$@"
}

# An absolute path: a bare name would be this function again.
python3() { "$PYTHON" "$@"; }
