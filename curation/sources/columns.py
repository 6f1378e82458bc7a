"""From the rows of a table to clips, by a column map that a source states in its YAML.

Every entry of the map is the name of a column or a text with columns in braces:

    path: "videos/{page_dir}/{videoid}.mp4"     caption: name

    path            where the video lies below `data_dir`
    clip_id         a stable name; it may also hold {start_ms}, {end_ms} and {item}
    video_id        the video that a clip was cut from; null: the clip is the video
    caption         the stock caption; null: there is none
    start, end      seconds or H:MM:SS.mmm; null or an empty cell: to the border
    span            both in one cell, as a list
    start_frame, end_frame, fps     both as frames; `fps` may be a number
    duration        of the file, as the table states it
    extra           columns that are kept; or a map, our name: theirs
    nested          columns whose cells are lists with an item a clip
    aliases         other names that a column goes by
    missing         what stands in a cell that holds nothing; it is compared without regard to case
"""

import re
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any

from curation.clip import UNKNOWN, Clip
from curation.sources.cells import (
    MAX_TEXT,
    BadRow,
    as_text,
    check_path,
    clean,
    confidence,
    literal,
    shown,
)
from curation.sources.folder import file_setting, setting
from curation.sources.lines import Row, Trouble, shown_path
from curation.sources.tables import Table, listed, open_table
from curation.sources.times import Interval, frame_interval, interval, span, stated
from dynamicrafter.errors import InputError

# Behind the cells of a row stand what only its times, or its place in a list, tell.
COMPUTED = {"start_ms": -3, "end_ms": -2, "item": -1}

Cells = list[str]
More = Callable[[dict[str, str]], dict[str, str]]


def read_tables(
    source: dict[str, Any], also: tuple[str, ...] = (), more: More | None = None
) -> Iterator[Clip]:
    """The clips of the tables of a source, in the order of their rows.

    Args:
        source: the column map, `table` (or `csv`) and `data_dir`.
        also: further columns, those that a table has being given to `more` in a dict.
        more: entries for `extra` from these cells.

    Raises:
        InputError: a table or the column map cannot be used.
    """
    key = "csv" if "csv" in source else "table"
    paths = file_setting(source, key)
    names = [shown_path(path.name) for path in paths]
    if len(set(names)) < len(names):  # partitions of equal names in several folders
        names = [shown_path(path) for path in paths]
    for path, name in zip(paths, names, strict=True):
        table = open_table(path)
        columns = Columns(source, table, name, also, more)
        yield from columns.clips(table.rows(columns.names))


