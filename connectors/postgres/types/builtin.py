"""The types that every Postgres has, with the oids that they have everywhere.

A row of the table is oid, oid of the array type (0: none), name, and the spelling where it is not the
name. Types that cannot be a column's are left out. The mapping to logical types is here too, for what
is not listed there is ``native``. What a database adds is read by :mod:`.native`.
"""

from __future__ import annotations

from typing import Final

from liberator.schema import Kind

_TABLE: Final = """
16 1000 bool boolean
17 1001 bytea
18 1002 char "char"
19 1003 name
20 1016 int8 bigint
21 1005 int2 smallint
22 1006 int2vector
23 1007 int4 integer
24 1008 regproc
25 1009 text
26 1028 oid
27 1010 tid
28 1011 xid
29 1012 cid
30 1013 oidvector
114 199 json
142 143 xml
194 0 pg_node_tree
600 1017 point
601 1018 lseg
602 1019 path
603 1020 box
604 1027 polygon
628 629 line
650 651 cidr
700 1021 float4 real
701 1022 float8 double precision
718 719 circle
774 775 macaddr8
790 791 money
829 1040 macaddr
869 1041 inet
1033 1034 aclitem
1042 1014 bpchar
1043 1015 varchar character varying
1082 1182 date
1083 1183 time time without time zone
1114 1115 timestamp timestamp without time zone
1184 1185 timestamptz timestamp with time zone
1186 1187 interval
1266 1270 timetz time with time zone
1560 1561 bit "bit"
1562 1563 varbit bit varying
1700 1231 numeric
1790 2201 refcursor
2202 2207 regprocedure
2203 2208 regoper
2204 2209 regoperator
2205 2210 regclass
2206 2211 regtype
2950 2951 uuid
2970 2949 txid_snapshot
3220 3221 pg_lsn
3361 0 pg_ndistinct
3402 0 pg_dependencies
3614 3643 tsvector
3615 3645 tsquery
3642 3644 gtsvector
3734 3735 regconfig
3769 3770 regdictionary
3802 3807 jsonb
3904 3905 int4range
3906 3907 numrange
3908 3909 tsrange
3910 3911 tstzrange
3912 3913 daterange
3926 3927 int8range
4072 4073 jsonpath
4089 4090 regnamespace
4096 4097 regrole
4191 4192 regcollation
4451 6150 int4multirange
4532 6151 nummultirange
4533 6152 tsmultirange
4534 6153 tstzmultirange
4535 6155 datemultirange
4536 6157 int8multirange
4600 0 pg_brin_bloom_summary
4601 0 pg_brin_minmax_multi_summary
5017 0 pg_mcv_list
5038 5039 pg_snapshot
5069 271 xid8
"""

#: ``(oid, oid of the array type or 0, name, spelling)`` of each type.
BUILTIN: Final = tuple(
    (int(oid), int(array), name, spelling[0] if spelling else name)
    for oid, array, name, *spelling in (line.split(" ", 3) for line in _TABLE.strip().splitlines())
)

#: What the types of ``pg_catalog`` are to us; all others are native.
KINDS: Final = {
    "bool": Kind.BOOL,
    "int2": Kind.INT16,
    "int4": Kind.INT32,
    "int8": Kind.INT64,
    "oid": Kind.INT64,
    "xid": Kind.INT64,
    "cid": Kind.INT64,
    "xid8": Kind.UINT64,
    "float4": Kind.FLOAT32,
    "float8": Kind.FLOAT64,
    "numeric": Kind.DECIMAL,
    "text": Kind.STRING,
    "varchar": Kind.STRING,
    "bpchar": Kind.STRING,
    "name": Kind.STRING,
    "char": Kind.STRING,
    "bytea": Kind.BYTES,
    "date": Kind.DATE,
    "time": Kind.TIME,
    "timestamp": Kind.TIMESTAMP,
    "timestamptz": Kind.TIMESTAMPTZ,
    "interval": Kind.INTERVAL,
    "uuid": Kind.UUID,
    "json": Kind.JSON,
    "jsonb": Kind.JSON,
    "bit": Kind.BITS,
    "varbit": Kind.BITS,
}

#: The same for types that extensions bring, in whichever schema they are.
EXTENSION_KINDS: Final = {
    "citext": Kind.STRING,
    "geometry": Kind.GEOMETRY,
    "geography": Kind.GEOMETRY,
}

_FIELDS: Final = {  # by the mask that an interval's modifier carries
    0x0004: " year",
    0x0002: " month",
    0x0008: " day",
    0x0400: " hour",
    0x0800: " minute",
    0x1000: " second",
    0x0006: " year to month",
    0x0408: " day to hour",
    0x0C08: " day to minute",
    0x1C08: " day to second",
    0x0C00: " hour to minute",
    0x1C00: " hour to second",
    0x1800: " minute to second",
    0x7FFF: "",
}


def numeric_parameters(typmod: int) -> tuple[int, int]:
    """Precision and scale; the scale is an 11-bit signed number since Postgres 15."""
    packed = typmod - 4
    return packed >> 16 & 0xFFFF, (packed & 0x7FF ^ 0x400) - 0x400


def spell(name: str, spelling: str, typmod: int) -> str:
    """A built-in type with its modifier, as ``format_type`` writes it."""
    if typmod < 0:
        return spelling
    match name:
        case "bpchar":
            return f"character({typmod - 4})"
        case "varchar":
            return f"{spelling}({typmod - 4})"
        case "numeric":
            precision, scale = numeric_parameters(typmod)
            return f"numeric({precision},{scale})"
        case "bit" | "varbit":
            return spelling.replace('"', "") + f"({typmod})"
        case "time" | "timetz" | "timestamp" | "timestamptz":
            first, _, rest = spelling.partition(" ")
            return f"{first}({typmod}) {rest}"
        case "interval":
            fields, precision = _FIELDS[typmod >> 16 & 0x7FFF], typmod & 0xFFFF
            return f"interval{fields}" + ("" if precision == 0xFFFF else f"({precision})")
        case _:
            return spelling
