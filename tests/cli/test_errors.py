"""How a command ends that cannot do what it was asked for."""

from __future__ import annotations

from gateway.cli.errors import OperatorError


def test_each_problem_is_a_line_of_its_own_and_the_exit_code_is_2(capsys):
    error = OperatorError("one\ntwo")
    error.show()
    assert capsys.readouterr().err == "error: one\nerror: two\n"
    assert error.exit_code == 2
