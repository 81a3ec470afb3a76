"""The configuration of the bundle that is being built, found from inside of it."""

from __future__ import annotations

from monai.bundle import ConfigParser

from lungseg3d.engines.tracking_facts import configuration_in_use


def test_a_component_of_a_bundle_finds_the_configuration_with_its_overrides():
    parser = ConfigParser(
        {
            "epochs": 3,
            "network": {"_target_": "torch.nn.Conv3d", "in_channels": 1},
            "handlers": [{"_target_": "lungseg3d.engines.tracking_facts.configuration_in_use"}],
            "trainer": {"max_epochs": "@epochs", "network": "@network"},
        }
    )
    parser["epochs"] = 7
    (found,) = parser.get_parsed_content("handlers")
    assert found["trainer"] == {"max_epochs": 7, "network": "@network"}
    assert found["network"]["in_channels"] == 1


def test_outside_a_bundle_there_is_no_configuration():
    assert configuration_in_use() == {}
