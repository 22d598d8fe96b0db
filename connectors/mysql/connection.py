"""Connections to MySQL and MariaDB: URLs, TLS, session settings, error translation.

Every connection of ours has the same session settings, because the type functions rely on them: a timestamp
is told in UTC and text in utf8mb4, whatever the server's own settings are. Which of the two kinds of server
answers is seen from its greeting (:class:`Server`). What is asked over a connection is not here.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import pymysql
from pymysql import connections

from liberator.errors import ConfigError, LiberatorError, SourceError

#: What the type functions expect of a session. A query that a server's own limit would end is the reader's
#: to end; ``sql_mode`` decides how identifiers and strings are read. A new session is told by MySQL that it
#: commits by itself, whatever the setting is.
SESSION: Final = {
    "autocommit": "1",
    "time_zone": "'+00:00'",
    "sql_mode": "'NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO'",
    "lock_wait_timeout": "5",
    "net_read_timeout": "600",
    "net_write_timeout": "600",
    "wait_timeout": "28800",
}
#: Per kind of server: the limit on a query's duration, and what limits a result's rows.
_OWN: Final = {
    "mysql": {"max_execution_time": "0", "sql_select_limit": "18446744073709551615"},
    "mariadb": {"max_statement_time": "0", "sql_select_limit": "18446744073709551615"},
}
#: A key that MySQL made by itself is in the binlog, whatever its catalog shows: from this version on.
_MADE_KEYS: Final = ((8, 0, 30), {"show_gipk_in_create_table_and_information_schema": "1"})

#: Errors after which trying again can help: the server is going or gone, the connection is lost, too many
#: connections, a lock not available, a deadlock, a query ended from outside or by its time limit.
RETRYABLE: Final = frozenset(
    (
        1040, 1041, 1053, 1077, 1129, 1152, 1153, 1158, 1159, 1160, 1161, 1184, 1203, 1205, 1206, 1213, 1226,
        1290, 1317, 1412, 1836, 1927, 2002, 2003, 2005, 2006, 2012, 2013, 2014, 2055, 3024, 3058, 3572, 4031,
        1969,
    )
)  # fmt: skip
#: Errors whose text names objects, accounts and settings only. The text of all others may quote a value.
_TELLING: Final = RETRYABLE | frozenset(
    (
        1044, 1045, 1046, 1049, 1051, 1054, 1064, 1072, 1091, 1109, 1130, 1142, 1143, 1144, 1145, 1146, 1193,
        1227, 1231, 1235, 1236, 1251, 1295, 1356, 1370, 1381, 1410, 1593, 1698, 1820, 1862, 1872, 2026, 2049,
        2059, 2061, 3118, 3159, 3955, 4151,
    )
)  # fmt: skip

Connection = connections.Connection

_SSL_MODES: Final = ("disabled", "preferred", "required", "verify-ca", "verify-identity")
_PARAMETERS: Final = ("ssl-mode", "ssl-ca", "ssl-cert", "ssl-key", "unix-socket", "connect-timeout")
_FORM: Final = "write mysql://user@host:3306/database"


@dataclass(frozen=True, slots=True)
class Server:
    """Which kind of server it is: ``flavour`` is mysql or mariadb, ``version`` as a tuple of numbers."""

    flavour: str
    version: tuple[int, ...]

    @classmethod
    def of(cls, conn: Connection[Any]) -> Server:
        """As the server greeted this connection."""
        text = str(conn.get_server_info())  # type: ignore[no-untyped-call]
        # MariaDB 10 put a version that old replicas of MySQL understand before its own.
        maria = "mariadb" in text.lower()
        numbers = text.removeprefix("5.5.5-").partition("-")[0] if maria else text.partition("-")[0]
        return cls(
            "mariadb" if maria else "mysql", tuple(int(n) if n.isdigit() else 0 for n in numbers.split("."))
        )

    @property
    def mariadb(self) -> bool:
        """Whether it is MariaDB."""
        return self.flavour == "mariadb"

    def __str__(self) -> str:
        name = "MariaDB" if self.mariadb else "MySQL"
        return f"{name} {'.'.join(map(str, self.version))}"


def arguments(url: str) -> dict[str, Any]:
    """``url`` as arguments of ``pymysql.connect``. Raises ConfigError, never repeating the URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise ConfigError("the url is not a connection URL", hint=_FORM) from exc.with_traceback(
            None
        ).__cause__
    if parts.scheme not in ("mysql", "mariadb"):
        raise ConfigError("the url is not one of mysql:// or mariadb://", hint=_FORM)
    params = dict(parse_qsl(parts.query))
    unknown = sorted(set(params) - set(_PARAMETERS))
    if unknown:
        raise ConfigError(
            f"the url has an unknown parameter {unknown[0]}", hint=f"known are {', '.join(_PARAMETERS)}"
        )
    out: dict[str, Any] = {
        "host": unquote(parts.hostname or "localhost"),
        "port": port or 3306,
        "user": unquote(parts.username) if parts.username else "root",
        "password": unquote(parts.password or "").encode(),
        "connect_timeout": float(params.get("connect-timeout", 10)),
    }
    if database := unquote(parts.path.removeprefix("/")):
        out["database"] = database
    if "unix-socket" in params:
        out["unix_socket"] = params["unix-socket"]
    return out | _tls(params)


