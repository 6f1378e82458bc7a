"""vLLM in a process of its own environment, asked over pipes: run by path, by `engine.py`.

It imports vLLM and the standard library, nothing of this project. Standard input brings lines of
JSON: first the arguments of `vllm.LLM`, then questions `{"number", "body"}`. Standard output, which
nobody else here may write to, takes one line when the model is loaded, or why it is not, and one
for each question, in the order in which they end. Everything that vLLM prints goes to standard
error.

A question's body is that of a chat completion over HTTP, and vLLM's own server code says what it
means, so that it means the same here and there. `LLM.chat` is not used: it takes no
`media_io_kwargs` (the times of the frames), loses all questions for one that is too long, and
begins the next ones only when all are done.
"""

import ctypes
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any

PR_SET_PDEATHSIG = 1


def main() -> int:
    """Load the model, then answer until standard input ends or the parent does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    answers = take_stdout()
    arguments = json.loads(sys.stdin.buffer.readline())
    inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=read_questions, args=(inbox,), daemon=True).start()
    # One process, so that nothing is left when it is killed, and scheduling is deterministic.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # it reports home otherwise
    try:
        engine = Engine(arguments)
    except Exception as error:
        send(answers, {"failed": f"{type(error).__name__}: {error}"})
        raise
    send(answers, {"ready": engine.facts()})
    while True:
        for question in arrived(inbox, wait=not engine.is_busy()):
            if refusal := engine.put(question["number"], question["body"]):
                send(answers, {"number": question["number"], "refused": refusal})
        for answer in engine.step():
            send(answers, answer)


def take_stdout() -> IO[bytes]:
    """Keep the real standard output for the answers; what prints there now goes to the log."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def read_questions(inbox: "queue.SimpleQueue[dict[str, Any]]") -> None:
    """Move questions from standard input to the inbox; its end is the end of this process."""
    for line in sys.stdin.buffer:
        inbox.put(json.loads(line))
    os._exit(0)


def arrived(inbox: "queue.SimpleQueue[dict[str, Any]]", wait: bool) -> Iterator[dict[str, Any]]:
    """All questions that lie in the inbox; if `wait`, one at least."""
    if wait:
        yield inbox.get()
    while not inbox.empty():
        yield inbox.get()


def send(answers: IO[bytes], message: dict[str, Any]) -> None:
    """Write one line."""
    answers.write(json.dumps(message).encode() + b"\n")
    answers.flush()


class Engine:
    """vLLM's engine, fed one question at a time and stepped."""

    def __init__(self, arguments: dict[str, Any]):
        from vllm import LLM

        self._llm = LLM(**arguments)
        self._engine = self._llm.llm_engine
        self._config = self._llm.model_config
        self._sampling = self._config.get_diff_sampling_param()

    def facts(self) -> dict[str, Any]:
        """What decides the answers besides the question."""
        import vllm

        return {
            "vllm": vllm.__version__,
            "dtype": str(self._config.dtype).removeprefix("torch."),
            "commit": getattr(self._config.hf_config, "_commit_hash", None),
        }

    def is_busy(self) -> bool:
        """Whether a question is not answered yet."""
        return self._engine.has_unfinished_requests()

    def put(self, number: int, body: dict[str, Any]) -> str | None:
        """Take a question in, or say why not; the others are none the worse for it."""
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.exceptions import VLLMClientError

        try:
            request = ChatCompletionRequest(**body)
            media = self._config.multimodal_config
            chat = request.build_chat_params(self._llm.chat_template, "auto").with_defaults(
                {"tools": None, "tokenize": False},
                default_media_io_kwargs=media.media_io_kwargs if media else None,
            )
            _, (prompt,) = self._llm.renderer.render_chat(
                [body["messages"]], chat, request.build_tok_params(self._config)
            )
            sampling = request.to_sampling_params(request.max_tokens, self._sampling)
            self._engine.add_request(str(number), prompt, sampling)
        except (VLLMClientError, ValueError, TypeError, LookupError) as error:
            return f"{type(error).__name__}: {error}"
        return None

    def step(self) -> Iterator[dict[str, Any]]:
        """Generate a little more; yields the answers that are done."""
        if not self.is_busy():
            return
        for output in self._engine.step():
            if output.finished:
                said = output.outputs[0]
                yield {
                    "number": int(output.request_id),
                    "text": said.text,
                    "finish": said.finish_reason,
                    "prompt_tokens": len(output.prompt_token_ids or ()),
                    "completion_tokens": len(said.token_ids),
                }


if __name__ == "__main__":
    sys.exit(main())
