#!/bin/bash
# Installs the servers that tests run against and that pip has not: MariaDB and MySQL. What is there already
# is left alone, no service is started, and a second run takes a moment.
#
#   MariaDB  from the distribution, by apt; needs root.
#   MySQL    from Debian sid, because Debian's releases have none: fetched and verified by apt with lists of
#            its own, then unpacked with every library it needs into the cache; needs no root. The cache is
#            $XDG_CACHE_HOME/liberator, else /var/cache/liberator for root and ~/.cache/liberator for others.
set -euo pipefail

say() { echo "tests/servers.sh: $*" >&2; }
die() { say "$*"; exit 1; }

if [ -n "${XDG_CACHE_HOME:-}" ]; then cache=$XDG_CACHE_HOME/liberator
elif [ "$EUID" = 0 ]; then cache=/var/cache/liberator
else cache=$HOME/.cache/liberator
fi
PATH=$PATH:/usr/sbin

mariadb() {
    local program
    for program in ${LIBERATOR_MARIADBD:-mariadbd mysqld}; do
        "$program" --no-defaults --version 2>/dev/null | grep -i mariadb && return
    done
    local packages=(mariadb-server-core mariadb-client-core)
    command -v apt-get >/dev/null || die "no MariaDB, and no apt-get to install it: install it yourself"
    [ "$EUID" = 0 ] || die "no MariaDB, and only root may install it: sudo apt-get install ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq install --no-install-recommends -y "${packages[@]}" >/dev/null 2>&1 || {
        apt-get -qq update
        apt-get -qq install --no-install-recommends -y "${packages[@]}" >/dev/null
    }
    mariadbd --no-defaults --version
}

mysql() {
    local program
    for program in ${LIBERATOR_MYSQLD:-mysqld /usr/local/mysql/bin/mysqld "$cache/mysql/bin/mysqld"}; do
        # what an earlier version of this script unpacked has no mysqlbinlog
        [ "$program" != "$cache/mysql/bin/mysqld" ] || [ -x "$cache/mysql/bin/mysqlbinlog" ] || continue
        "$program" --no-defaults --version 2>/dev/null | grep -iv mariadb && return
    done
    [ -z "${LIBERATOR_MYSQLD:-}" ] || die "LIBERATOR_MYSQLD=$LIBERATOR_MYSQLD is no MySQL server"
    mkdir -p "$cache"
    scratch=$(mktemp -d "$cache/mysql.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    fetch "$scratch/apt" mysql-server-core mysql-client-core
    mkdir -p "$scratch/new/root" "$scratch/new/bin"
    for package in "$scratch"/apt/archives/*.deb; do dpkg -x "$package" "$scratch/new/root"; done
    wrap "$scratch/new"
    "$scratch/new/bin/mysqld" --no-defaults --version || die "the MySQL that was unpacked does not run"
    chmod 755 "$scratch/new"
    rm -rf "$cache/mysql"
    mv "$scratch/new" "$cache/mysql"
}

# fetch DIRECTORY PACKAGE...: the packages and all they depend on from Debian sid, into DIRECTORY/archives. The
# machine's own lists, packages and hooks take no part in it; its mirror and proxy do.
fetch() {
    local directory=$1 mirror keyring
    shift
    command -v apt-get >/dev/null || die "no MySQL, and no apt to fetch it: set LIBERATOR_MYSQLD to a mysqld"
    keyring=$(ls /usr/share/keyrings/debian-archive-keyring.{gpg,pgp} 2>/dev/null | head -n 1) || true
    [ -n "$keyring" ] || die "no MySQL, and no keyring of Debian's archive to verify one: install \
debian-archive-keyring, or set LIBERATOR_MYSQLD to a mysqld"
    # shellcheck disable=SC2016  # the format is apt's
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' | grep -E '/debian/?$' | head -n 1) || true
    mkdir -p "$directory"/{lists,archives}/partial
    : >"$directory/status"
    echo "deb [signed-by=$keyring] ${mirror:-http://deb.debian.org/debian} sid main" >"$directory/sources.list"
    cat >"$directory/apt.conf" <<CONF
Dir::State "$directory"; Dir::State::status "$directory/status"; Dir::Cache "$directory";
Dir::Etc::sourcelist "$directory/sources.list"; Dir::Etc::sourceparts "-";
Dir::Etc::preferences "-"; Dir::Etc::preferencesparts "-";
Acquire::Languages "none"; APT::Sandbox::User ""; Debug::NoLocking "true"; APT::Install-Recommends "false";
#clear APT::Update::Post-Invoke; #clear APT::Update::Post-Invoke-Success; #clear DPkg::Post-Invoke;
CONF
    quietly apt-get -c="$directory/apt.conf" -o APT::Update::Error-Mode=any update
    quietly apt-get -c="$directory/apt.conf" -y --download-only install "$@"
}

quietly() {
    local said
    said=$("$@" 2>&1) || die "$* failed: $(tail -n 3 <<<"$said")"
}

# wrap DIRECTORY: DIRECTORY/bin/mysqld runs the server below DIRECTORY/root with the libraries it came with,
# because this machine's may be older; so does DIRECTORY/bin/mysqlbinlog, which the benchmark compares with.
wrap() {
    local root=$1/root loader
    loader=$(cd "$root" && find usr/lib* -name 'ld-linux*.so.*' | head -n 1)
    [ -n "$loader" ] || die "no dynamic loader among the packages of Debian sid"
    mv "$root/usr/bin/mysqlbinlog" "$root/usr/sbin/"
    rm -rf "$root"/{etc,var,usr/bin,usr/share/{doc,man,locale,perl,lintian},usr/lib/*/perl*}
    cat >"$1/bin/mysqld" <<WRAPPER
#!/bin/sh
# --no-defaults, which must come first, is always given.
root=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")/root
[ "\$1" = --no-defaults ] && shift
exec "\$root/$loader" --inhibit-cache --library-path "\$root/$(dirname "$loader"):\$root/usr/lib/mysql/private" \\
    "\$root/usr/sbin/mysqld" --no-defaults --basedir="\$root/usr" --plugin-dir="\$root/usr/lib/mysql/plugin" \\
    --lc-messages-dir="\$root/usr/share/mysql" --character-sets-dir="\$root/usr/share/mysql/charsets" "\$@"
WRAPPER
    cat >"$1/bin/mysqlbinlog" <<WRAPPER
#!/bin/sh
root=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")/root
exec "\$root/$loader" --inhibit-cache --library-path "\$root/$(dirname "$loader"):\$root/usr/lib/mysql/private" \\
    "\$root/usr/sbin/mysqlbinlog" "\$@"
WRAPPER
    chmod 755 "$1"/bin/*
}

mariadb
mysql
