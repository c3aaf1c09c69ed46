"""The list of orders: pages, filters, cursors that neither repeat nor skip while orders go on arriving."""

import pytest

from tests.farm import Farm, with_farm


async def place_many(farm: Farm, count: int, **changes) -> list[str]:
    """Ids, oldest first; every second order falls into the same moment as the one before."""
    await farm.add_sku()
    ids = []
    for number in range(count):
        ids.append((await farm.place(1, **changes))["id"])
        farm.world.forward(number % 2)
    return ids


async def listed(farm: Farm, query: str = "") -> dict:
    answer = await farm.operator.get(f"/api/orders?{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(page: dict) -> list[str]:
    return [order["id"] for order in page["data"]]


@with_farm()
async def test_an_empty_list_is_a_list(farm: Farm) -> None:
    assert await listed(farm) == {"data": [], "page": 1, "limit": 20, "total": 0, "totalPages": 0, "nextCursor": None}


@with_farm()
async def test_every_page_from_either_end(farm: Farm) -> None:
    newest_first = (await place_many(farm, 11))[::-1]
    pages = [await listed(farm, f"page={number}&limit=3") for number in range(1, 6)]
    assert [ids(page) for page in pages] == [newest_first[i : i + 3] for i in (0, 3, 6, 9, 12)]
    assert {(page["total"], page["totalPages"], page["limit"]) for page in pages} == {(11, 4, 3)}
    assert [page["page"] for page in pages] == [1, 2, 3, 4, 5]
    assert [page["nextCursor"] is None for page in pages] == [False, False, False, True, True]


@with_farm()
async def test_a_cursor_walks_once_over_everything_while_orders_arrive(farm: Farm) -> None:
    newest_first = (await place_many(farm, 9))[::-1]
    seen, page = [], await listed(farm, "limit=2")
    while True:
        seen += ids(page)
        await farm.place(1)
        if page["nextCursor"] is None:
            break
        page = await listed(farm, f"limit=2&cursor={page['nextCursor']}")
        assert page["page"] is None
    assert seen == newest_first


@with_farm()
async def test_by_status_and_by_customer(farm: Farm) -> None:
    first, second, third = await place_many(farm, 3)
    await farm.operator.post(f"/api/orders/{second}/pay")
    await farm.operator.post(f"/api/orders/{third}/cancel")
    other = (await farm.place(1, customerId="cust-other"))["id"]
    assert ids(await listed(farm, "status=paid")) == [second]
    assert ids(await listed(farm, "status=paid,cancelled")) == [third, second]
    assert ids(await listed(farm, "status=shipped")) == []
    assert ids(await listed(farm, "customerId=cust-other")) == [other]
    assert ids(await listed(farm, "customerId=cust-uuid&status=pending_payment")) == [first]
    assert ids(await listed(farm, "customerId=nobody")) == []


@with_farm()
async def test_a_customer_lists_its_own(farm: Farm) -> None:
    mine = await place_many(farm, 2)
    theirs = (await farm.place(1, customerId="cust-other"))["id"]
    assert ids((await farm.customer.get("/api/orders")).json()) == mine[::-1]
    assert ids((await farm.stranger.get("/api/orders")).json()) == [theirs]
    peeping = (await farm.stranger.get("/api/orders?customerId=cust-uuid")).json()
    assert (peeping["data"], peeping["total"]) == ([], 0)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("page=0", "?page"),
        ("page=-1", "?page"),
        ("page=two", "?page"),
        ("page=99999999999999999999", "?page"),
        ("limit=0", "?limit"),
        ("limit=101", "?limit"),
        ("limit=1000000", "?limit"),
        ("limit=2.5", "?limit"),
        ("status=lost", "?status"),
        ("status=paid,lost", "?status"),
        ("cursor=xyz", "?cursor"),
        ("cursor=%00", "?cursor"),
        ("cursor=MjAyNA", "?cursor"),
        ("cursor=", "?cursor"),
        ("cursor=MjAyNC0wMS0xNVQxMDowMDowMHxvcmQ&page=2", "?page"),
    ],
)
@with_farm()
async def test_a_bad_question_is_refused_at_its_parameter(farm: Farm, query: str, pointer: str) -> None:
    answer = await farm.operator.get(f"/api/orders?{query}")
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer


@with_farm()
async def test_a_page_far_behind_the_end_is_empty(farm: Farm) -> None:
    await place_many(farm, 1)
    assert ids(await listed(farm, "page=1000000&limit=100")) == []
