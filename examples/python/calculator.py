"""Requests and replies between processes: a calculator, and whoever asks it.

    python3 calculator.py serve ipc://calculator         # one terminal: until Ctrl-C
    python3 calculator.py ask ipc://calculator 6 x 7     # another: + - x /
"""

import operator
import sys

import psyne

# The same in every language: their names and fields are checked when the two sides meet.
Question = psyne.Struct("Question", left="f64", right="f64", operation="u64")
Answer = psyne.Struct("Answer", value="f64")
OPERATIONS = {"+": operator.add, "-": operator.sub, "x": operator.mul, "/": operator.truediv}


def serve(address):
    server = psyne.Server(address, Question.layout, Answer.layout)
    while True:
        # A loop ends when the last client has finished: others will come.
        for request in server:
            question = Question.unpack(request)
            operation = OPERATIONS.get(chr(question.operation))
            # A request without a reply is refused.
            if operation:
                server.reply(Answer.pack(value=operation(question.left, question.right)))


def ask(address, left, operation, right):
    question = Question.pack(left=float(left), right=float(right), operation=ord(operation))
    with psyne.Client(address, Question.layout, Answer.layout) as client:
        try:
            print(f"{Answer.unpack(client.call(question)).value:.3f}")
        except psyne.Refused:
            print("the calculator can't do that")


match sys.argv[1:]:
    case ["serve", address]:
        serve(address)
    case ["ask", address, left, operation, right]:
        ask(address, left, operation, right)
    case ["--help"]:
        print(__doc__)
    case _:
        sys.exit(__doc__)
