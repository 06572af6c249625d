from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from knowledge_recycling.errors import KRError
from knowledge_recycling.privacy import accountant, json_lines
from knowledge_recycling.privacy.ledger import (
    FILE,
    Entry,
    Limit,
    check,
    entries,
    new_entry,
    record,
    state_folder,
    total,
)


def entry(**changes: Any) -> Entry:
    given = {"data": "d1", "run": "runs/a", "stage": "teacher", "unit": "image", "mu": 0.3}
    return new_entry(**{"delta": 1e-5, **given, **changes})


def test_an_entry_holds_what_it_says() -> None:
    found = entry(mu=0.5)
    assert found.epsilon == accountant.epsilon(1e-5, 0.5)
    assert found.date.endswith("+00:00")
    assert entry().id != entry().id


def test_recorded_entries_are_read_back_from_every_folder(tmp_path: Path) -> None:
    user, run = tmp_path / "user", tmp_path / "runs" / "a"
    first, second, other = entry(), entry(mu=0.4), entry(data="d2")
    for each in (first, second, other):
        record(each, [user, run])
    for folders in ([user], [run], [user, run]):
        assert entries(folders, "d1") == [first, second]
        assert entries(folders, "d2") == [other]
    assert (user / FILE).stat().st_mode & 0o777 == 0o600
    assert user.stat().st_mode & 0o777 == 0o700
    lines = (user / FILE).read_text().splitlines()
    assert [json.loads(line)["mu"] for line in lines] == [0.3, 0.4, 0.3]


def test_the_same_release_is_counted_once_and_new_noise_anew(tmp_path: Path) -> None:
    folders = [tmp_path]
    first = entry()
    record(first, folders)
    record(first, folders)
    assert entries(folders, "d1") == [first], "a resumed stage spends nothing twice"
    record(entry(), folders)
    assert total(entries(folders, "d1"), "image") == pytest.approx(0.3 * math.sqrt(2))


def test_a_copy_that_was_lost_is_made_up_for(tmp_path: Path) -> None:
    user, run = tmp_path / "user", tmp_path / "run"
    first, second = entry(), entry()
    record(first, [user, run])
    (user / FILE).unlink()
    record(second, [user])
    assert entries([user, run], "d1") == [second, first]
    record(first, [user, run])
    assert entries([user], "d1") == [second, first]
    assert entries([run], "d1") == [first]


def test_units_compose_on_the_safe_side() -> None:
    image, patient = entry(mu=0.3), entry(mu=0.4, unit="patient")
    assert total([image, patient], "image") == pytest.approx(0.5)
    assert total([patient, patient], "patient") == pytest.approx(0.4 * math.sqrt(2))
    assert total([image, patient], "patient") == math.inf
    assert total([], "image") == total([], "patient") == 0.0


def test_a_run_within_the_limit_passes_and_one_beyond_is_refused(tmp_path: Path) -> None:
    folders, limit = [tmp_path], Limit(epsilon=3.0, delta=1e-5)
    share = accountant.mu(3.0, 1e-5) / math.sqrt(2)
    record(entry(mu=share), folders, limit)
    last = entry(mu=share)
    check(last, limit, folders)
    record(last, folders, limit)
    assert accountant.epsilon(1e-5, total(entries(folders, "d1"), "image")) == pytest.approx(3.0)
    record(last, folders, limit)
    too_much = entry(mu=1e-3)
    for call in (check, lambda e, _limit, where: record(e, where, _limit)):
        with pytest.raises(KRError, match="beyond the privacy budget"):
            call(too_much, limit, folders)
    assert len(entries(folders, "d1")) == 2, "what was refused is not recorded"
    record(entry(data="d2", mu=share), folders, limit)


def test_the_refusal_says_what_is_spent_wanted_and_left(tmp_path: Path) -> None:
    record(entry(mu=accountant.mu(2.0, 1e-6), unit="patient"), [tmp_path])
    wanted = entry(mu=accountant.mu(3.0, 1e-5), unit="patient")
    with pytest.raises(KRError) as error:
        check(wanted, Limit(epsilon=3.0, delta=1e-5), [tmp_path])
    spent = accountant.mu(2.0, 1e-6)
    left = math.sqrt(accountant.mu(3.0, 1e-5) ** 2 - spent**2)
    assert str(error.value) == (
        "This would go beyond the privacy budget of epsilon 3 per patient at delta 1e-05. "
        f"Spent in 1 release is epsilon {accountant.epsilon(1e-5, spent):.3g}; this run wants "
        f"epsilon 3; left is epsilon {accountant.epsilon(1e-5, left):.3g}. Ask for less, or raise "
        "the budget."
    )
    check(entry(mu=left, unit="patient"), Limit(epsilon=3.0, delta=1e-5), [tmp_path])


def test_after_a_run_per_image_nothing_can_be_promised_per_patient(tmp_path: Path) -> None:
    record(entry(unit="image"), [tmp_path])
    with pytest.raises(KRError, match="An earlier run on these data promised nothing per patient"):
        check(entry(unit="patient", mu=1e-3), Limit(epsilon=8.0, delta=1e-5), [tmp_path])


