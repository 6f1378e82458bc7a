"""One request for one question, and what each kind of answer stands for."""

from curation.captions.answer import BadAnswer
from curation.captions.completion import Completion, read_completion, written
from curation.captions.question import Check, NoReply
from curation.captions.served import OVERLOADED, message_of, refusal
from curation.captions.servers import Server, Servers
from curation.captions.transport import Connections, Failed, Response, exchange
from curation.captions.waits import asked_to_wait
from dynamicrafter.errors import InputError

PATH = "/v1/chat/completions"
REFUSED = (400, 413, 422)
NO_FRAME_TIMES = "media_io_kwargs"  # vLLM names them where it takes none from a request


class AskAgain(Exception):
    """`kind` is bad (the model's answer), failure (the server's) or busy (told to wait)."""

    def __init__(self, kind: str, reason: str, message: str, wait_s: float | None = None):
        super().__init__(message)
        self.kind, self.reason, self.wait_s = kind, reason, wait_s


class Attempts:
    """Sends requests, tells `Servers` how they did, and sees to it that no model changes."""

    def __init__(self, connections: Connections, servers: Servers, max_reply_bytes: int):
        self._connections, self._servers, self._max_bytes = connections, servers, max_reply_bytes
        self._model_said: str | None = None

    async def once(
        self, server: Server, content: bytes, seconds: float, check: Check
    ) -> Completion:
        """Send a question and look at what comes.

        Raises:
            AskAgain: it was no good.
            NoReply: it will never be.
            InputError: the server cannot be used, or has another model now.
        """
        to = server.address
        try:
            response = await exchange(
                self._connections, to, PATH, content, seconds, self._max_bytes
            )
        except Failed as failure:
            if failure.reason == "too_large":
                self._servers.answered(server)
                raise AskAgain("bad", failure.reason, str(failure)) from None
            self._servers.failed(server, failure.reason, str(failure))
            raise AskAgain("failure", failure.reason, str(failure)) from None
        if response.status != 200:
            await self._refused(server, response)
        self._servers.answered(server)
        try:
            completion = read_completion(response.body)
            self._same_model(server, completion)
            check(written(completion))
        except BadAnswer as bad:
            raise AskAgain("bad", bad.reason, str(bad)) from None
        return completion

    async def _refused(self, server: Server, response: Response) -> None:
        """Raise what a status other than 200 stands for."""
        status, url = response.status, server.address.url
        message = f"{url} answers {status}: {message_of(response.body)}"
        wait_s = asked_to_wait(response.headers)
        if status in OVERLOADED or (status == 503 and wait_s is not None):
            self._servers.answered(server)
            raise AskAgain("busy", f"http_{status}", message, wait_s)
        if status >= 500 or status == 409 or status < 400:  # redirects are never followed
            self._servers.failed(server, f"http_{status}", message)
            raise AskAgain("failure", f"http_{status}", message, wait_s)
        self._servers.answered(server)
        if status in REFUSED:
            refused = message_of(response.body)
            if NO_FRAME_TIMES in refused:  # so it would say of every clip
                raise InputError(
                    f"{url} takes no times of frames; start vLLM with --trust-request-mm-kwargs, "
                    "or pass captioner.frames.send_as=images"
                )
            raise NoReply("refused", refused, final=True)
        if status == 404:  # so says vLLM when its model is not the one that is asked for
            try:
                await self._servers.compare(server)
            except Failed as failure:
                self._servers.failed(server, failure.reason, str(failure))
                raise AskAgain("failure", failure.reason, str(failure)) from None
        raise refusal(server.address, PATH, response)

    def _same_model(self, server: Server, completion: Completion) -> None:
        """A model that changes in mid-run would make a data set by two models under one name.

        Raises:
            InputError: the reply is another's.
        """
        said, served, url = completion.model, self._servers.served, server.address.url
        remedy = "a run is made by one model: mend the server or choose another run_dir"
        if said is not None:
            before = self._model_said or (served.name if said not in served.aliases else said)
            if said != before:
                raise InputError(f"{url} had the model {before!r} and now has {said!r}; {remedy}")
            self._model_said = said
        mark = completion.fingerprint
        if mark is not None and mark != (server.fingerprint or mark):
            raise InputError(
                f"{url} had the fingerprint {server.fingerprint!r} and now has {mark!r}; {remedy}"
            )
        server.fingerprint = mark or server.fingerprint
