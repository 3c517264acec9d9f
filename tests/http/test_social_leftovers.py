"""Whatever a German or Spanish shopper reads of social sign-in in JSON differs from what an English one reads."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2

from shopkeeper.clock import StoppedClock
from shopkeeper.languages.choice import LANGUAGES
from tests.attacks.scene import PASSWORD, Browser
from tests.credentials.social import JSON, SocialStage, social_stage
from tests.http.test_english_leftovers import Talk, leftovers, sentences
from tests.openid.scripted import OTHER_RSA, signed


async def opened(talk: Talk, stage: SocialStage) -> Browser:
    return await stage.scene.browser(ip=talk.ip, accept_language=talk.language)


async def forms(talk: Talk, stage: SocialStage) -> None:
    """What is wrong before the browser leaves."""
    browser = await opened(talk, stage)
    for kind in ("login", "registration"):
        for sent in (
            {},
            {"provider": "nobody"},
            {"provider": "idp", "id_token": "x.y.z"},
            {"provider": "other", "id_token": "x.y.z"},
        ):
            flow = await talk.note(f"open {kind}", browser.get(f"/self-service/{kind}/browser", headers=JSON))
            await talk.note(f"{kind} {sorted(sent)}", stage.submit(browser, flow, **sent))
    await talk.note("unknown", browser.get("/self-service/methods/oidc/callback/idp?state=x&code=y", headers=JSON))


async def callbacks(talk: Talk, stage: SocialStage) -> None:
    """What goes wrong at the provider: the form that the browser comes back to says so."""
    browser = await opened(talk, stage)
    forged = stage.idp.tokens(signed(stage.idp.claims(), algorithm="RS256", key=OTHER_RSA))
    for kind in ("login", "registration"):
        for name, token in (("declined", {}), ("forged", forged), ("nonsense", {"no": "token"})):
            url = await stage.leave(browser, await browser.open_flow(kind), provider="idp")
            back = stage.back(url)
            stage.idp.answer("/token", token)
            answer = await browser.get(back.replace("code=", "error=access_denied&code=") if not token else back)
            await note_flow(talk, browser, f"{kind} {name}", answer, kind)


async def note_flow(talk: Talk, browser: Browser, name: str, answer: httpx2.Response, kind: str = "login") -> Any:
    """Note the flow whose page an answer leads to."""
    flow = dict(parse_qsl(urlsplit(answer.headers["location"]).query))["flow"]
    return await talk.note(name, browser.get(f"/self-service/{kind}/flows?id={flow}", headers=JSON))


async def accounts(talk: Talk, stage: SocialStage) -> None:
    """What is asked for, an account that exists, and what is linked."""
    browser, email = await opened(talk, stage), f"{talk.language}@example.org"
    answer = await stage.arrive(browser, subject=f"{talk.language}-1")
    flow = await note_flow(talk, browser, "missing", answer, "registration")
    await talk.note("missing again", stage.submit(browser, flow, provider="idp", traits={"email": "nonsense"}))
    await stage.customer(email, ("other", f"{talk.language}-2"), password=PASSWORD)
    claims = {"subject": f"{talk.language}-3", "email": email, "email_verified": True}
    await note_flow(talk, browser, "taken", await stage.arrive(browser, **claims))
    await stage.arrive(browser, provider="other", subject=f"{talk.language}-2")
    alone = await opened(talk, stage)
    await stage.customer(f"alone.{email}", ("idp", f"{talk.language}-4"))
    await stage.arrive(alone, subject=f"{talk.language}-4")
    await talk.note("last", stage.submit(alone, await alone.open_flow("settings"), unlink="idp"))
    url = await stage.leave(alone, await alone.open_flow("settings"), link="other")
    answer = await alone.get(stage.back(url, provider="other", subject=f"{talk.language}-2"))
    await note_flow(talk, alone, "of another", answer, "settings")
    for sent in ({}, {"link": "nobody"}, {"unlink": "idp"}, {"unlink": "other"}):
        flow = await talk.note("settings", browser.get("/self-service/settings/browser", headers=JSON))
        await talk.note(f"settings {sent}", stage.submit(browser, flow, **sent))


async def test_no_sentence_of_social_sign_in_is_left_in_english(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
) -> None:
    async with social_stage(sqlite_dsn, tmp_path, clock) as stage:
        talks = {language: Talk(stage.scene, language) for language in LANGUAGES}
        for talk in talks.values():
            for part in (forms, callbacks, accounts):
                await part(talk, stage)
    english = talks.pop("en").spoken
    assert sum(1 for _, _, body in english for _ in sentences(body)) > 100
    for talk in talks.values():
        assert [(name, status) for name, status, _ in talk.spoken] == [(name, status) for name, status, _ in english]
        assert "\n".join(leftovers(english, talk.spoken)) == ""