def test_a_torn_last_line_is_left_out_and_replaced(tmp_path: Path) -> None:
    first, second = entry(), entry()
    record(first, [tmp_path])
    path = tmp_path / FILE
    whole = path.read_bytes()
    for cut in (1, 20, len(whole) - 2):
        path.write_bytes(whole + whole[:cut])
        assert entries([tmp_path], "d1") == [first]
    record(second, [tmp_path])
    assert entries([tmp_path], "d1") == [first, second]
    assert path.read_bytes().count(b"\n") == 2


def test_a_whole_last_line_without_its_line_feed_counts(tmp_path: Path) -> None:
    first, second = entry(), entry()
    record(first, [tmp_path])
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert entries([tmp_path], "d1") == [first]
    record(second, [tmp_path])
    assert entries([tmp_path], "d1") == [first, second]


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line[:30],
        lambda line: line.replace('"mu":0.3', '"mu":-0.3'),
        lambda line: line.replace('"mu":0.3', '"mu":NaN'),
        lambda line: line.replace('"unit":"image"', '"unit":"person"'),
        lambda line: line.replace("{", '{"more":1,', 1),
        lambda line: "\xff",
    ],
)
def test_damage_is_not_read_as_nothing_spent(tmp_path: Path, damage: Callable[[str], str]) -> None:
    record(entry(), [tmp_path])
    record(entry(), [tmp_path])
    path = tmp_path / FILE
    lines = path.read_text().splitlines()
    assert damage(lines[0]) != lines[0]
    path.write_text("\n".join([damage(lines[0]), lines[1], ""]), encoding="latin-1")
    with pytest.raises(KRError, match=r"ledger.jsonl: line 1 is not an entry of the ledger"):
        entries([tmp_path], "d1")
    with pytest.raises(KRError, match="line 1 is not an entry"):
        record(entry(), [tmp_path])


def test_one_id_with_two_values_is_refused(tmp_path: Path) -> None:
    first = entry()
    record(first, [tmp_path / "a"])
    record(first.model_copy(update={"mu": 0.1}), [tmp_path / "b"])
    with pytest.raises(KRError, match=f"the entry {first.id} is in the ledger with other values"):
        entries([tmp_path / "a", tmp_path / "b"], "d1")
    with pytest.raises(KRError, match=f"the entry {first.id} is in the ledger with other values"):
        record(first.model_copy(update={"mu": 0.1}), [tmp_path / "a"])


def write(name: str, folders: list[Path], limit: Limit | None, start: Any, done: Any) -> None:
    """Records as fast as it can, from the same moment as the other process."""
    start.wait()
    recorded = 0
    for step in range(40):
        with contextlib.suppress(KRError):
            record(entry(run=name, stage=str(step), mu=0.1), folders, limit)
            recorded += 1
    done.put(recorded)


def write_from_two_processes(folders: list[Path], limit: Limit | None = None) -> list[int]:
    fork = multiprocessing.get_context("fork")
    start, done = fork.Barrier(2), fork.Queue()
    # The other way round in one of them: the locks must still be taken in one order.
    writers = [
        fork.Process(target=write, args=(name, order, limit, start, done))
        for name, order in (("a", folders), ("b", folders[::-1]))
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    return [done.get(timeout=10) for _ in writers]


def test_two_processes_lose_no_line(tmp_path: Path) -> None:
    folders = [tmp_path / "user", tmp_path / "run"]
    assert write_from_two_processes(folders) == [40, 40]
    for folder in folders:
        found = [(e.run, int(e.stage)) for e in entries([folder], "d1")]
        assert sorted(found) == [(name, step) for name in "ab" for step in range(40)]
    assert total(entries(folders, "d1"), "image") == pytest.approx(0.1 * math.sqrt(80))


def test_two_processes_together_stay_within_the_limit(tmp_path: Path) -> None:
    limit = Limit(accountant.epsilon(1e-5, 0.1 * math.sqrt(30.5)), 1e-5)
    assert sum(write_from_two_processes([tmp_path], limit)) == 30
    assert len(entries([tmp_path], "d1")) == 30


def test_a_lock_that_is_held_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lines, "LOCK_SECONDS", 0.05)
    with (
        json_lines.locked([tmp_path / FILE]),
        pytest.raises(KRError, match=r"another process has held this file for 0.05 seconds"),
    ):
        record(entry(), [tmp_path])


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KRError, match=r"ledger.jsonl: cannot be locked: "):
        record(entry(), [tmp_path / "file" / "below"])
    (tmp_path / "folder" / FILE).mkdir(parents=True)
    with pytest.raises(KRError, match=r"ledger.jsonl: cannot be read: "):
        record(entry(), [tmp_path / "folder"])
    with pytest.raises(KRError, match=r"cannot be written: .*Make room or correct the permissions"):
        json_lines.append_line(tmp_path / "folder" / FILE, "{}")


def test_the_users_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert state_folder() == Path("/state/knowledge-recycling")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert state_folder() == Path("/home/ada/.local/state/knowledge-recycling")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert state_folder() == Path("/home/ada/.local/state/knowledge-recycling")
    monkeypatch.delenv("HOME")
    with pytest.raises(KRError, match="neither XDG_STATE_HOME nor HOME is set to an absolute path"):
        state_folder()