class Columns:
    """The column map of a source, bound to the header of one table."""

    def __init__(
        self,
        source: dict[str, Any],
        table: Table,
        name: str,
        also: tuple[str, ...] = (),
        more: More | None = None,
    ):
        self.names: list[str] = []
        """The columns that are read, in the order in which the cells of a row are held."""
        self._source, self._table, self._name = source, table, name
        self._root = str(setting(source, "data_dir"))
        self._absent: list[str] = []
        missing = source.get("missing") or ("none", "nan")
        self._missing = frozenset(str(text).lower() for text in missing)
        self._longest = max(map(len, self._missing))

        self._path, _ = self._text("path")
        self._clip_id, self._id_cells = self._text("clip_id", COMPUTED)
        self._video_id, self._video_cells = self._text("video_id")
        self._caption, self._caption_cells = self._text("caption")
        self._times = self._time_reader()
        self._duration = self._optional("duration")
        self._extra = self._extra_columns()
        nested = [self._find(column) for column in source.get("nested") or ()]
        self._nested = [self.names.index(column) for column in nested if column in self.names]
        self._more = more
        self._also = [(n, i) for n in also if (i := self._register(n, required=False)) is not None]
        if self._absent:
            raise InputError(
                f"{name} lacks the columns {listed(self._absent)}; it has "
                f"{listed(table.header)}: change the column map of the source, or its aliases"
            )
        if nested and not self._nested:
            raise InputError(f"source.nested names no column of {name} that is used")
        self._computes = any(place < 0 for place in self._id_cells)
        self._id_cells = tuple(place for place in self._id_cells if place >= 0)

    # -- the map ---------------------------------------------------------------------------------

    def _find(self, column: str) -> str | None:
        """The name that a column goes by in this table."""
        others = (self._source.get("aliases") or {}).get(column) or ()
        others = [others] if isinstance(others, str) else others
        return next((name for name in (column, *others) if name in self._table.header), None)

    def _register(self, column: str, *, required: bool = True) -> int | None:
        name = self._find(column)
        if name is None:
            if required and column not in self._absent:
                self._absent.append(column)
            return None
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name)

    def _optional(self, entry: str) -> int | None:
        """An entry without which the clips are the same."""
        column = self._source.get(entry)
        return None if column is None else self._register(_column(column), required=False)

    def _required(self, entry: str) -> int:
        return self._register(_column(setting(self._source, entry))) or 0

    def _text(
        self, entry: str, computed: dict[str, int] | None = None
    ) -> tuple[Callable[[Cells], str], tuple[int, ...]]:
        """A text with columns in braces, as a function of a row, and the cells that it takes."""
        template = self._source.get(entry)
        if template is None:
            if entry in ("path", "clip_id"):
                setting(self._source, entry)
            return (lambda cells: ""), ()
        template = str(template)
        if "{" not in template and "}" not in template:
            template = "{" + template + "}"
        parts = re.split(r"\{([^{}]+)\}", template)
        literals, columns = parts[::2], parts[1::2]
        if not columns or any("{" in text or "}" in text for text in literals):
            raise InputError(
                f"source.{entry} is {template!r}; write the name of a column, or a text with names "
                "of columns in braces"
            )
        places = tuple(
            computed[column]
            if computed and column in computed and self._find(column) is None
            else self._register(column) or 0
            for column in columns
        )
        if literals == ["", ""]:
            return itemgetter(*places), places
        form = "%s".join(text.replace("%", "%%") for text in literals)
        if len(places) == 1:
            (place,) = places
            return (lambda cells: form % cells[place]), places
        pick = itemgetter(*places)
        return (lambda cells: form % pick(cells)), places

    def _extra_columns(self) -> list[tuple[str, int, Callable[[str], str] | None]]:
        wanted = self._source.get("extra") or {}
        pairs = wanted.items() if isinstance(wanted, dict) else ((name, name) for name in wanted)
        found = [(ours, self._register(_column(theirs), required=False)) for ours, theirs in pairs]
        rules = {"dynamic_confidence": confidence}
        return [(ours, place, rules.get(ours)) for ours, place in found if place is not None]

    def _time_reader(self) -> Callable[[Cells], Interval] | None:
        given = {key for key in ("start", "end", "span", "start_frame") if self._source.get(key)}
        if not given:
            return None
        if "span" in given:
            pair = self._required("span")
            return lambda cells: span(cells[pair])
        if "start_frame" in given:
            first, last = self._required("start_frame"), self._required("end_frame")
            rate = self._source.get("fps")
            if isinstance(rate, int | float):
                return lambda cells: frame_interval(cells[first], cells[last], str(rate))
            fps = self._required("fps")
            return lambda cells: frame_interval(cells[first], cells[last], cells[fps])
        start = self._required("start") if "start" in given else None
        end = self._required("end") if "end" in given else None
        absent = self._is_missing

        def times(cells: Cells) -> Interval:
            first = "" if start is None else cells[start]
            last = "" if end is None else cells[end]
            open_start = absent(first) and first.lower() != "nan"
            open_end = absent(last) and last.lower() != "nan"
            return interval("0" if open_start else first, None if open_end else last)

        return times

    # -- the rows --------------------------------------------------------------------------------

    def clips(self, rows: Iterator[Row]) -> Iterator[Clip]:
        """A clip for each row, or for each item of one; also for those that are no clips."""
        header, names = self._table.header, self.names
        pick = itemgetter(*map(header.index, names)) if len(names) > 1 else None
        only = header.index(names[0])
        clip = self._clip
        for place, row in rows:
            try:
                if type(row) is list:
                    picked = pick(row) if pick else (row[only],)
                    cells = [cell.strip() for cell in picked]
                elif type(row) is Trouble:
                    raise BadRow(*row)
                else:
                    cells = [as_text(row.get(name)).strip() for name in names]
                if self._nested:
                    yield from self._items(cells, place)
                else:
                    yield clip(cells, 0)
            except BadRow as bad:
                yield self._bad_clip(place, bad)

    def _items(self, cells: Cells, place: int) -> Iterator[Clip]:
        lists: dict[int, list[Any]] = {}
        for i in self._nested:
            if not self._is_missing(cells[i]):
                items = literal(cells[i])
                if not isinstance(items, list | tuple) or not items:
                    raise BadRow("bad_row", f"{self.names[i]} is {shown(cells[i])}, no list")
                lists[i] = items
        if len({len(items) for items in lists.values()}) != 1:
            told = ", ".join(f"{self.names[i]} {len(items)}" for i, items in lists.items())
            raise BadRow("bad_row", f"lists of unequal length: {told or 'there are none'}")
        count = len(next(iter(lists.values())))
        for item in range(count):
            own = list(cells)
            try:
                for i in self._nested:
                    own[i] = as_text(lists[i][item]).strip() if i in lists else ""
                yield self._clip(own, item)
            except BadRow as bad:
                yield self._bad_clip(place, bad, f"#{item}")

    def _bad_clip(self, place: int, bad: BadRow, item: str = "") -> Clip:
        return Clip(
            clip_id=f"{self._name}:{place}{item}",
            source=self._source["name"],
            root=self._root,
            path="",
            reason=bad.reason,
            message=f"{self._name} {self._table.unit} {place}{item}: {bad}",
        )

    def _is_missing(self, cell: str) -> bool:
        return not cell or (len(cell) <= self._longest and cell.lower() in self._missing)

    def _clip(self, cells: Cells, item: int) -> Clip:
        missing, longest = self._missing, self._longest  # `_is_missing`, without its calls
        start_s, end_s = self._times(cells) if self._times else (0.0, None)
        if self._computes:
            end = "end" if end_s is None else f"{end_s * 1000:.0f}"
            cells += (f"{start_s * 1000:.0f}", end, str(item))
        for i in self._id_cells:
            cell = cells[i]
            if not cell or (len(cell) <= longest and cell.lower() in missing):
                raise BadRow("no_id", f"{self.names[i]} is {shown(cell)}")
        path = self._path(cells)
        check_path(path)
        clip_id = self._clip_id(cells)
        if len(clip_id) > MAX_TEXT or not clip_id.isprintable():
            raise BadRow("no_id", f"the id {shown(clip_id)} is too long or not printable")
        caption, extra = UNKNOWN, {}
        if self._caption_cells and not all(map(self._is_missing, self._cells_of_caption(cells))):
            caption = clean(self._caption(cells)) or UNKNOWN
            if len(caption) > MAX_TEXT:
                caption, extra["caption_cut"] = caption[:MAX_TEXT].rstrip(), "true"
        for name, i, rule in self._extra:
            cell = cells[i]
            if not cell or (len(cell) <= longest and cell.lower() in missing):
                continue
            if rule is not None:
                cell = rule(cell)
            elif len(cell) > MAX_TEXT or not cell.isprintable():
                cell = clean(cell)[:MAX_TEXT].rstrip()
            if cell:
                extra[name] = cell
        if self._more is not None:
            extra.update(self._more({name: cells[i] for name, i in self._also}))
        video_id = ""
        if self._video_cells and not any(self._is_missing(cells[i]) for i in self._video_cells):
            video_id = clean(self._video_id(cells))[:MAX_TEXT]
        stated_s = None
        if self._duration is not None:
            stated_s = stated(cells[self._duration])
        return Clip(
            clip_id, self._source["name"], self._root, path, None, video_id, start_s, end_s,
            stated_s, caption, extra,
        )  # fmt: skip

    def _cells_of_caption(self, cells: Cells) -> list[str]:
        return [cells[i] for i in self._caption_cells]


def _column(entry: Any) -> str:
    """The column that an entry names, with or without braces."""
    text = str(entry)
    return text[1:-1] if text.startswith("{") and text.endswith("}") else text
