"""The page of a comparison: self-contained, says what counts how, and survives failures and strange names."""

from __future__ import annotations

import copy
import re

import pytest

from lungseg3d.report import render_comparison


def interval(mean: float | None, n: int = 3, test: dict | None = None) -> dict:
    if mean is None:
        return {"mean": None, "low": None, "high": None, "n": 0, "test": test}
    return {"mean": mean, "low": mean - 0.05, "high": mean + 0.05, "n": n, "test": test}


def row(network: str, dice: float | None, structure: str = "nodule", test: dict | None = None, **more) -> dict:
    values = {metric: interval(dice, test=test) for metric in ("dice", "iou", "sensitivity", "ppv")}
    cost = (
        {"parameters_m": 1.4, "gflop_96": 46.6, "inference_s": 0.12}
        if dice is not None
        else dict.fromkeys(("parameters_m", "gflop_96", "inference_s"))
    )
    base = {
        "network": network,
        "structure": structure,
        "members": 2,
        "members_done": 2,
        "cases": 3,
        "empty_predictions": 1,
        "steps": 321,
        "seed_dice": {"1": 0.61, "2": 0.63},
    }
    return base | values | {"hd95_mm": interval(None if dice is None else 2.5, 2, test)} | cost | more


TEST = {"difference": 0.1, "low": 0.02, "high": 0.2, "n": 3, "p": 0.01, "p_holm": 0.02}


@pytest.fixture
def content() -> dict:
    cases = [
        {"network": name, "structure": "nodule", "case_id": f"case-{i}", "dice": 0.5 + i / 10}
        for name in "ab"
        for i in range(3)
    ]
    means = [{"network": name, "mean": 0.6, "low": 0.5, "high": 0.7, "n": 3} for name in "ab"]
    group = {"low": 8.0, "high": None, "unit": "mm", "case_ids": ["case-0", "case-1", "case-2"], "networks": means}
    member = {"network": "a", "fold": 0, "seed": 1, "status": "done", "folder": "a-fold-0-seed-1-abc"}
    facts = {"bundle": "nodules", "training": None, "folds": [0, 1], "seeds": [1, 2], "overrides": {"epochs": "3"}}
    facts |= {
        "weights": "model",
        "minutes": None,
        "jobs": 1,
        "devices": ["CPU, 2 threads"],
        "reference": "a",
        "structures": ["nodule"],
    }
    rows = [row("a", 0.6), row("b", 0.7, test=TEST)]
    return facts | {"networks": rows, "cases": cases, "size_groups": [group], "members": [member]}


def test_the_page_needs_nothing_from_outside_and_no_script(content):
    html = render_comparison(content)
    assert html.startswith("<!doctype html>")
    assert not re.search(r"<script|https?://|<link|@import", html)
    assert html.count('<svg class="plot"') == 5


def test_the_page_says_who_is_best_by_how_much_and_how_sure_that_is(content):
    text = " ".join(re.sub(r"<[^>]+>", " ", render_comparison(content)).replace("&nbsp;", " ").split())
    assert "Highest mean Dice: b, 0.700 (0.650–0.750) over 3 cases" in text
    assert "+0.100 (95 % interval +0.020 to +0.200), p = 0.020" in text
    assert "no difference shown" not in text
    assert "without folds 0, 1 in turn" in text
    assert "n = 2" in text  # HD95 is not defined for one of the three


def test_an_equal_time_is_said_and_the_steps_that_it_held(content):
    assert "same time" not in render_comparison(content)
    html = render_comparison(content | {"minutes": 10.0})
    assert "as many steps as 10 minutes hold" in html
    assert ">321<" in html


def test_more_networks_than_colours_are_told_apart_by_rings(content):
    names = [f"net-{i}" for i in range(10)]
    content["networks"] = [row(name, 0.5 + i / 100) for i, name in enumerate(names)]
    content["reference"] = "net-0"
    means = content["size_groups"][0]["networks"]
    content["size_groups"][0]["networks"] = [{**means[0], "network": name} for name in names]
    html = render_comparison(content)
    forest = html[html.index("Forest plot of mean Dice") :]
    forest = forest[: forest.index("</svg>")]
    assert forest.count('fill="var(--paper)"') == 2
    assert forest.count("<circle") == 10


def test_a_p_value_too_small_to_print_is_no_zero(content):
    content["networks"][1] = row("b", 0.7, test=TEST | {"p": 1e-6, "p_holm": 1e-5})
    html = render_comparison(content)
    assert "< 0.001" in html.replace("&lt;", "<")
    assert "0.0000" not in html


def test_a_difference_that_chance_explains_is_no_difference(content):
    content["networks"][1] = row("b", 0.7, test=TEST | {"p_holm": 0.3})
    html = render_comparison(content)
    assert "no difference shown" in html
    assert "by 3 cases none can be" in html
    assert "Dice by seed: 0.610, 0.630" in html


def test_one_network_alone_has_no_tests(content):
    content["networks"] = content["networks"][:1]
    content["size_groups"][0]["networks"] = content["size_groups"][0]["networks"][:1]
    html = render_comparison(content)
    assert "Paired tests" not in html
    assert html.count('<svg class="plot"') == 4


def test_the_failed_are_named_with_their_reason(content):
    failed = {
        "network": "b",
        "fold": 0,
        "seed": 2,
        "status": "failed",
        "folder": "b-fold-0",
        "reason": "out of <memory>",
    }
    content["members"].append(failed)
    content["networks"][1] = row("b", 0.7, members_done=1, test=TEST)
    html = render_comparison(content)
    assert "out of &lt;memory&gt;" in html
    assert "1 of 2 trainings done" in html
    assert "1 of 2 trainings</small>" in html


def test_where_nothing_was_measured_the_page_says_so(content):
    content["networks"] = [row("a", None, members_done=0, cases=0), row("b", None, members_done=0, cases=0)]
    content |= {"cases": [], "size_groups": []}
    content["members"] = [{"network": "a", "status": "failed", "folder": "a-1", "reason": "exit code 5"}]
    html = render_comparison(content)
    assert "Nothing could be measured" in html
    assert "<svg" not in html


def test_a_reference_that_failed_leaves_the_others_shown(content):
    nothing = {"difference": None, "low": None, "high": None, "n": 0, "p": None, "p_holm": None}
    content["networks"] = [row("a", None, members_done=0, cases=0), row("b", 0.7, test=nothing)]
    html = render_comparison(content)
    assert "Highest mean Dice" in html
    assert "nan" not in re.sub(r"<[^>]+>", " ", html).lower().split()


def test_weights_chosen_on_the_measured_cases_are_called_too_good(content):
    assert "too good" not in render_comparison(content)
    assert "too good" in render_comparison(content | {"weights": "best"})


def test_several_structures_have_a_table_each_and_their_mean_first(content):
    content["structures"] = ["right lung", "left lung", "mean"]
    content["networks"] = [row(name, 0.9, structure) for structure in content["structures"] for name in "ab"]
    for case in content["cases"]:
        case["structure"] = "mean"
    html = render_comparison(content)
    titles = [html.index(f"<h3>{title}") for title in ("Mean of right lung and left lung", "Left lung", "Right lung")]
    assert titles == sorted(titles)


def test_the_same_content_gives_the_same_page(content):
    assert render_comparison(content) == render_comparison(copy.deepcopy(content))
