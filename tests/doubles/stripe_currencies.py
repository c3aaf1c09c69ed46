"""What Stripe asks of an amount: decimals, smallest and greatest charge. Pure; it must never be the code under test's own table."""

from tests.doubles.stripe_errors import bad_parameter

WHOLE = frozenset(["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"])
THREE_DECIMALS = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])
WITHOUT_CENTS = frozenset(("isk", "ugx"))  # spoken of in hundredths, which must be 00
SMALLEST = {
    "gbp": 30,
    "dkk": 250,
    "nok": 300,
    "sek": 300,
    "hkd": 400,
    "mxn": 1000,
    "pln": 200,
    "czk": 1500,
    "huf": 17500,
    "kwd": 150,
}
USUAL_SMALLEST, GREATEST = 50, 99_999_999


def check_currency(currency: str, param: str) -> str:
    lower = currency.lower()
    if len(lower) != 3 or not lower.isalpha():
        raise bad_parameter(param, f"Invalid currency: {currency}. Stripe currently supports these currencies: usd, eur, ...")
    return lower


def check_amount(amount: int, currency: str, param: str) -> int:
    """An amount of one line: not negative, and in steps the currency has."""
    if amount < 0:
        raise bad_parameter(param, "This value must be greater than or equal to 0.", "parameter_invalid_integer")
    if currency in THREE_DECIMALS and amount % 10:
        raise bad_parameter(param, f"Invalid amount: the last digit of an amount in {currency} must be 0.", "amount_invalid")
    if currency in WITHOUT_CENTS and amount % 100:
        raise bad_parameter(param, f"Invalid amount: an amount in {currency} must be divisible by 100.", "amount_invalid")
    return amount


def check_charge(amount: int, currency: str, param: str, what: str = "Amount") -> int:
    """An amount to be charged at once."""
    check_amount(amount, currency, param)
    smallest = SMALLEST.get(currency, USUAL_SMALLEST)
    if amount < smallest:
        raise bad_parameter(param, f"{what} must convert to at least {smallest} {currency} minor units.", "amount_too_small")
    if amount > GREATEST:
        raise bad_parameter(param, f"{what} must be no more than {money(GREATEST, currency)}", "amount_too_large")
    return amount


def money(amount: int, currency: str) -> str:
    """As Stripe's messages write it."""
    if currency in WHOLE:
        return f"{amount} {currency}"
    return f"${amount / 100:,.2f}" if currency == "usd" else f"{amount / 100:,.2f} {currency}"
