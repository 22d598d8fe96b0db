"""Names to classes through entry points: what is found, and what is said when it is not."""

from __future__ import annotations

import sys
from textwrap import dedent

import pytest

from liberator import plugins
from liberator.errors import ConfigError
from liberator.log import Log
from liberator.plugins import MissingDriver, UnknownPlugin
from liberator.sink import Sink
from liberator.source import Source
from liberator.spelling import suggest


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Installs a package of ours: its metadata as any installer writes it, and one module."""

    def install(module: str, requires: str = "", entry: str = "gadget:Gadget", group: str = "sources"):
        info = tmp_path / "acme_connectors-2.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: acme-connectors\nVersion: 2.0\n" + dedent(requires)
        )
        (info / "entry_points.txt").write_text(f"[liberator.{group}]\ngadget = {entry}\n")
        (tmp_path / "gadget.py").write_text(dedent(module))
        monkeypatch.syspath_prepend(str(tmp_path))
        plugins.installed.cache_clear()

    yield install
    plugins.installed.cache_clear()
    for name in ("gadget", "nodriver"):
        sys.modules.pop(name, None)


def test_our_own_classes_come_through_the_same_door_as_those_of_others():
    assert issubclass(plugins.log_class("embedded"), Log)
    assert issubclass(plugins.source_class("postgres-wal"), Source)
    assert issubclass(plugins.sink_class("sqlite"), Sink)


def test_a_class_of_another_package_is_found(package):
    package("class Gadget: pass")
    assert plugins.source_class("gadget").__name__ == "Gadget"
    assert "gadget" in plugins.installed("sources")


def test_looking_what_is_installed_imports_nothing(package):
    package("raise RuntimeError('imported')")
    assert plugins.installed("sources")["gadget"].value == "gadget:Gadget"
    assert "gadget" not in sys.modules


def test_a_misspelt_name_gets_a_suggestion_and_the_list(package):
    package("")
    with pytest.raises(UnknownPlugin) as caught:
        plugins.source_class("gagdet")
    installed = ", ".join(plugins.installed("sources"))
    assert str(caught.value) == f"unknown source type; did you mean 'gadget'?; installed: {installed}"
    assert caught.value.exit_code == 2


def test_a_name_that_may_be_a_secret_is_not_repeated():
    with pytest.raises(ConfigError) as caught:
        plugins.sink_class("postgresql://app:hunter2@db/shop")
    assert "hunter2" not in str(caught.value)


def test_a_missing_driver_names_the_extra_that_brings_it(package):
    package(
        "import nodriver",
        """\
        Requires-Dist: click>=8
        Requires-Dist: other>=1; extra == "other"
        Requires-Dist: nodriver[binary]>=3.2; python_version >= "3.8" and extra == "gadgets"
        Requires-Dist: acme-connectors[gadgets]; extra == "all"
        """,
    )
    with pytest.raises(MissingDriver) as caught:
        plugins.source_class("gadget")
    assert str(caught.value) == "source type 'gadget' needs nodriver, which is not installed"
    assert caught.value.hint == "pip install 'acme-connectors[gadgets]'"


def test_a_driver_whose_distribution_is_called_a_bit_differently_is_found_too(package):
    package("import nodriver", 'Requires-Dist: No-Driver_Python>=1; extra == "gadgets"\n')
    with pytest.raises(MissingDriver) as caught:
        plugins.source_class("gadget")
    assert caught.value.hint == "pip install 'acme-connectors[gadgets]'"


def test_an_extra_named_by_the_entry_point_itself_is_taken(package):
    package("import nodriver", entry="gadget:Gadget [special]")
    with pytest.raises(MissingDriver) as caught:
        plugins.source_class("gadget")
    assert caught.value.hint == "pip install 'acme-connectors[special]'"


def test_a_driver_that_no_extra_brings_is_named_itself(package):
    package("import nodriver")
    with pytest.raises(MissingDriver) as caught:
        plugins.source_class("gadget")
    assert caught.value.hint == "pip install nodriver"


def test_a_driver_that_is_there_but_cannot_load_its_library_is_missing_too(package, tmp_path):
    package("import nodriver", 'Requires-Dist: nodriver[binary]; extra == "gadgets"\n')
    (tmp_path / "nodriver.py").write_text("raise ImportError('no native library found')\n")
    with pytest.raises(MissingDriver) as caught:
        plugins.source_class("gadget")
    assert str(caught.value) == "source type 'gadget' needs nodriver, which cannot be loaded"
    assert caught.value.hint == "pip install 'acme-connectors[gadgets]'"


def test_a_package_that_lacks_its_own_module_is_incomplete(package):
    package("", entry="gadget.inner:Gadget")
    with pytest.raises(MissingDriver) as caught:
        plugins.source_class("gadget")
    assert str(caught.value).startswith("source type 'gadget' cannot be imported, its package is incomplete")
    assert caught.value.hint == "pip install --force-reinstall acme-connectors"


@pytest.mark.parametrize(
    ("word", "text"),
    [("tabels", "; did you mean 'tables'?"), ("TABLES", "; did you mean 'tables'?"), ("zzz", "")],
)
def test_a_suggestion_is_made_only_where_something_is_close(word, text):
    assert suggest(word, ["tables", "type", "url"]) == text
