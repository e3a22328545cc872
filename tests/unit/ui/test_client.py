import httpx
import pytest

from finetune30.ui.client import TEXTS_A_REQUEST, ApiClient, ApiError, ApiUnreachableError


def client_of(answer, key=None):
    return ApiClient("http://api.test/", key, transport=httpx.MockTransport(answer))


def test_a_refusal_carries_the_error_shape_and_its_faults():
    faults = [{"key": "training.learning_rate", "problem": "too large"}]
    body = {"error": "config_error", "message": "1 fault", "remedy": "mend it", "details": {"faults": faults}}
    api = client_of(lambda request: httpx.Response(422, json=body))
    with pytest.raises(ApiError, match="1 fault") as caught:
        api.submit({}, "key")
    assert (caught.value.status, caught.value.code, caught.value.remedy) == (422, "config_error", "mend it")
    assert caught.value.faults == faults


@pytest.mark.parametrize("answer", [httpx.Response(502, text="<html>"), httpx.Response(500, json=["x"])])
def test_an_answer_that_is_no_error_shape_is_still_a_refusal(answer):
    with pytest.raises(ApiError, match="HTTP 50"):
        client_of(lambda request: answer).load_statistics()


def test_success_without_json_is_refused():
    with pytest.raises(ApiError, match="did not answer with JSON"):
        client_of(lambda request: httpx.Response(200, text="hello")).load_statistics()


def test_an_api_that_is_away_is_told_apart():
    def fail(request):
        raise httpx.ConnectError("refused", request=request)

    api = client_of(fail)
    assert not api.is_up()
    with pytest.raises(ApiUnreachableError, match="refused"):
        api.load_versions()


def test_key_travels_in_the_header_only_and_ids_cannot_leave_their_segment():
    seen = []

    def note(request):
        seen.append(request)
        return httpx.Response(200, json={"status": "QUEUED"})

    client_of(note, "secret").load_task("../../audit?x=1")
    assert seen[0].headers["Authorization"] == "Bearer secret"
    segment = seen[0].url.raw_path.removeprefix(b"/task/")
    assert not {b"/", b"?", b"%2F", b"%3f"} & {segment[n : n + size] for n in range(len(segment)) for size in (1, 3)}
    assert "secret" not in str(seen[0].url)


def test_many_texts_are_asked_in_pieces_and_answered_in_order():
    import json

    sizes = []

    def answer(request):
        texts = json.loads(request.content)["texts"]
        sizes.append(len(texts))
        return httpx.Response(200, json={"answers": [{"text": text} for text in texts]})

    texts = [str(number) for number in range(TEXTS_A_REQUEST + 3)]
    answers = list(client_of(answer).predict("run", texts))
    assert [found["text"] for found in answers] == texts
    assert sizes == [TEXTS_A_REQUEST, 3]


def test_empty_filters_are_not_sent():
    asked = []

    def note(request):
        asked.append(dict(request.url.params))
        return httpx.Response(200, json={"experiments": [], "next_cursor": None})

    assert client_of(note).find_experiments(name="", status=[], min_accuracy=None, limit=5) == ([], None)
    assert asked == [{"limit": "5"}]
