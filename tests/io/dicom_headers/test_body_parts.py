"""Words of headers, in many languages, and the part of the body that they name."""

from __future__ import annotations

import pytest

from lungseg3d.io.dicom_headers.body_parts import body_parts, can_show_lungs


@pytest.mark.parametrize(
    "text",
    [
        "CHEST", "chest ", "Thorax 1.0 B70f", "THORAX^ROUTINE", "Thorax1.5", "CT Thorax nativ",
        "Lunge 1mm", "LungLowDose", "Thorax-Abdomen", "Brustkorb", "Hemithorax re", "Poumons",
        "thoracique injecté", "Tórax con contraste", "pulmón", "Torace HR", "polmoni",
        "TC de tórax", "pulmão", "Longen thorax", "Klatka piersiowa", "płuca", "hrudník", "plíce",
        "Грудная клетка", "лёгкие", "ОГК", "органы грудной клетки", "胸部", "肺窗", "흉부", "toraks",
        "akciğer", "göğüs", "θώρακας", "صدر", "חזה", "HRCT", "CTPA", "PE protocol",
        "LDCT screening", "Ganzkörper", "Whole Body", "WB 5mm", "TAP", "Corps entier", "全身",
        "Polytrauma",
    ],
)  # fmt: skip
def test_what_shows_lungs_is_known_in_many_languages(text):
    assert can_show_lungs(body_parts(text)) is True


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("HEAD", "head"), ("Brain 0.6", "head"), ("Schädel nativ", "head"), ("Kopf", "head"),
        ("Crâne", "head"), ("cráneo", "head"), ("Cabeza", "head"), ("encefalo", "head"),
        ("Голова", "head"), ("头部", "head"), ("頭部", "head"), ("두부", "head"), ("głowa", "head"),
        ("NNH", "head"), ("Felsenbein", "head"), ("Beyin BT", "head"), ("ABDOMEN", "abdomen"),
        ("Oberbauch", "abdomen"), ("Leber 3-phasig", "abdomen"), ("foie", "abdomen"),
        ("Брюшная полость", "abdomen"), ("腹部", "abdomen"), ("복부", "abdomen"), ("PELVIS", "pelvis"),
        ("Becken", "pelvis"), ("Hals", "neck"), ("Carotis", "neck"), ("шея", "neck"),
        ("LWS", "spine"), ("Lumbar spine", "spine"), ("Knie rechts", "limbs"),
        ("Cardiac", "heart"), ("Coronary CTA", "heart"), ("Herz", "heart"),
    ],
)  # fmt: skip
def test_what_shows_another_part_is_known_in_many_languages(text, part):
    assert part in body_parts(text)
    assert can_show_lungs(body_parts(text)) is False


@pytest.mark.parametrize(
    "text", ["", "1.0 B30f", "Darstellung", "Nachbehandlung axial", "Series 3", "Thoracic spine", "MPR"]
)
def test_where_a_header_does_not_say_nothing_is_made_up(text):
    assert can_show_lungs(body_parts(text)) is None
