"""The lint, as somebody meets it who adds a workflow or a step and forgets a part of it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from keyturn.errors import SettingsError
from tests.statemachines.conftest import ROOT
from tools.draining import draining
from tools.lint_statemachines import __main__ as module
from tools.lint_statemachines.__main__ import lint, main

ROUTES = "src/keyturn_routes/routes.json"
PAYMENT = "                  - !GetAtt PaymentFunction.Arn\n"
VERSIONS = "                  - !Sub ${PaymentFunction.Arn}:* # the versions of releases\n"
SEQUENCER = "                Resource: !GetAtt SequencerFunction.Arn\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the lint reads, to break."""
    for folder in ("statemachines", "functions", "src/keyturn_routes"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "template.yaml", tmp_path)
    return tmp_path


def changed(file: str, old: str, new: str) -> Callable[[Path], None]:
    """Replace what stands in a file once at least."""

    def change(project: Path) -> None:
        text = (project / file).read_text(encoding="utf-8")
        assert old in text
        (project / file).write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def without(file: str) -> Callable[[Path], None]:
    """Take a file or a folder away."""

    def take_away(project: Path) -> None:
        path = project / file
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return take_away


@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        (
            changed("statemachines/order.asl.json", '"TimeoutSeconds": 14', '"TimeoutSeconds": 13'),
            "order.draining.asl.json: is not what statemachines/order.asl.json comes to.\nRun: .venv/bin/python -m",
        ),
        (without("statemachines/lines.draining.asl.json"), "lines.draining.asl.json: is not what"),
        (
            without("statemachines/lines.asl.json"),
            "statemachines/lines.asl.json: can't be read: No such file or directory.",
        ),
        (
            changed("statemachines/lines.asl.json", '"Next": "Sequence"', '"Next": "Sequenz"'),
            'statemachines/lines.asl.json, state "Sequenz": is led to, and isn\'t there.',
        ),
        (changed("statemachines/lines.asl.json", "{", "{,"), "statemachines/lines.asl.json: is not JSON: Expecting"),
        (
            changed("template.yaml", PAYMENT + VERSIONS, ""),
            "OrderStandard may not lambda:InvokeFunction !GetAtt PaymentFunction.Arn, !Sub ${PaymentFunction.Arn}:*.",
        ),
        (
            changed("template.yaml", VERSIONS, ""),
            "OrderExpress may not lambda:InvokeFunction !Sub ${PaymentFunction.Arn}:*.",
        ),
        (
            changed("template.yaml", "                  - !Ref OrderExpress\n", ""),
            "OrderNestedRole: OrderNested may not states:StartSyncExecution !Ref OrderExpress.",
        ),
        (
            changed("template.yaml", "  PaymentFunction:\n", "  ChargeFunction:\n"),
            "template.yaml, OrderStandard: PaymentFunctionArn is of PaymentFunction, and there is no such",
        ),
        (without("functions/payment"), "template.yaml, PaymentFunction: there is no functions/payment."),
        (
            changed("template.yaml", "!Sub ${AWS::StackName}-order-standard", "keyturn-order-standard"),
            "template.yaml, OrderStandard: wants StateMachineName (!Sub ${AWS::StackName}-WORKFLOW-KIND)",
        ),
        (changed("template.yaml", "      Timeout: 3\n", "      Timeout: !Ref X\n"), "Timeout is no number"),
        (changed("template.yaml", "Resources:", "Resources: :"), "template.yaml: is no YAML: mapping values"),
        (changed(ROUTES, "[", "[,"), f"{ROUTES}: is not JSON: Expecting value: line 2"),
    ],
)
def test_what_was_forgotten_is_named(project: Path, spoil: Callable[[Path], None], finding: str) -> None:
    """In a line with a remedy, before a deploy; what a role lacks would only show on AWS."""
    assert lint(project) == []
    spoil(project)
    assert finding in "\n".join(map(str, lint(project)))


def test_a_step_that_the_derived_definition_lacks_is_not_taken_out_of_the_template(project: Path) -> None:
    """A new substitution is right for the source: to take it out again would leave Express runs without the step."""
    changed("statemachines/order.asl.json", "PaymentFunctionArn", "InsuranceFunctionArn")(project)
    for _ in ("OrderStandard", "OrderExpress"):
        changed("template.yaml", "        PaymentFunctionArn:", "        InsuranceFunctionArn:")(project)
    found = list(map(str, lint(project)))
    assert "Run: .venv/bin/python -m tools.draining." in found[0]
    assert "Take it out of DefinitionSubstitutions" not in "\n".join(found)


@pytest.mark.parametrize(
    "policy",
    [
        "Resource: '*'",
        "Resource: !Sub arn:aws:lambda:*:*:function:${AWS::StackName}-*",
        "Resource: [!GetAtt OfAnother.Outputs.Arn]",
    ],
)
def test_a_role_that_says_it_in_other_words_is_believed(project: Path, policy: str) -> None:
    """The lint reads no more than the sample's form of a policy, and names nothing that may be right."""
    start = "                Action: lambda:InvokeFunction\n                Resource:\n"
    changed("template.yaml", start + "                  - !GetAtt InventoryFunction.Arn\n", "")(project)
    text = (project / "template.yaml").read_text(encoding="utf-8")
    before, behind = text.split("  OrderRole:\n", 1)[0], text.split("  OrderStandard:\n", 1)[1]
    role = f"""  OrderRole:
    Type: AWS::IAM::Role
    Properties:
      Policies:
        - PolicyName: Invoke
          PolicyDocument:
            Statement:
              - Effect: Allow
                Action: lambda:*
                {policy}

"""
    (project / "template.yaml").write_text(f"{before}{role}  OrderStandard:\n{behind}", encoding="utf-8")
    assert lint(project) == []


def test_routes_that_no_function_could_read_are_no_sound_project(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are read as the functions read them, schemas included, so that no deploy is needed to find out."""

    def refuses() -> None:
        raise SettingsError("routes.json, routes[0].kind: is missing: correct it in src/keyturn_routes/routes.json")

    monkeypatch.setattr(module, "load_routes", refuses)
    assert main() == 1
    assert capsys.readouterr().err.startswith("Error: routes.json, routes[0].kind: is missing: correct it in src/")


def test_a_definition_without_a_comment_can_drain(order: dict[str, object]) -> None:
    """A comment is nobody's duty."""
    del order["Comment"]
    assert draining(order, "order.asl.json")["Comment"] == (
        "Drains its key. Written by tools/draining.py from order.asl.json."
    )
