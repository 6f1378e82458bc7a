"""A worker as `engine.py` expects one, without vLLM; what it does stands in what it is told.

The argument `act` of the model says how it begins, `act` of a question's body what becomes of that.
"""

import json
import os
import sys
import time
from pathlib import Path

GOOD = {"finish": "stop", "prompt_tokens": 7, "completion_tokens": 3}


def send(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def begin(act):
    sys.stderr.write("loading\nout of memory\n")
    sys.stderr.flush()
    if act == "die":
        os._exit(9)
    if act == "fail":
        send({"failed": "ValueError: no such\nmodel"})
        os._exit(1)
    if act == "silence":
        time.sleep(60)
    send({"ready": {"vllm": "0.32.0", "dtype": "bfloat16", "commit": None}})


def answer(number, body):
    act, is_first = body["act"], False
    if "mark" in body:  # of a question that is another matter when it comes again
        is_first = not Path(body["mark"]).exists()
        Path(body["mark"]).touch()
    if act == "die" or (act == "die once" and is_first):
        os._exit(3)
    if act == "hang":
        time.sleep(60)
    if act == "slow":
        time.sleep(0.3)
    if act == "refuse":
        send({"number": number, "refused": "ValueError: too long"})
    elif act == "cut":
        send({"number": number, "text": '{"a', **GOOD, "finish": "length"})
    elif act != "nothing" and not (act == "nothing once" and is_first):
        send({"number": number, "text": body.get("text", "yes"), **GOOD})


def main():
    begin(json.loads(sys.stdin.readline()).get("act"))
    for line in sys.stdin:
        question = json.loads(line)
        answer(question["number"], question["body"])


if __name__ == "__main__":
    main()
