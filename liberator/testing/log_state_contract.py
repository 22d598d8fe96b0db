"""The part of the log's contract that is not about records: states, claims, schemas, signals, status."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from liberator.errors import LogError, SchemaError
from liberator.event import Position
from liberator.log import Log
from liberator.testing.log_records import NOTHING, LogBase, joined, numbers, read_all, records, state


class StateContract(LogBase):
    """A source's state is stored with its records, and one process works for it."""

    def test_the_state_is_what_the_last_append_stored(self, log: Log, opened: Callable[[], Log]) -> None:
        assert log.state("shop") is None
        first = state(
            1, identity={"server": "x"}, snapshot={"tables": [1, None, {"ü": 1.5}]}, schemas={"t": "a" * 99}
        )
        log.append("shop", records(1), first)
        assert log.state("shop") == opened().state("shop") == first
        second = replace(first, position=Position(2, 2**63 - 1, 7), snapshot={})
        log.append("shop", NOTHING, second)
        assert log.state("shop") == opened().state("shop") == second
        assert isinstance(log.state("shop").position, Position)  # type: ignore[union-attr]

    def test_every_part_of_a_state_can_change_alone(self, log: Log, opened: Callable[[], Log]) -> None:
        now = state(1, identity={"a": 1}, snapshot={"a": 1}, schemas={"a": 1})
        log.append("shop", records(1), now)
        for number, part in enumerate(("identity", "snapshot", "schemas"), 2):
            now = replace(now, position=Position(1, number), **{part: {"a": number}})
            log.append("shop", records(number), now)
            assert opened().state("shop") == now

    def test_a_state_survives_a_change_of_hands(self, opened: Callable[[], Log]) -> None:
        first, second = opened(), opened()
        old = state(1, snapshot={"at": 1})
        first.append("shop", records(1), old)
        stale = second.state("shop")
        assert stale == old
        first.append("shop", records(2), state(2, snapshot={"at": 2}))
        first.close()
        second.append("shop", records(3), stale)
        assert opened().state("shop") == old

    def test_each_source_has_its_own_state(self, log: Log) -> None:
        log.append("b", records(1), state(1))
        log.append("a", NOTHING, state(2))
        assert log.sources() == ["a", "b"]
        assert (log.state("a"), log.state("b"), log.state("c")) == (state(2), state(1), None)

    def test_a_source_can_be_forgotten(self, log: Log, opened: Callable[[], Log]) -> None:
        log.append("a", records(1), state(1, schemas={"t": 1}))
        log.append("b", records(2), state(2))
        with pytest.raises(LogError) as refused:
            opened().forget("a")
        assert refused.value.retryable
        log.forget("a")
        log.forget("never there")
        assert opened().state("a") is None
        assert opened().sources() == ["b"]
        assert sorted(numbers(joined(read_all(log)))) == [1, 2]
        log.append("a", records(3), state(3))
        assert opened().state("a") == state(3)

    def test_an_empty_append_leaves_the_records_alone(self, log: Log) -> None:
        log.append("shop", records(1), state(1))
        end = log.end()
        log.append("shop", NOTHING, state(2))
        assert log.end() == end
        assert log.state("shop") == state(2)

    def test_only_one_instance_at_a_time_works_for_a_name(self, opened: Callable[[], Log]) -> None:
        first, second = opened(), opened()
        first.claim("sink:replica")
        first.claim("sink:replica")
        second.claim("sink:other")
        with pytest.raises(LogError, match="replica") as refused:
            second.claim("sink:replica")
        assert refused.value.retryable
        first.close()
        second.claim("sink:replica")

    def test_a_second_writer_of_a_source_is_refused_and_changes_nothing(
        self, opened: Callable[[], Log]
    ) -> None:
        first, second = opened(), opened()
        first.append("shop", records(1), state(1))
        with pytest.raises(LogError) as refused:
            second.append("shop", records(2), state(2))
        assert refused.value.retryable
        assert numbers(joined(read_all(second))) == [1]
        assert second.state("shop") == state(1)

    def test_several_writers_append_at_the_same_time(self, log: Log) -> None:
        def write(source: str) -> None:
            with self.make() as mine:
                for n in range(0, 200, 2):
                    mine.append(source, records(n, n + 1, topic=source), state(n))

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(write, ["a", "b", "c"]))
        found = [r for part in read_all(log) for r in part.records]
        assert len({(r.partition, r.offset) for r in found}) == 600
        for source in ("a", "b", "c"):
            of_source = [int((r.value or b"")[1:]) for r in found if r.topic == source]
            assert (of_source if log.ordered else sorted(of_source)) == list(range(200))
            assert log.state(source) == state(198)


