"""Logging in at real servers: every way of authentication, with and without TLS, and what TLS verifies."""

from __future__ import annotations

import ssl
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from connectors.mysql.connection import connect, query
from connectors.mysql.server import MySqlServer
from liberator.errors import SourceError
from tests.fix_mysql import connected

PASSWORD = "ä p@ss:w/rd'"


@pytest.fixture
def account(request, mysqls):
    """A function that makes an account with a way of authentication and gives the URL of a login."""
    made = []

    def make(identified: str) -> str:
        name = f"login_{len(made)}"
        with connected(mysqls.url()) as db:
            db.query(f"create user {name}@'%' identified {identified.format(repr_sql(PASSWORD))}")
            made.append(name)
        return f"mysql://{name}:{quote(PASSWORD, safe='')}@127.0.0.1:{urlsplit(mysqls.url()).port}"

    yield make
    with connected(mysqls.url()) as db:
        for name in made:
            db.query(f"drop user {name}@'%'")


def repr_sql(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def is_maria(server) -> bool:
    with connected(server.url()) as db:
        return "MariaDB" in query(db, "select version()")[0][0]


def ways(server) -> list[str]:
    if not is_maria(server):
        return ["with caching_sha2_password by {}"]
    with connected(server.url()) as db:
        db.query("install plugin if not exists ed25519 soname 'auth_ed25519'")
    return ["via mysql_native_password using password({})", "via ed25519 using password({})"]


def test_a_password_is_given_in_every_way_that_the_servers_know(mysqls, account):
    for identified in ways(mysqls):
        url = account(identified)
        # Twice: the first login without TLS encrypts the password, the next one finds it in a cache.
        for mode in ("disabled", "disabled", "preferred"):
            with closing(connect(f"{url}?ssl-mode={mode}")) as db:
                assert query(db, "select 1") == [(1,)]


def test_a_wrong_password_is_refused_at_once_and_not_repeated(mysqls, account):
    for identified in ways(mysqls):
        url = account(identified).replace("%40", "%41")
        with pytest.raises(SourceError, match="Access denied") as caught:
            connect(f"{url}?ssl-mode=disabled")
        assert not caught.value.retryable
        assert "ss:w" not in str(caught.value)


@pytest.fixture(scope="module")
def authority():
    """A certificate authority, and a certificate of it for ``localhost`` alone, where a server can read them
    that runs as another user."""
    with tempfile.TemporaryDirectory() as directory:
        where = Path(directory)
        certify(where)
        for path in [where, *where.iterdir()]:
            path.chmod(0o755)
        yield where


def certify(where):

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=where, check=True, capture_output=True)

    for name in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}-key.pem", "-out",
                f"{name}.pem", "-days", "2", "-subj", f"/CN={name}")  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "request.pem", "-subj",
            "/CN=localhost")  # fmt: skip
    (where / "names").write_text("subjectAltName=DNS:localhost")
    openssl("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial",
            "-out", "cert.pem", "-days", "2", "-extfile", "names")  # fmt: skip


def test_tls_verifies_what_the_url_asks_for(mysql_binary, authority):
    options = {f"ssl_{name}": str(authority / f"{name}.pem") for name in ("ca", "cert", "key")}
    with MySqlServer(mysql_binary, options=options) as server:
        port = urlsplit(server.url()).port

        def login(host, mode, ca="ca"):
            url = f"mysql://root@{host}:{port}?ssl-mode={mode}&ssl-ca={authority}/{ca}.pem"
            with closing(connect(url)) as db:
                assert isinstance(db._sock, ssl.SSLSocket)

        login("127.0.0.1", "required", "other")  # encrypted, and nothing is verified
        login("127.0.0.1", "verify-ca")
        login("localhost", "verify-identity")
        for host, mode, ca in (
            ("127.0.0.1", "verify-ca", "other"),
            ("localhost", "verify-identity", "other"),
            ("127.0.0.1", "verify-identity", "ca"),
        ):
            with pytest.raises(SourceError, match="certificate"):
                login(host, mode, ca)


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(mariadb, authority):
    url = mariadb.url()
    with closing(connect(url)) as db:
        if isinstance(db._sock, ssl.SSLSocket):
            pytest.skip("this MariaDB makes a certificate by itself")
    for asked in ("ssl-mode=required", f"ssl-ca={authority}/ca.pem"):
        with pytest.raises(SourceError, match="SSL"):
            connect(f"{url}?{asked}")
