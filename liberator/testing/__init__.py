"""For those who write connectors: suites that a source or a sink must pass, and what tests are made of.

* :mod:`~liberator.testing.source_contract`, :mod:`~liberator.testing.sink_contract` and the suites for logs
  beside them: subclass one, say how to make yours, run pytest.
* :mod:`~liberator.testing.events`: tables, changes and transactions in few words.
* :mod:`~liberator.testing.memory`: a source that plays a script, a sink in memory; read them as examples.
* :mod:`~liberator.testing.faults`: let any call fail before or after it took effect.

The suites need pytest; nothing here is imported by a run.
"""