class BesideContract(LogBase):
    """What a log keeps besides records: schemas, signals, status."""

    def test_schemas_are_numbered_as_registries_do(self, log: Log, opened: Callable[[], Log]) -> None:
        registry = log.registry
        first = registry.register("a-value", '{"type": "int"}', "AVRO")
        second = registry.register("a-value", '{"type": "long"}', "AVRO")
        elsewhere = registry.register("b-value", '{"type": "int"}', "AVRO")
        assert (first.version, second.version, elsewhere.version) == (1, 2, 1)
        assert first.id == elsewhere.id != second.id
        assert registry.register("a-value", '{"type": "int"}', "AVRO") == first
        assert registry.register("a-value", '{"type": "int"}', "JSON").id not in (first.id, second.id)
        other = opened().registry
        assert other.get(first.id) == first
        assert other.get(second.id) == second
        assert other.subjects() == ["a-value", "b-value"]
        assert [s.version for s in other.versions("a-value")] == [1, 2, 3]
        assert other.versions("b-value") == [elsewhere]
        assert other.versions("c-value") == []

    def test_an_unknown_schema_is_an_error(self, log: Log) -> None:
        with pytest.raises(SchemaError):
            log.registry.get(4711)

    def test_a_reader_finds_schemas_that_came_later(self, log: Log, opened: Callable[[], Log]) -> None:
        reader = opened()
        with pytest.raises(SchemaError):
            reader.registry.get(1)
        made = log.registry.register("a", "text", "JSON")
        assert reader.registry.get(made.id) == made
        assert reader.registry.register("a", "text", "JSON") == made

    def test_schemas_registered_at_the_same_time_get_the_same_number(self, log: Log) -> None:
        texts = [f"text {n}" for n in range(30)]

        def register(_: int) -> list[tuple[int, int]]:
            with self.make() as mine:
                made = [mine.registry.register("subject", text, "JSON") for text in texts]
                return [(schema.id, schema.version) for schema in made]

        with ThreadPoolExecutor(3) as pool:
            first, *others = pool.map(register, range(3))
        assert others == [first, first]
        assert sorted(version for _, version in first) == list(range(1, 31))
        assert len(log.registry.versions("subject")) == 30

    def test_signals_are_found_once_each_and_in_order(self, log: Log, opened: Callable[[], Log]) -> None:
        other = opened()
        assert log.signals("shop", 0) == []
        first = other.post("shop", {"tables": ["public.orders"]})
        other.post("else", {})
        second = other.post("shop", {"tables": []})
        assert second > first
        assert [(s.id, s.source, s.body) for s in log.signals("shop", 0)] == [
            (first, "shop", {"tables": ["public.orders"]}),
            (second, "shop", {"tables": []}),
        ]
        assert [s.id for s in log.signals("shop", first)] == [second]
        assert log.signals("shop", second) == []

    def test_the_latest_status_of_each_worker_is_shown(self, log: Log, opened: Callable[[], Log]) -> None:
        log.put_status("source:shop", {"phase": "snapshot", "rate": 1.5})
        log.put_status("source:shop", {"phase": "streaming", "error": None})
        log.put_status("sink:ü/../x" + "y" * 300, {"lag": 0})
        assert opened().statuses() == {
            "source:shop": {"phase": "streaming", "error": None},
            "sink:ü/../x" + "y" * 300: {"lag": 0},
        }

    def test_upkeep_comes_to_an_end_and_leaves_what_should_stay(self, log: Log) -> None:
        log.append("shop", records(1, 2, 3), state(1))
        for _ in range(100):
            if not log.upkeep():
                break
        else:
            pytest.fail("there was always more to do")
        assert sorted(numbers(joined(read_all(log)))) == [1, 2, 3]

    def test_closing_twice_is_fine(self, opened: Callable[[], Log]) -> None:
        with opened() as log:
            log.append("shop", records(1), state(1))
        log.close()
        assert opened().state("shop") == state(1)
