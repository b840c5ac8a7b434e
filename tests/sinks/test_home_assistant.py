"""Promises: Home Assistant takes what is announced to it, key by key; the blueprint makes a notification of what is published.

The tables are those of Home Assistant's documentation (MQTT discovery, MQTT binary sensor, MQTT sensor, MQTT image, device
registry); it drops an entity with a key that it does not know or whose value it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import StrictUndefined
from jinja2.nativetypes import NativeEnvironment

from hearthwatch.schemas.testing import incident_message
from hearthwatch.sinks.mqtt import Mqtt, entities
from hearthwatch.sinks.notification_policy import announce

AVAILABILITY = {
    "availability", "availability_mode", "availability_template", "availability_topic", "payload_available", "payload_not_available",
}  # fmt: skip
COMMON = AVAILABILITY | {
    "default_entity_id", "device", "enabled_by_default", "encoding", "entity_category", "entity_picture", "icon",
    "json_attributes_template", "json_attributes_topic", "name", "object_id", "origin", "platform", "qos", "unique_id",
}  # fmt: skip
KEYS: dict[str, tuple[set[str], set[str]]] = {  # required, allowed
    "binary_sensor": (
        {"state_topic"},
        COMMON | {"device_class", "expire_after", "force_update", "off_delay", "payload_off", "payload_on", "value_template"},
    ),
    "sensor": (
        {"state_topic"},
        COMMON | {
            "device_class", "expire_after", "force_update", "last_reset_value_template", "options", "state_class",
            "suggested_display_precision", "unit_of_measurement", "value_template",
        },
    ),
    "image": ({"image_topic"}, COMMON | {"content_type", "image_encoding", "image_topic", "url_template", "url_topic"}),
    "device": (
        {"identifiers"},
        {
            "configuration_url", "connections", "hw_version", "manufacturer", "model", "model_id", "name", "serial_number",
            "suggested_area", "sw_version", "via_device",
        },
    ),
    "origin": ({"name"}, {"sw_version", "support_url"}),
}  # fmt: skip
CLASSES = {"binary_sensor": {"occupancy", "problem"}, "sensor": {"enum"}}  # of the documented ones, those in use
CATEGORIES = {"config", "diagnostic"}
ATTRIBUTES_DROPPED = {"name", "state", "icon", "device_class", "entity_picture", "unique_id", "unit_of_measurement"}


def mistakes(topic: str, config: dict[str, Any]) -> list[str]:
    """What Home Assistant has against this entity."""
    prefix, kind, node, key, last = topic.split("/")
    found = [] if (prefix, last) == ("homeassistant", "config") and kind in KEYS else [f"{topic}: no discovery topic"]
    found += [f"{part} is no id" for part in (node, key) if not re.fullmatch(r"[a-zA-Z0-9_-]+", part)]
    for part, values in ((kind, config), ("device", config["device"]), ("origin", config["origin"])):
        required, allowed = KEYS[part]
        found += [f"{part} needs {name}" for name in required - values.keys()]
        found += [f"{part} has no {name}" for name in values.keys() - required - allowed]
    found += [
        f"{name} is no topic"
        for name in config
        if name.endswith("_topic") and not re.fullmatch(r"[^#+\0]+", config[name])
    ]
    if config.get("device_class") not in {None, *CLASSES.get(kind, ())}:
        found.append(f"{kind} has no such device_class")
    if ("options" in config) != (config.get("device_class") == "enum") or config.get("options") == []:
        found.append("options and enum come together")
    if config.get("entity_category") not in {None, *CATEGORIES}:
        found.append("no such category")
    if not re.match("https?://", config["device"].get("configuration_url", "http://")):
        found.append("configuration_url is no URL")
    if kind == "image" and "content_type" in config and "url_topic" in config:
        found.append("content_type is for image_topic")
    return found


@pytest.mark.parametrize("page", [None, "https://home.example/cams/"])
@pytest.mark.parametrize("camera", [None, "front_door", "büro-1"])
def test_home_assistant_knows_every_key_that_is_announced(camera: str | None, page: str | None) -> None:
    announced = list(
        entities(Mqtt(url="mqtt://host", page_url=page), "0badcafe", camera, "Front Door" if camera else "")
    )
    configs = [json.loads(config) for _, config in announced]
    assert [f for (topic, _), config in zip(announced, configs, strict=True) for f in mistakes(topic, config)] == []
    assert len({config["unique_id"] for config in configs}) == len(configs) == (5 if camera else 1)
    assert all("0badcafe" in config["unique_id"] for config in configs)
    assert {config["availability_topic"] for config in configs} == {"hearthwatch/0badcafe/available"}
    assert len({json.dumps(config["device"]) for config in configs}) == 1, "one device"
    assert ("configuration_url" in configs[0]["device"]) == (page is not None) and configs[0]["device"]["sw_version"]


def test_the_table_finds_mistakes() -> None:
    ((topic, config),) = entities(Mqtt(url="mqtt://host"), "0badcafe", None, "")
    good = json.loads(config)
    assert mistakes(topic, good) == []
    bad = {key: value for key, value in good.items() if key != "state_topic"} | {
        "options": [],
        "topic": "a",
        "value_topic": "#",
    }
    assert len(mistakes(topic.replace("problem", "pröblem"), bad)) == 7


def test_what_the_entities_read_is_in_the_messages() -> None:
    message = incident_message(5, summary="1 person " * 40).as_dict()
    assert not ATTRIBUTES_DROPPED & message.keys(), "Home Assistant drops attributes with these names"
    environment = NativeEnvironment(undefined=StrictUndefined)
    for topic, config in entities(Mqtt(url="mqtt://host"), "0badcafe", "front_door", "Front Door"):
        entity = json.loads(config)
        if "/sensor/" in topic:
            value = environment.from_string(entity["value_template"]).render(value_json=message)
            assert value in entity.get("options", [value]) and len(value) <= 255, "a state is no longer"


# -- the blueprint

BLUEPRINT = Path(__file__).parents[2] / "examples" / "home_assistant_blueprint.yaml"
SELECTORS = {"action", "device", "select", "text"}


class Input(str):
    """The name of an input."""


class Loader(yaml.SafeLoader):
    """Reads `!input`, as Home Assistant does."""


Loader.add_constructor("!input", lambda loader, node: Input(loader.construct_scalar(node)))


@pytest.fixture
def blueprint() -> dict[str, Any]:
    return yaml.load(BLUEPRINT.read_text(), Loader)


def find_inputs(value: Any) -> set[str]:
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return set().union(*map(find_inputs, parts))
    return {value} if isinstance(value, Input) else set()


def test_the_blueprint_declares_what_it_uses(blueprint: dict[str, Any]) -> None:
    head = blueprint["blueprint"]
    assert blueprint.keys() <= {
        "blueprint",
        "mode",
        "max",
        "max_exceeded",
        "variables",
        "triggers",
        "conditions",
        "actions",
    }
    assert head.keys() <= {"name", "description", "domain", "author", "homeassistant", "input", "source_url"}
    assert head["domain"] == "automation" and head["name"] and head["homeassistant"].keys() == {"min_version"}
    body = {key: value for key, value in blueprint.items() if key != "blueprint"}
    assert find_inputs(body) == head["input"].keys()
    for given in head["input"].values():
        assert given.keys() <= {"name", "description", "default", "selector"} and given["name"]
        assert len(given["selector"]) == 1 and given["selector"].keys() <= SELECTORS
    text = BLUEPRINT.read_text()
    templates = re.findall(r"\{\{.*?\}\}|\{%.*?%\}", text, re.DOTALL)
    assert templates and not any("!input" in template for template in templates), "an input is no template variable"


def run(value: Any, scope: dict[str, Any]) -> Any:
    """Render what Home Assistant renders."""
    if isinstance(value, dict):
        return {key: run(item, scope) for key, item in value.items()}
    if isinstance(value, list):
        return [run(item, scope) for item in value]
    if isinstance(value, Input) or not isinstance(value, str):
        return scope["inputs"].get(value, value) if isinstance(value, Input) else value
    return NativeEnvironment(undefined=StrictUndefined).from_string(value).render(scope)


def scope_of(blueprint: dict[str, Any], trigger: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    """What templates see: the trigger, the variables, and the states of two image entities."""
    given = {name: item.get("default") for name, item in blueprint["blueprint"]["input"].items()} | inputs
    images = [
        {"entity_id": f"image.{id}_picture", "attributes": attributes}
        for id, attributes in (("yard", {}), ("gate", {"incident_id": 4}), ("front_door", {"incident_id": 5}))
    ]
    scope: dict[str, Any] = {"trigger": trigger, "states": {"image": images}, "inputs": given}
    for name, value in blueprint["variables"].items():
        scope[name] = run(value, scope)
    return scope


def notification(blueprint: dict[str, Any], payload: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    trigger = {"id": "incident", "topic": "hearthwatch/0badcafe/alerts", "payload_json": payload}
    scope = scope_of(blueprint, trigger, phone="d1", **inputs)
    notify = blueprint["actions"][0]["choose"][0]["sequence"][-1]
    assert notify["domain"] == "mobile_app" and notify["type"] == "notify"
    return {key: run(value, scope) for key, value in notify.items()}


ANSWERS = {answer: f"https://home.example/api/feedback/5.{answer}.9.x" for answer in ("fine", "nothing_there", "right")}


@pytest.mark.parametrize("page", [None, "https://home.example/?incident=5"])
def test_the_blueprint_makes_a_notification_of_an_alert(blueprint: dict[str, Any], page: str | None) -> None:
    alerts = [
        announce(incident_message(5, risk_score=70), None, loud=loud).as_dict()
        | {"page": page, "answers": ANSWERS if page else {}}
        for loud in (True, False)
    ]
    loud, silent = (notification(blueprint, alert) for alert in alerts)
    assert loud["device_id"] == "d1" and loud["message"] == "1 person" and "Front" not in loud["title"]
    assert loud["title"] == "High: front door"
    data = loud["data"]
    assert data["tag"] == "hearthwatch-0badcafe-incident-5" == silent["data"]["tag"], "an update replaces it"
    assert data["image"] == "/api/image_proxy/image.front_door_picture"
    assert [action["action"] for action in data["actions"]] == [
        *(["URI"] if page else []),
        "HEARTHWATCH_REVIEWED_0badcafe_5",
        *(["URI"] * 3 if page else []),
    ]
    assert not page or [action["uri"] for action in data["actions"][2:]] == list(ANSWERS.values())
    assert not page or page == data["url"] == data["clickAction"] == data["actions"][0]["uri"]
    assert data["push"]["interruption-level"] == "time-sensitive" and not data["alert_once"]
    assert silent["data"]["push"]["interruption-level"] == "passive" and silent["data"]["alert_once"]
    assert (data["importance"], silent["data"]["importance"]) == ("high", "low")


def test_an_alert_whose_picture_is_not_there_has_none(blueprint: dict[str, Any]) -> None:
    alert = announce(incident_message(6), None, loud=True).as_dict() | {"page": None}
    assert "image" not in notification(blueprint, alert)["data"]


def test_the_button_gives_the_incident_to_the_action_of_the_user(blueprint: dict[str, Any]) -> None:
    pressed = {"id": "pressed", "event": {"data": {"action": "HEARTHWATCH_REVIEWED_0badcafe_5"}}}
    scope = scope_of(blueprint, pressed)
    chosen = blueprint["actions"][0]["choose"][1]
    assert run(chosen["conditions"], scope) == [True] and (scope["store"], scope["incident_id"]) == ("0badcafe", 5)
    assert chosen["sequence"] == Input("reviewed")
    other = {"id": "pressed", "event": {"data": {"action": "OPEN_DOOR"}}}
    assert run(chosen["conditions"], scope_of(blueprint, other)) == [False]


def test_the_blueprint_listens_where_alerts_are_published(blueprint: dict[str, Any]) -> None:
    heard = {trigger["id"]: trigger for trigger in blueprint["triggers"]}
    assert heard["incident"]["trigger"] == "mqtt" and heard["incident"]["topic"] == Input("topic")
    assert blueprint["blueprint"]["input"]["topic"]["default"] == f"{Mqtt(url='mqtt://host').topic}/+/alerts"
    assert heard["pressed"] == {"id": "pressed", "trigger": "event", "event_type": "mobile_app_notification_action"}
