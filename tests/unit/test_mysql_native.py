"""How MySQL's and MariaDB's types are spelled, and the columns that catalog and results describe."""

from __future__ import annotations

import struct

import pytest

from connectors.mysql.catalog import Chosen
from connectors.mysql.native import NativeType, TypeOptions
from connectors.mysql.result import from_result, parse_column_definition
from connectors.mysql.types import CatalogColumn, from_catalog
from liberator.errors import DecodeError, SchemaError
from liberator.schema import Kind, LogicalType

#: As a catalog spells it, its character set there, and as we do.
SPELLINGS = [
    ("int(11)", None, "int"),
    ("int(10) unsigned zerofill", None, "int unsigned"),
    ("tinyint(1)", None, "tinyint(1)"),
    ("tinyint(4)", None, "tinyint"),
    ("decimal(12,2) unsigned", None, "decimal(12,2) unsigned"),
    ("double(10,3)", None, "double(10,3)"),
    ("varchar(20)", "utf8mb4", "varchar(20)"),
    ("varchar(20)", "utf8", "varchar(20) character set utf8mb3"),
    ("char(3)", "latin1", "char(3) character set latin1"),
    ("varchar(9) /*M!100301 COMPRESSED*/", "latin1", "varchar(9) compressed character set latin1"),
    ("datetime(6)", None, "datetime(6)"),
    ("timestamp", None, "timestamp"),
    ("bit(8)", None, "bit(8)"),
    ("year(4)", None, "year"),
    ("enum('a','it''s','(x)')", "utf8mb4", "enum('a','it''s','(x)')"),
    ("set('x\\\\y','z\\n')", "latin1", "set('x\\\\y','z\\n') character set latin1"),
    ("geomcollection", None, "geometrycollection"),
    ("vector(3)", None, "vector(3)"),
    ("uuid", None, "uuid"),
]


@pytest.mark.parametrize(("catalog", "charset", "ours"), SPELLINGS)
def test_a_type_is_spelled_in_one_way_that_is_read_back(catalog: str, charset: str | None, ours: str) -> None:
    native = NativeType.parse(catalog, charset)
    assert str(native) == ours
    assert NativeType.parse(ours) == native


@pytest.mark.parametrize("native", ["sometype(3)", "point2", "???", ""])
def test_an_unknown_type_is_refused_by_name(native: str) -> None:
    with pytest.raises(SchemaError):
        from_catalog([CatalogColumn("c", native)])


def test_labels_are_those_between_the_quotes() -> None:
    native = NativeType.parse("enum('a','it''s','b\\\\c','','d,e','(f)')")
    assert native.labels == ("a", "it's", "b\\c", "", "d,e", "(f)")
    assert native.logical() == LogicalType(Kind.ENUM, values=native.labels)


def test_the_catalog_tells_defaults_as_sql_and_what_is_generated() -> None:
    rows = [
        CatalogColumn("a", "int", default="5"),
        CatalogColumn("b", "varchar(9)", "utf8mb4", default="it's"),
        CatalogColumn("c", "datetime", default="CURRENT_TIMESTAMP", extra="DEFAULT_GENERATED on update"),
        CatalogColumn("d", "int", extra="VIRTUAL GENERATED"),
        CatalogColumn("e", "varchar(9)", "utf8mb4", default="'x'", sql_default=True),
        CatalogColumn("f", "int", default="NULL", sql_default=True),
        CatalogColumn("g", "bit(3)", default="b'101'"),
    ]
    columns = from_catalog(rows)
    assert [c.default for c in columns] == ["5", "'it''s'", "CURRENT_TIMESTAMP", None, "'x'", None, "b'101'"]
    assert [c.generated for c in columns] == [False, False, False, True, False, False, False]


def test_dates_are_nullable_where_zero_dates_become_null() -> None:
    row = CatalogColumn("d", "date", nullable=False)
    assert from_catalog([row])[0].nullable
    assert not from_catalog([row], TypeOptions(zero_dates="string"))[0].nullable


def test_json_of_mariadb_and_text_of_bytes_are_what_they_hold() -> None:
    rows = [
        CatalogColumn("j", "longtext", "utf8mb4", json=True),
        CatalogColumn("b", "varchar(9)", "binary"),
        CatalogColumn("t", "tinyint(1)"),
    ]
    columns = from_catalog(rows, TypeOptions(tinyint1="bool"))
    assert [(c.type.kind, c.native) for c in columns] == [
        (Kind.JSON, "json"), (Kind.BYTES, "varbinary(9)"), (Kind.BOOL, "tinyint(1)"),
    ]  # fmt: skip


def definition(name: bytes, fixed: tuple[int, int, int, int, int], extended: bytes | None = None) -> bytes:
    texts = [b"def", b"db", b"t", b"t", name, name, *([extended] if extended is not None else [])]
    body = b"".join(bytes([len(text)]) + text for text in texts)
    return body + b"\x0c" + struct.pack("<HIBHBH", *fixed, 0)


RESULTS = [
    ((63, 20, 8, 32, 0), None, "bigint unsigned"),
    ((63, 11, 3, 1, 0), None, "int"),
    ((63, 14, 246, 0, 2), None, "decimal(12,2)"),
    ((63, 12, 246, 0, 0), None, "decimal(11,0)"),
    ((255, 80, 253, 0, 0), None, "varchar(20)"),
    ((63, 16, 254, 128, 0), None, "binary(16)"),
    ((255, 4294967295, 252, 16, 0), None, "longtext"),
    ((63, 65535, 252, 144, 0), None, "blob"),
    ((63, 26, 12, 128, 6), None, "datetime(6)"),
    ((63, 26, 12, 128, 31), None, "datetime(6)"),
    ((63, 9, 16, 32, 0), None, "bit(9)"),
    ((255, 4294967295, 245, 144, 0), None, "json"),
    ((63, 0, 6, 128, 0), None, "varchar(0)"),
    ((8, 36, 254, 0, 0), b"\x00\x04uuid", "uuid"),
]


@pytest.mark.parametrize(("fixed", "extended", "native"), RESULTS)
def test_a_result_describes_its_columns(
    fixed: tuple[int, int, int, int, int], extended: bytes | None, native: str
) -> None:
    column = from_result(parse_column_definition(definition(b"c", fixed, extended)))
    assert (column.name, column.native, column.nullable) == ("c", native, not fixed[3] & 1)


def test_a_damaged_column_definition_is_a_typed_error() -> None:
    good = definition(b"name", (63, 11, 3, 1, 0))
    for cut in range(len(good)):
        with pytest.raises(DecodeError):
            parse_column_definition(good[:cut])


def test_a_sinks_own_tables_are_captured_only_if_named_in_full_whatever_the_databases_name():
    for database in ("shop", "my.shop"):
        everything = Chosen([f"{database}.*"], [])
        assert everything(f"{database}.orders")
        assert not everything(f"{database}.liberator_cursors")
        assert not everything(f"{database}.liberator_tables")
        assert Chosen([f"{database}.liberator_cursors"], [])(f"{database}.liberator_cursors")