def _tls(params: dict[str, str]) -> dict[str, Any]:
    """What the URL says of TLS. ``preferred``, as the servers' own clients have it, checks nothing."""
    mode = _mode(params)
    if mode not in _SSL_MODES:
        raise ConfigError(f"the url has an unknown ssl-mode {mode}", hint=f"one of {', '.join(_SSL_MODES)}")
    if mode == "disabled":
        return {"ssl_disabled": True}
    verified = mode in ("verify-ca", "verify-identity")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = mode == "verify-identity"
        context.verify_mode = ssl.CERT_REQUIRED if verified else ssl.CERT_NONE
        if "ssl-ca" in params:
            context.load_verify_locations(params["ssl-ca"])
        elif verified:
            context.load_default_certs()
        if "ssl-cert" in params:
            context.load_cert_chain(params["ssl-cert"], params.get("ssl-key"))
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"the url's certificate files cannot be used: {exc}") from exc
    return {"ssl": context}


def _mode(params: dict[str, str]) -> str:
    return params.get("ssl-mode", "verify-ca" if "ssl-ca" in params else "preferred")


def connect(url: str, application: str = "liberator", **more: Any) -> Connection[Any]:
    """An autocommit connection with our session settings. ``more`` goes to the driver.

    Raises a retryable SourceError if the server cannot be reached.
    """
    given = arguments(url)
    with translate("connect to the server"):
        conn = _open({**given, "program_name": application, **more}, _is_preferred(url))
        try:
            settings = ", ".join(f"@@session.{k} = {v}" for k, v in _settings(Server.of(conn)).items())
            with conn.cursor() as cursor:
                cursor.execute(f"set {settings}")
        except BaseException:
            conn.close()
            raise
    return conn


def _settings(server: Server) -> dict[str, str]:
    since, made = _MADE_KEYS
    known = {} if server.mariadb or server.version < since else made
    return {**SESSION, **_OWN[server.flavour], **known}


def _is_preferred(url: str) -> bool:
    """Whether a connection without TLS will do where the server has none."""
    return _mode(dict(parse_qsl(urlsplit(url).query))) == "preferred"


def _open(given: dict[str, Any], preferred: bool) -> Connection[Any]:
    fixed = {"charset": "utf8mb4", "autocommit": True, "local_infile": False}
    try:
        return pymysql.connect(**{**given, **fixed})
    except pymysql.err.OperationalError as exc:
        if not preferred or "ssl" not in str(exc).lower():
            raise
        plain = {k: v for k, v in given.items() if k != "ssl"}
        return pymysql.connect(**{**plain, **fixed, "ssl_disabled": True})


@contextmanager
def translate(action: str, error: type[LiberatorError] = SourceError) -> Iterator[None]:
    """Turn the driver's errors into ours: ``action`` says what was attempted, in the infinitive."""
    try:
        yield
    except (pymysql.MySQLError, OSError) as exc:
        raise error(f"cannot {action}: {reason(exc)}", retryable=is_retryable(exc)) from exc


def code(exc: BaseException) -> int:
    """The server's or client's number of an error; 0 if it has none."""
    first = exc.args[0] if exc.args else None
    return first if isinstance(first, int) and isinstance(exc, pymysql.MySQLError) else 0


def is_retryable(exc: BaseException) -> bool:
    """Whether the same attempt can succeed later. What the driver raises without a number is a broken
    connection."""
    if isinstance(exc, (OSError, pymysql.err.InterfaceError)):
        return True
    number = code(exc)
    return number in RETRYABLE or (number == 0 and isinstance(exc, pymysql.err.OperationalError))


def reason(exc: BaseException) -> str:
    """The cause in one line, without values: of an error that could quote one, only the number is told."""
    number = code(exc)
    if isinstance(exc, pymysql.MySQLError) and number and number not in _TELLING:
        return f"{type(exc).__name__} (error {number})"
    if isinstance(exc, pymysql.MySQLError) and number:
        text = " ".join(str(exc.args[1] if len(exc.args) > 1 else "").split())
        if number == 1064:
            text = text.partition(" near ")[0]
        return f"{text} (error {number})"
    return " ".join(str(exc).split()) or type(exc).__name__


def query(conn: Connection[Any], sql: str, params: Sequence[Any] | dict[str, Any] | None = None) -> list[Any]:
    """All rows of a statement, as tuples. Raises the driver's errors."""
    with conn.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def quote(*names: str) -> str:
    """An identifier, always quoted: ``quote("shop", "orders")`` is ```shop`.`orders```."""
    return ".".join("`" + name.replace("`", "``") + "`" for name in names)


def literal(text: str) -> str:
    """``text`` as a string literal of our sessions, in which a backslash is nothing special."""
    return "'" + text.replace("'", "''") + "'"
