"""What may be sent, field by field: strict types, known keys only, bounded lengths, no control characters.

Shape is checked here; whether a SKU exists or an order may be shipped is decided by the rooms below.
"""

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

MAX_QUANTITY = 10_000
MAX_LINES = 100
_MAX_NUMBER = Decimal(1_000_000_000)


class Sent(BaseModel):
    """A JSON object that a client sends."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel, validate_by_name=False, validate_by_alias=True)


def _one_line(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("must be printable text on one line")
    return text.strip()


def _lines(text: str) -> str:
    if any(not (character.isprintable() or character in "\n\r\t") for character in text):
        raise ValueError("must not hold control characters")
    return text


def _number(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("must be a number")
    number = Decimal(value)
    if not number.is_finite() or abs(number) > _MAX_NUMBER:
        raise ValueError(f"must lie between -{_MAX_NUMBER} and {_MAX_NUMBER}")
    if number != round(number, 6):
        raise ValueError("must have at most 6 decimals")
    return number


def _option_value(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if len(value) > 200 or not value.isprintable():
            raise ValueError("must be printable text of at most 200 characters")
        return value
    try:
        return _number(value)
    except ValueError:
        raise ValueError("must be text, true, false or a number up to a thousand million with at most 6 decimals") from None


Short = Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_one_line)]
Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_one_line)]
Reason = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_one_line)]
Notes = Annotated[str, Field(max_length=5000), AfterValidator(_lines)]
Number = Annotated[Decimal, BeforeValidator(_number), WithJsonSchema({"type": "number"})]
Amount = Annotated[Decimal, BeforeValidator(_number), Field(ge=0), WithJsonSchema({"type": "number", "minimum": 0})]
OptionValue = Annotated[Any, BeforeValidator(_option_value), WithJsonSchema({"type": ["string", "number", "boolean"]})]
Quantity = Annotated[int, Field(ge=1, le=MAX_QUANTITY)]
Identifier = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@+-]*$")]
SkuId = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
OptionKey = Annotated[str, Field(max_length=60, pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
Color = Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$"), AfterValidator(str.lower)]
Material = Annotated[str, Field(max_length=40, pattern=r"^[A-Za-z0-9][A-Za-z0-9+ ._-]*$")]
ProfileName = Annotated[str, Field(max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class LineItemIn(Sent):
    """One line of an order or a quote."""

    sku_id: Text
    quantity: Quantity
    options: Annotated[dict[Text, OptionValue], Field(max_length=50)] = {}


class Destination(Sent):
    """Where a basket would go: the country, and as much more as is known yet. The price may depend on state and zip."""

    name: Text | None = None
    line1: Text | None = None
    line2: Text | None = None
    city: Text | None = None
    state: Text | None = None
    zip: Short | None = None
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1, two capital letters")]
    phone: Short | None = None
    email: Text | None = None


class Address(Destination):
    """Where the parcel goes."""

    name: Text
    line1: Text
    city: Text


Lines = Annotated[list[LineItemIn], Field(min_length=1, max_length=MAX_LINES)]


class OrderIn(Sent):
    """A new order."""

    customer_id: Identifier
    line_items: Lines
    shipping_address: Address | None = None
    notes: Notes | None = None


class QuoteIn(Sent):
    """A basket to be priced."""

    line_items: Lines
    shipping_address: Destination | None = None


class CancelIn(Sent):
    """Why an order is taken back."""

    reason: Reason | None = None


class PayIn(Sent):
    """Where the money came from: a receipt, a transfer's number."""

    reference: Text | None = None


class ShipIn(Sent):
    """Who carries the parcel."""

    carrier: Short | None = None
    tracking_number: Text


class RefundIn(Sent):
    """Money given back: an amount, units of a line, a line, or all that is left."""

    amount: Annotated[Number, Field(gt=0)] | None = None
    line_item_id: Text | None = None
    quantity: Quantity | None = None
    reason: Reason | None = None
    by_hand: Annotated[bool, Field(description="It was given back in another way; the payment provider is not asked")] = False


class OptionIn(Sent):
    """Something a customer may choose."""

    key: OptionKey
    label: Text | None = None
    type: Literal["select", "number", "boolean", "color"]
    choices: Annotated[list[Text], Field(max_length=100)] = []
    min: Number | None = None
    max: Number | None = None
    default: OptionValue | None = None
    price_modifier: Number = Decimal(0)


Factor = Annotated[Number, Field(gt=0, le=100)]
Tiers = Annotated[dict[OptionKey, Factor], Field(min_length=1, max_length=20)]
Options = Annotated[list[OptionIn], Field(max_length=50)]
Weight = Annotated[int, Field(ge=0, le=1_000_000, description="Grams of one piece as it is sent")]
Steps = Annotated[list[Short], Field(max_length=20)]


class SkuIn(Sent):
    """A new SKU."""

    id: SkuId
    name: Text
    unit_price: Amount
    material: Material
    color: Color
    options: Options = []
    quality_tiers: Tiers | None = None
    post_process: Steps = []
    profile: ProfileName | None = None
    active: bool = True
    weight_grams: Weight | None = None


class SkuPatch(Sent):
    """What changes of a SKU; a key that is not sent stays as it is."""

    name: Text = ""
    unit_price: Amount = Decimal(0)
    material: Material = ""
    color: Color = ""
    options: Options = []
    quality_tiers: Tiers | None = None
    post_process: Steps = []
    profile: ProfileName | None = None
    active: bool = True
    weight_grams: Weight | None = None
