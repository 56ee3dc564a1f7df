"""decision.json: the decisions of a run, newest last and in force. The only module that reads or writes it.

The digest of a record, over the record and the id of its model, detects mistakes and editing by hand; it does not
stop an attacker, who can compute it too.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qc_lightning.core.atomic import read_json, write_json
from qc_lightning.core.errors import UserError
from qc_lightning.core.lock import in_turn, is_held
from qc_lightning.core.reading import RECORD, read_text
from qc_lightning.core.room import check_room
from qc_lightning.core.run import Run
from qc_lightning.core.system import now, user
from qc_lightning.metrics.decision import Decision

FORMAT = 1
_FIELDS = ("id", "rule", "threshold", "review", "novelty", "photos", "who", "when", "why", "certificate", "previous")


@dataclass(frozen=True)
class DecisionRecord:
    """One decision, and how it was made.

    Attributes:
        number: 1 for the first of a run.
        decision: the decision; its `source` is the reason.
        rule: fixed, even, balanced, f1, cost, escape, overkill or certify.
        photos: the photos it was chosen on, in words.
        who: the person who made it.
        when: ISO 8601 with the offset from UTC.
        certificate: its guarantee, as plain data; None if there is none.
        previous: digest of the previous decision; None for the first.
    """

    number: int
    decision: Decision
    rule: str
    photos: str
    who: str
    when: str
    certificate: Mapping[str, Any] | None = None
    previous: str | None = None

    def content(self) -> dict[str, Any]:
        """The record as plain data, without its digest."""
        made = self.decision
        review = None if made.review is None else list(made.review)
        values = (self.number, self.rule, made.threshold, review, made.novelty, self.photos, self.who, self.when,
                  made.source, self.certificate, self.previous)  # fmt: skip
        return dict(zip(_FIELDS, values, strict=True))


@dataclass(frozen=True)
class DecisionFile:
    """The decisions on one model.

    Attributes:
        model_id: id of the model that they are for.
        records: oldest first; at least one.
    """

    model_id: str
    records: tuple[DecisionRecord, ...]

    @classmethod
    def first(cls, model_id: str, decision: Decision, rule: str, photos: str) -> "DecisionFile":
        """A file with the decision of a training."""
        return cls(model_id, (DecisionRecord(1, decision, rule, photos, user(), now()),))

    @classmethod
    def write_of_training(cls, path: Path, model_id: str, decision: Decision, rule: str, photos: str) -> int:
        """Write the decision of a training.

        The file of a resumed training that left model and decision as they were is kept: it may hold later decisions.

        Args:
            path: decision.json.
            model_id: id of the trained model.
            decision: that the model was saved with.
            rule: how it was chosen.
            photos: the photos it was chosen on, in words.

        Returns:
            Number of later decisions that were replaced, because they were of an earlier model.
        """
        stored: object = None
        with suppress(UserError):  # missing, damaged or of an earlier model
            stored = read_json(path).get("decisions")
            if cls.read(path, model_id, None).records[0].decision == decision:
                return 0
        cls.first(model_id, decision, rule, photos).write(path)
        return len(stored) - 1 if isinstance(stored, list) and stored else 0

    @property
    def newest(self) -> DecisionRecord:
        """The decision in force."""
        return self.records[-1]

    def numbered(self, number: int) -> DecisionRecord:
        """The decision of that number.

        Raises:
            UserError: there is none.
        """
        if not 1 <= number <= len(self.records):
            raise UserError(f"expected a decision from 1 to {len(self.records)}, got {number}")
        return self.records[number - 1]

    def digest(self, record: DecisionRecord) -> str:
        """SHA-256 over a record and the model, hex."""
        return _digest(self.model_id, record.content())

    def named(self, run: Run) -> DecisionRecord:
        """The decision in force for a run: the newest, or the one that its release names.

        Raises:
            UserError: the one that the release names does not exist.
        """
        matching = [record for record in self.records if run.decision in (None, self.digest(record))]
        if not matching:
            raise UserError(
                f"release {run.release} names a decision that {run.decisions} does not hold: restore the file"
            )
        return matching[-1]

    @classmethod
    def append(
        cls,
        run: Run,
        model: tuple[str, Decision],
        decision: Decision,
        rule: str,
        photos: str,
        who: str | None = None,
        certificate: Mapping[str, Any] | None = None,
    ) -> "DecisionFile":
        """Add another decision to a run's decision.json, where it is then in force.

        Of two processes that decide at the same time, the second one waits and adds its own after the first one's.
        A training of the same run would replace it; see `check_decidable`.

        Args:
            run: the run.
            model: the model's id, and the decision that it was saved with.
            decision: the new one.
            rule: how it was chosen.
            photos: the photos it was chosen on, in words.
            who: the person who made it; None for the current user.
            certificate: its guarantee, as plain data; None if there is none.

        Raises:
            UserError: the file is damaged, was edited by hand or is of another model, or the run is being trained.
        """
        check_decidable(run)
        with in_turn(run.best.parent):
            before = cls.read(run.decisions, *model)
            number, previous = len(before.records) + 1, before.digest(before.newest)
            record = DecisionRecord(number, decision, rule, photos, who or user(), now(), certificate, previous)
            decisions = replace(before, records=(*before.records, record))
            decisions.write(run.decisions)
        return decisions

    def write(self, path: Path) -> None:
        """Write decision.json."""
        contents = [record.content() for record in self.records]
        decisions = [content | {"digest": _digest(self.model_id, content)} for content in contents]
        write_json(path, {"format": FORMAT, "model_id": self.model_id, "decisions": decisions})

    @classmethod
    def read(cls, path: Path, model_id: str, own: Decision | None) -> "DecisionFile":
        """Read the decisions on a model.

        Args:
            path: decision.json. If it is missing, the model's own decision is in force.
            model_id: id of the loaded model.
            own: the decision that the model was saved with; a file of an earlier release must hold the same. None where
                the model is not loaded.

        Raises:
            UserError: it is damaged, was edited by hand, or belongs to another model.
        """
        if not os.path.lexists(path):
            if own is None:
                raise UserError(f"expected the decisions of a run in {path}, there are none")
            return cls.first(model_id, own, own.source.partition(":")[0], "kept with the model")
        restore = "restore the file, or remove it to return to the decision of the training"
        try:
            content: object = json.loads(read_text(path, RECORD))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path} is damaged ({' '.join(str(error).split())}): {restore}") from error
        if not isinstance(content, dict):
            raise UserError(f"{path} is damaged (expected an object): {restore}")
        if "format" not in content:
            early = Decision.from_dict(content)
            if own is not None and early != own:
                raise UserError(f"{path} is not the decision that the model was saved with: {restore}")
            return cls.first(model_id, early, early.source.partition(":")[0], "of an earlier release")
        if content["format"] != FORMAT:
            raise UserError(
                f"{path}: expected format {FORMAT}, got {content['format']!r}: use the release that wrote it"
            )
        if content.get("model_id") != model_id:
            raise UserError(f"{path} is of the model {content.get('model_id')}, expected {model_id}: {restore}")
        stored = content.get("decisions")
        if not isinstance(stored, list) or not stored:
            raise UserError(f"{path} is damaged (it holds no decisions): {restore}")
        records: list[DecisionRecord] = []
        previous: str | None = None
        for number, one in enumerate(stored, start=1):
            fits = isinstance(one, dict) and one.keys() == {*_FIELDS, "digest"}
            fits = fits and one["id"] == number and one["previous"] == previous
            if not (fits and one["digest"] == _digest(model_id, {name: one[name] for name in _FIELDS})):
                raise UserError(f"{path}: decision {number} was edited by hand (its digest does not match): {restore}")
            previous = one["digest"]
            decision = Decision.from_dict(one | {"source": one["why"]})
            names = ("rule", "photos", "who", "when", "certificate", "previous")
            records.append(DecisionRecord(number, decision, **{name: one[name] for name in names}))
        return cls(model_id, tuple(records))


def check_decidable(run: Run) -> None:
    """Check, before work starts, that a decision can be added to a run.

    Raises:
        UserError: its folder cannot be written to, or it is being trained, which ends with a decision of its own.
    """
    if is_held(run.folder):
        raise UserError(f"{run.folder} is being trained, which ends with a decision of its own: decide after that")
    check_room(run.folder)


def _digest(model_id: str, content: Mapping[str, Any]) -> str:
    text = json.dumps({"model_id": model_id, **content}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
