from dynamicrafter.redaction import MASK, redact, redact_arguments, redact_text


def test_values_of_secret_variables_are_masked_wherever_they_stand(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "canary-4711")
    monkeypatch.setenv("HOME_TOWN", "visible-value")
    text = "curl -H 'Bearer canary-4711' visible-value"
    assert redact_text(text) == f"curl -H 'Bearer {MASK}' visible-value"
    assert redact({"a": ["x canary-4711"]}) == {"a": [f"x {MASK}"]}


def test_settings_named_like_secrets_are_masked_by_name():
    config = {"caption": {"api_key": "sk-1", "url": "http://127.0.0.1"}, "token": "t", "key": ""}
    assert redact(config) == {
        "caption": {"api_key": MASK, "url": "http://127.0.0.1"},
        "token": MASK,
        "key": "",
    }


def test_ordinary_names_are_not_masked():
    config = {"tokens": 77, "tokenizer": "clip", "keys": ["a"], "monkey": "x", "max_tokens": 3}
    assert redact(config) == config


def test_secrets_inside_a_text():
    texts = [
        "Could not override. use +captioner.api_key=sk-4711",
        "+captioner={api_key:sk-4711,url:x}",
        """extra.x=["a.api_key=sk-4711"]""",
        "https://sk-4711@host/simple",
        '{"authorization": "sk-4711"}',
    ]
    assert all("sk-4711" not in redact_text(text) for text in texts)
    assert redact_text("77 tokens: a, b; tokenizer=clip") == "77 tokens: a, b; tokenizer=clip"


def test_command_lines():
    arguments = ["train", "+caption.api_key=sk-1", "lr=1e-4", "url=http://me:pw@host/x"]
    assert redact_arguments(arguments) == [
        "train",
        f"+caption.api_key={MASK}",
        "lr=1e-4",
        f"url=http://{MASK}@host/x",
    ]
