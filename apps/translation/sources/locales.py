"""Names of languages and regions, as CLDR has them."""

import difflib

from babel import Locale, localedata

from core.errors import UserError


def locale(name: str, key: str) -> Locale:
    """The locale of that name, "pt_BR" or "pt-BR".

    Raises:
        UserError: names `key` and the nearest known names.
    """
    known = localedata.locale_identifiers()
    wanted = name.replace("-", "_")
    if wanted in known:
        return Locale.parse(wanted)
    near = difflib.get_close_matches(wanted, known, n=3) or ["en", "de", "pt_BR", "zh_Hans"]
    raise UserError(f"{key}={name}: CLDR has no such locale; write for example {', '.join(near)}")
