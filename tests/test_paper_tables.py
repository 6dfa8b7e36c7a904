"""The paper's tables: the check of their totals, the files of docs/tables, and the page that is made of them."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import pytest

from docs.tools import make_config_reference, make_results
from docs.tools.paper_tables import check_table, read_table
from munet_jax.runtime.errors import InputError

DOCS = Path(__file__).parents[1] / "docs"
TABLES = DOCS / "tables"
PAPER_TABLES = ("davis2017_val", "youtube_vos2018_val", "ablation")


def flagged(*rows: dict[str, str]) -> list[tuple[int, str]]:
    return [(flag.row, flag.column) for flag in check_table(list(rows))]


def davis(j: str, f: str, both: str) -> dict[str, str]:
    return {"method": "M", "J": j, "F": f, "J&F": both}


def youtube(*numbers: str) -> dict[str, str]:
    return dict(zip(("J_U", "F_U", "J_S", "F_S", "G"), numbers, strict=True))


def test_means():
    assert flagged(davis("72.0", "75.6", "73.8"), davis("72.0", "75.6", "74.8"), davis("72.0", "75.6", "72.8")) == [
        (1, "J&F"),
        (2, "J&F"),
    ]
    assert flagged(youtube("50", "60", "70", "80", "65"), youtube("50", "60", "70", "80", "67")) == [(1, "G")]
    (flag,) = check_table([youtube("50.6", "57.4", "60.3", "50.6", "58.0")])
    assert (flag.given, flag.expected) == (Decimal("58.0"), Decimal("54.725"))


def test_what_rounding_allows():
    # 72.35 and 77.75 may be printed as 72.4 and 77.8, and their mean, 75.05, as 75.0.
    assert flagged(davis("72.4", "77.8", "75.0"), davis("72.4", "77.8", "75.2")) == []
    assert flagged(davis("72.4", "77.9", "75.0"), davis("72.4", "77.7", "75.2")) == [(0, "J&F"), (1, "J&F")]
    assert flagged(
        youtube("70.0", "70.0", "70.0", "70.4", "70.2"), youtube("70.0", "70.0", "70.0", "70.3", "70.2")
    ) == [(1, "G")]
    # Numbers with three digits are held to three.
    assert flagged(davis("0.435", "0.348", "0.392"), davis("0.435", "0.348", "0.393")) == [(1, "J&F")]


def test_blanks_are_not_checked():
    assert flagged(davis("", "", "43.0"), davis("50.0", "", "43.0"), davis("50.0", "60.0", "")) == []
    assert flagged(youtube("", "", "59.5", "45.2", "53.8"), {"method": "M", "FPS": "3"}) == []


def test_delta_to_row_a():
    def row(name: str, both: str, delta: str) -> dict[str, str]:
        return {"row": name, "J&F": both, "delta": delta}

    first = row("a", "76.5", "")
    # Of a difference both ends are rounded: half a unit each, and half a unit of the delta.
    assert flagged(first, row("b", "78.6", "+2.1"), row("c", "78.6", "+2.2"), row("d", "76.0", "-0.5")) == []
    assert flagged(first, row("b", "78.6", "+2.3"), row("c", "78.6", "-2.1")) == [(1, "delta"), (2, "delta")]
    assert flagged(row("b", "78.6", "+9.9"), row("c", "78.6", "+9.9")) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read as a table"),
        ("J,F\n", "has no rows"),
        ("J,F,J\n1,2,3\n", "a column twice"),
        ("J,F\n1,2\n1\n", "line 3 has 1 cells for 2 columns"),
        ("method,J\n3,4\nM,4O.1\n", "line 3 has J '4O.1', not a number"),
        ("method,J\nM,nan\n", "line 2 has J 'nan'"),
    ],
)
def test_bad_files(tmp_path: Path, content: str, message: str):
    path = tmp_path / "table.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=f"{path}: .*{message}"):
        read_table(path)
    with pytest.raises(InputError, match="nothing.csv: cannot be read"):
        read_table(tmp_path / "nothing.csv")


@pytest.mark.parametrize(("name", "rows"), [("davis2017_val", 35), ("youtube_vos2018_val", 23), ("ablation", 7)])
def test_sizes_of_the_papers_tables(name: str, rows: int):
    assert len(read_table(TABLES / f"{name}.csv")) == rows


def test_protocols_of_table_2_follow_from_its_marks():
    rows = read_table(TABLES / "davis2017_val.csv")
    assert [sum(row["protocol"] == protocol for row in rows) for protocol in ("1", "2", "3-1", "3-2")] == [9, 8, 12, 6]
    marks = {"1": ("", ""), "2": ("", "yes"), "3-1": ("yes", ""), "3-2": ("yes", "yes")}
    assert all((row["S"], row["Y"]) == marks[row["protocol"]] for row in rows)


def test_numbers_are_those_of_the_paper():
    def numbers(name: str, columns: str, **wanted: str) -> list[str]:
        (row,) = [r for r in read_table(TABLES / f"{name}.csv") if wanted.items() <= r.items()]
        return [row[column] for column in columns.split()]

    table_2 = "J F J&F FPS"
    assert numbers("davis2017_val", table_2, method="STM", protocol="1") == ["", "", "43.0", "6.25"]
    assert numbers("davis2017_val", table_2, method="Ours", protocol="1") == ["72.4", "77.8", "75.0", "6.42"]
    assert numbers("davis2017_val", table_2, method="Ours-v2", mark="‡") == ["74.5", "78.5", "76.5", "6.42"]
    assert numbers("davis2017_val", table_2, method="CFBI", protocol="2", mark="†") == ["79.1", "84.6", "81.9", "5.55"]
    assert numbers("davis2017_val", table_2, method="PReMVOS") == ["73.9", "81.7", "77.8", "0.03"]
    assert numbers("davis2017_val", table_2, method="Ours", protocol="3-2") == ["79.2", "84.6", "81.9", "6.42"]
    table_3 = "J_U F_U J_S F_S G"
    assert numbers("youtube_vos2018_val", table_3, method="DMM-Net") == ["50.6", "57.4", "60.3", "50.6", "58.0"]
    assert numbers("youtube_vos2018_val", table_3, method="RGMP") == ["", "", "59.5", "45.2", "53.8"]
    assert numbers("youtube_vos2018_val", table_3, method="Ours", S="yes") == ["75.1", "83.4", "79.0", "83.5", "80.3"]
    assert numbers("youtube_vos2018_val", table_3, method="Ours", S="") == ["70.6", "77.9", "78.5", "82.7", "77.4"]
    assert numbers("ablation", "J F J&F delta", row="a") == ["74.5", "78.4", "76.5", ""]
    assert numbers("ablation", "J F J&F delta", row="f") == ["77.9", "82.3", "80.1", "+3.6"]


def test_which_totals_of_the_paper_are_odd():
    odd = {}
    for name in PAPER_TABLES:
        rows = read_table(TABLES / f"{name}.csv")
        odd[name] = [(rows[f.row]["method"], f.column, str(f.given), str(f.expected)) for f in check_table(rows)]
    assert odd == {
        "davis2017_val": [],
        "youtube_vos2018_val": [("DMM-Net", "G", "58.0", "54.725"), ("FRTM", "G", "72.1", "74.700")],
        "ablation": [],
    }


def test_our_own_totals_are_right():
    for path in TABLES.glob("measured_*.csv"):
        assert check_table(read_table(path)) == [], path


def test_every_row_of_ours_has_a_config_and_a_place_for_its_figures():
    configs = {}
    for name in PAPER_TABLES:
        rows = read_table(TABLES / f"{name}.csv")
        configs[name] = {row["config"] for row in rows if row["config"]}
        assert all(bool(row["config"]) == (name == "ablation" or "Ours" in row["method"]) for row in rows)
    measured = read_table(TABLES / "measured_full_size.csv")
    for name in PAPER_TABLES:
        assert {row["config"] for row in measured if row["table"] == name} == configs[name]
    for config in set.union(*configs.values()):
        assert (DOCS.parent / config.partition(":")[0]).is_file(), config


def test_page_is_what_the_tables_give():
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    assert page == make_results.make_page(), "run: python docs/tools/make_results.py"
    assert page.startswith("<!-- Generated")
    assert "python docs/tools/make_results.py" in page.splitlines()[0]
    assert "{{" not in page


def test_every_table_is_on_the_page():
    template = (TABLES / "results_template.md").read_text(encoding="utf-8")
    for path in TABLES.glob("*.csv"):
        assert f"{{{{{path.stem}}}}}" in template or path.stem == "measured_full_size", path


def test_measured_figures_come_beside_the_papers(tmp_path: Path):
    tables = shutil.copytree(TABLES, tmp_path / "tables")
    path = tables / "measured_full_size.csv"
    text = path.read_text()
    for config, numbers in (("protocol1_davis.py", "0.7214,0.7751,0.7483,,,,,,5.1"), ("ablation.py:a", ",,0.760")):
        text = text.replace(f"{config}{',' * (numbers.count(',') + 1)}", f"{config},{numbers}")
    path.write_text(text.replace("ablation.py:b,,,", "ablation.py:b,,,0.7812"))
    page = make_results.make_page(tables)
    assert "|  | *this project*, `protocol1_davis` |  |  | 72.1 | 77.5 | 74.8 | 5.1 |" in page
    assert "|  | *this project*, `ablation:a` |  |  | 76.0 |  |" in page
    assert "|  | *this project*, `ablation:b` |  |  | 78.1 | +2.1 |" in page
    assert page.count("not measured |") == 11
    path.write_text(text.replace("ablation.py:c", "ablation.py:z"))
    with pytest.raises(InputError, match="ablation has no row of configs/ablation.py:z"):
        make_results.make_page(tables)


@pytest.mark.parametrize("program", [make_results, make_config_reference])
def test_a_page_that_is_out_of_date_is_told(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr(program, "PAGE", page)
    assert program.main(["--check"]) == 1
    assert program.main([]) == 0
    assert program.main(["--check"]) == 0
    page.write_text("old")
    assert program.main(["--check"]) == 1
    assert f"run: python docs/tools/{Path(program.__file__ or '').name}" in capsys.readouterr().err
    assert page.read_text() == "old"
