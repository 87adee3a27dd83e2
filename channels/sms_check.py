"""Is SMS set up at Twilio? The account, the number, and where what people write is sent.

Sources: Twilio's pages "Account resource", "IncomingPhoneNumber resource", error 20003 (2026-11).
"""

from __future__ import annotations

import httpx

from channels.checking import Finding, Reply, ask, can_be_reached, unreachable


async def check(
    client: httpx.AsyncClient,
    *,
    account_sid: str,
    auth_token: str,
    sender: str,
    api_url: str,
    webhook: str,
    repair: bool,
) -> list[Finding]:
    """What is right and what is wrong; with ``repair`` the number's webhook is set where it is not ours."""
    base = f"{api_url.rstrip('/')}/2010-04-01/Accounts/{account_sid}"
    auth = (account_sid, auth_token)
    account = await ask(client, "GET", f"{base}.json", auth=auth)
    found = [_account(account, api_url)]
    if not account.good:
        return found
    if account.text("type") == "Trial":
        found.append(Finding("note", "The account is a trial: Twilio sends to numbers that you have verified only."))
    if not sender.startswith("+"):
        return [*found, Finding("note", f"{sender} is no phone number: look at its webhook in Twilio's console.")]
    listed = await ask(client, "GET", f"{base}/IncomingPhoneNumbers.json", auth=auth, params={"PhoneNumber": sender})
    if not listed.good:
        return [*found, unreachable("Twilio", api_url, listed)]
    numbers = [row for row in listed.rows("incoming_phone_numbers") if row.get("phone_number") == sender]
    if not numbers:
        text = f"{sender} is not a number of this account: set PASSERELLE_TWILIO_FROM to one that is."
        return [*found, Finding("wrong", text)]
    number = Reply(200, numbers[0])
    capable = number.body.get("capabilities")
    if isinstance(capable, dict) and (capable.get("sms") is False or capable.get("SMS") is False):
        found.append(Finding("wrong", f"{sender} cannot take SMS: buy a number at Twilio that can."))
    if number.text("sms_application_sid"):
        text = f"A TwiML app takes what is written to {sender}: remove it from the number in Twilio's console."
        return [*found, Finding("wrong", text)]
    if _is_ours(number, webhook):
        return [*found, Finding("good", f"what is written to {sender} comes to {webhook}")]
    if problem := can_be_reached(webhook, api_url):
        return [*found, problem]
    if not repair:
        text = f"What is written to {sender} goes elsewhere: run `passerelle channels check` without --look."
        return [*found, Finding("wrong", text)]
    form = {"SmsUrl": webhook, "SmsMethod": "POST"}
    set_ = await ask(client, "POST", f"{base}/IncomingPhoneNumbers/{number.text('sid')}.json", auth=auth, data=form)
    if set_.good and _is_ours(set_, webhook):
        return [*found, Finding("good", f"set just now: what is written to {sender} comes to {webhook}")]
    text = (
        f"Twilio did not take the webhook (error {set_.text('code') or set_.status}): enter {webhook} in its console."
    )
    return [*found, Finding("wrong", text)]


def _is_ours(number: Reply, webhook: str) -> bool:
    return number.text("sms_url") == webhook and number.text("sms_method") == "POST"


def _account(account: Reply, api_url: str) -> Finding:
    if account.status in (401, 403, 404):
        return Finding(
            "wrong",
            "Twilio does not accept the account and its token: copy PASSERELLE_TWILIO_ACCOUNT_SID and"
            " PASSERELLE_TWILIO_AUTH_TOKEN again from Twilio's console.",
        )
    if not account.good or not account.text("status"):
        return unreachable("Twilio", api_url, account)
    if account.text("status") != "active":
        return Finding("wrong", f"The Twilio account is {account.text('status')}: see what Twilio's console says.")
    return Finding("good", "Twilio accepts the account and its token")
