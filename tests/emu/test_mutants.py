"""Every fault of faults.py is noticed by what should notice it.

That the sources as they are pass is what test_emulated.py and sanitize.py say; one family of them
shows here that detectors notice nothing where nothing is.
"""

import re
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

import pytest

from tests.emu.build import CSRC, build, can_compile
from tests.emu.emulation import ORDERS
from tests.emu.faults import MUTANTS
from tests.emu.forked import ForkedTables
from tests.emu.mutants import DETECTORS, variant
from tests.emu.table import run_table, table_words

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_compile(), reason="no C++ compiler to emulate CUDA with"),
]
WORKERS = 2
CLEAN = [("sigmoid_focal_loss", detector) for detector in DETECTORS]


def report(family, detector, csrc, tables, file):
    """What a detector printed about the sources in a folder, and whether it was content."""
    how = variant(family, detector)
    library = build(how, csrc)
    if how.sanitizer is not None:
        done = run_table(library, how, (family,), first_only=True, one_type=True)
        return done.returncode, done.stdout + done.stderr
    names = [order.name for order in ORDERS]
    words = table_words(library, how, (family,), names, first_only=True, one_type=True)
    server = tables.get()
    try:
        return server.run(words, file)
    finally:
        tables.put(server)


@pytest.fixture(scope="module")
def reports(request, tmp_path_factory):
    """Mutant, or (family, detector) of unchanged sources -> future of its report."""
    pool, tables = ThreadPoolExecutor(WORKERS), SimpleQueue()
    servers = [ForkedTables() for _ in range(WORKERS)]
    for server in servers:
        tables.put(server)
    found: dict[object, Future[tuple[int, str]]] = {}
    for clean in CLEAN:
        file = tmp_path_factory.mktemp("clean") / "report.txt"
        found[clean] = pool.submit(report, *clean, CSRC, tables, file)
    calls = [item.callspec for item in request.session.items if hasattr(item, "callspec")]
    selected = [call.params["mutant"] for call in calls if "mutant" in call.params]
    for mutant in selected:
        folder = tmp_path_factory.mktemp("mutant")
        mutant.apply(folder)
        words = mutant.family, mutant.detector, folder, tables, folder / "report.txt"
        found[mutant] = pool.submit(report, *words)
    yield found
    pool.shutdown(cancel_futures=True)
    for server in servers:
        server.close()


@pytest.mark.parametrize(("family", "detector"), CLEAN)
def test_nothing_is_reported_without_a_fault(reports, family, detector):
    returncode, text = reports[family, detector].result()
    assert returncode == 0, text


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_fault_is_noticed(reports, mutant):
    returncode, text = reports[mutant].result()
    assert returncode != 0, "survived"
    assert re.search(mutant.report, text), text


def test_every_kind_of_fault_is_tried():
    assert {mutant.detector for mutant in MUTANTS} == set(DETECTORS)
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_fault_that_no_longer_applies_is_an_error(tmp_path):
    mutant = MUTANTS[0]
    with pytest.raises(ValueError, match=r"nms.cu: .* occurs 0 times"):
        type(mutant)(mutant.name, "nms", "nms.cu", "no such text", "").apply(tmp_path)
